"""Layers are measured together only where they are alike."""

from collections.abc import Mapping

from mutransfer.checks._labels import Layout, labelled
from mutransfer.core import Size

SIZES = Size(width=1, depth=2), Size(width=1, depth=3)
Parts = Mapping[str, tuple[str, str]]


def layout(parts: Parts) -> Layout:
    """The layout of modules with their class, and the role of their weight where they have one."""
    classes = {name: kind for name, (kind, _) in parts.items()}
    tensors = {f"{name}.weight": (role, (1,)) for name, (_, role) in parts.items() if role}
    return Layout(classes={"": "Net", **classes}, tensors=tensors, weights={})


def labels(*parts: Parts) -> list[list[str]]:
    sizes = SIZES[: len(parts)]
    named = labelled({size: layout(each) for size, each in zip(sizes, parts, strict=True)}, {})
    pairs = zip(sizes, parts, strict=True)
    return [[named.of(size, name) for name in each] for size, each in pairs]


HIDDEN, RELU = ("Linear", "hidden"), ("ReLU", "")


def test_layers_of_a_list_have_one_label() -> None:
    parts = {"blocks": ("List", ""), "blocks.0": HIDDEN, "blocks.1": HIDDEN}
    assert labels(parts) == [["blocks", "blocks.*", "blocks.*"]]


def test_layers_of_different_kinds_keep_their_numbers() -> None:
    parts = {"0": HIDDEN, "1": RELU, "2": HIDDEN}
    assert labels(parts) == [["0", "1", "2"]]


def test_numbers_inside_a_repeated_block_are_kept() -> None:
    names = [f"blocks.{i}" for i in range(2)]
    parts = {"blocks": ("List", ""), **dict.fromkeys(names, ("Sequential", ""))}
    parts |= {f"{name}.{i}": kind for name in names for i, kind in enumerate((HIDDEN, RELU))}
    assert labels(parts)[0][3:] == ["blocks.*.0", "blocks.*.1"] * 2


def test_a_run_that_grows_between_other_layers_has_one_label() -> None:
    first, last = ("Linear", "input"), ("Linear", "readout")
    runs = [[first, *[HIDDEN] * depth, last] for depth in (2, 3)]
    parts = [{str(i): kind for i, kind in enumerate(run)} for run in runs]
    shallow, deep = labels(*parts)
    assert shallow[1:3] == [shallow[1]] * 2 and deep[1:4] == [shallow[1]] * 3
    assert shallow[0] == deep[0] == "0" and shallow[-1] == deep[-1]
    assert len({*shallow}) == 3


def test_layers_of_one_class_with_other_roles_are_kept_apart() -> None:
    parts = {"layers": ("List", ""), "layers.0": ("Linear", "input"), "layers.1": HIDDEN}
    assert labels(parts)[0][1:] == ["layers.0", "layers.1"]
