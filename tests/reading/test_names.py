"""Names of parameters, and the patterns that stand for several of them."""

import pytest

from mutransfer import MutransferError
from mutransfer.reading import (
    canonical,
    check_matches,
    first_match,
    first_star,
    matching,
    numbers,
    parent,
    pattern,
    unwrapped,
)


@pytest.mark.parametrize(
    ("name", "starred", "first", "layers"),
    [
        ("blocks.3.up.weight", "blocks.*.up.weight", "blocks.*.up.weight", [3]),
        ("0.1.weight", "*.*.weight", "*.1.weight", [0, 1]),
        ("layer3.conv1.weight", "layer3.conv1.weight", "layer3.conv1.weight", []),
        ("h.10.experts.2", "h.*.experts.*", "h.*.experts.2", [10, 2]),
    ],
)
def test_stars_stand_for_layer_numbers(
    name: str, starred: str, first: str, layers: list[int]
) -> None:
    assert (pattern(name), first_star(name), numbers(name)) == (starred, first, layers)


def test_wrappers_leave_names_as_they_were() -> None:
    assert canonical("_orig_mod.a._checkpoint_wrapped_module.b") == "a.b"
    assert unwrapped("module.module._orig_mod.a", {"a"}) == "a"
    assert unwrapped("module.a", {"module.a"}) == "module.a"
    assert parent("blocks.0.up.weight") == "blocks.0.up" and parent("weight") == ""


def test_the_first_pattern_that_matches_counts() -> None:
    table = {"blocks.*": 1, "*.weight": 2}
    assert first_match("blocks.0.weight", table) == 1
    assert first_match("head.weight", table) == 2 and first_match("head.bias", table) is None
    assert matching(["a.weight", "b.bias"], "*.bias") == ["b.bias"]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(MutransferError, match=r"axes=\{'x.\*': ...\} matches no parameter"):
        check_matches("axes", "x.*", ["a.weight"])
