"""Operations of two programs of one architecture, each with its counterpart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import partial
from typing import Any

from ..reading import Operation, Program, Value
from ._stars import Stars

Pair = tuple[int, int]
"""An operation of the base and its counterpart, by their indices."""
Path = Callable[[str], str]
_Kind = Callable[[Value], object]
_Key = tuple[str, str, frozenset[object]]


def pairs(base: Program, other: Program, stars: Stars) -> list[Pair]:
    """Return the operations of the base that have a counterpart, in their order."""
    here, there = base.operations, other.operations
    if [op.name for op in here] == [op.name for op in there]:
        return [(i, i) for i in range(len(here))]
    # By kind, from the first layers or from the last, or each layer with the one of its number:
    # where less differs.
    ways = ((stars.star, False), (stars.star, True), (str, False))
    choices = (list(_aligned(base, other, path, from_end=from_end)) for path, from_end in ways)
    return min(choices, key=partial(_differences, base, other))


def _aligned(base: Program, other: Program, path: Path, *, from_end: bool) -> Iterator[Pair]:
    """Yield pairs of equal keys, first those of operations on weights.

    Without modules of its own, each layer has the same few operations as the head, so that names
    of operations alone would pair a layer with a head.
    """
    kinds = _kinds(base, other, path)
    a, b = (
        list(_keys(program, path, kind)) for program, kind in zip((base, other), kinds, strict=True)
    )
    anchors = [[i for i, key in enumerate(keys) if key[2]] for keys in (a, b)]
    if from_end:
        anchors = [list(reversed(each)) for each in anchors]
    matched = _matched([a[i] for i in anchors[0]], [b[j] for j in anchors[1]])
    ends = sorted((anchors[0][i], anchors[1][j]) for i, j in matched)
    start = (0, 0)
    for end in [*ends, (len(a), len(b))]:
        for i, j in _between(a[start[0] : end[0]], b[start[1] : end[1]]):
            yield start[0] + i, start[1] + j
        if end[0] < len(a):
            yield end
        start = end[0] + 1, end[1] + 1


def _between(a: Sequence[_Key], b: Sequence[_Key]) -> Iterator[Pair]:
    """Yield pairs of what lies between two pairs; layers of one alone come first."""
    last = 0
    while last < min(len(a), len(b)) and a[len(a) - 1 - last] == b[len(b) - 1 - last]:
        last += 1
    yield from _matched(a[: len(a) - last], b[: len(b) - last])
    yield from zip(range(len(a) - last, len(a)), range(len(b) - last, len(b)), strict=True)


def _matched(a: Sequence[_Key], b: Sequence[_Key]) -> Iterator[Pair]:
    """Yield pairs of the longest runs that agree."""
    matcher = SequenceMatcher(a=a, b=b, autojunk=False)
    for i, j, length in matcher.get_matching_blocks():
        yield from zip(range(i, i + length), range(j, j + length), strict=True)


def _keys(program: Program, path: Path, kind: _Kind) -> Iterator[_Key]:
    """Yield module, name and kinds of the weights of each operation."""
    is_signal = [value.kind == "input" for value in program.values]
    weights = [
        frozenset([kind(value)] if value.kind == "parameter" else []) for value in program.values
    ]
    for operation in program.operations:
        taken = frozenset[object]().union(*(weights[i] for i in operation.inputs))
        signal = any(is_signal[i] for i in operation.inputs)
        for result in operation.results:
            if result is not None:
                is_signal[result] = signal
                weights[result] = frozenset() if signal else taken
        yield path(operation.module), operation.name, taken


def _kinds(base: Program, other: Program, path: Path) -> tuple[_Kind, _Kind]:
    """Return the functions that give the kind of a parameter in each program.

    It is the starred name, with the number of its shape among those of the name.
    Shapes are numbered in their order, where a name has equally many in both programs.
    """
    shapes = [_shapes(program, path) for program in (base, other)]

    def kind(of: dict[str, list[tuple[int, ...]]], value: Value) -> object:
        name = path(value.name)
        same = len({len(each.get(name, ())) for each in shapes}) == 1
        return name, of[name].index(value.shape) if same else 0

    return partial(kind, shapes[0]), partial(kind, shapes[1])


def _shapes(program: Program, path: Path) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, dict[tuple[int, ...], None]] = {}
    for value in program.values:
        if value.kind == "parameter":
            found.setdefault(path(value.name), {})[value.shape] = None
    return {name: list(shapes) for name, shapes in found.items()}


def _differences(base: Program, other: Program, chosen: Sequence[Pair]) -> tuple[int, int]:
    """Return how many operations have no counterpart, and how many another one."""
    differ = sum(
        _signature(base, base.operations[i]) != _signature(other, other.operations[j])
        for i, j in chosen
    )
    return len(base.operations) - len(chosen), differ


def _signature(program: Program, operation: Operation) -> list[Any]:
    """Return the numbers of an operation and the shapes of its results."""
    given = [*operation.arguments, *operation.keywords.values()]
    shapes = [program.values[result].shape for result in operation.results if result is not None]
    return [each for each in given if isinstance(each, int | float)] + shapes
