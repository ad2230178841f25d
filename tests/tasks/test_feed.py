"""Feeds of tasks: the same rows as the order of batches, of tensors and of mappings."""

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mutransfer import MutransferError
from mutransfer.tasks import Feed, Task, accuracy, cross_entropy, digits, length, pydocs, take, text

ROWS = torch.arange(20.0).view(10, 2)


def rows(**changes: Any) -> Task:
    data = {"inputs": ROWS, "targets": torch.arange(10)}
    return Task(**{"name": "rows", **data, "loss": cross_entropy} | changes)


def mapped(**changes: Any) -> Task:
    ids = torch.arange(30).view(10, 3)
    return rows(inputs={"input_ids": ids, "attention_mask": torch.ones_like(ids)}, **changes)


def test_a_feed_has_the_rows_of_the_order() -> None:
    task, order = rows(), rows().batches(seed=3, steps=7, batch=4)
    feed = task.feed(seed=3, steps=7, batch=4)
    assert len(feed) == 7
    for step, chosen in enumerate(order):
        inputs, targets = feed[step]
        assert torch.equal(inputs, ROWS[chosen]) and torch.equal(targets, chosen)


def test_a_feed_of_a_mapping_takes_rows_of_every_tensor() -> None:
    task = mapped()
    inputs, targets = task.feed(seed=0, steps=2, batch=4)[1]
    assert list(inputs) == ["input_ids", "attention_mask"]
    assert torch.equal(inputs["input_ids"], task.inputs["input_ids"][targets])
    assert inputs["attention_mask"].shape == (4, 3)


def test_a_feed_ends_after_its_steps() -> None:
    feed = rows().feed(seed=0, steps=3, batch=2)
    assert [len(targets) for _, targets in feed] == [2, 2, 2]
    for step in (-1, 3):
        with pytest.raises(IndexError, match=f"step {step} is outside the 3 steps of rows"):
            feed[step]


@pytest.mark.parametrize("task", [rows(), mapped()], ids=["tensor", "mapping"])
def test_a_feed_refuses_a_batch_that_does_not_fit(task: Task) -> None:
    with pytest.raises(MutransferError, match="task rows has 10 examples, so a batch cannot have"):
        task.feed(seed=0, steps=1, batch=11)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (ROWS, "the batch is a Tensor; return \\(inputs, targets\\)"),
        ((ROWS, [1]), "the batch is a tuple of Tensor, list; return"),
        ((), "the batch is a tuple of none; return"),
        ((ROWS[:2], torch.arange(3)), "has 2 rows of inputs and 3 of targets, not 2"),
        ((ROWS[:3], torch.arange(3)), "has 3 rows of inputs and 3 of targets, not 2"),
        (({"a": ROWS, "b": ROWS[:1]}, torch.arange(2)), "a mapping with rows {'a': 10, 'b': 1}"),
    ],
)
def test_a_feed_refuses_what_is_no_batch(batch: Any, message: str) -> None:
    feed = Feed("mine", 5, 2, lambda step: batch)
    with pytest.raises(MutransferError, match=message):
        feed[4]


def test_the_example_is_two_rows() -> None:
    assert torch.equal(rows().example, ROWS[:2])
    assert {name: len(tensor) for name, tensor in mapped().example.items()} == {
        "input_ids": 2,
        "attention_mask": 2,
    }


def test_rows_are_counted_and_taken_alike() -> None:
    inputs = mapped().inputs
    assert length(inputs) == length(ROWS) == 10
    assert torch.equal(take(inputs, torch.tensor([4]))["input_ids"][0], inputs["input_ids"][4])


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"input_ids": torch.arange(30).view(10, 3)}},
        {"validation": (ROWS, torch.arange(10))},
        {"metrics": {"accuracy": accuracy}},
    ],
    ids=["inputs", "validation", "metrics"],
)
def test_tasks_that_differ_in_anything_differ(change: dict[str, Any]) -> None:
    assert mapped() == mapped() and hash(mapped()) == hash(mapped())
    assert mapped() != replace(mapped(), **change)


def test_a_task_of_mappings_survives_pickling() -> None:
    task = mapped(
        validation=({"input_ids": torch.arange(3)[None]}, torch.tensor([1])),
        metrics={"accuracy": accuracy},
    )
    again = pickle.loads(pickle.dumps(task))
    assert again == task and again.metrics == {"accuracy": accuracy}
    assert again != replace(task, validation=(task.validation[0], torch.tensor([2])))


def test_metrics_of_a_task_cannot_change() -> None:
    with pytest.raises(TypeError, match="cannot change"):
        rows(metrics={"accuracy": accuracy}).metrics["more"] = accuracy


@pytest.mark.parametrize(
    ("targets", "right"), [([1, 0, 2], 1.0), ([1, 1, 1], 1 / 3), ([0, 1, 0], 0.0)]
)
def test_accuracy_is_the_fraction_of_right_rows(targets: list[int], right: float) -> None:
    logits = torch.eye(3, dtype=torch.float64)[[1, 0, 2]]
    assert accuracy(logits, torch.tensor(targets)).item() == pytest.approx(right, abs=1e-12)
    twice = accuracy((logits.expand(2, 3, 3),), torch.tensor([targets, targets]))
    assert twice.item() == pytest.approx(right, abs=1e-12)


def test_accuracy_of_stacked_members_is_that_of_each() -> None:
    logits, targets = torch.randn(4, 5, 3), torch.randint(3, (4, 5))
    stacked: Tensor = torch.func.vmap(accuracy)(logits, targets)
    each = [accuracy(*member) for member in zip(logits, targets, strict=True)]
    torch.testing.assert_close(stacked, torch.stack(each))


def test_digits_kept_apart_are_the_others() -> None:
    whole, part = digits(), digits(validation=0.1)
    assert whole.name == "digits" and part.name == "digits, validation 0.1"
    assert whole.validation is None and part != whole and digits(0) is whole
    kept, targets = part.validation
    assert len(targets) == 180 and len(part.inputs) == 1797 - 180
    assert sorted(map(tuple, torch.cat([part.inputs, kept]).tolist())) == sorted(
        map(tuple, whole.inputs.tolist())
    )
    assert part.metrics == {"accuracy": accuracy} and len(targets.unique()) == 10
    assert pickle.loads(pickle.dumps(part)) is part


def test_a_text_keeps_its_end_apart(tmp_path: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(100)))
    task = text(path, context=4, validation=0.2)
    assert task.name.startswith("a.txt, context 4, validation 0.2, ")
    assert task.inputs.max() == 78 and task.targets.max() == 79 and len(task.inputs) == 76
    inputs, targets = task.validation
    assert inputs.tolist() == [
        [80, 81, 82, 83],
        [84, 85, 86, 87],
        [88, 89, 90, 91],
        [*range(92, 96)],
    ]
    assert torch.equal(targets, inputs + 1)
    plain = text(path, context=4)
    assert plain.validation is None and "validation" not in plain.name


def test_pydocs_kept_apart_travel_by_name() -> None:
    task = pydocs(16, validation=0.1)
    assert pickle.loads(pickle.dumps(task)) is task and len(pickle.dumps(task)) < 300
    assert task.validation[0].shape[1] == 16


@pytest.mark.parametrize("validation", [-0.1, 1, 1.5, "test"])
@pytest.mark.parametrize("make", [pydocs, lambda validation: text(__file__, 4, validation)])
def test_a_fraction_outside_its_range_is_refused(make: Any, validation: Any) -> None:
    with pytest.raises(MutransferError, match="is not the fraction of the data to keep apart"):
        make(validation=validation)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: digits(validation=1e-5), "of 1797 examples keeps 0 apart"),
        (lambda: pydocs(validation=1e-5), "the validation part of pydocs has . bytes, too few"),
    ],
)
def test_a_fraction_of_nothing_is_refused(make: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        make()
