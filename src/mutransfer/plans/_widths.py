"""Scores and outputs that grow in number by what is no width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from ._accounts import Account
from ._sides import Sides


def strange_outputs(sides: Sides, accounts: Mapping[str, Account]) -> dict[str, Fraction]:
    """Return the growth of outputs and scores whose number is no width, by tensor.

    A width is the number of outputs of some layer and of inputs of another.
    """
    summed = {each.fan_in for each in accounts.values()} | {Fraction(1)}
    if len(summed) < 2:
        return {}
    widths = {a * b for a in summed for b in summed} | {a / b for a in summed for b in summed}
    found: dict[str, Fraction] = {}
    for value in _scores(sides):
        here, there = sides.walk.shape(value), sides.walk.growth.shape(value)
        for d in sides.walk.growth.growing(value):
            ratio = sides.oriented(Fraction(there[d], here[d]))
            if ratio in widths:
                continue
            for walked in sides.walk.signals.ends(value):
                for name in sides.names.get(walked, ()):
                    if sides.matches[name].ratio("out") == ratio:
                        found[name] = ratio
    return found


def _scores(sides: Sides) -> Iterator[int]:
    """Yield the model's outputs, and what is compared by a softmax or sorted."""
    yield from sides.walk.program.outputs
    for operation in sides.walk.program.operations:
        if operation.name in {"_softmax", "_safe_softmax", "topk", "sort"}:
            yield from {operation.inputs[0]} - sides.walk.mixing
