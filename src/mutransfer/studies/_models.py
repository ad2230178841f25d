"""Models and plans of a study, each made once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..core import Size
from ..plans import needs_trace
from ..pytorch import Plan, plan, read
from ..reading import Reading
from ..training import Member, Recipe
from ._rules import Rule
from ._run import Run
from ._study import Study

_MOST_KEPT = 1 << 26
"""Most entries of initialised models that are kept; beyond, models are drawn anew."""


class Models:
    """The models and plans of a study, each made once.

    A model is drawn for each size and seed, and copied for each rule. Plans of all rules and sizes
    share one reading of the base.

    Args:
        study: The study.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._shapes: dict[Size, nn.Module] = {}
        self._plans: dict[tuple[str, Size], Plan] = {}
        self._initialised: dict[tuple[Size, int, str], nn.Module] = {}

    def entries(self, size: Size) -> int:
        """Return the number of entries of all parameters at one size."""
        return sum(parameter.numel() for parameter in self._shape(size).parameters())

    def plan(self, name: str, size: Size) -> Plan:
        """Return the plan of a rule of the study at one size, relative to its base."""
        if (name, size) not in self._plans:
            self._plans[name, size] = plan(
                self._shape(size),
                self._base,
                rule=self.study.rule(name),
                optimizer=self._optimizer(name, size),
                example_inputs=self._example_inputs,
            )
        return self._plans[name, size]

    def members(self, runs: Sequence[Run]) -> list[Member]:
        """Return the members of runs, initialised by the plans of their rules."""
        for size, seed in dict.fromkeys((run.size, run.seed) for run in runs):
            rules = dict.fromkeys(run.rule for run in runs if (run.size, run.seed) == (size, seed))
            self._initialise(size, seed, rules)
        return [self._member(run) for run in runs]

    def draws_alike(self, run: Run) -> bool:
        """Return True if the builder draws a run's model again as it is, at base size."""
        drawn = self._initialised[run.size, run.seed, run.rule].state_dict()
        again = self._drawn(run.size, run.seed).state_dict()
        return drawn.keys() == again.keys() and all(
            torch.equal(tensor, again[name]) for name, tensor in drawn.items()
        )

    def trim(self) -> None:
        """Forget models while too many are kept, those of the largest size first."""
        while sum(self.entries(size) for size, _, _ in self._initialised) > _MOST_KEPT:
            largest = max((size for size, _, _ in self._initialised), key=self.entries)
            for key in [key for key in self._initialised if key[0] == largest]:
                del self._initialised[key]

    @cached_property
    def _base(self) -> Reading | nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            base = self.study.model(self.study.base)
        if any(self._traced(rule) for rule in self.study.rules):
            return read(base, example_inputs=self._example_inputs)
        # Standard parametrization alone also serves models that cannot be traced.
        return base

    @property
    def _example_inputs(self) -> Any:
        return self.study.task.inputs[:2]

    @property
    def _mixed(self) -> bool:
        return "+" in self.study.optimizer

    def _traced(self, rule: Rule) -> bool:
        return self._mixed or needs_trace(rule)

    def _optimizer(self, name: str, size: Size) -> Any:
        """Return the optimizer of a plan.

        Standard parametrization does not look at the forward pass, without which every matrix is
        hidden at base size: its tensors get the families that muP's plan gives them.
        """
        if not self._mixed or needs_trace(self.study.rule(name)):
            return self.study.optimizer
        tensors = self.plan("mup", size).tensors
        return {tensor: planned.optimizer for tensor, planned in tensors.items()}

    def _shape(self, size: Size) -> nn.Module:
        """Return a model of this size without values."""
        if size not in self._shapes:
            with torch.device("meta"):
                self._shapes[size] = self.study.model(size)
        return self._shapes[size]

    def _initialise(self, size: Size, seed: int, rules: Iterable[str]) -> None:
        """Draw a model from a seed, and initialise a copy of it by each rule."""
        missing = [rule for rule in rules if (size, seed, rule) not in self._initialised]
        plans = {rule: self.plan(rule, size) for rule in missing}
        if not plans:
            return
        drawn = self._drawn(size, seed)
        for rule, rule_plan in plans.items():
            model = drawn if rule == missing[-1] else self._copy(drawn, size, seed)
            rule_plan.initialize(model)
            self._initialised[size, seed, rule] = model

    def _drawn(self, size: Size, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.study.model(size)

    def _copy(self, drawn: nn.Module, size: Size, seed: int) -> nn.Module:
        """Return a copy of a drawn model; one that cannot be copied is drawn again."""
        try:
            return copy.deepcopy(drawn)
        except Exception:
            return self._drawn(size, seed)

    def _member(self, run: Run) -> Member:
        model = self._initialised[run.size, run.seed, run.rule]
        planned = self.plan(run.rule, run.size)
        table = planned.table(model, run.lr, weight_decay=self.study.weight_decay)
        return Member(model=model, table=table, seed=run.seed, clip=planned.clip)


def planned(study: Study, rule: str, size: Size) -> Plan:
    """Return the plan of a rule at one size of the study, relative to its base.

    Args:
        study: The study.
        rule: The name of one of its rules.
        size: A size.
    """
    return Models(study).plan(rule, size)


def members(study: Study, runs: Sequence[Run]) -> list[Member]:
    """Return the members of runs: models drawn from their seeds, initialised by plan."""
    return Models(study).members(runs)


def recipe(study: Study, steps: int | None = None) -> Recipe:
    """Return what all runs of a study share in training.

    Args:
        study: The study.
        steps: Number of optimizer steps, where it is not the study's.
    """
    return Recipe(
        task=study.task,
        steps=study.steps if steps is None else steps,
        batch=study.batch,
        optimizer=study.optimizer,
        options=study.options,
    )
