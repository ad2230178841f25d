"""Multipliers, scales and rates tuned at base size, folded into tensors.

A tuned number is one more ratio of a tensor, target over base, of which init, rate, eps and decay
are powers. So everything that reads a plan follows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from numbers import Rational, Real
from typing import Any

from ..core import MutransferError
from ..rules import ONE, Family, Powers, Quantities, Reason, Role, Trait, covers, powers
from ._tensor import TensorPlan
from ._tunable import SIGNALS, Carriers

INIT, RATE = "init_scale", "rate"
TUNED = frozenset({*SIGNALS, INIT, RATE})
"""The names of tuned numbers among the ratios of a tensor."""

Tuning = Mapping[str, Fraction]

_REASON = "tuned"


def retuned(tuning: Tuning, given: Mapping[str, Any]) -> dict[str, Fraction]:
    """Return the products of what was tuned and these numbers, without ones.

    Raises:
        MutransferError: a name is unknown, or a number is not positive and finite.
    """
    found = dict(tuning)
    for name, number in given.items():
        _check_name(name)
        found[name] = found.get(name, Fraction(1)) * _exact(name, number)
    return {name: number for name, number in found.items() if number != 1}


def _check_name(name: str) -> None:
    quantity, _, key = name.partition(".")
    if name in (*SIGNALS, "init") or (quantity in ("init", "lr") and key):
        return
    hint = "; the rate of all tensors is the lr of param_groups" if name == "lr" else ""
    raise MutransferError(
        f"nothing that can be tuned is named {name!r}: choose one of {', '.join(SIGNALS)} and "
        f'init, or a role or pattern of names after "init." or "lr.", as in "lr.readout"{hint}'
    )


def _exact(name: str, number: Any) -> Fraction:
    known = isinstance(number, Real) and not isinstance(number, bool)
    if not known or not math.isfinite(number) or number <= 0:
        raise MutransferError(f"{name} is {number!r}: give a positive, finite number")
    # The shortest decimal of a float gives the float back, and is the number that was meant.
    return Fraction(number) if isinstance(number, Rational) else Fraction(repr(float(number)))


def tuned_tensors(
    tensors: Mapping[str, TensorPlan],
    optimizers: Mapping[str, Family],
    tunable: Mapping[str, Carriers],
    tuning: Tuning,
    *,
    rescales: bool,
) -> dict[str, TensorPlan]:
    """Return the tensors of a plan whose base has these numbers.

    Args:
        tensors: The tensors; what was tuned in them before is replaced.
        optimizers: The families by name.
        tunable: What carries the multiplier of each signal.
        tuning: The numbers by name.
        rescales: True if initial scales follow the rule.

    Raises:
        MutransferError: nothing carries a multiplier, or a role or pattern matches no tensor.
    """
    carried: dict[str, Powers] = {}
    ratios: dict[str, dict[str, Fraction]] = {}
    for name, number in tuning.items():
        quantity, _, key = name.partition(".")
        if quantity == "init" and not rescales:
            raise MutransferError(
                f"{name} cannot be tuned: under this rule the model keeps its own initial scale; "
                "change it in the model, or choose a muP rule"
            )
        if quantity in SIGNALS:
            for tensor, power in _carriers(tensors, tunable, quantity).items():
                carried[tensor] = carried.get(tensor, ONE) * powers(**{quantity: power})
                ratios.setdefault(tensor, {})[quantity] = number
        else:
            ratio = INIT if quantity == "init" else RATE
            for tensor in _matching(tensors, name, key):
                known = ratios.setdefault(tensor, {})
                known[ratio] = known.get(ratio, Fraction(1)) * number
    return {
        name: _tuned(tensor, optimizers[tensor.optimizer], carried.get(name, ONE), ratios.get(name))
        for name, tensor in tensors.items()
    }


def _carriers(
    tensors: Mapping[str, TensorPlan], tunable: Mapping[str, Carriers], signal: str
) -> Mapping[str, int]:
    if signal not in tunable:
        raise MutransferError(
            f"{signal} cannot be tuned: the plan was made without a forward pass of the model, as "
            "under a standard parametrization or with declared branches, so that what makes this "
            "signal is not known; plan with a muP rule and a model that runs, or multiply in the "
            "model"
        )
    carriers = tunable[signal]
    if carriers.refusal:
        raise MutransferError(f"{signal} cannot be tuned: {carriers.refusal}")
    for name in carriers.tensors:
        if tensors[name].role == Role.FROZEN:
            raise MutransferError(
                f"{signal} cannot be tuned: {name} would have to carry the multiplier, and is "
                "declared frozen; leave it trainable, or put a learned gain after it"
            )
    return carriers.tensors


def _matching(tensors: Mapping[str, TensorPlan], name: str, key: str) -> list[str]:
    """Return the tensors of a role or name pattern; all matrices without one."""
    if not key:
        return [name for name, tensor in tensors.items() if not _is_vector(tensor.role)]
    found = [
        name
        for name, tensor in tensors.items()
        if covers(key, tensor.role) or fnmatchcase(name, key)
    ]
    if not found:
        raise MutransferError(
            f"{name}: {key!r} is no role of a tensor here and matches no name; the names begin "
            f"with {', '.join([*tensors][:3])}"
        )
    return found


def _is_vector(role: Role) -> bool:
    """Return True for tensors that are set rather than drawn, as gains and biases are."""
    return role.has(Trait.VECTOR) or role in (Role.ATTENTION_SCALE, Role.SCALAR)


def _tuned(
    tensor: TensorPlan, family: Family, carried: Powers, numbers: Mapping[str, Fraction] | None
) -> TensorPlan:
    """Return a tensor with these tuned numbers in place of those before."""
    if not numbers and TUNED.isdisjoint(tensor.ratios):
        return tensor
    plain = _untuned(tensor)
    ratios = {name: ratio for name, ratio in (numbers or {}).items() if ratio != 1}
    if not ratios:
        return plain
    quantities = Quantities(init=plain.init, lr=plain.lr, eps=plain.eps, decay=plain.decay)
    folded = quantities.fold(carried, family)
    reasons = [
        Reason(_REASON, _CARRIES if power > 0 else _UNDOES, powers(**{signal: power}))
        for signal, power in carried.exponents
    ]
    init, lr = (powers(**{name: 1}) if name in ratios else ONE for name in (INIT, RATE))
    reasons += [Reason(_REASON, "starts at the tuned scale", init)] if init != ONE else []
    reasons += [Reason(_REASON, "trains at the tuned rate", lr)] if lr != ONE else []
    return replace(
        plain,
        ratios={**plain.ratios, **ratios},
        init=folded.init * init,
        lr=folded.lr * lr,
        eps=folded.eps,
        decay=folded.decay,
        multiplier=plain.multiplier * carried,
        reasons=(*plain.reasons, *reasons),
    )


_CARRIES = "carries the multiplier tuned at base size,"
_UNDOES = "makes the input of the tied head and undoes the multiplier tuned at base size,"


def _untuned(tensor: TensorPlan) -> TensorPlan:
    """Return a tensor as it was before anything was tuned."""
    gone: dict[str, str | None] = dict.fromkeys(TUNED)
    return replace(
        tensor,
        ratios={name: ratio for name, ratio in tensor.ratios.items() if name not in TUNED},
        init=tensor.init.substitute(**gone),
        lr=tensor.lr.substitute(**gone),
        eps=tensor.eps.substitute(**gone),
        decay=tensor.decay.substitute(**gone),
        multiplier=tensor.multiplier.substitute(**gone),
        reasons=tuple(reason for reason in tensor.reasons if reason.kind != _REASON),
    )
