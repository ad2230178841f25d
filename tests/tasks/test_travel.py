"""Tasks are compared by name and content, and travel by name where they can."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mutransfer.tasks import Task, cross_entropy, digits, pydocs, text


def rows(**changes: Any) -> Task:
    data = {"inputs": torch.arange(6.0), "targets": torch.arange(6)}
    return Task(**{"name": "rows", **data, "loss": cross_entropy} | changes)


@pytest.mark.parametrize("task", [digits(), pydocs(), pydocs(16)], ids=lambda task: task.name)
def test_a_task_at_hand_travels_by_name(task: Task) -> None:
    pickled = pickle.dumps(task)
    assert len(pickled) < 200
    assert pickle.loads(pickled) is task and copy.deepcopy(task) is task


@pytest.mark.parametrize(
    "task",
    [
        rows(),
        replace(digits(), name="others"),
        replace(digits(), inputs=2 * digits().inputs),
        replace(digits(), loss=torch.nn.functional.cross_entropy),
    ],
    ids=["own", "renamed", "other data", "other loss"],
)
def test_another_task_travels_with_its_data(task: Task) -> None:
    again = pickle.loads(pickle.dumps(task))
    assert again == task and hash(again) == hash(task) and again is not digits()
    assert task != digits()


def test_a_text_travels_with_its_data(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc" * 30)
    task = text(path, context=8)
    pickled = pickle.dumps(task)
    path.unlink()
    assert pickle.loads(pickled) == task


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"inputs": torch.arange(6.0) + 1},
        {"inputs": torch.arange(6.0).double()},
        {"inputs": torch.arange(7.0)},
        {"targets": torch.zeros(6).long()},
        {"loss": torch.nn.functional.cross_entropy},
    ],
)
def test_tasks_that_differ_in_anything_differ(change: dict[str, object]) -> None:
    assert rows() == rows() and hash(rows()) == hash(rows())
    assert rows() != rows(**change) and rows() != "rows"


def test_a_task_is_shown_without_its_data() -> None:
    assert len(repr(digits())) < 100
