"""Streams: the same batch for the same seed and step, in whatever order they are asked for."""

import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from mutransfer import MutransferError
from mutransfer.tasks import Stream, accuracy, cross_entropy, stream

Example = tuple[Tensor, int]


def drawn(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * seed + step)
    x = torch.randn(size, 3, generator=generator)
    return x, (x.sum(1) > 0).long()


def from_seed(seed: int) -> Iterator[Example]:
    """Twenty examples, other ones for each seed."""
    return ((torch.tensor([100.0 * seed + i]), i % 3) for i in range(20))


class Twenty(IterableDataset[Example]):
    def __iter__(self) -> Iterator[Example]:
        return from_seed(0)


class Squares(Dataset[Example]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Example:
        return torch.tensor([float(index)]), index**2


class Noisy(Squares):
    """Squares that are augmented, by one generator or another."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self.draw = draw

    def __getitem__(self, index: int) -> Example:
        return torch.tensor([index + self.draw()]), index**2


DRAWS: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "numpy": lambda: float(np.random.rand()),
    "python": random.random,
}


class Reader:
    """A source of seeds that counts its starts."""

    def __init__(self) -> None:
        self.starts = 0

    def __call__(self, seed: int) -> Iterator[Example]:
        self.starts += 1
        return from_seed(seed)


SOURCES: dict[str, Any] = {
    "function of a seed": from_seed,
    "iterable dataset": Twenty(),
    "dataset": Squares(),
    "tensors": TensorDataset(torch.arange(8.0).view(4, 2), torch.arange(4)),
    **{name: Noisy(draw) for name, draw in DRAWS.items()},
    "list": [({"ids": torch.tensor([i, i])}, i) for i in range(6)],
}


def made(source: Any, **options: Any) -> Stream:
    return stream(source, name="mine", **options)


def first(batch: Any) -> list[Any]:
    inputs, targets = batch
    values = inputs["ids"] if isinstance(inputs, dict) else inputs
    return [values.tolist(), targets.tolist()]


def test_a_function_gives_each_batch() -> None:
    task = Stream(name="mine", batch=drawn, loss=cross_entropy, metrics={"accuracy": accuracy})
    inputs, targets = task.feed(seed=2, steps=5, batch=4)[3]
    assert torch.equal(inputs, drawn(2, 3, 4)[0]) and torch.equal(targets, drawn(2, 3, 4)[1])
    assert torch.equal(task.example, drawn(0, 0, 2)[0])


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_batch_depends_on_seed_and_step_alone(source: Any) -> None:
    feed = made(source).feed(seed=1, steps=9, batch=3)
    inorder = [first(feed[step]) for step in range(9)]
    again = made(source).feed(seed=1, steps=20, batch=3)
    for step in (8, 2, 2, 3, 0, 8):
        assert first(again[step]) == inorder[step]
    assert len({str(batch) for batch in inorder}) > 1


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_augmentations_draw_anew_and_leave_generators_alone(draw: Any) -> None:
    feed = made(Noisy(draw)).feed(seed=1, steps=40, batch=10)
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = [each() for each in DRAWS.values()]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    batches = [feed[step][0].flatten().sort().values for step in range(40)]
    assert [each() for each in DRAWS.values()] == expected
    noise = torch.stack(batches) - torch.arange(10)
    assert len(noise.flatten().unique()) == 400
    torch.testing.assert_close(noise.mean(), torch.tensor(0.5), rtol=0, atol=0.06)


def test_an_iterable_is_read_in_its_order_and_starts_again() -> None:
    feed = made(from_seed).feed(seed=3, steps=4, batch=8)
    values = [value for step in range(4) for (value,) in feed[step][0].tolist()]
    assert values == [300.0 + i % 20 for i in range(32)]


def test_every_example_of_a_dataset_comes_once_an_epoch() -> None:
    feed = made(Squares()).feed(seed=0, steps=10, batch=2)
    batches = [feed[step] for step in range(10)]
    epochs = [
        sorted(t for _, ts in half for t in ts.tolist()) for half in (batches[:5], batches[5:])
    ]
    assert epochs == [[i**2 for i in range(10)]] * 2
    assert first(batches[0]) != first(batches[5])
    other = made(Squares()).feed(seed=1, steps=10, batch=2)
    assert [first(b) for b in batches] != [first(other[step]) for step in range(10)]


def test_members_of_one_seed_read_an_iterable_once() -> None:
    reader = Reader()
    task = made(reader)
    before = reader.starts
    feeds = [task.feed(seed=0, steps=6, batch=3) for _ in range(3)]
    for step in range(6):
        assert len({str(first(feed[step])) for feed in feeds}) == 1
    assert reader.starts == before + 1


def test_streams_are_equal_where_their_parts_are() -> None:
    task = Stream(name="mine", batch=drawn, loss=cross_entropy)
    assert task == replace(task) and hash(task) == hash(replace(task))
    assert pickle.loads(pickle.dumps(task)) == task
    for change in ({"name": "other"}, {"batch": lambda *_: drawn(0, 0, 2)}, {"loss": accuracy}):
        assert replace(task, **change) != task
    assert replace(task, metrics={"accuracy": accuracy}) != task
    assert replace(task, validation=drawn(9, 9, 9)) != task and task != "mine"


@pytest.mark.parametrize("source", [from_seed, Reader], ids=["function", "class"])
def test_a_stream_that_was_read_survives_pickling(source: Any) -> None:
    task = made(from_seed if source is from_seed else source())
    feed = task.feed(seed=0, steps=4, batch=3)
    before = first(feed[2])
    again = pickle.loads(pickle.dumps(task))
    assert first(again.feed(seed=0, steps=4, batch=3)[2]) == before


def test_a_mapping_is_collated_by_name() -> None:
    inputs, targets = made(SOURCES["list"]).feed(seed=0, steps=1, batch=6)[0]
    assert torch.equal(inputs["ids"][:, 0], targets)


def shared(iterator: Iterator[Example]) -> Any:
    return lambda seed: iterator


def restless(seed: int) -> Iterator[Example]:
    return iter([(torch.randn(2), 0)] * 4)


class Mixed:
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(1 + index), 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (from_seed(0), "stream mine can be read only once"),
        (shared(from_seed(0)), "stream mine can be read only once"),
        (map(abs, [1, 2]), "stream mine can be read only once"),
        (Noisy(np.random.default_rng(0).random), "gives another example each time it is read"),
        (Noisy(random.Random(0).random), "let the dataset draw from the generators of torch, Num"),
        (restless, "starts with another example each time"),
        (lambda seed: iter([]), "stream mine has no examples"),
        ((), "task mine has 0 examples, so a batch cannot have 2"),
        (DataLoader(Squares()), "has its own order and batch size; give its dataset"),
        (3, "an int is no dataset and no iterable"),
        (
            lambda seed: iter([torch.ones(2)] * 3),
            "the batch is a Tensor; return \\(inputs, targets",
        ),
        (lambda seed: iter([("a", object())] * 3), "examples cannot be put into one batch"),
        (Mixed(), "examples cannot be put into one batch .*tensors of one shape"),
    ],
)
def test_sources_that_cannot_be_read_again_are_refused(source: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        made(source)


def test_a_function_of_other_sizes_is_refused() -> None:
    with pytest.raises(MutransferError, match="task mine, step 0: the batch has 3 rows of inputs"):
        Stream(name="mine", batch=lambda *_: drawn(0, 0, 3), loss=cross_entropy)


def test_a_batch_without_examples_is_refused() -> None:
    with pytest.raises(MutransferError, match="is a stream, so a batch cannot have 0; choose at l"):
        made(from_seed).feed(seed=0, steps=1, batch=0)
