"""Whether optimizers still train a model as planned: memberships, classes and ratios, at any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .._errors import MutransferError
from ..rules import FAMILIES, Family, Role
from ._apply import planned
from ._groups import Settings
from ._optimizer import TORCH, recognised

if TYPE_CHECKING:
    from ._plan import Plan

_T = TypeVar("_T")
_Optimizer = torch.optim.Optimizer
_Cell = tuple[list[str], float, float]
"""Names, their factor over the common value, and the value they have."""

_SPREAD = 1e-6
_NOTHING = 1e-30
_AGAIN = "make the optimizer's groups with plan.param_groups"
_REMEDIES = {
    "lr": (
        "a schedule or a loop that adds or sets one value for all loses them: give schedulers one value for each group, as "
        "OneCycleLR(max_lr=plan.per_group(optimizer, 0.1)), set CosineAnnealingLR's eta_min (or take LambdaLR) and ReduceLROnPlateau's eps "
        'to 0, and write group["lr"] = rate * group["lr_factor"]'
    ),
    "weight_decay": f"{_AGAIN}(weight_decay=...), and change it for all groups by one factor",
    "eps": f"{_AGAIN}(eps=...), and change it for all groups by one factor",
    "rho": f"{_AGAIN}(rho=...), and change it for all groups by one factor",
}
_SAID = {"lr": "learning rates", "weight_decay": "weight decays", "eps": "eps", "rho": "rho"}


@dataclass(frozen=True)
class Audit:
    """Whether the optimizers train the model as planned, when it was asked.

    Attributes:
        findings: What is wrong, one sentence each: which parameters, what was planned and found, what to do.
        unknown: What could not be told, one sentence each; no finding.
    """

    findings: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def raise_if_wrong(self) -> None:
        """Do nothing if all is as planned.

        Raises:
            MutransferError: with all findings.
        """
        if self.findings:
            raise MutransferError("the model is not trained as planned: " + "; and ".join(self.findings))

    def __str__(self) -> str:
        head = "trained as planned" if self.ok else f"not trained as planned, findings: {len(self.findings)}"
        return "\n".join([head, *(f"  - {text}" for text in self.findings), *(f"  ? {text}" for text in self.unknown)])


@dataclass(frozen=True)
class Guard:
    """Audits before every step; ends with `remove`, or at the end of a `with`."""

    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        """Audit no more."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """The plan's factors for one tensor."""

    family: Family
    frozen: bool
    lr: float
    eps: float
    decay: float
    floor: float

    @property
    def scales(self) -> tuple[Any, ...]:
        return self.family.name, self.lr, self.eps, self.decay, self.floor


@dataclass(frozen=True, kw_only=True)
class _Group:
    """One parameter group and the planned tensors in it."""

    optimizer: _Optimizer
    values: Mapping[str, Any]
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return type(self.optimizer).__name__


def expectations(plan: Plan, modules: Mapping[str, float]) -> dict[str, _Expected]:
    """What an audit compares with, by name; to be made once for many audits."""
    settings = Settings(lr=1.0, eps=None, weight_decay=None, rho=None, modules=modules, undecayed=())
    return {
        name: _Expected(
            family=plan.optimizers[tensor.optimizer],
            frozen=tensor.role == Role.FROZEN,
            lr=tensor.factor("lr") * settings.module_factor(name),
            eps=tensor.factor("eps"),
            decay=tensor.factor("decay"),
            floor=tensor.factor("init"),
        )
        for name, tensor in plan.tensors.items()
    }


def audit(plan: Plan, expected: Mapping[str, _Expected], model: nn.Module, optimizers: Iterable[_Optimizer]) -> Audit:
    """See `Plan.audit`."""
    optimizers = _bare(optimizers)
    own = planned(plan, model)
    groups, strangers = _sorted_out(own, optimizers)
    trained = [_Group(optimizer=g.optimizer, values=g.values, names=tuple(n for n in g.names if not expected[n].frozen)) for g in groups]
    trained = [group for group in trained if group.names]
    wrong, unknown = _classes(expected, trained)
    findings = [
        *_memberships(own, expected, groups, strangers, optimizers),
        *wrong,
        *_lost(expected, trained),
        *_factors(expected, trained),
        *_aliases(groups),
        *_ratios(own, expected, trained),
    ]
    return Audit(tuple(findings), tuple(unknown))


def guard(plan: Plan, model: nn.Module, optimizers: tuple[_Optimizer, ...], modules: Mapping[str, float]) -> Guard:
    """See `Plan.guard`."""
    optimizers = _bare(optimizers)
    expected = expectations(plan, modules)
    passed: list[Any] = []
    families: dict[str, list[dict[str, Any]]] = {}

    def check(*_: object) -> None:
        now = _all_but_rates(model, optimizers)
        if passed == now and all(_level(groups) for groups in families.values()):
            return
        audit(plan, expected, model, optimizers).raise_if_wrong()
        passed[:] = now
        names = {id(parameter): name for name, parameter in planned(plan, model).items()}
        groups = [group for optimizer in optimizers for group in optimizer.param_groups if "lr_factor" in group and group["params"]]
        families.clear()
        families.update(_by(lambda group: expected[names[id(group["params"][0])]].family.name, groups))

    check()
    return Guard(tuple(optimizer.register_step_pre_hook(check) for optimizer in optimizers))


def _bare(optimizers: Iterable[Any]) -> tuple[_Optimizer, ...]:
    """The optimizers themselves, out of what Accelerate and Lightning wrap them in."""
    found = list(optimizers)
    for i, each in enumerate(found):
        while isinstance(each, _Optimizer) and isinstance(inner := getattr(each, "optimizer", None), _Optimizer) and inner is not each:
            found[i] = each = inner
    if not found or not all(hasattr(each, "param_groups") for each in found):
        raise MutransferError("an audit needs the optimizers that train the model: plan.audit(model, optimizer), or several of them")
    return tuple(found)


def _all_but_rates(model: nn.Module, optimizers: tuple[_Optimizer, ...]) -> list[Any]:
    """What an audit depends on and a schedule leaves alone, for comparison with itself."""
    keys = ("lr_factor", "weight_decay", "eps", "rho", "decoupled_weight_decay", "adjust_lr_fn")
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    values = [[group.get(key) for key in keys] for group in groups]
    rates = [lr.data_ptr() if isinstance(lr := group.get("lr"), Tensor) else "lr" in group for group in groups]
    members = [(id(parameter), parameter.requires_grad) for group in groups for parameter in group["params"]]
    sizes = [(id(group), len(group["params"])) for group in groups]
    return [values, rates, sizes, members, [(id(p), p.requires_grad) for p in model.parameters()]]


def _level(groups: list[dict[str, Any]]) -> bool:
    """Whether rates over factors are all the same."""
    rates = [(_number(group["lr"]), group["lr_factor"]) for group in groups]
    rate, factor = max(rates, key=itemgetter(1))
    common = rate / factor if factor else 0.0
    spread = max(_precision(group["lr"]) for group in groups)
    return all(_near(rate, factor * common, spread) for rate, factor in rates)


def per_group(optimizer: _Optimizer, value: float) -> list[float]:
    """See `Plan.per_group`."""
    if any("lr_factor" not in group for group in optimizer.param_groups):
        raise MutransferError(f"a group of {type(optimizer).__name__} has no lr_factor: {_AGAIN}")
    return [value * group["lr_factor"] for group in optimizer.param_groups]


def _sorted_out(own: Mapping[str, nn.Parameter], optimizers: tuple[_Optimizer, ...]) -> tuple[list[_Group], dict[str, list[str]]]:
    """All groups with the planned names in them, and what else each class of optimizer has."""
    names = {id(parameter): name for name, parameter in own.items()}
    groups: list[_Group] = []
    strangers: dict[str, list[str]] = {}
    for optimizer in optimizers:
        for values in optimizer.param_groups:
            found = [names.get(id(parameter)) for parameter in values["params"]]
            groups.append(_Group(optimizer=optimizer, values=values, names=tuple(name for name in found if name is not None)))
            for parameter, name in zip(values["params"], found, strict=True):
                if name is None:
                    strangers.setdefault(type(optimizer).__name__, []).append("x".join(map(str, parameter.shape)) or "()")
    return groups, strangers


def _memberships(
    own: Mapping[str, nn.Parameter],
    expected: Mapping[str, _Expected],
    groups: list[_Group],
    strangers: Mapping[str, list[str]],
    optimizers: tuple[_Optimizer, ...],
) -> Iterable[str]:
    times = Counter(name for group in groups for name in group.names)
    if missing := [name for name, p in own.items() if p.requires_grad and name not in times and not expected[name].frozen]:
        titles = " and ".join(type(optimizer).__name__ for optimizer in optimizers)
        yield (
            f"{_few(missing)}: planned to train, found in no group of {titles}; {_AGAIN} after the last change to the model, audit all "
            "optimizers together, or freeze them with requires_grad_(False)"
        )
    if several := [name for name, n in times.items() if n > 1]:
        yield (
            f"{_few(several)}: planned for one group, found in {max(times.values())}, so that each step moves them more than once; leave "
            "them in one, with plan.param_groups(..., optimizer=family) for each of several optimizers"
        )
    if thawed := [n for n in times if expected[n].frozen and (own[n].requires_grad or own[n].grad is not None)]:
        yield (
            f"{_few(thawed)}: planned as frozen, found training; take them out of the optimizer and call requires_grad_(False), or plan "
            "them with another role"
        )
    for title, shapes in strangers.items():
        yield (
            f"{title}: planned for this model's parameters, found {len(shapes)} others (of shape {_few(shapes)}), such as a copy's, or "
            f"ones that were replaced since; {_AGAIN} of the model that is trained"
        )


def _classes(expected: Mapping[str, _Expected], groups: list[_Group]) -> tuple[list[str], list[str]]:
    """Groups whose optimizer is not the planned family's, and those where that cannot be told."""
    wrong: dict[tuple[str, str], list[str]] = {}
    unknown: dict[tuple[str, str], None] = {}
    for group in groups:
        for family, names in _by(lambda name: expected[name].family.name, group.names).items():
            verdict = _is_of(expected[names[0]].family, group)
            if verdict is None:
                unknown[group.title, family] = None
            elif verdict:
                wrong.setdefault((verdict, family), []).extend(names)
    return (
        [
            f"{_few(names)}: planned for {family}, found in {title}, whose rates and decays scale otherwise; train them with {family}, or "
            "plan for the optimizer that you use"
            for (title, family), names in wrong.items()
        ],
        [f"whether {title} is {family}, as planned, cannot be told from its class" for title, family in unknown],
    )


def _is_of(family: Family, group: _Group) -> str | None:
    """What the group's optimizer is instead of the family; empty if it scales as the family does, None if that cannot be told."""
    cls, title = type(group.optimizer), group.title
    if FAMILIES.get(family.name) != family or getattr(torch.optim, title, None) is not cls:
        return None
    if cls not in TORCH.values():
        return title
    settings = {key: group.values[key] for key in ("decoupled_weight_decay", "adjust_lr_fn") if key in group.values}
    found = recognised(partial(cls, **settings))
    decay = found.decay if group.values["weight_decay"] else family.decay
    alike = replace(found, name=family.name, caveat=family.caveat, cites=family.cites, decay=decay)
    return "" if alike == family else f"{title} ({found.name})"


def _lost(expected: Mapping[str, _Expected], groups: list[_Group]) -> Iterable[str]:
    lost: dict[str, list[str]] = {}
    for group in groups:
        for name in group.names:
            family = expected[name].family
            scaled = {"lr": True, "lr_factor": True, "weight_decay": True, "eps": family.eps is not None, "rho": family.curvature}
            for key in (key for key, has in scaled.items() if has and key not in group.values):
                lost.setdefault(key, []).append(name)
    for key, names in lost.items():
        yield f"{_few(names)}: planned with {key} in their group, found without; {_AGAIN}"


def _factors(expected: Mapping[str, _Expected], groups: list[_Group]) -> Iterable[str]:
    """Groups of another plan, or whose factors were edited."""
    off: dict[tuple[float, float], list[str]] = {}
    for group in groups:
        if "lr_factor" not in group.values:
            continue
        found = group.values["lr_factor"]
        for name in group.names:
            if not _near(found, expected[name].lr, _SPREAD):
                off.setdefault((expected[name].lr, found), []).append(name)
    for (factor, found), names in off.items():
        yield (
            f"{_few(names)}: planned with lr_factor {factor:.6g}, found {found:.6g}, so the groups are another plan's or were edited; "
            f"{_AGAIN}, and give the audit the same modules= that it got"
        )


def _aliases(groups: list[_Group]) -> Iterable[str]:
    shared: dict[tuple[Any, ...], list[_Group]] = {}
    for group in groups:
        lr = group.values.get("lr")
        if isinstance(lr, Tensor):
            shared.setdefault((lr.device, lr.data_ptr() or id(lr)), []).append(group)
    for several in shared.values():
        if len(several) > 1:
            yield (
                f"{_few([name for group in several for name in group.names])}: planned with a rate for each group, found {len(several)} "
                'groups that share one tensor as lr, so that a schedule sets them all at once; set group["lr"] = group["lr"].clone()'
            )


def _ratios(own: Mapping[str, nn.Parameter], expected: Mapping[str, _Expected], groups: list[_Group]) -> Iterable[str]:
    """What does not stand in the planned ratios, family by family."""
    cells: dict[tuple[str, ...], list[_Cell]] = {}
    spread: dict[str, float] = {}
    for group in groups:
        numbers = {key: _number(group.values[key]) for key in ("lr", "weight_decay", "rho") if group.values.get(key) is not None}
        stored = group.values.get("lr_factor")
        for names in _by(lambda name: (*expected[name].scales, own[name].dtype), group.names).values():
            one, dtype = expected[names[0]], own[names[0]].dtype
            family = one.family.name
            spread[family] = max(spread.get(family, _SPREAD), _precision(group.values.get("lr")))
            factors = {"lr": one.lr if stored is None else stored, "weight_decay": one.decay}
            factors |= {"rho": 1 / one.eps} if one.family.curvature else {}
            for key, factor in factors.items():
                if key in numbers and (key == "lr" or numbers[key]):
                    cells.setdefault((key, family), []).append((names, factor, numbers[key]))
            eps = group.values.get("eps")
            if isinstance(eps, tuple):
                first = torch.finfo(dtype).eps if eps[0] is None else eps[0]
                cells.setdefault(("eps", family, "the first, ", str(dtype)), []).append((names, one.eps, first))
                cells.setdefault(("eps", family, "the second"), []).append((names, one.floor, eps[1]))
            elif eps is not None and one.family.eps is not None:
                cells.setdefault(("eps", family), []).append((names, one.eps, _number(eps)))
    for (key, family, *detail), found in cells.items():
        off = list(_off(found, spread[family] if key == "lr" else _SPREAD))
        if off:
            which = f" ({''.join(detail)})" if detail else ""
            yield f"{family}'s {_SAID[key]}{which} do not stand in the planned ratios: {', '.join(off)}; {_REMEDIES[key]}"


def _off(cells: list[_Cell], spread: float) -> Iterable[str]:
    """Those whose value is not their factor times what most of the others have over theirs."""
    shares: Counter[str] = Counter()
    first: dict[str, float] = {}
    for names, factor, value in cells:
        if factor and value:
            shares[f"{value / factor:.6g}"] += len(names)
            first.setdefault(f"{value / factor:.6g}", value / factor)
    common = first[shares.most_common(1)[0][0]] if shares else 0.0
    wrong: dict[tuple[float, float], list[str]] = {}
    for names, factor, value in cells:
        if not _near(value, factor * common, spread):
            wrong.setdefault((factor * common, value), []).extend(names)
    for (right, value), names in wrong.items():
        yield f"{_few(names)} planned {right:.6g} found {value:.6g}"


def _near(value: float, right: float, spread: float) -> bool:
    return abs(value - right) <= spread * abs(right) + _NOTHING


def _number(value: Any) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _precision(lr: Any) -> float:
    """How far ratios of rates may drift by rounding over a long schedule."""
    return min(0.05, 1e4 * torch.finfo(lr.dtype).eps) if isinstance(lr, Tensor) and lr.is_floating_point() else _SPREAD


def _by(key: Callable[[_T], Any], items: Iterable[_T]) -> dict[Any, list[_T]]:
    found: dict[Any, list[_T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _few(names: list[str]) -> str:
    """The first names, and how many more; each name once."""
    own = list(dict.fromkeys(names))
    return ", ".join(own[:3]) + (f" and {len(own) - 3} more" if len(own) > 3 else "")
