"""Runs of a foreign table that are compared as equals, and are not."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..core import Size
from ._metric import APART

BESIDE = ("tokens", "batch", "steps", "context")
"""Axes on which optima depend; tokens are batch times steps times context."""

_USUAL = ("batch", "context")
"""Axes that have one value in a table without a column of them."""

_Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """The runs that are compared, and what they were trained with beside their size.

    Attributes:
        axes: The axes of the sizes.
        sizes: The size of each run.
        beside: Each column of `BESIDE` that is no axis, by its axis: its name, and numbers if it
            has them.
    """

    axes: Sequence[str]
    sizes: Sequence[Size]
    beside: Mapping[str, tuple[str, Sequence[float | None]]]

    def warnings(self) -> list[str]:
        """Return a warning of each way in which the runs differ."""
        within, between, known = [], {}, set(self.axes)
        for axis, (name, values) in self.beside.items():
            spans = _spans(self.sizes, values)
            if not _is_apart(_joint(spans)) or self._follows(axis, known):
                continue
            known.add(axis)
            if wide := {size: span for size, span in spans.items() if _is_apart(span)}:
                within.append(
                    f"runs of one size differ in {name}, {_such_as(wide)}, and are compared as "
                    f"equals: keep those that agree in it, or make it an axis {self._option(axis)}"
                )
            else:
                between[axis] = name
        if between:
            are, them = ("changes", "it") if len(between) == 1 else ("change", "them")
            within.append(
                f"{' and '.join(between.values())} {are} with the size and no axis says so: a "
                f"drift may come from {them}, and the target is taken to change {them} alike; to "
                f"tell them apart, vary one alone as an axis {self._option(*between)}"
            )
        return within

    def _follows(self, axis: str, known: Collection[str]) -> bool:
        """Return True if a value follows from those of known axes."""
        others = [other for other in BESIDE if other != axis]
        return any(other in known for other in others) and all(
            other in known or self._is_one(other) for other in others
        )

    def _is_one(self, axis: str) -> bool:
        """Return True if an axis has one value."""
        if axis not in self.beside:
            return axis in _USUAL
        spans = _spans(self.sizes, self.beside[axis][1])
        return bool(spans) and not _is_apart(_joint(spans))

    def _option(self, *further: str) -> str:
        names = [*self.axes, *further]
        return f"(axes={names}, --axes {','.join(names)})"


def unequal_ends(name: str, sizes: Sequence[Size], steps: Sequence[float | None]) -> list[str]:
    """Return a warning where runs of one size end at unequal steps."""
    spans = _spans(sizes, steps)
    wide = {size: span for size, span in spans.items() if _is_apart(span)}
    if not wide:
        return []
    least = min(low for low, _ in spans.values())
    return [
        f"runs of one size end at unequal values of {name}, {_such_as(wide)}, and their last "
        f"losses are compared as if all had trained as long: keep the rows up to {name} {least:g} "
        "of all runs, unless each ended where it would have learned no more"
    ]


def _spans(sizes: Sequence[Size], values: Sequence[float | None]) -> dict[Size, _Span]:
    """Return the least and the largest value of each size."""
    spans: dict[Size, _Span] = {}
    for size, value in zip(sizes, values, strict=True):
        if value is not None and math.isfinite(value):
            low, high = spans.get(size, (value, value))
            spans[size] = (min(low, value), max(high, value))
    return spans


def _joint(spans: Mapping[Size, _Span]) -> _Span:
    lows, highs = zip(*spans.values(), strict=True) if spans else ((0.0,), (0.0,))
    return min(lows), max(highs)


def _is_apart(span: _Span) -> bool:
    low, high = span
    return high - low > APART * abs(high)


def _such_as(spans: Mapping[Size, _Span]) -> str:
    size, (low, high) = next(iter(spans.items()))
    more = f" and {len(spans) - 1} more" if len(spans) > 1 else ""
    return f"such as {low:g} to {high:g} at {size}{more}"
