"""Models and plans of a study, each made once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import nn

from ..core import FrozenDict, Size
from ..plans import Row, needs_trace
from ..pytorch import Plan, plan, read, seeded
from ..reading import Reading
from ..training import Member
from ._hyperparameters import sets
from ._recipes import scales
from ._rules import Rule
from ._run import Run
from ._study import Study

_MOST_KEPT = 1 << 26
"""Most entries of initialised models that are kept; beyond, models are drawn anew."""

Arguments = Mapping[str, Any]
"""What a builder is called with."""


class _Draw(NamedTuple):
    """The things that an initialised model depends on."""

    arguments: Arguments
    seed: int
    rule: str
    multipliers: Mapping[str, float]


class Models:
    """The models and plans of a study, each made once.

    A model is drawn for each size and seed, and copied for each rule and multiplier. Plans of all
    rules and sizes share one reading of the base.

    Args:
        study: The study.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._shapes: dict[Arguments, nn.Module] = {}
        self._bases: dict[Arguments, Reading | nn.Module] = {}
        self._unread: dict[Arguments, nn.Module] = {}
        self._plans: dict[tuple[str, Arguments, Mapping[str, float]], Plan] = {}
        self._initialised: dict[_Draw, nn.Module] = {}

    def entries(self, run: Run) -> int:
        """Return the number of entries of all parameters of a run's model."""
        return self._entries(self._arguments(run))

    def plan(self, run: Run) -> Plan:
        """Return the plan of a run, relative to the study's base."""
        return self._plan(run.rule, self._arguments(run), self._multipliers(run))

    def model(self, run: Run) -> nn.Module:
        """Return a run's model, drawn from its seed and initialised by its plan."""
        draw = self._draw(run)
        if draw not in self._initialised:
            self._initialise([draw])
        return self._initialised[draw]

    def at_base(self) -> nn.Module:
        """Return a model at the study's base size, as the builder draws it."""
        first = Run(rule="", size=self.study.base, point=self.study.points()[0], seed=0)
        arguments = self._arguments(first)
        if arguments not in self._unread:
            self._unread[arguments] = self._drawn(arguments, 0)
        return self._unread[arguments]

    def shapes(self, run: Run) -> list[torch.Size]:
        """Return the shapes of the parameters and buffers of a run's model."""
        return [tensor.shape for tensor in self._shape(self._arguments(run)).state_dict().values()]

    def is_tuned(self, run: Run) -> bool:
        """Return True if a run has multipliers, scales or rates of its own."""
        return bool(self._multipliers(run))

    def settings(self, run: Run) -> list[Mapping[str, Any]]:
        """Return the numbers and texts that the modules of a run's model hold."""
        modules = self._shape(self._arguments(run)).modules()
        held = [vars(module).items() for module in modules]
        return [{n: v for n, v in each if isinstance(v, int | float | str)} for each in held]

    def fresh(self, run: Run) -> nn.Module:
        """Return a model of a run that may be trained: a copy of `model`."""
        model = self.model(run)
        try:
            return copy.deepcopy(model)
        except Exception:
            # One that cannot be copied is given away, and drawn again when it is needed.
            return self._initialised.pop(self._draw(run))

    def members(self, runs: Sequence[Run]) -> list[Member]:
        """Return the members of runs, initialised by the plans of their rules."""
        self._draw_all(list(dict.fromkeys(map(self._draw, runs))))
        return [self._member(run) for run in runs]

    def prepare(self, runs: Sequence[Run]) -> None:
        """Draw the models of runs that train piece by piece, where they can be kept."""
        draws = list(dict.fromkeys(map(self._draw, runs)))
        if sum(self._entries(draw.arguments) for draw in draws) <= _MOST_KEPT:
            self._draw_all(draws)

    def draws_alike(self, run: Run) -> bool:
        """Return True if the builder draws a run's model again as it is, at base size."""
        drawn = self.model(run).state_dict()
        again = self._drawn(self._arguments(run), run.seed).state_dict()
        return drawn.keys() == again.keys() and all(
            torch.equal(tensor, again[name]) for name, tensor in drawn.items()
        )

    def trim(self) -> None:
        """Forget models while too many are kept, those of the largest size first."""
        while sum(self._entries(draw.arguments) for draw in self._initialised) > _MOST_KEPT:
            largest = max((draw.arguments for draw in self._initialised), key=self._entries)
            for draw in [draw for draw in self._initialised if draw.arguments == largest]:
                del self._initialised[draw]

    def _arguments(self, run: Run) -> Arguments:
        return FrozenDict(self.study.arguments(run))

    def _multipliers(self, run: Run) -> Mapping[str, float]:
        settings = self.study.settings(run)
        return FrozenDict({n: v for n, v in settings.items() if sets(n) == "multiplier"})

    def _draw(self, run: Run) -> _Draw:
        multipliers = self._multipliers(run)
        # Rates of single modules change no initial value.
        drawn = {n: v for n, v in multipliers.items() if not n.startswith("lr.")}
        return _Draw(self._arguments(run), run.seed, run.rule, FrozenDict(drawn))

    def _base(self, arguments: Arguments) -> Reading | nn.Module:
        """Return the base of models that are built with these arguments."""
        # Positions are no width: base and model have the same number of them.
        anchors = {axis: value for axis, value in self.study.base.items() if axis != "context"}
        base = {name: anchors.get(name, value) for name, value in arguments.items()}
        key = FrozenDict(base)
        if key not in self._bases:
            model = self._unread.pop(key, None) or self._drawn(key, 0)
            # Standard parametrization alone also serves models that cannot be traced.
            traced = any(self._traced(rule) for rule in self.study.rules)
            inputs = self._example_inputs
            self._bases[key] = read(model, example_inputs=inputs) if traced else model
        return self._bases[key]

    @cached_property
    def _example_inputs(self) -> Any:
        if self.study.task is None:
            return None
        first = Run(rule="", size=self.study.base, point={}, seed=0)
        return self.study.task_of(first).example

    @property
    def _mixed(self) -> bool:
        return "+" in self.study.optimizer

    def _traced(self, rule: Rule) -> bool:
        return self._mixed or needs_trace(rule)

    def _plan(self, rule: str, arguments: Arguments, multipliers: Mapping[str, float]) -> Plan:
        key = rule, arguments, multipliers
        if key not in self._plans:
            if multipliers:
                found = self._plan(rule, arguments, FrozenDict()).tuned(**multipliers)
            else:
                found = plan(
                    self._shape(arguments),
                    self._base(arguments),
                    rule=self.study.rule(rule),
                    optimizer=self._optimizer(rule, arguments),
                    example_inputs=self._example_inputs,
                )
            self._plans[key] = found
        return self._plans[key]

    def _optimizer(self, rule: str, arguments: Arguments) -> Any:
        """Return the optimizer of a plan.

        Standard parametrization does not look at the forward pass, without which every matrix is
        hidden at base size: its tensors get the families that muP's plan gives them.
        """
        if not self._mixed or needs_trace(self.study.rule(rule)):
            return self.study.optimizer
        tensors = self._plan("mup", arguments, FrozenDict()).tensors
        return {tensor: planned.optimizer for tensor, planned in tensors.items()}

    def _entries(self, arguments: Arguments) -> int:
        return sum(parameter.numel() for parameter in self._shape(arguments).parameters())

    def _shape(self, arguments: Arguments) -> nn.Module:
        """Return a model without values."""
        if arguments not in self._shapes:
            with torch.device("meta"):
                self._shapes[arguments] = self.study.model(arguments)
        return self._shapes[arguments]

    def _draw_all(self, draws: Sequence[_Draw]) -> None:
        """Draw models, those that differ in rule or multipliers alone from one draw."""
        drawn: dict[tuple[Arguments, int], list[_Draw]] = {}
        for draw in draws:
            drawn.setdefault((draw.arguments, draw.seed), []).append(draw)
        for alike in drawn.values():
            self._initialise(alike)

    def _initialise(self, draws: Sequence[_Draw]) -> None:
        """Draw a model once, and initialise a copy of it by each rule and multiplier."""
        missing = [draw for draw in draws if draw not in self._initialised]
        plans = {d: self._plan(d.rule, d.arguments, d.multipliers) for d in missing}
        if not plans:
            return
        drawn = self._drawn(missing[0].arguments, missing[0].seed)
        for draw, rule_plan in plans.items():
            model = drawn if draw == missing[-1] else self._copy(drawn, draw)
            rule_plan.initialize(model, fresh=True)
            self._initialised[draw] = model

    def _drawn(self, arguments: Arguments, seed: int) -> nn.Module:
        with seeded(seed):
            return self.study.model(arguments)

    def _copy(self, drawn: nn.Module, draw: _Draw) -> nn.Module:
        """Return a copy of a drawn model; one that cannot be copied is drawn again."""
        try:
            return copy.deepcopy(drawn)
        except Exception:
            return self._drawn(draw.arguments, draw.seed)

    def _member(self, run: Run) -> Member:
        model, settings = self.model(run), self.study.settings(run)
        given = {n: settings[n] for n in ("eps", "weight_decay") if settings.get(n) is not None}
        factors, planned = scales(self.study, run), self.plan(run)
        rows = planned.table(model, run.lr * factors["lr"], **given)
        table = {name: _scaled(row, factors) for name, row in rows.items()}
        return Member(model=model, table=table, seed=run.seed, clip=planned.clip)


def _scaled(row: Row, factors: Mapping[str, float]) -> Row:
    """Return a row with eps and decay, also those of torch, by these factors."""
    if factors["eps"] == factors["weight_decay"] == 1:
        return row
    eps = row.eps * factors["eps"] if isinstance(row.eps, float) else row.eps
    return replace(row, eps=eps, weight_decay=row.weight_decay * factors["weight_decay"])


def planned(study: Study, rule: str, size: Size) -> Plan:
    """Return the plan of a rule at one size of the study, relative to its base.

    Args:
        study: The study.
        rule: The name of one of its rules.
        size: A size.
    """
    return Models(study).plan(Run(rule=rule, size=size, point=study.points()[0], seed=0))


def members(study: Study, runs: Sequence[Run]) -> list[Member]:
    """Return the members of runs: models drawn from their seeds, initialised by plan."""
    return Models(study).members(runs)
