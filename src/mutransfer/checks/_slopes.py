"""Log-log slopes of measured quantities in width and depth, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..reading import pattern
from ._measure import Row

_T = (
    12.71,
    4.30,
    3.18,
    2.78,
    2.57,
    2.45,
    2.36,
    2.31,
    2.26,
    2.23,
    2.20,
    2.18,
    2.16,
    2.14,
    2.13,
    2.12,
    2.11,
    2.10,
    2.09,
    2.09,
)
"""Student's t at 97.5 percent by degrees of freedom from 1; 2 beyond."""


@dataclass(frozen=True, kw_only=True)
class Slope:
    """How one quantity grows with one axis: as axis^slope.

    Attributes:
        axis: "width" or "depth".
        kind: What was measured: "module", "tensor", "attention" or "loss".
        name: Its name; a star stands for the number of a layer, and layers are taken together by their RMS.
        quantity: Which quantity.
        step: After how many steps.
        slope: The fitted exponent.
        low: Lower end of its 95% interval; infinite where two sizes with one network each leave it open.
        high: Upper end.
        expected: The exponent of the theory; None where nothing is expected of it.
        verdict: "pass", "fail", "undecided", or "" where nothing is expected.
    """

    axis: str
    kind: str
    name: str
    quantity: str
    step: int
    slope: float
    low: float
    high: float
    expected: float | None = None
    verdict: str = ""

    @property
    def excess(self) -> float:
        """Slope over what is expected."""
        return self.slope - (self.expected or 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


Series = dict[tuple[int, int, int], float]
"""Values by width, depth and seed."""


def series(rows: Iterable[Row]) -> dict[tuple[str, str, str, int], Series]:
    """Values of each quantity by kind, pattern of the name, quantity and step; those of equal layers as their RMS."""
    squares: dict[tuple[str, str, str, int], dict[tuple[int, int, int], list[float]]] = {}
    for row in rows:
        name = "*" if row.kind == "attention" else pattern(row.name)
        key = row.kind, name, row.quantity, row.step
        squares.setdefault(key, {}).setdefault((row.width, row.depth, row.seed), []).append(
            row.value**2
        )
    return {
        key: {size: math.sqrt(sum(each) / len(each)) for size, each in found.items()}
        for key, found in squares.items()
    }


def slopes(rows: Iterable[Row], axes: Mapping[str, Sequence[int]], *, joint: bool) -> list[Slope]:
    """The slope of every quantity in every axis; quantities that vanish or are not finite somewhere have none."""
    found = []
    for (kind, name, quantity, step), values in series(rows).items():
        for axis in axes:
            fitted = _fit(_along(values, axis, axes, joint=joint), axis, axes, joint=joint)
            if fitted is not None:
                slope, half = fitted
                found.append(
                    Slope(
                        axis=axis,
                        kind=kind,
                        name=name,
                        quantity=quantity,
                        step=step,
                        slope=slope,
                        low=slope - half,
                        high=slope + half,
                    )
                )
    return found


def _along(values: Series, axis: str, axes: Mapping[str, Sequence[int]], *, joint: bool) -> Series:
    """The values that tell of one axis: all of them on a grid, those with the other axis at its smallest elsewhere."""
    if joint or len(axes) == 1:
        return values
    other = 1 if axis == "width" else 0
    smallest = axes["depth" if axis == "width" else "width"][0]
    return {size: value for size, value in values.items() if size[other] == smallest}


def _fit(
    values: Series, axis: str, axes: Mapping[str, Sequence[int]], *, joint: bool
) -> tuple[float, float] | None:
    """Slope and half of its interval by least squares."""
    if not values or not all(value > 0 and math.isfinite(value) for value in values.values()):
        return None
    names = list(axes) if joint else [axis]
    sizes = np.log([[size[("width", "depth").index(name)] for name in names] for size in values])
    if np.ptp(sizes[:, names.index(axis)]) == 0:
        return None
    design = np.column_stack([np.ones(len(sizes)), sizes])
    y = np.log(list(values.values()))
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    freedom = len(y) - design.shape[1]
    if freedom < 1:
        return float(solution[1 + names.index(axis)]), math.inf
    error = float(((y - design @ solution) ** 2).sum()) / freedom
    spread = math.sqrt(
        error
        * float(np.linalg.pinv(design.T @ design)[1 + names.index(axis), 1 + names.index(axis)])
    )
    return float(solution[1 + names.index(axis)]), spread * (
        _T[freedom - 1] if freedom <= len(_T) else 2.0
    )
