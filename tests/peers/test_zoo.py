"""The zoo of architectures: other people's models and hand-written ones, against the truth."""

import itertools
from fnmatch import fnmatchcase

import pytest
import torch

from benchmarks.architectures.check import GOOD, checked, quiet
from benchmarks.architectures.entry import Entry, call
from benchmarks.architectures.hints import hints, merged
from benchmarks.architectures.registry import ENTRIES
from benchmarks.architectures.truth import HIDDEN, VECTOR, Truth

UNSEEN = {"Hyper-connections": "mixed streams", "Reversible blocks": "two coupled streams"}
"""Entries by hand whose streams are not seen: refused in depth, `branches=` declares them."""


def marks(entry: Entry) -> list[pytest.MarkDecorator]:
    unseen = entry.package == "torch" and entry.name in UNSEEN
    return [pytest.mark.xfail(strict=True, reason=UNSEEN[entry.name])] if unseen else []


PLANS = [pytest.param(entry, entry.axes[-1], marks=marks(entry)) for entry in ENTRIES]
"""Along both axes at once where both grow; `make architectures` plans along each."""


def named(value: object) -> str | None:
    return f"{value.package}/{value.name}" if isinstance(value, Entry) else None


def require(entry: Entry) -> None:
    """Skip where the entry's package is not installed; `make zoo` installs all."""
    if not entry.installed:
        pytest.skip(f"{entry.package} is not installed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("entry", "axis"), PLANS, ids=named)
def test_planned_as_the_truth_says_and_undamaged(entry: Entry, axis: str) -> None:
    require(entry)
    result = checked(entry, axis)
    assert result.outcome in GOOD, (result.message, result.mismatches)
    assert set(result.hint) <= set(entry.hints)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_entry_itself_is_sound(entry: Entry) -> None:
    """Each model runs at every size, and every pattern of its truth matches a parameter."""
    require(entry)
    sizes = set(itertools.chain.from_iterable(entry.sizes(axis) for axis in entry.axes))
    names: set[str] = set()
    with quiet(), torch.no_grad():
        for size in sizes:
            model = entry.make(*size).eval()
            call(model, entry.inputs())
            names |= {name for name, _ in model.named_parameters()}
    for truth in entry.truths:
        assert [p for p in truth.patterns() if not any(fnmatchcase(n, p) for n in names)] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", [each for each in ENTRIES if each.widths], ids=named)
def test_every_tensor_has_a_kind(entry: Entry) -> None:
    require(entry)
    with quiet():
        base, wide = (entry.make(*size) for size in entry.sizes("width"))
    shapes = {name: tuple(each.shape) for name, each in wide.named_parameters()}
    for truth, (name, each) in itertools.product(entry.truths, base.named_parameters()):
        truth.kind(name, tuple(each.shape), shapes[name])


def test_names_are_unique() -> None:
    names = [named(entry) for entry in ENTRIES]
    assert len(names) == len(set(names))


def test_a_kind_that_the_layout_does_not_say_has_to_be_stated() -> None:
    truth = Truth(kinds={"known.*": VECTOR})
    assert truth.kind("known.weight", (5, 8), (5, 16)) == VECTOR
    assert truth.kind("other.weight", (8, 8, 3), (16, 16, 3)) == HIDDEN
    with pytest.raises(LookupError, match=r"head\.weight: state its kind"):
        truth.kind("head.weight", (5, 8), (5, 16))


def test_hints_are_read_off_a_message() -> None:
    message = (
        "a.0.weight: say so with axes={'a.*.weight': ('out', 'in')}, or roles={'b': ...}; "
        'or hooks=True; branches={"blocks.*.out": ("blocks.*.in.*",), ...}'
    )
    assert hints(message, {}) == {"axes": {"a.*.weight": ("out", "in")}, "hooks": True}
    answered = hints(message, {"roles": {"b*": "router"}})
    assert answered["roles"] == {"b": "router"}
    assert merged({"roles": {"a": "hidden"}}, answered)["roles"] == {"a": "hidden", "b": "router"}
