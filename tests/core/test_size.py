"""Sizes: ordered mappings of named axes."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer import MutransferError, Size
from mutransfer.core import FrozenDict, varying

SIZES = st.builds(Size, st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))


@given(SIZES)
def test_a_size_survives_json_pickle_and_copy(size: Size) -> None:
    assert Size(json.loads(json.dumps(size))) == size
    for twin in (pickle.loads(pickle.dumps(size)), copy.deepcopy(size)):
        assert twin == size and hash(twin) == hash(size) and type(twin) is Size


@given(st.lists(st.tuples(st.integers(), st.integers()), min_size=1))
def test_sizes_are_ordered_by_their_axes_in_turn(pairs: list[tuple[int, int]]) -> None:
    sizes = sorted(Size(width=width, depth=depth) for width, depth in pairs)
    assert [(size["width"], size["depth"]) for size in sizes] == sorted(pairs)


@given(st.integers(), st.integers())
def test_the_order_of_sizes_is_that_of_their_values(a: int, b: int) -> None:
    one, other = Size(width=a), Size(width=b)
    assert (one < other, one <= other, one > other, one >= other) == (a < b, a <= b, a > b, a >= b)


def test_sizes_of_different_axes_cannot_be_ordered() -> None:
    with pytest.raises(MutransferError, match="depth 2 and width 2 have different axes"):
        sorted([Size(width=2), Size(depth=2)])


def test_a_size_is_written_along_some_axes_or_all() -> None:
    size = Size(width=64, depth=2, heads=4)
    assert str(size) == "width 64, depth 2, heads 4"
    assert size.along(["depth"]) == "depth 2" and size.along([]) == str(size)
    assert repr(size) == "Size(width=64, depth=2, heads=4)"
    assert size.grown(depth=8) == Size(width=64, depth=8, heads=4)


def test_varying_axes_are_named_in_their_order() -> None:
    sizes = [Size(width=1, depth=2, batch=8), Size(width=1, depth=4, batch=16)]
    assert varying(sizes) == ["depth", "batch"] and varying(sizes[:1]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(b=2),
        lambda d: d.__setitem__("b", 2),
        lambda d: d.pop("a"),
        lambda d: d.clear(),
        lambda d: d.__ior__({"b": 2}),
    ],
)
def test_a_frozen_dictionary_cannot_change(change: object) -> None:
    frozen = FrozenDict(a=1)
    with pytest.raises(TypeError, match="FrozenDict cannot change"):
        change(frozen)  # type: ignore[operator]
    assert frozen == {"a": 1} and frozen | {"b": 2} == {"a": 1, "b": 2}


def test_an_axis_is_an_item_and_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"its axes are items, such as size\['width'\]"):
        _ = Size(width=4).width
