"""A reading is plain data: JSON in and out, no weights; damaged text is refused."""

import json
from functools import reduce
from operator import getitem
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mutransfer as mt
from mutransfer.tasks import gpt
from tests.models import multiplied

TEXT = json.dumps(mt.read(multiplied(16, 2)).to_json())
NO_READING = r"this is not a reading written by Reading\.to_json"
DATA = json.loads(TEXT)
ROW = DATA["tensors"][0]
PATHS = [*((key,) for key in DATA), *(("tensors", i, key) for i in (0, 3) for key in ROW)]


def damaged(path: str, value: Any) -> str:
    """Return the reading with one value replaced."""
    data = json.loads(TEXT)
    keys = [int(key) if key.isdigit() else key for key in path.split(".")]
    reduce(getitem, keys[:-1], data)[keys[-1]] = value
    return json.dumps(data)


@given(st.sets(st.sampled_from(PATHS), min_size=1))
@settings(deadline=None, max_examples=25)
def test_a_reading_without_some_keys_is_refused(paths: set[tuple[Any, ...]]) -> None:
    data = json.loads(TEXT)
    for path in sorted(paths, key=len, reverse=True):
        del reduce(getitem, path[:-1], data)[path[-1]]
    with pytest.raises(mt.MutransferError, match=NO_READING):
        mt.Reading.from_json(json.dumps(data))


NO_READINGS = [
    "",
    "{",
    "5",
    "null",
    "[]",
    "{}",
    '"reading"',
    "not json",
    TEXT[:-9],
    b"\xff\xff",
    None,
]


@pytest.mark.parametrize("text", NO_READINGS)
def test_text_that_is_no_reading_is_refused(text: Any) -> None:
    with pytest.raises(mt.MutransferError, match=NO_READING):
        mt.Reading.from_json(text)


DAMAGES: dict[str, Any] = {"tensors": 5, "branches": 3, "recurrent": 4, "program": [[1.0]]}
DAMAGES |= {"program.operations": None, "program.values.0.0": None, "training": "yes"}
DAMAGES |= {"tensors.0.shape": None, "tensors.0.layer": 3, "tensors.0.axes": 5}
DAMAGES |= {"tensors.0.aliases": "token", "tensors.0.is_declared": 1}


@pytest.mark.parametrize("path", DAMAGES)
def test_a_reading_with_a_wrong_type_is_refused(path: str) -> None:
    with pytest.raises(mt.MutransferError, match=NO_READING):
        mt.Reading.from_json(damaged(path, DAMAGES[path]))


UNSEEN = {
    "tensors.0.scale": "x",
    "tensors.0.shape": "ab",
    "tensors.0.name": 5,
    "branches": [None, None],
}


@pytest.mark.parametrize("path", UNSEEN)
def test_a_reading_with_a_wrong_type_inside_is_refused(path: str) -> None:
    with pytest.raises(mt.MutransferError):
        mt.plan(multiplied(32, 4), mt.Reading.from_json(damaged(path, UNSEEN[path])))


def test_a_reading_holds_no_weights() -> None:
    assert len(json.dumps(mt.read(gpt(256)).to_json())) < 100_000
