"""Settings of optimizers under which groups are not trained as planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core import MutransferError
from ..plans import Row
from ..rules import Family
from ._defaults import Group
from ._ratios import as_number, few

_STARTS = ("initial_accumulator_value", "initial_accumulator")
READ = (*_STARTS, "relative_step", "scale_parameter", "weight_decouple", "fixed_decay")
"""Entries of a group that are read here; the last four are of classes that torch has not."""

_START = (
    "so that sums of squared gradients start at a number that would have to scale as they do, "
    "which the optimizer has one of for all tensors; leave it at 0"
)

_PAIR = (
    "takes a pair of eps, and the group has one number, with which its first step fails; set "
    'group["eps"] = (group["eps"], 1e-3) for every group before it is given them'
)


def check_start(title: str, settings: Mapping[str, Any]) -> None:
    """Raise where an optimizer starts its sums of squared gradients at a number.

    Raises:
        MutransferError: naming the setting.
    """
    for key in _STARTS:
        if settings.get(key):
            raise MutransferError(f"{title} was given {key}={settings[key]!r}, {_START}")


def setting_findings(
    planned: Mapping[str, tuple[Family, Row]], groups: Iterable[Group]
) -> Iterator[str]:
    """Yield the settings under which a class is not the planned family.

    Args:
        planned: The family and the factors of each tensor.
        groups: The groups of all optimizers.
    """
    wrong: dict[str, list[str]] = {}
    for group in groups:
        title = type(group.optimizer).__name__
        # That a class of torch is not the planned one is found without its settings.
        is_scaled = "scale_parameter" in group.values
        takes_pair = isinstance(getattr(group.optimizer, "defaults", {}).get("eps"), tuple)
        if is_scaled and takes_pair and isinstance(group.values.get("eps"), int | float):
            wrong.setdefault(f"{title} {_PAIR}", []).extend(group.names)
        for name in group.names:
            for sentence in _sentences(title, planned[name][0], group.values):
                wrong.setdefault(sentence, []).append(name)
    for sentence, names in wrong.items():
        yield f"{few(names)}: {sentence}"


def _sentences(title: str, family: Family, values: Mapping[str, Any]) -> Iterator[str]:
    for key in _STARTS:
        if values.get(key):
            yield f"planned for sums that start at 0, found {key}={values[key]!r}, {_START}"
    if values.get("relative_step"):
        yield (
            f"planned with a rate for each group, found {title} with relative_step=True, which "
            "takes no rate of a group; give it relative_step=False"
        )
    scaled = values.get("scale_parameter")
    if scaled is not None and bool(scaled) != family.relative:
        yield (
            f"planned for {family.name}, found {title} with scale_parameter={scaled}; give it "
            f"scale_parameter={family.relative}"
        )
    decay, decays = _decay(values), as_number(values.get("weight_decay") or 0)
    if decay and decays and family.decay not in (decay, "normalised"):
        yield (
            f"planned for {family.decay} weight decay, found {title} with {decay} one; give it "
            f"{_decay_settings(family.decay)}, or groups with weight_decay=0"
        )


def _decay(values: Mapping[str, Any]) -> str:
    """Return the kind of weight decay that a group names, "" without any."""
    if "weight_decouple" not in values:
        return ""
    if not values["weight_decouple"]:
        return "coupled"
    return "independent" if values.get("fixed_decay") else "decoupled"


def _decay_settings(decay: str) -> str:
    if decay == "coupled":
        return "weight_decouple=False"
    return f"weight_decouple=True and fixed_decay={decay == 'independent'}"
