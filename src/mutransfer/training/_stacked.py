"""Training as one program: all members in one stack, one vectorised step for all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from torch import nn

from ._criterion import SharedLossError, check_unchanged, kept
from ._divergence import divergences_of
from ._environment import CHECK_EVERY, surroundings
from ._fallback import NotStackedError, StackingWarning, after, one_by_one, quiet, slowness
from ._generators import generators
from ._held import changed, snapshot
from ._judge import Judge
from ._loop import each, largest_tensor
from ._members import Member, check_members
from ._memory import is_out_of_memory
from ._one import NotCopiedError, copied
from ._optimizers import UPDATES
from ._program import Program
from ._recipe import Recipe
from ._recording import NotCompiledError
from ._sharing import obstacle, unlike
from ._stack import Stack
from ._trained import Trained
from ._unused import Unused
from ._watch import Interrupted, Watch

_LEAST_BYTES = 4
"""Fewest bytes of a parameter's entry: the numbers of a stack's updates have its type."""


def train(
    members: Sequence[Member],
    recipe: Recipe,
    watch: Watch | None = None,
    *,
    program: Program | None = None,
    judge: Judge | None = None,
) -> Trained:
    """Train all members together, each at its own rates.

    Losses equal those of `train_one_by_one` to rounding, unless the model itself draws while it
    trains, as dropout does. A model that cannot be stacked, as one whose forward pass branches on
    values, is trained one by one, with a `StackingWarning` that says why. So is one that cannot be
    compiled, which is trained without. Where memory is too small, half as many train at once.

    Args:
        members: Configurations of one shape.
        recipe: What they share.
        watch: Receives progress; training ends where it raises `Interrupted`.
        program: The way to train; all at once and not compiled by default.
        judge: Names members that are not worth going on.

    Returns:
        The loss of every step before its update, and the validation loss and metrics of every
        evaluation.

    Raises:
        MutransferError: there are no members, their shapes or optimizers do not fit, or the model
            fails.
    """
    check_members(members, recipe)
    program = _fitting(program or Program(), recipe)
    slots, put_back = _slots(program, members), generators()
    if slots == 1 and not program.compiled and _can_be_copied(members[0].model):
        # Torch's own loop is up to four times as quick as a stack of one.
        with surroundings(largest_tensor(members), threads=program.threads, together=False):
            return each(members, recipe, watch, judge)
    try:
        return _Training(_stack(members, recipe, slots), program, watch, judge).run()
    except NotStackedError as failure:
        reason, done = failure.reason, failure.done
        full = is_out_of_memory(failure.__cause__)
        only_slower = isinstance(failure.__cause__, NotCompiledError)
    # After the handler, which would keep the stack in memory by the error's frames.
    put_back()
    if only_slower:
        return train(members, recipe, watch, program=replace(program, compiled=False), judge=judge)
    if full and slots > 1:
        half = math.ceil(slots / 2)
        warnings.warn(
            f"memory is too small for {slots} members at once: {half} train at once",
            StackingWarning,
            stacklevel=2,
        )
        smaller = replace(program, slots=half)
        return train(members, recipe, after(watch, done), program=smaller, judge=judge)
    return one_by_one(members, recipe, watch, reason, done, judge)


def _stack(members: Sequence[Member], recipe: Recipe, slots: int) -> Stack:
    """Stack the members.

    Raises:
        NotStackedError: their models have different tensors.
    """
    if name := unlike(_models(members)):
        raise NotStackedError(ValueError(f"the members' models differ in {name}"), 0)
    return Stack(members, recipe, slots)


def _models(members: Sequence[Member]) -> list[nn.Module]:
    return list({id(member.model): member.model for member in members}.values())


def _fitting(program: Program, recipe: Recipe) -> Program:
    """Return the program, or all at once where the optimizer needs that."""
    in_step = any(UPDATES[family].in_step for family in recipe.families())
    return replace(program, slots=None, compiled=False) if in_step else program


def _can_be_copied(model: nn.Module) -> bool:
    try:
        copied(model)
    except NotCopiedError:
        return False
    return True


def _slots(program: Program, members: Sequence[Member]) -> int:
    if program.slots is None:
        return len(members)
    # A compiled program keeps its shape, whatever the number of members.
    return program.slots if program.compiled else min(program.slots, len(members))


class _Training:
    """One training of a stack.

    Args:
        stack: The stack.
        program: The way to train.
        watch: Receives progress.
        judge: Names members that are not worth going on.
    """

    def __init__(
        self, stack: Stack, program: Program, watch: Watch | None, judge: Judge | None
    ) -> None:
        self.stack, self.program, self.watch, self.judge = stack, program, watch, judge
        self.trained = Trained.empty(len(stack.members), stack.recipe)
        self.divergences = divergences_of(stack.members, stack.recipe, stack.batches)
        self.held: Mapping[str, Any] = {}
        self.loss_held: Mapping[str, Any] = {}
        # Before the first call, which may leave something in what copies of the loss share.
        self.shared = kept(stack.recipe.task.loss)
        self.done = 0

    def run(self) -> Trained:
        """Train until no member is left.

        Raises:
            NotStackedError: the model, the loss or a metric failed.
        """
        stack = self.stack
        threads, together = self.program.threads, len(stack.slots) > 1
        with surroundings(stack.largest, threads=threads, together=together), quiet():
            self._guarded(self._begin)
            try:
                while busy := stack.slots.busy:
                    self._guarded(self._step)
                    self.done += len(busy)
                    if self.watch is not None:
                        self.watch(len(busy))
                    self._end(busy)
            except Interrupted:
                self._interrupt()
        self.trained.losses.copy_(stack.losses[:-1])
        for number, divergence in enumerate(self.divergences):
            if self.trained.stopped[number] is None and number not in self.trained.unfinished:
                losses = self.trained.losses[number].numpy()
                self.trained.diverged[number] = divergence.at(losses)
        return self.trained

    def _interrupt(self) -> None:
        """Note the members that are not through."""
        slots = self.stack.slots
        cut = [slot for slot in slots.busy if slots.steps[slot] < self.stack.recipe.steps]
        self.trained.unfinished.update(slots.waiting, (slots.members[slot] for slot in cut))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except SharedLossError:
            raise
        except Exception as error:
            check_unchanged(self.stack.recipe.task, self.shared)
            raise NotStackedError(error, self.done) from error

    def _begin(self) -> None:
        """Check that one forward pass serves all, try an evaluation, and compile."""
        stack = self.stack
        if reason := obstacle(_models(stack.members)):
            raise ValueError(reason)
        types = {bucket.tensors["parameter"].dtype for bucket in stack.buckets}
        if half := [dtype for dtype in types if dtype.itemsize < _LEAST_BYTES]:
            # Rates, betas and eps would be rounded to them.
            raise ValueError(f"its parameters are {half[0]}")
        self.held = snapshot(stack.together.template)
        self.loss_held = stack.held_by_loss()
        if stack.recipe.evaluations():
            # Before the training: a metric that cannot be stacked must not cost all of it.
            stack.probe()
        if self.program.compiled:
            self._compile()
        self.unused = Unused(stack)

    def _compile(self) -> None:
        try:
            self.stack.compile()
        except NotCompiledError as error:
            warnings.warn(
                f"{type(self.stack.members[0].model).__name__} trains without being compiled, "
                f"which is slower: {error}",
                StackingWarning,
                stacklevel=6,
            )
            if len(self.stack.slots) == 1:
                # Torch's own loop is quicker than a stack of one.
                raise

    def _step(self) -> None:
        """Train one step, and evaluate the members that are due."""
        stack = self.stack
        with slowness(stack.together.template) if not self.done else nullcontext():
            if self.unused.is_possible:
                with self.unused.watched():
                    stack.step()
            else:
                stack.step()
        if not self.done:
            self._check_first_step()
        slots = stack.slots
        numbers = {slot: stack.evaluation.due(slots.steps[slot]) for slot in slots.busy}
        due = {slot: number for slot, number in numbers.items() if number is not None}
        if not due:
            return
        for (slot, number), measured in zip(due.items(), stack.evaluate([*due]), strict=True):
            self.trained.write(slots.members[slot], number, measured)

    def _check_first_step(self) -> None:
        """Check that the losses depend on the members' tensors and the batch alone."""
        stack = self.stack
        stack.together.is_watched = False
        if stack.losses.requires_grad:
            raise ValueError("its forward pass uses tensors that are none of its parameters")
        self._check_loss()
        name = changed(self.held, snapshot(stack.together.template))
        if name and stack.slots.waiting and stack.carries():
            raise ValueError(f"its forward pass changes {name}, which it holds, for all members")

    def _check_loss(self) -> None:
        """Check that the loss keeps nothing that a later one depends on."""
        check_unchanged(self.stack.recipe.task, self.shared)
        name = changed(self.loss_held, self.stack.held_by_loss())
        if name is not None and self.stack.carries():
            raise ValueError(f"each run needs its own {name}, which changes it")

    def _end(self, busy: Sequence[int]) -> None:
        """End members that are through, diverged or not worth going on; let others follow."""
        slots, last = self.stack.slots, self.stack.recipe.steps
        ended = [slot for slot in busy if slots.steps[slot] == last]
        checked = [s for s in busy if slots.steps[s] % CHECK_EVERY == 0 and slots.steps[s] < last]
        ended += self._diverged(checked)
        ended += self._stopped([slot for slot in checked if slot not in ended])
        for slot in ended:
            self.stack.free(slot)
        if ended and not slots.waiting:
            self._close()

    def _diverged(self, checked: Sequence[int]) -> list[int]:
        if not checked:
            return []
        slots = self.stack.slots
        most = max(slots.steps[slot] for slot in checked)
        losses = self.stack.losses[[slots.members[s] for s in checked], :most].cpu().numpy()
        return [
            slot
            for slot, row in zip(checked, losses, strict=True)
            if self.divergences[slots.members[slot]].at(row[: slots.steps[slot]]) is not None
        ]

    def _stopped(self, checked: Sequence[int]) -> list[int]:
        if not checked or self.judge is None:
            return []
        slots = self.stack.slots
        self.trained.losses.copy_(self.stack.losses[:-1])
        named = set(self.judge(*self.trained.so_far()))
        ended = [slot for slot in checked if slots.members[slot] in named]
        for slot in ended:
            self.trained.stopped[slots.members[slot]] = slots.steps[slot]
        return ended

    def _close(self) -> None:
        """Drop empty slots; of a compiled program only where compiling it again pays."""
        slots = self.stack.slots
        busy = slots.busy
        if not busy:
            return
        if not self.stack.is_compiled:
            self.stack.keep(busy)
            return
        half = len(slots) // 2
        left = self.stack.recipe.steps - min(slots.steps[slot] for slot in busy)
        if self.program.shrink is not None and len(busy) <= half and left >= self.program.shrink:
            empty = [slot for slot in range(len(slots)) if slot not in busy]
            self.stack.keep(sorted([*busy, *empty[: half - len(busy)]]))
            self._compile()
