"""Hugging Face's data sets, with a stand-in for the library that loads them."""

import pickle
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer import MutransferError
from mutransfer.tasks import task

Image = pytest.importorskip("PIL.Image")


class Table:
    """Columns, as a data set of the library gives them."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns, self.column_names = columns, list(columns)

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]


def pictures(count: int) -> Table:
    drawn = [Image.fromarray(np.full((4, 4, 3), 20 * i, dtype=np.uint8)) for i in range(count)]
    return Table(image=drawn, label=[i % 2 for i in range(count)])


SETS = {
    ("pets", "train"): pictures(8),
    ("pets", "test"): pictures(4),
    ("pets", "odd"): Table(x=[1]),
    ("tales", "train"): Table(text=["once upon", "a time"], source=["a", "b"]),
    ("numbers", "train"): Table(a=[1], b=[2]),
}


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, split: str) -> Table:
        if (name, split) not in SETS:
            raise FileNotFoundError(f"Couldn't find {name}\nmore of it")
        return SETS[name, split]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))


def test_pictures_with_labels_are_classified() -> None:
    data = task("hf:pets")
    assert data.name.startswith("pets, 8 pictures, ")
    assert data.inputs.shape == (8, 3, 4, 4) and data.targets.tolist() == [0, 1] * 4
    assert (data.inputs[1:, 0, 0, 0] > data.inputs[:-1, 0, 0, 0]).all()
    assert pickle.loads(pickle.dumps(data)) is data


def test_another_split_validates() -> None:
    data = task("hf:pets", validation="test")
    assert len(data.inputs) == 8 and len(data.validation[0]) == 4
    assert len(task("hf:pets", validation=0.25).validation[0]) == 2
    assert task("hf:pets", size=2).inputs.shape == (8, 3, 2, 2)


def test_text_is_predicted_byte_by_byte() -> None:
    data = task("hf:tales", context=4)
    assert data.name.startswith("tales, context 4, ")
    assert bytes(data.inputs[:, 0].tolist() + data.inputs[-1, 1:].tolist()) == b"once upon\n\na tim"
    assert torch.equal(data.inputs[1:], data.targets[:-1])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("absent", {}, "cannot load the split train of hf:absent: Couldn't find absent$"),
        ("numbers", {}, "hf:numbers has columns a, b, and none of pictures with labels or of text"),
        ("pets", {"validation": "odd"}, "the split odd of hf:pets has no pictures"),
        ("tales", {"validation": "test"}, "validation='test' is not the fraction of the data to"),
        ("pets", {"validation": 2}, "validation=2 is not the fraction of the data to keep apart"),
    ],
)
def test_data_sets_that_fit_no_task_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        task(f"hf:{name}", **options)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        MutransferError, match=r"the task hf:x needs datasets: pip install 'mutransfer\[hf"
    ):
        task("hf:x")
