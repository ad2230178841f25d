"""Findings of an audit: memberships, classes, lost entries, factors, ratios."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..plans import Row
from ..rules import FAMILIES, Family
from ._defaults import default_findings
from ._optimizers import TORCH, recognised
from ._ratios import SPREAD, few, is_near, ratio_findings
from ._settings import setting_findings

T = TypeVar("T")

AGAIN = "make the optimizer's groups with plan.param_groups"


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The plan's expectation of one tensor.

    Attributes:
        family: The family that trains it.
        trained: False for a tensor that is declared frozen.
        row: Its factors.
    """

    family: Family
    trained: bool
    row: Row


@dataclass(frozen=True, kw_only=True)
class AuditedGroup:
    """One parameter group, the planned tensors in it, and the shapes of others."""

    optimizer: torch.optim.Optimizer
    values: Mapping[str, Any]
    names: tuple[str, ...]
    strangers: tuple[str, ...]

    @property
    def title(self) -> str:
        """The class of the optimizer."""
        return type(self.optimizer).__name__

    def only_trained(self, expectations: Mapping[str, Expectation]) -> AuditedGroup:
        """Return the group without tensors that are declared frozen."""
        trained = tuple(name for name in self.names if expectations[name].trained)
        return replace(self, names=trained)


def findings(
    parameters: Mapping[str, nn.Parameter],
    expectations: Mapping[str, Expectation],
    groups: Sequence[AuditedGroup],
    trained: Sequence[AuditedGroup],
    optimizers: Sequence[torch.optim.Optimizer],
) -> list[str]:
    """Return what is wrong, one sentence each.

    Args:
        parameters: The model's parameters by planned name.
        expectations: What the plan expects of each.
        groups: All parameter groups.
        trained: The groups without frozen tensors.
        optimizers: All optimizers.
    """
    planned = {name: (each.family, each.row) for name, each in expectations.items()}
    values = [(group.values, group.names) for group in trained]
    dtypes = {name: parameter.dtype for name, parameter in parameters.items()}
    missing = _missing(parameters, expectations, groups)
    return [
        *_memberships(parameters, expectations, groups, optimizers, missing),
        *_strangers(groups, missing),
        *_wrong_classes(expectations, trained),
        *setting_findings(planned, trained),
        *_lost(expectations, trained),
        *_factors(expectations, trained),
        *_aliases(groups),
        *default_findings(dtypes, planned, trained),
        *ratio_findings(dtypes, planned, values, AGAIN),
    ]


def _missing(
    parameters: Mapping[str, nn.Parameter],
    expectations: Mapping[str, Expectation],
    groups: Sequence[AuditedGroup],
) -> list[str]:
    """Return the tensors that are planned to train and in no group."""
    found = {name for group in groups for name in group.names}
    return [
        name
        for name, parameter in parameters.items()
        if parameter.requires_grad and name not in found and expectations[name].trained
    ]


def _memberships(
    parameters: Mapping[str, nn.Parameter],
    expectations: Mapping[str, Expectation],
    groups: Sequence[AuditedGroup],
    optimizers: Sequence[torch.optim.Optimizer],
    missing: Sequence[str],
) -> Iterator[str]:
    times = Counter(name for group in groups for name in group.names)
    if missing:
        titles = " and ".join(type(optimizer).__name__ for optimizer in optimizers)
        yield (
            f"{few(missing)}: planned to train, found in no group of {titles}; {AGAIN} after the "
            "last change to the model, audit all optimizers together, or freeze them with "
            "requires_grad_(False)"
        )
    if several := [name for name, count in times.items() if count > 1]:
        yield (
            f"{few(several)}: planned for one group, found in {max(times.values())}, so that each "
            "step moves them more than once; leave them in one, with "
            "plan.param_groups(..., optimizer=family) for each of several optimizers"
        )
    thawed = [
        name
        for name in times
        if not expectations[name].trained
        and (parameters[name].requires_grad or parameters[name].grad is not None)
    ]
    if thawed:
        yield (
            f"{few(thawed)}: planned as frozen, found training; take them out of the optimizer and "
            "call requires_grad_(False), or plan them with another role"
        )


def _strangers(groups: Sequence[AuditedGroup], missing: Sequence[str]) -> Iterator[str]:
    """Yield the optimizers with others in the place or the groups of planned ones."""
    wrong = [group for group in groups if group.strangers and (group.names or missing)]
    for title, shapes in _shapes(wrong).items():
        yield (
            f"{title}: planned for this model's parameters, found {len(shapes)} others (of shape "
            f"{few(shapes)}), such as a copy's, or ones that were replaced since; {AGAIN} of the "
            "model that is trained, and give others, such as a criterion's, groups of their own"
        )


def others(
    parameters: Mapping[str, nn.Parameter],
    expectations: Mapping[str, Expectation],
    groups: Sequence[AuditedGroup],
) -> Iterator[str]:
    """Yield the optimizers that train more than the model, such as a criterion."""
    if not _missing(parameters, expectations, groups):
        apart = [group for group in groups if not group.names]
        for title, shapes in _shapes(apart).items():
            yield (
                f"{title} has {len(shapes)} parameters (of shape {few(shapes)}) in groups of their "
                "own, which are not this model's: the plan knows no rates of theirs"
            )


def _shapes(groups: Sequence[AuditedGroup]) -> dict[str, list[str]]:
    """Return the shapes of parameters that are not the model's, by class of optimizer."""
    shapes: dict[str, list[str]] = {}
    for group in groups:
        if group.strangers:
            shapes.setdefault(group.title, []).extend(group.strangers)
    return shapes


def _wrong_classes(
    expectations: Mapping[str, Expectation], groups: Sequence[AuditedGroup]
) -> Iterator[str]:
    wrong: dict[tuple[str, str], list[str]] = {}
    for group in groups:
        for family, names in _by_family(expectations, group).items():
            if title := _other_class(expectations[names[0]].family, group):
                wrong.setdefault((title, family), []).extend(names)
    for (title, family), names in wrong.items():
        yield (
            f"{few(names)}: planned for {family}, found in {title}, whose rates and decays scale "
            f"otherwise; train them with {family}, or plan for the optimizer that you use"
        )


def unknown_classes(
    expectations: Mapping[str, Expectation], groups: Sequence[AuditedGroup]
) -> Iterator[str]:
    """Yield a sentence for each optimizer whose family cannot be seen from its class."""
    unknown = dict.fromkeys(
        (group.title, family)
        for group in groups
        for family, names in _by_family(expectations, group).items()
        if _other_class(expectations[names[0]].family, group) is None
    )
    for title, family in unknown:
        yield f"whether {title} is {family}, as planned, cannot be seen from its class"


def _by_family(
    expectations: Mapping[str, Expectation], group: AuditedGroup
) -> dict[str, list[str]]:
    return by(lambda name: expectations[name].family.name, group.names)


def _other_class(family: Family, group: AuditedGroup) -> str | None:
    """Return the name of an optimizer that scales otherwise than the family, else "".

    None means that this cannot be seen: a family of the user's own, or a class that is not torch's.
    """
    cls, title = type(group.optimizer), group.title
    if FAMILIES.get(family.name) != family or getattr(torch.optim, title, None) is not cls:
        return None
    if cls not in TORCH.values():
        return title
    keys = ("decoupled_weight_decay", "adjust_lr_fn")
    settings = {key: group.values[key] for key in keys if key in group.values}
    actual = recognised(partial(cls, **settings))
    # Without weight decay its kind makes no difference, nor do name, caveat and papers.
    decay = actual.decay if group.values["weight_decay"] else family.decay
    alike = replace(actual, name=family.name, caveat=family.caveat, cites=family.cites, decay=decay)
    return "" if alike == family else f"{title} ({actual.name})"


def _lost(expectations: Mapping[str, Expectation], groups: Sequence[AuditedGroup]) -> Iterator[str]:
    """Yield the entries that groups lack."""
    lost: dict[str, list[str]] = {}
    for group in groups:
        for name in group.names:
            family = expectations[name].family
            scaled = ["lr", "lr_factor", "weight_decay"]
            scaled += ["eps"] if family.eps is not None else []
            scaled += ["rho"] if family.curvature else []
            for key in scaled:
                if key not in group.values:
                    lost.setdefault(key, []).append(name)
    for key, names in lost.items():
        yield f"{few(names)}: planned with {key} in their group, found without; {AGAIN}"


def _factors(
    expectations: Mapping[str, Expectation], groups: Sequence[AuditedGroup]
) -> Iterator[str]:
    """Yield the groups of another plan, and those whose factors were edited."""
    off: dict[tuple[float, float], list[str]] = {}
    for group in groups:
        if "lr_factor" not in group.values:
            continue
        factor = group.values["lr_factor"]
        for name in group.names:
            planned = expectations[name].row.lr_factor
            if not is_near(factor, planned, SPREAD):
                off.setdefault((planned, factor), []).append(name)
    for (planned, factor), names in off.items():
        yield (
            f"{few(names)}: planned with lr_factor {planned:.6g}, found {factor:.6g}, so the "
            f"groups are another plan's or were edited; {AGAIN}, and give the audit the same "
            "modules= that it got"
        )


def _aliases(groups: Sequence[AuditedGroup]) -> Iterator[str]:
    """Yield the groups that share one tensor as their rate."""
    shared: dict[tuple[Any, ...], list[AuditedGroup]] = {}
    for group in groups:
        lr = group.values.get("lr")
        if isinstance(lr, Tensor):
            shared.setdefault((lr.device, lr.data_ptr() or id(lr)), []).append(group)
    for several in shared.values():
        if len(several) > 1:
            names = [name for group in several for name in group.names]
            yield (
                f"{few(names)}: planned with a rate for each group, found {len(several)} groups "
                "that share one tensor as lr, so that a schedule sets them all at once; "
                'set group["lr"] = group["lr"].clone()'
            )


def by(key: Callable[[T], Any], items: Iterable[T]) -> dict[Any, list[T]]:
    """Return the items with equal keys together."""
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
