"""The stack: parameters, state and rates of all members in common tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..tasks import inputs_like
from ._batches import Batches
from ._buckets import Bucket, bucket_names, check_shapes, stacked
from ._compiled import compiled
from ._criterion import kept
from ._evaluation import Evaluation, Measure, evaluating
from ._generators import as_it_was
from ._graphs import Captured
from ._held import counting, snapshot
from ._members import Member
from ._numbers import NumberTable
from ._one import NotCopiedError, copied
from ._recipe import Recipe
from ._recording import Recorder, copies, outcome, same
from ._slots import Slots
from ._update import Together

_CHANGED = 2
"""Arguments of a step that it changes in place: state and buffers."""


class Stack:
    """The members' parameters, buffers, optimizer state and rates, stacked.

    Args:
        members: Members of one shape.
        recipe: What they share.
        slots: Number of members that train at once; all of them by default.

    Raises:
        MutransferError: shapes or optimizer families differ between members.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe, slots: int | None = None) -> None:
        self.members, self.recipe = members, recipe
        places = len(members) if slots is None else slots
        names = bucket_names(members[0])
        self.buckets = [Bucket.of(alike, members, places, recipe) for alike in names]
        self.buffers = _buffers(members, places, recipe)
        like = inputs_like(members[0].model).to(recipe.device, recipe.dtype)
        self.device = like.device
        self.slots = Slots(len(members), places, self.device)
        recipes = [member.trained_by(recipe) for member in members]
        known = list(dict.fromkeys(recipes))
        self.numbers = NumberTable.of(known, like)
        # One more entry than members, for slots that are empty.
        self._recipes = self._of_member([known.index(each) for each in recipes], torch.long)
        thresholds = [member.threshold(recipe) for member in members]
        self._thresholds = self._of_member(thresholds, like.dtype)
        seeds = [member.seed for member in members]
        self.batches = Batches(recipe.task, seeds, recipe.steps, recipe.batch, like)
        self.evaluation = Evaluation(recipe, like)
        self.losses = torch.full(
            (len(members) + 1, recipe.steps), torch.nan, dtype=torch.float64, device=self.device
        )
        self._compiled: Callable[..., Tensor] | None = None
        clips = any(threshold < torch.inf for threshold in thresholds)
        kinds = [(bucket.names, bucket.family) for bucket in self.buckets]
        self.together = Together(
            _template(members[0].model, self.device),
            recipe.apart(),
            kinds,
            self.numbers,
            self.device.type,
            clips=clips,
        )

    @property
    def largest(self) -> int:
        """Entries of the largest stacked parameter."""
        return max(bucket.tensors["parameter"][0].numel() for bucket in self.buckets)

    @property
    def is_compiled(self) -> bool:
        """True if steps are compiled."""
        return self._compiled is not None

    def compile(self) -> None:
        """Compile the step for the slots that there are.

        Raises:
            NotCompiledError: it cannot be compiled.
        """
        self._compiled = None
        step, arguments = partial(self.together, whole=True), self.arguments()
        with self._kept():
            # What recordings leave in a module must not be there when it trains or is evaluated.
            self.renew()
            recorder = Recorder(
                step=step,
                held=self.held,
                arguments=arguments,
                other=self._others(),
                kept=_CHANGED,
                carries=self.carries,
            )
            program = compiled(recorder)
        # State and buffers stay where they are.
        on_gpu = self.device.type == "cuda"
        self._compiled = Captured(program, arguments, _CHANGED) if on_gpu else program

    def step(self) -> None:
        """Train the members in the slots one step, and keep their losses before it."""
        if self._compiled is not None:
            losses = self._compiled(*self.arguments())
        else:
            losses = self.together(*self.arguments(), count=self.slots.steps[0] + 1)
        self.losses[self.slots.member, self.slots.step] = losses.double()
        self.slots.advance()

    def arguments(self, slots: Slots | None = None) -> tuple[Any, ...]:
        """Return the tensors of the next step, or of these slots: state, batches, numbers."""
        slots = self.slots if slots is None else slots
        inputs, targets = self.batches.at(slots)
        numbers = self.numbers.at(self._recipes[slots.member], slots.step)
        state = [bucket.tensors for bucket in self.buckets]
        return state, self.buffers, self._thresholds[slots.member], inputs, targets, numbers

    def evaluate(self, slots: Sequence[int]) -> Float[Tensor, "slot measures"]:
        """Return validation loss and metrics of some slots; the others stay as they are."""
        index = torch.tensor(slots, dtype=torch.long, device=self.device)
        parameters = [bucket.tensors["parameter"] for bucket in self.buckets]
        buffers = self.buffers
        if len(slots) < len(self.slots):
            parameters = [tensor[:, index] for tensor in parameters]
            buffers = {name: buffer[index] for name, buffer in buffers.items()}
        with evaluating(self.together.template):
            measured = self.evaluation.mean(self._measure(parameters, buffers))
        if len(slots) < len(self.slots):
            # A forward pass may change tensors in evaluation, too, such as a count.
            for bucket, tensor in zip(self.buckets, parameters, strict=True):
                bucket.tensors["parameter"][:, index] = tensor
            for name, buffer in buffers.items():
                self.buffers[name][index] = buffer
        return measured

    def probe(self) -> None:
        """Evaluate copies of template, loss and tensors, of which nothing stays."""
        parameters = [bucket.tensors["parameter"] for bucket in self.buckets]
        with self._kept():
            try:
                self.together.template = copied(self.together.template)
            except NotCopiedError:
                return
            self.together.recipe = self.together.recipe.apart()
            self._probed(copies(parameters), copies([self.buffers])[0])

    def _probed(
        self, parameters: Sequence[Tensor], buffers: Mapping[str, Tensor]
    ) -> Float[Tensor, "slot measures"]:
        with evaluating(self.together.template):
            return self.evaluation.probe(self._measure(parameters, buffers))

    def _measure(self, parameters: Sequence[Tensor], buffers: Mapping[str, Tensor]) -> Measure:
        """Return the function that measures these tensors of slots."""
        state = [{"parameter": tensor} for tensor in parameters]
        return partial(self.together.measure, state, buffers)

    def renew(self) -> None:
        """Use a forward pass and a loss that have not been called so far."""
        self.together.template = _template(self.members[0].model, self.device)
        self.together.recipe = self.recipe.apart()

    def held(self) -> Mapping[str, Any]:
        """Return what forward pass and loss hold, to compare it later."""
        return {**snapshot(self.together.template), **self.held_by_loss()}

    def held_by_loss(self) -> Mapping[str, Any]:
        """Return what the loss holds."""
        loss = self.together.recipe.task.loss
        return {f"{name} of the loss": value for name, value in kept(loss).items()}

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Use the same forward pass and loss afterwards."""
        template, recipe = self.together.template, self.together.recipe
        try:
            yield
        finally:
            self.together.template, self.together.recipe = template, recipe

    def carries(self, arguments: Sequence[Any] | None = None) -> bool:
        """Return True if forward passes depend on those before them, but for the tensors.

        Args:
            arguments: The tensors of the step that is tried, by default of the next one.
        """
        arguments = self.arguments() if arguments is None else arguments
        before = self.held()
        used = self._tried(arguments)
        # A count may matter at any later step, and what diverged at once is equal to all.
        counts = counting(before, self.held()) is not None
        if counts or not used[0].isfinite().all():
            return True
        self.renew()
        return not same(used, self._tried(arguments))

    def _others(self) -> list[Any]:
        """Return the tensors of another step with the last member's model, as copies."""
        with as_it_was():
            arguments = copies(self.arguments(self.slots.ahead(self.recipe.steps)))
        model = self.members[-1].model
        parameters = dict(model.named_parameters())
        for bucket, tensors in zip(self.buckets, arguments[0], strict=True):
            for place, name in enumerate(bucket.names):
                tensors["parameter"][place].copy_(parameters[name].detach())
        for name, buffer in _untrained(model).items():
            arguments[1][name].copy_(buffer)
        return arguments

    def _tried(self, arguments: Sequence[Any]) -> list[Any]:
        """Return all that a step and an evaluation yield, of copies."""
        measured = []
        with as_it_was():
            if self.recipe.evaluations():
                # First: it may use what the last step has kept.
                parameters = [tensors["parameter"] for tensors in arguments[0]]
                measured.append(self._probed(copies(parameters), copies([self.buffers])[0]))
            step = partial(self.together, count=self.slots.steps[0] + 1)
            return [*outcome(step, arguments), *measured]

    def free(self, slot: int) -> None:
        """End the training of a slot's member; the next one that waits takes its place."""
        number = self.slots.free(slot)
        if number is None:
            return
        member = self.members[number]
        for bucket in self.buckets:
            bucket.load(slot, number, member)
        for name, buffer in _untrained(member.model).items():
            self.buffers[name][slot].copy_(buffer)

    def keep(self, slots: list[int]) -> None:
        """Drop all other slots, which then cost nothing more."""
        if len(slots) == len(self.slots):
            return
        index = torch.tensor(slots, dtype=torch.long, device=self.device)
        for bucket in self.buckets:
            bucket.keep(index)
        self.buffers = {name: buffer[index] for name, buffer in self.buffers.items()}
        self.slots.keep(slots)

    def _of_member(self, values: Sequence[float], dtype: torch.dtype) -> Tensor:
        return torch.tensor([*values, values[-1]], dtype=dtype, device=self.device)


def _buffers(members: Sequence[Member], slots: int, recipe: Recipe) -> dict[str, Tensor]:
    """Return buffers and frozen parameters, stacked."""
    models_by_id = {id(member.model): member.model for member in members}
    own = {key: _untrained(model) for key, model in models_by_id.items()}
    models = [own[id(member.model)] for member in members[:slots]]
    models += [models[-1]] * (slots - len(models))
    for name in models[0]:
        check_shapes([buffers[name] for buffers in own.values()], name)
    return {name: stacked([b[name] for b in models], recipe) for name in models[0]}


def _untrained(model: nn.Module) -> dict[str, Tensor]:
    """Return buffers and frozen parameters."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    return dict(model.named_buffers()) | frozen


def _template(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of the model, or itself where it cannot be copied.

    A forward pass may keep state in plain attributes, which another training of the same model must
    not see.
    """
    try:
        return copied(model).to(device)
    except NotCopiedError:
        return model
