"""The batches of training, of tensors and of streams, on the model's device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ..tasks import Stream, Task
from ._slots import Slots

Inputs = Tensor | Mapping[str, Tensor]
"""The inputs of a batch; a mapping is passed as model(**inputs)."""

T = TypeVar("T")


def mapped(function: Callable[[Tensor], Tensor], inputs: Any) -> Any:
    """Return inputs with a function applied to each tensor."""
    if isinstance(inputs, Mapping):
        return {key: function(value) for key, value in inputs.items()}
    return function(inputs)


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs as positional and named arguments of a model."""
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else ((inputs,), {})


def called(model: nn.Module, inputs: Any) -> Any:
    """Return the model's output."""
    positional, named = arguments(inputs)
    return model(*positional, **named)


def placed(inputs: Any, like: Tensor) -> Any:
    """Return inputs on the device of a parameter, numbers in its type."""

    def moved(data: Tensor) -> Tensor:
        dtype = like.dtype if data.is_floating_point() else data.dtype
        pairs = zip(data.shape, data.stride(), strict=True)
        span = 1 + sum((size - 1) * stride for size, stride in pairs)
        if data.device == like.device or not 0 < span < data.numel():
            return data.to(like.device, dtype)
        # Windows of one text overlap: only the text travels, and is cut again where it arrives.
        flat = data.as_strided((span,), (1,)).to(like.device, dtype)
        return flat.as_strided(data.shape, data.stride())

    return mapped(moved, inputs)


def copied_batch(inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
    """Return a copy of a batch, which a forward pass or a loss may change in place."""
    return mapped(torch.clone, inputs), targets.clone()


def pieces(inputs: Any, targets: Tensor, count: int, dim: int = 0) -> Iterator[tuple[Any, Tensor]]:
    """Return a batch in equal pieces along a dimension."""
    if count == 1:
        yield inputs, targets
        return
    size = targets.shape[dim] // count
    for start in range(0, count * size, size):

        def cut(data: Tensor, start: int = start) -> Tensor:
            return data.narrow(dim, start, size)

        yield mapped(cut, inputs), cut(targets)


class Batches:
    """The batches of several members at every step.

    Data in tensors is kept on the device and indexed; batches of a stream are made step by step.

    Args:
        task: The data.
        seeds: The members' seeds.
        steps: Number of steps.
        batch: Examples a step.
        like: A parameter, for device and type.
    """

    def __init__(
        self, task: Task | Stream, seeds: Sequence[int], steps: int, batch: int, like: Tensor
    ) -> None:
        self._like = like
        unique = sorted(set(seeds))
        order = [unique.index(seed) for seed in seeds]
        # One more than members, for slots that are empty.
        self._order = [*order, order[-1]]
        self._indexed = isinstance(task, Task)
        if isinstance(task, Task):
            self._inputs, self._targets = placed(task.inputs, like), placed(task.targets, like)
            rows = torch.stack([task.batches(seed, steps, batch) for seed in unique])
            self._rows = rows.to(like.device)
            self._seed = torch.tensor(self._order, device=like.device)
        else:
            self._feeds = [task.feed(seed, steps, batch) for seed in unique]

    def at(self, slots: Slots) -> tuple[Any, Tensor]:
        """Return inputs and targets of the members in all slots, (slot, batch, ...)."""
        if self._indexed:
            rows: Int[Tensor, "slot batch"] = self._rows[self._seed[slots.member], slots.step]
            return self._gathered(rows)
        wanted = [(self._order[m], s) for m, s in zip(slots.members, slots.steps, strict=True)]
        needed = list(dict.fromkeys(wanted))
        batches = [self._feeds[seed][step] for seed, step in needed]
        place = torch.tensor([needed.index(each) for each in wanted], device=self._like.device)

        def stacked(parts: list[Tensor]) -> Tensor:
            return torch.stack([placed(part, self._like) for part in parts])[place]

        first, _ = batches[0]
        targets = stacked([targets for _, targets in batches])
        if isinstance(first, Mapping):
            return {key: stacked([inputs[key] for inputs, _ in batches]) for key in first}, targets
        return stacked([inputs for inputs, _ in batches]), targets

    def one(self, member: int, step: int) -> tuple[Any, Tensor]:
        """Return inputs and targets of one member, (batch, ...)."""
        seed = self._order[member]
        if self._indexed:
            return self._gathered(self._rows[seed, step])
        return copied_batch(*(placed(data, self._like) for data in self._feeds[seed][step]))

    def _gathered(self, rows: Int[Tensor, "*rows"]) -> tuple[Any, Tensor]:
        """Return the examples in these rows of the data."""

        def gathered(data: Tensor) -> Tensor:
            # Several times as fast as data[rows].
            return data.index_select(0, rows.flatten()).view(*rows.shape, *data.shape[1:])

        return mapped(gathered, self._inputs), gathered(self._targets)
