"""Data of tasks, and the order of their batches."""

import math
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from mutransfer import MutransferError
from mutransfer.tasks import Task, cross_entropy, digits, pydocs, task, text


def rows(examples: int = 10) -> Task:
    numbers = torch.arange(examples)
    return Task(name="rows", inputs=numbers, targets=numbers, loss=cross_entropy)


def test_digits_are_standardised_vectors_of_ten_classes() -> None:
    data = digits()
    theirs = load_digits()
    images = torch.tensor(theirs.data, dtype=torch.float32)
    assert torch.equal(data.inputs, (images - images.mean()) / images.std())
    assert data.targets.tolist() == theirs.target.tolist()
    assert data.inputs.shape == (1797, 64) and data.targets.shape == (1797,)
    assert data.targets.dtype == torch.long and data.targets.unique().tolist() == list(range(10))
    assert data.inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert data.inputs.std().item() == pytest.approx(1, abs=1e-5)


def test_loss_is_the_mean_over_every_position() -> None:
    logits, targets = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]]]), torch.tensor([[0, 1]])
    mean = (math.log(2) + math.log(4 / 3)) / 2
    assert cross_entropy(logits, targets).item() == pytest.approx(mean)


def test_smoothed_targets_are_mixed_with_the_uniform_distribution() -> None:
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets, logs = torch.arange(6) % 5, logits.log_softmax(-1)
    smoothed = -(0.75 * logs[torch.arange(6), targets] + 0.25 * logs.mean(-1)).mean()
    loss = cross_entropy(logits, targets, label_smoothing=0.25)
    torch.testing.assert_close(loss, smoothed, rtol=1e-12, atol=0)


def test_pydocs_windows_predict_the_next_byte() -> None:
    data = pydocs(context=16)
    assert data.inputs.shape == data.targets.shape
    assert data.inputs.shape[1] == 16 and len(data.inputs) > 100_000
    some = torch.arange(0, len(data.inputs) - 1, 997)
    assert torch.equal(data.inputs[some, 1:], data.targets[some, :-1])
    assert torch.equal(data.inputs[some + 1], data.targets[some])
    assert data.inputs.max() < 256 and data.inputs.min() >= 0
    assert "The" in bytes(data.inputs[:2000, 0].tolist()).decode()


def test_text_is_a_files_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abcde\xff")
    data = text(path, context=3)
    assert data.name.startswith("a.txt, context 3, ")
    assert [bytes(row) for row in data.inputs.tolist()] == [b"abc", b"bcd", b"cde"]
    assert [bytes(row) for row in data.targets.tolist()] == [b"bcd", b"cde", b"de\xff"]


@pytest.mark.parametrize("name", ["digits", "pydocs"])
def test_tasks_are_found_by_name(name: str) -> None:
    assert task(name).name.startswith(name) and task(name) is task(name)


def test_tasks_are_found_by_path(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 65)
    assert task(str(path)).inputs.shape == (1, 64)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("imagenet", None, "unknown task 'imagenet'; choose one of digits, pydocs"),
        ("missing.txt", None, "cannot read the text file .*missing.txt: No such file"),
        ("short.txt", "x" * 64, "short.txt has 64 bytes, too few for a context of 64"),
        ("empty.txt", "", "empty.txt has 0 bytes"),
    ],
)
def test_unknown_names_and_short_files_are_refused(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(MutransferError, match=message):
        task(str(tmp_path / name) if "." in name else name)


@pytest.mark.parametrize(("batch", "per_epoch"), [(1, 10), (5, 2), (3, 3), (10, 1)])
def test_every_example_comes_once_an_epoch(batch: int, per_epoch: int) -> None:
    epochs = rows().batches(seed=0, steps=3 * per_epoch, batch=batch).view(3, -1)
    for epoch in epochs.tolist():
        assert len(set(epoch)) == len(epoch) == per_epoch * batch
    assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_more_steps_keep_the_batches_of_the_first(steps: int) -> None:
    batches = rows().batches(seed=0, steps=steps, batch=4)
    assert batches.shape == (steps, 4)
    assert torch.equal(batches, rows().batches(seed=0, steps=9, batch=4)[:steps])


def test_the_order_depends_on_the_seed_alone() -> None:
    first = rows().batches(seed=1, steps=4, batch=5)
    torch.manual_seed(7)
    assert torch.equal(first, rows().batches(seed=1, steps=4, batch=5))
    assert not torch.equal(first, rows().batches(seed=2, steps=4, batch=5))


@pytest.mark.parametrize("batch", [0, -1, 11])
def test_a_batch_that_does_not_fit_is_refused(batch: int) -> None:
    message = f"task rows has 10 examples, so a batch cannot have {batch}; choose from 1 to 10"
    with pytest.raises(MutransferError, match=message):
        rows().batches(seed=0, steps=1, batch=batch)
