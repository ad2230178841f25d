"""A model and its base, walked side by side."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property

from ..analysis import Stack, Stars, Walk, account, check_same_inputs, stack_of
from ..core import MutransferError
from ..reading import NOTHING, Program, Reading, Signal
from ._match import Match

ORTHOGONAL = (
    'use another parametrization, as orthogonal_map="matrix_exp" of a square weight, or draw a '
    "plain weight with torch.nn.init.orthogonal_"
)
"""Ways to an orthogonal weight whose sums are known, where its map has no rule."""


class Sides:
    """Two forward passes; the one of fewer operations is walked.

    Args:
        matches: The target's parameters with their counterparts in the base.
        target: The reading of the model.
        base: The reading of its base.
        program: The forward pass of the target.
        base_program: The forward pass of the base.

    Raises:
        MutransferError: they took other inputs or another path, or an operation is unknown.
    """

    def __init__(
        self,
        matches: Mapping[str, Match],
        target: Reading,
        base: Reading,
        program: Program,
        base_program: Program,
    ) -> None:
        check_same_inputs(base_program, program)
        self.matches, self.target, self.base = matches, target, base
        self.program, self.base_program = program, base_program
        self.is_inverted = len(program.operations) < len(base_program.operations)
        pair = self._in_order(base_program, program)
        self.stars = Stars(*([*each.parameters] for each in pair))
        self.walk = account(*pair, self.stars, self._counts())
        self._check_counterparts(self.walk)
        self._check_paired()

    def _in_order(self, base: Program, target: Program) -> tuple[Program, Program]:
        return (target, base) if self.is_inverted else (base, target)

    @cached_property
    def stacks(self) -> tuple[Stack, Stack]:
        """The residual branches of the walked program and of the other one."""
        here, there = self._in_order(self.base_program, self.program)
        return stack_of(here, self.stars), stack_of(there, self.stars)

    @property
    def base_stack(self) -> Stack:
        """The residual branches of the base."""
        return self.stacks[self.is_inverted]

    @property
    def target_stack(self) -> Stack:
        """The residual branches of the target."""
        return self.stacks[not self.is_inverted]

    @cached_property
    def training(self) -> Walk | None:
        """The walk over the passes in training mode, where both were run."""
        base, target = self.base.training, self.target.training
        if base is None or target is None:
            return None
        walk = account(*self._in_order(base, target), self.stars, self._counts())
        self._check_counterparts(walk)
        return walk

    def _counts(self) -> set[tuple[int, int]]:
        """Return the numbers of experts, walked and other, where they differ."""
        found = set()
        for match in self.matches.values():
            axes = match.parameter.axes or ()
            for axis, size, base in zip(
                axes, match.parameter.shape, match.base.shape, strict=False
            ):
                if axis == "expert" and size != base:
                    found.add((size, base) if self.is_inverted else (base, size))
        return found

    def walked(self, match: Match) -> tuple[str, ...]:
        """Return the names of a parameter and its like in the walked program."""
        return (match.parameter.name,) if self.is_inverted else match.base_run

    @cached_property
    def names(self) -> Mapping[str, list[str]]:
        """The target's names of each walked parameter, those of all layers of its kind."""
        found: dict[str, list[str]] = {}
        for name, match in self.matches.items():
            for walked in self.walked(match):
                found.setdefault(walked, []).append(name)
        return found

    def oriented(self, ratio: Fraction) -> Fraction:
        """Return a ratio of the other program over the walked one as target over base."""
        return 1 / ratio if self.is_inverted else ratio

    def by_target(self, found: Signal) -> tuple[Signal, tuple[str, ...]]:
        """Return what carries a walked signal by the target's names, and its modules."""
        modules = self._modules(found.module)
        if found.tensors is None:
            return Signal(None, found.module), modules
        names = [name for walked in found.tensors for name in self.names.get(walked, ())]
        return (Signal(frozenset(names), found.module) if names else NOTHING), modules

    def _modules(self, module: str | None) -> tuple[str, ...]:
        """Return the target's modules of one kind with a walked one."""
        if module is None:
            return ()
        starred = self.stars.star(module)
        return tuple(n for n in self.program.modules if self.stars.star(n) == starred)

    def _check_counterparts(self, walk: Walk) -> None:
        """Raise where a tensor is paired with one that its name does not match."""
        for name, index in walk.program.parameters.items():
            found, matches = walk.growth.counterpart(index), self._matches_of(name)
            shapes = {m.base.shape if self.is_inverted else m.parameter.shape for m in matches}
            if found is not None and shapes and found.shape not in shapes:
                here, there = ("model", "base") if self.is_inverted else ("base", "model")
                raise MutransferError(
                    f"where the {here} uses {name}, the forward pass of the {there} uses "
                    f"{found.name} of shape {found.shape}, so that the two cannot be compared: "
                    "build both from one architecture that uses its tensors in the same order, "
                    "with the operations of each layer in the forward of a module of its own"
                )

    def _matches_of(self, walked: str) -> list[Match]:
        return [self.matches[name] for name in self.names.get(walked, ())]

    def _check_paired(self) -> None:
        growth, signals = self.walk.growth, self.walk.signals
        for index in growth.unpaired:
            operation = growth.base.operations[index]
            if any(map(signals.is_weight, operation.inputs)):
                where = f" in {operation.module}" if operation.module else ""
                raise MutransferError(
                    f"the forward passes of model and base differ: {operation.name}{where} has no "
                    f"counterpart; the first difference is {growth.first_difference}; build both "
                    "from one architecture, with sizes at which they take the same path"
                )
        for index, name in self.walk.unknown:
            operation = growth.base.operations[index]
            where = operation.module or "the model itself"
            solves = "linalg_solve" in name and all(map(signals.is_weight, operation.inputs))
            remedy = ORTHOGONAL if solves else "plan the model with this operation written out"
            raise MutransferError(
                f"{name} in {where} takes a dimension that grows and does not return it, and no "
                f"rule says how its result scales: keep this dimension, or {remedy}"
            )
