"""The hyperparameters at base size, and their defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

from ..core import FrozenDict, MutransferError
from ..reading import first_match, matching
from ..rules import Family, Role, covers
from ._plan import Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Hyperparameters:
    """The hyperparameters that a plan scales, at base size.

    None leaves a value open, for the default of an implementation (`resolved`). Numbers are finite
    and not negative; scalars of a framework are left as they are.

    Attributes:
        lr: The learning rate, a number or a scalar of the framework.
        eps: The optimizer's eps; a pair for Adafactor.
        weight_decay: The weight decay.
        rho: Sophia's threshold.
        modules: Factors of the rate by name pattern; the first that matches counts.
        undecayed: Roles or name patterns of tensors without weight decay.
    """

    lr: Any
    eps: float | tuple[float | None, float] | None = None
    weight_decay: float | None = None
    rho: float | None = None
    modules: Mapping[str, float] = field(default_factory=FrozenDict)
    undecayed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.undecayed, str):
            raise MutransferError(
                f"undecayed is {self.undecayed!r}: give a list, such as [{self.undecayed!r}]"
            )
        eps, modules = self.eps, self.modules or {}
        values = {
            "lr": _number("lr", self.lr, is_optional=False),
            "eps": tuple(_number("eps", each) for each in eps)
            if isinstance(eps, tuple | list)
            else _number("eps", eps),
            "weight_decay": _number("weight_decay", self.weight_decay),
            "rho": _number("rho", self.rho),
            "modules": FrozenDict({k: _number(f"modules[{k!r}]", f) for k, f in modules.items()}),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "undecayed", tuple(self.undecayed))

    def module_factor(self, name: str) -> float:
        """Return the factor of the rate for this tensor's module."""
        factor = first_match(name, self.modules)
        return 1.0 if factor is None else factor

    def decays(self, name: str, role: Role) -> bool:
        """Return False for a tensor that is to have no weight decay."""
        return not any(covers(key, role) or fnmatchcase(name, key) for key in self.undecayed)

    def check(self, plan: Plan) -> None:
        """Raise unless every pattern matches a tensor of the plan.

        Raises:
            MutransferError: naming the pattern.
        """
        for glob in self.modules:
            if not matching(plan.tensors, glob):
                raise MutransferError(f"modules={{{glob!r}: ...}} matches no parameter")
        for key in self.undecayed:
            if key not in set(Role) and not matching(plan.tensors, key):
                raise MutransferError(
                    f"undecayed has {key!r}, which is no role and matches no parameter"
                )


def _number(name: str, value: Any, *, is_optional: bool = True) -> Any:
    """Return a hyperparameter, plain where it is a number of Python or NumPy.

    Raises:
        MutransferError: it is no number, negative or not finite.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        # An optimizer's state with numbers of NumPy is refused by the default torch.load.
        value = float(value)
        if 0 <= value < math.inf:
            return value
    elif value is None and is_optional:
        return value
    elif hasattr(value, "dtype"):  # a scalar of a framework
        known = _known(value)
        if known is None or 0 <= known < math.inf:
            return value
    hint = ": YAML reads 1e-3 as text and 1.0e-3 as a number" if isinstance(value, str) else ""
    raise MutransferError(f"{name} is {value!r}: give a finite number, at least 0{hint}")


def _known(scalar: Any) -> float | None:
    """Return the number of a framework's scalar; None where it has none yet."""
    try:
        return float(scalar.detach() if hasattr(scalar, "detach") else scalar)
    except Exception:  # a tensor without memory, or a value that is being traced
        return None


UNITS = Hyperparameters(lr=1.0, eps=1.0, weight_decay=1.0, rho=1.0)
"""Hyperparameters of 1: a table at these holds the factors themselves."""


def resolved(
    hyperparameters: Hyperparameters, family: Family, defaults: Mapping[str, Any]
) -> Hyperparameters:
    """Return the hyperparameters, with an implementation's defaults where open.

    Args:
        hyperparameters: The hyperparameters; None stands for a default.
        family: The optimizer family that trains with them.
        defaults: The implementation's own, by name, such as torch's.

    Raises:
        MutransferError: the family has no such hyperparameter, its decay cannot be made right, or
            a default is not known.
    """
    _check_known(hyperparameters, family)
    weight_decay = hyperparameters.weight_decay
    if weight_decay is None:
        weight_decay = 0.0 if family.decays_badly else defaults.get("weight_decay", 0.0)
    eps = hyperparameters.eps
    if family.eps is not None:
        eps = defaults.get("eps") if eps is None else eps
        pair = isinstance(defaults.get("eps"), tuple)
        if eps is not None and isinstance(eps, tuple) != pair:
            wanted = "a pair" if pair else "one number"
            raise MutransferError(f"{family.name}'s eps is {wanted}, not {eps!r}")
    needed = {"eps": (family.eps is not None, eps), "rho": (family.curvature, hyperparameters.rho)}
    for name, (scaled, value) in needed.items():
        if scaled and value is None:
            raise MutransferError(
                f"{family.name}'s {name} has to scale, and its default is not known here: "
                f"give {name}= as at base size"
            )
    return replace(hyperparameters, weight_decay=weight_decay, eps=eps)


def _check_known(hyperparameters: Hyperparameters, family: Family) -> None:
    known = {"eps": family.eps is not None, "rho": family.curvature}
    for name, exists in known.items():
        if not exists and getattr(hyperparameters, name) is not None:
            raise MutransferError(f"{family.name} has no {name}")
    if hyperparameters.weight_decay and family.decays_badly:
        raise MutransferError(
            f"{family.name} adds weight decay to a gradient that it then normalises, which no "
            "width rule makes right (2203.03466, Appendix B.3); use AdamW or another with "
            'decoupled decay: plan(..., optimizer="adamw")'
        )
