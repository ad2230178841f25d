"""Streams from datasets and iterables: examples, collated to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, default_collate

from ..core import FrozenDict, MutransferError, kind_of
from ._batches import Batch, Loss, are_equal, check_size, checked_batch
from ._scores import cross_entropy
from ._seeds import drawing_from, hashed
from ._stream import Stream


def stream(
    source: Any,
    *,
    name: str,
    loss: Loss = cross_entropy,
    validation: Batch | None = None,
    metrics: Mapping[str, Loss] | None = None,
) -> Stream:
    """Return a stream of the examples of a dataset or of an iterable.

    An example is a pair (inputs, target); inputs may be a mapping. Examples are collated as
    torch's `default_collate` does. A dataset with a length is read in random order, every example
    once an epoch. It may draw, as to augment its examples: the generators of torch, NumPy and
    Python are seeded for each batch. An iterable is read in its own order, again and again.

    Args:
        source: A torch Dataset or another object with a length and items; an iterable that can be
            started again, such as an IterableDataset; or a function of a seed that returns a new
            iterator.
        name: Short name; it is part of a sweep's record, so that other data needs another name.
        loss: Maps what a model returns and the targets of one batch to a scalar.
        validation: Inputs and targets that are kept apart from training.
        metrics: Functions as the loss, by name, evaluated on the validation data.

    Raises:
        MutransferError: the source cannot be started again, is not deterministic, has no examples,
            or is of another kind.
    """
    read = _reader(source, name)
    return Stream(
        name=name, batch=read, loss=loss, validation=validation, metrics=metrics or FrozenDict()
    )


def _reader(source: Any, name: str) -> Callable[[int, int, int], Batch]:
    if isinstance(source, DataLoader):
        raise MutransferError(
            f"stream {name}: a DataLoader has its own order and batch size; give its dataset"
        )
    # Torch's IterableDataset inherits an item access that fails, so that a length is asked first.
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        shuffled = _Shuffled(source, name)
        _check_again(shuffled)
        return shuffled
    if isinstance(source, Iterable):
        passes = _Passes(source, name, seeded=False)
    elif callable(source):
        passes = _Passes(source, name, seeded=True)
    else:
        raise MutransferError(
            f"stream {name}: {kind_of(source)} is no dataset and no iterable; give one, or "
            "a function of a seed that returns a new iterator"
        )
    _check_restarts(passes)
    return passes


@dataclass(frozen=True)
class _Shuffled:
    """Batches of a dataset with a length, in an order of its own each epoch."""

    source: Any
    name: str

    def __call__(self, seed: int, step: int, size: int) -> Batch:
        examples = len(self.source)
        check_size(self.name, examples, size)
        epoch, position = divmod(step, examples // size)
        rows = _order(seed, epoch, examples)[position * size : (position + 1) * size]
        draws = not isinstance(self.source, TensorDataset | list | tuple)
        with drawing_from("batch", seed, step) if draws else nullcontext():
            return _collated([self.source[row] for row in rows.tolist()], self.name, step)


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, examples: int) -> Tensor:
    # An epoch's seed is a hash, so that the epochs of neighbouring seeds are not shared.
    generator = torch.Generator().manual_seed(hashed(seed, epoch))
    return torch.randperm(examples, generator=generator)


@dataclass(frozen=True)
class _Passes:
    """Batches of an iterable, which starts again at its end and for earlier steps."""

    source: Any
    name: str
    seeded: bool
    places: dict[tuple[int, int], _Place] = field(
        default_factory=dict, repr=False, compare=False, hash=False
    )
    """The place of each seed and batch size: members that share them read a batch once."""

    def __call__(self, seed: int, step: int, size: int) -> Batch:
        key = (seed if self.seeded else 0, size)
        place = self.places.get(key)
        if place is None or step < place.step:
            place = _Place(self._examples(seed))
        while place.step < step:
            examples = list(islice(place.examples, size))
            place = _Place(place.examples, place.step + 1, examples)
        self.places[key] = place
        return _collated(place.batch, self.name, step)

    def start(self, seed: int) -> Iterator[Any]:
        """Return a new iterator over the examples."""
        return iter(self.source(seed) if self.seeded else self.source)

    def _examples(self, seed: int) -> Iterator[Any]:
        while True:
            examples = self.start(seed)
            first = next(examples, _NONE)
            if first is _NONE:
                raise MutransferError(f"stream {self.name} has no examples")
            yield from chain([first], examples)

    def __reduce__(self) -> Any:
        # Open iterators cannot be pickled; a batch is found again by its step.
        return _Passes, (self.source, self.name, self.seeded)


@dataclass(frozen=True)
class _Place:
    """The place in a pass: the examples to come, and the step and batch just read."""

    examples: Iterator[Any]
    step: int = -1
    batch: list[Any] = field(default_factory=list)


_NONE = object()
"""The end of an iterator."""


def _check_again(shuffled: _Shuffled) -> None:
    """Raise unless examples of a dataset are the same when they are read again."""
    if len(shuffled.source) < 2:
        return
    (inputs, targets), again = (shuffled(0, 0, 2) for _ in range(2))
    if not (are_equal(inputs, again[0]) and are_equal(targets, again[1])):
        raise MutransferError(
            f"stream {shuffled.name} gives another example each time it is read, so that a resumed "
            "run would train on other data: let the dataset draw from the generators of torch, "
            "NumPy or Python themselves, which are seeded for each batch"
        )


def _check_restarts(passes: _Passes) -> None:
    """Raise unless a second start gives a new iterator with the same first example."""
    first, second = passes.start(0), passes.start(0)
    if first is second or first is passes.source:
        raise MutransferError(
            f"stream {passes.name} can be read only once, so that neither another run nor a "
            "resumed one could read it: give a function of a seed that returns a new iterator"
        )
    examples = [list(islice(iterator, 1)) for iterator in (first, second)]
    if not all(examples):
        raise MutransferError(f"stream {passes.name} has no examples")
    (inputs, targets), again = (_collated(rows, passes.name, 0) for rows in examples)
    if not (are_equal(inputs, again[0]) and are_equal(targets, again[1])):
        raise MutransferError(
            f"stream {passes.name} starts with another example each time, so that a resumed run "
            "would train on other data: give a function of a seed that draws from that seed alone"
        )


def _collated(examples: list[Any], name: str, step: int) -> Batch:
    """Return a batch of examples."""
    where = f"stream {name}, step {step}"
    try:
        batch = default_collate(examples)
    except (TypeError, RuntimeError, KeyError) as error:
        raise MutransferError(
            f"{where}: examples cannot be put into one batch ({error}); give pairs of inputs and a "
            "target, tensors of one shape"
        ) from error
    pair = tuple(batch) if isinstance(batch, list | tuple) else batch
    return checked_batch(pair, len(examples), where)
