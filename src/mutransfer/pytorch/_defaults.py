"""Hyperparameters given to an optimizer that its groups override."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

from ..plans import Row
from ..rules import Family
from ._ratios import as_number, base_value, cells_of, is_near, shown

_KEYS = ("lr", "weight_decay", "eps", "rho")
_SAME = 1e-3
"""Relative difference of a default and a group's value that still counts as the same."""


class Group(Protocol):
    """A parameter group, its optimizer, and the names of its tensors."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The group's entries."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors."""


def default_findings(
    dtypes: Mapping[str, torch.dtype],
    planned: Mapping[str, tuple[Family, Row]],
    groups: Sequence[Group],
) -> Iterator[str]:
    """Yield the values that an optimizer was given and its groups override.

    A value counts as given where it is not the default of the class, nor made of it. Torch trains
    with the value of a group that has one, so `AdamW(plan.param_groups(model, lr),
    weight_decay=0.1)` would train at the 0.01 that `param_groups` has by default.

    Args:
        dtypes: The type of each tensor.
        planned: The family and the factors of each tensor.
        groups: The groups of all optimizers.
    """
    optimizers = {id(group.optimizer): group.optimizer for group in groups}
    for number, optimizer in optimizers.items():
        own = [(g.values, g.names) for g in groups if id(g.optimizer) == number]
        title = type(optimizer).__name__
        for key, given in _given(optimizer, [values for values, _ in own]):
            bases = [*_bases(key, cells_of(dtypes, planned, own))]
            pairs = zip(_numbers(given), zip(*bases, strict=True), strict=False)
            agrees = all(_is_one_of(value, values) for value, values in pairs)
            if not agrees and not _is_own(optimizer, key, given):
                found = " or ".join(dict.fromkeys(_text(base) for base in bases))
                yield (
                    f"{title} was given {key}={_text(_numbers(given))}, and its groups train at "
                    f"{key}={found} at base size, as values of groups go before the optimizer's "
                    f"own; give it to the groups: plan.param_groups(model, {_call(key, given)})"
                )


def _given(
    optimizer: torch.optim.Optimizer, groups: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Any]]:
    """Yield the optimizer's own values that its class does not have by default."""
    parameters = inspect.signature(type(optimizer)).parameters
    # Groups that are not of param_groups are a finding of their own.
    if not all("lr_factor" in values for values in groups):
        return
    for key in _KEYS:
        given = getattr(optimizer, "defaults", {}).get(key)
        if given is None or key not in parameters or not all(key in values for values in groups):
            continue
        # A schedule changes the groups' rates and leaves the optimizer's own.
        scheduled = any("initial_lr" in values for values in groups) or bool(optimizer.state)
        if key == "lr" and scheduled:
            continue
        default = parameters[key].default
        if default is inspect.Parameter.empty or _numbers(given) != _numbers(default):
            yield key, given


def _is_own(optimizer: torch.optim.Optimizer, key: str, given: Any) -> bool:
    """Return True where a class that is not torch's makes this value of its default."""
    cls: Any = type(optimizer)
    if cls.__module__.startswith("torch."):
        return False
    try:
        plain = cls([torch.nn.Parameter(torch.zeros(1, 1))])
    except Exception:  # it may need other arguments, and is the user's
        return False
    return _numbers(plain.defaults.get(key)) == _numbers(given)


def _bases(key: str, cells: Mapping[tuple[str, ...], Any]) -> Iterator[tuple[float, ...]]:
    """Yield the groups' values at base size, one for each family; 0 where it is off."""
    families = dict.fromkeys(family for _, family, *_ in cells)
    for family in families:
        parts = [
            base_value(found) for (k, f, *_), found in cells.items() if (k, f) == (key, family)
        ]
        yield tuple(parts) or (0.0,)


def _numbers(value: Any) -> tuple[float | None, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(
        as_number(each) if isinstance(each, int | float | torch.Tensor) else None for each in values
    )


def _is_one_of(value: float | None, bases: Sequence[float]) -> bool:
    return value is None or any(is_near(value, base, _SAME) for base in bases)


def _text(values: Sequence[float | None]) -> str:
    shown_values = ["None" if value is None else shown(value) for value in values]
    return shown_values[0] if len(values) == 1 else f"({', '.join(shown_values)})"


def _call(key: str, given: Any) -> str:
    value = _text(_numbers(given))
    return f"lr={value}" if key == "lr" else f"lr, {key}={value}"
