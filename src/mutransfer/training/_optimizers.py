"""The optimizers that training knows, by family, and what an optimizer text names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ..core import MutransferError
from ..pytorch import torch_class
from ..rules import families, family
from ._lion import Lion
from ._matrix_optimizers import SOAP, Shampoo
from ._updates_entries import (
    Counts,
    Numbers,
    adagrad,
    adagrad_numbers,
    adam,
    adam_numbers,
    adamax,
    adamax_numbers,
    lion,
    lion_numbers,
    nadam,
    nadam_numbers,
    radam,
    radam_numbers,
    rmsprop,
    rmsprop_numbers,
    sgd,
    sgd_numbers,
)
from ._updates_matrices import muon, muon_numbers, shampoo, soap

OWN: Mapping[str, type[torch.optim.Optimizer]] = {"lion": Lion, "shampoo": Shampoo, "soap": SOAP}
"""Our class of each family that torch has none of."""


def _no_numbers(count: Counts) -> Numbers:
    return {}


@dataclass(frozen=True)
class Update:
    """The stacked update of one optimizer family.

    Attributes:
        apply: The update, called with a `Step` and the options that all members share.
        state: Names of the tensors that the optimizer keeps, of the parameter's shape.
        numbers: The numbers of every step, of options that each member can have for its own.
        left: Names of the tensors of shape (rows, rows) that it keeps, for matrices.
        right: Names of those of shape (columns, columns).
        fixed: The options that make the update this family's.
        in_step: True if it needs all members at one step, and is not compiled: its operations
            depend on the number of the step, and decompose matrices.
    """

    apply: Callable[..., None]
    state: tuple[str, ...]
    numbers: Callable[..., Numbers] = _no_numbers
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    fixed: Mapping[str, bool] = field(default_factory=dict)
    in_step: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The options that a user may set, with their defaults."""
        known = {**signature(self.numbers).parameters, **signature(self.apply).parameters}
        hidden = {"step", "count", *self.fixed, *_FORMS}
        return {name: known[name].default for name in known if name not in hidden}

    @property
    def own(self) -> list[str]:
        """Names of the options that each member can have for its own."""
        return [name for name in signature(self.numbers).parameters if name != "count"]

    def shared(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that all members of a program share."""
        return {name: value for name, value in options.items() if name not in self.own}

    def start(self, values: Tensor) -> dict[str, Tensor]:
        """Return the state before the first step, zeros.

        Args:
            values: The stacked parameters, (name, member, *shape).
        """
        state = {name: torch.zeros_like(values) for name in self.state}
        if self.left or self.right:
            rows, *columns = values.shape[2:]
            for size, names in ((rows, self.left), (math.prod(columns), self.right)):
                shape = (*values.shape[:2], size, size)
                state |= {name: values.new_zeros(shape) for name in names}
        return state


_FORMS = ("decoupled", "amsgrad", "match_rms")
"""Options that make an update another family's; each family fixes its own."""

_MOMENTS = ("first", "second")
_DECOUPLED = {"decoupled": True}

UPDATES: Mapping[str, Update] = {
    "sgd": Update(sgd, ("momentum",), sgd_numbers),
    "adam": Update(adam, _MOMENTS, adam_numbers),
    "adamw": Update(adam, _MOMENTS, adam_numbers, fixed=_DECOUPLED),
    "amsgrad": Update(adam, (*_MOMENTS, "largest"), adam_numbers, fixed={"amsgrad": True}),
    "nadam": Update(nadam, _MOMENTS, nadam_numbers),
    "nadamw": Update(nadam, _MOMENTS, nadam_numbers, fixed=_DECOUPLED),
    "radam": Update(radam, _MOMENTS, radam_numbers),
    "radamw": Update(radam, _MOMENTS, radam_numbers, fixed=_DECOUPLED),
    "adagrad": Update(adagrad, ("total",), adagrad_numbers),
    "rmsprop": Update(rmsprop, ("first", "second", "momentum"), rmsprop_numbers),
    "adamax": Update(adamax, ("first", "largest"), adamax_numbers),
    "lion": Update(lion, ("first",), lion_numbers),
    "muon-original": Update(muon, ("momentum",), muon_numbers, fixed={"match_rms": False}),
    "muon-match-rms": Update(muon, ("momentum",), muon_numbers, fixed={"match_rms": True}),
    "shampoo": Update(shampoo, (), left=("left",), right=("right",), in_step=True),
    "soap": Update(
        soap,
        _MOMENTS,
        left=("left", "left basis"),
        right=("right", "right basis"),
        in_step=True,
    ),
}
"""The stacked update of each family that training knows."""


def optimizer_class(name: str) -> type[torch.optim.Optimizer] | None:
    """Return torch's class of a family, ours where torch has none, or None."""
    return OWN.get(name) or torch_class(family(name))


def options_by_family(
    optimizer: str, options: Mapping[str, Any], where: str
) -> dict[str, Mapping[str, Any]]:
    """Return the options of every family that an optimizer text names.

    Args:
        optimizer: A family, or two that share the work, such as "muon-original+adamw".
        options: The optimizer's options; by family where two are named.
        where: Where the optimizer was named, such as "a study".

    Raises:
        MutransferError: a family is unknown, or does not take an option.
    """
    parts = optimizer.split("+") if isinstance(optimizer, str) else [optimizer]
    names = [part.strip() if isinstance(part, str) else part for part in parts]
    for name in names:
        _check_known(name, where)
    families(optimizer)
    single = len(names) == 1
    by_family = {names[0]: options} if single else _shared_out(names, optimizer, options)
    for name, settings in by_family.items():
        _check_options(name, settings)
    return by_family


def _check_known(name: Any, where: str) -> None:
    if isinstance(name, str) and name in UPDATES:
        if optimizer_class(name) is None:
            raise MutransferError(f"this torch has no optimizer for {name}: install a newer one")
        return
    if isinstance(name, str) and name.startswith("muon"):
        raise MutransferError(
            f"{where} cannot train with {name!r}: torch.optim.Muon multiplies its update by the "
            "convention muon-original or muon-match-rms; name one of them, such as "
            "muon-original+adamw"
        )
    raise MutransferError(
        f"unknown optimizer {name!r} for {where}; choose one of {', '.join(UPDATES)}, "
        "or two, such as muon-original+adamw"
    )


def _shared_out(
    names: list[str], optimizer: str, options: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    unknown = sorted(options.keys() - set(names))
    if unknown or not all(isinstance(item, Mapping) for item in options.values()):
        raise MutransferError(
            f"the optimizer {optimizer} takes options by family, such as "
            f"{{{names[-1]!r}: {{...}}}}, not {dict(options)}"
        )
    return {name: options.get(name, {}) for name in names}


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    known = UPDATES[name].options
    if unknown := sorted(options.keys() - known.keys()):
        raise MutransferError(
            f"the optimizer {name} takes no option {unknown[0]!r}; it takes "
            f"{', '.join(known) or 'none'}"
        )
    if name == "sgd" and options.get("nesterov") and not options.get("momentum"):
        raise MutransferError("nesterov needs a momentum, such as 0.9: without one it does nothing")
