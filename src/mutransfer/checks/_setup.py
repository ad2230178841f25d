"""The settings that all networks of a check share, and the plan of each size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

from torch import nn

from ..core import Size
from ..plans import Row, TensorPlan, table
from ..pytorch import Plan, plan, read, recognised_families
from ..reading import Reading
from ..rules import ONE, Parametrization, Place
from ._batch import Batches
from ._quantities import PLANNED_DECAY, PLANNED_EPS, PLANNED_RATE, PLANNED_SIZE, Quantity


class Planned(NamedTuple):
    """The plan of one size, and what its networks are compared with.

    Attributes:
        plan: The plan that networks are trained with, ablations included.
        intact: The plan of the rule without ablations, or of the default rule for "sp".
        values: The planned values of each tensor without ablations, over the base.
        carried: The multipliers of other signals that each tensor carries.
    """

    plan: Plan
    intact: Plan
    values: Mapping[str, list[tuple[Quantity, float]]]
    carried: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings that all networks of a check share.

    Attributes:
        build: The builder of models.
        axes: The axes along which sizes differ.
        base: The reading of the base.
        rule: The parametrization, as `plan` takes it.
        optimizer: The optimizer, as `plan` takes it.
        lr: The learning rate at base size.
        eps: The optimizer's eps at base size; None for its default.
        weight_decay: The weight decay at base size; None for the default.
        options: Further arguments of `plan`.
        steps: Number of steps.
        batches: The data.
        train: The user's maker of optimizers.
        prepare: The user's change of an initialised model.
        on_cpu: True if models are built on the CPU.
        plans: The plan of each size, made once for all seeds.
    """

    build: Callable[..., nn.Module]
    axes: tuple[str, ...]
    base: Reading
    rule: str | Parametrization | None
    optimizer: Any
    lr: float
    eps: float | None
    weight_decay: float | None
    options: Mapping[str, Any]
    steps: int
    batches: Batches
    train: Callable[[Plan, nn.Module], Any] | None
    prepare: Callable[[nn.Module], nn.Module] | None
    on_cpu: bool
    plans: dict[Size, Planned] = field(default_factory=dict)

    def control(self) -> Setup:
        """Return the setup of the negative control, standard parametrization.

        A user's own training function knows the groups of its own plan, and Muon's updates have
        the right size at every width under any parametrization: in their place the control trains
        with AdamW, under which it has to fail.
        """
        families = recognised_families(self.optimizer).values()
        replaced = self.train is not None or any(family.matrices for family in families)
        optimizer = "adamw" if replaced else self.optimizer
        return replace(self, rule="sp", train=None, optimizer=optimizer, plans={})

    def read(self, model: nn.Module) -> Reading:
        """Read a model as its base was read."""
        known = {"example_inputs", "axes", "branches"}
        return read(model, **{name: self.options[name] for name in known & self.options.keys()})

    def plan(self, model: nn.Module, rule: str | Parametrization | None) -> Plan:
        """Plan a model under a rule."""
        return plan(model, self.base, rule=rule, optimizer=self.optimizer, **self.options)


def planned(setup: Setup, size: Size, model: nn.Module) -> Planned:
    """Return the plan of a size and its planned values; made once for all seeds."""
    if size not in setup.plans:
        size_plan = setup.plan(model, setup.rule)
        rule = size_plan.parametrization
        intact = _intact(setup, model, size_plan)
        setup.plans[size] = Planned(
            plan=size_plan,
            intact=intact,
            values=_values(intact),
            carried={
                name: _carried(tensor, rule) if size_plan.rescales else 1.0
                for name, tensor in size_plan.tensors.items()
            },
        )
    return setup.plans[size]


def sizes_of(axes: Mapping[str, tuple[int, ...]], *, joint: bool) -> Iterator[Size]:
    """Yield the sizes of a check, the smallest first.

    Args:
        axes: The sizes along each axis.
        joint: True to combine every width with every depth; otherwise one axis varies at a time,
            the other at its smallest.
    """
    base = {axis: values[0] for axis, values in axes.items()}
    if joint:
        points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    else:
        others = [base | {axis: value} for axis, values in axes.items() for value in values[1:]]
        points = [base, *others]
    yield from (Size(**{"width": 1, "depth": 1} | point) for point in points)


def _intact(setup: Setup, model: nn.Module, size_plan: Plan) -> Plan:
    """Return the plan of the rule without ablations, or of the default rule for "sp".

    A check of an ablated rule compares with the whole one, so that it names what is missing.
    """
    rule = size_plan.parametrization
    if not size_plan.rescales:
        return setup.plan(model, None)
    return setup.plan(model, replace(rule, off=frozenset())) if rule.off else size_plan


def _values(intact: Plan) -> dict[str, list[tuple[Quantity, float]]]:
    """Return the planned values of each tensor; of the initial scale, the RMS itself."""
    rows = table(intact)
    return {name: _row_values(tensor, rows[name]) for name, tensor in intact.tensors.items()}


def _row_values(tensor: TensorPlan, row: Row) -> list[tuple[Quantity, float]]:
    return [
        (PLANNED_RATE, row.lr),
        (PLANNED_EPS, row.eps if isinstance(row.eps, float) else 1.0),
        # AdamW multiplies weight decay by the rate, so the product is the decay of one step.
        (PLANNED_DECAY, row.lr * row.weight_decay),
        (PLANNED_SIZE, row.init * (tensor.base_rms or 0.0)),
    ]


def _carried(tensor: TensorPlan, rule: Parametrization) -> float:
    """Return the multiplier that a tensor carries beyond its own and its branch's."""
    branch = rule.branch_multiplier if tensor.place == Place.BRANCH_END else ONE
    carried = tensor.multiplier / branch / rule.multiplier(tensor.role, "table8")
    return carried.evaluate({"depth": 1} | dict(tensor.ratios))
