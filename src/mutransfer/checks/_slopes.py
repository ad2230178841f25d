"""Exponents of measured quantities in width and depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core import number, plain
from ..statistics import PowerLaw, moderated, power_laws, student_t
from ._quantities import AXES, QUANTITIES, Quantity, When
from ._rows import Row


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The exponent with which one quantity grows along one axis.

    Attributes:
        axis: "width" or "depth".
        kind: Kind of the measured thing: "module", "tensor", "attention" or "loss".
        name: Its label: the name with a star for the number of a layer in a run. Layers of one
            label are taken together by their RMS, and so are all attentions, under the name "*".
        quantity: Name of the quantity, as in `QUANTITIES`.
        step: Number of steps after which it was measured.
        slope: The fitted exponent.
        low: Lower end of its 95% interval; -inf where two sizes with one network each leave it
            open.
        high: Upper end.
        expected: The exponent of the theory; None where nothing is expected.
        verdict: "pass", "fail" or "undecided"; empty where the exponent is not judged.
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
        """Measured exponent less the expected one."""
        return self.slope - (self.expected or 0.0)

    @property
    def subject(self) -> str:
        """The measured thing in a sentence: its label, or what the table calls it."""
        return "the attention logits" if self.kind == "attention" else self.name or "the output"

    @property
    def measured(self) -> Quantity:
        """The quantity, as the table has it."""
        return QUANTITIES[self.kind, self.quantity]

    def measures(self, quantity: Quantity) -> bool:
        """Return True if the exponent is of this quantity."""
        return (self.kind, self.quantity) == quantity.key

    def to_json(self) -> dict[str, Any]:
        """Return the exponent as data."""
        data: dict[str, Any] = plain(asdict(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slope:
        """Return the exponent that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the data is no exponent.
        """
        numbers = {name: number(data[name]) for name in ("slope", "low", "high")}
        expected = None if data["expected"] is None else number(data["expected"])
        return cls(**{**data, **numbers, "expected": expected})


Series = dict[tuple[int, int, int], float]
"""Values by width, depth and seed."""

Key = tuple[str, str, str, int]
"""Kind, label, quantity and step."""


def series(rows: Iterable[Row]) -> dict[Key, Series]:
    """Return the values of each quantity, by kind, label, quantity and step.

    Layers of one label are taken together by their RMS.
    """
    squares: dict[Key, dict[tuple[int, int, int], list[float]]] = {}
    for row in rows:
        values = squares.setdefault((row.kind, row.label, row.quantity, row.step), {})
        values.setdefault((row.width, row.depth, row.seed), []).append(row.value**2)
    return {
        key: {network: math.sqrt(sum(each) / len(each)) for network, each in values.items()}
        for key, values in squares.items()
    }


def slopes(rows: Iterable[Row], axes: Mapping[str, Sequence[int]], *, joint: bool) -> list[Slope]:
    """Fit the exponent of every quantity along every axis.

    Three sizes with one seed each leave one degree of freedom, too few for an interval. So the
    variances of all modules and all quantities that are judged at one moment are moderated by each
    other (`moderated`).

    Args:
        rows: The measured numbers.
        axes: The sizes along each axis.
        joint: True if every width was combined with every depth; the exponents of both are then
            fitted together.

    Returns:
        The exponents; quantities that vanish or are not finite at some size have none.
    """
    laws = _laws(series(rows), axes, joint=joint)
    alike: dict[tuple[str, int, str], list[tuple[str, Key]]] = {}
    for axis, key in laws:
        kind, _, quantity, step = key
        is_judged = QUANTITIES[kind, quantity].judged != When.NEVER
        family = "judged" if is_judged else f"{kind} {quantity}"
        alike.setdefault((axis, step, family), []).append((axis, key))
    known: dict[tuple[str, Key], tuple[float, float]] = {}
    for keys in alike.values():
        family_laws = [laws[key] for key in keys]
        variances = [law.variance for law in family_laws]
        freedoms = [law.freedom for law in family_laws]
        known |= zip(keys, moderated(variances, freedoms), strict=True)
    return [
        _slope(axis, key, law, (list(axes) if joint else [axis]).index(axis), *known[axis, key])
        for (axis, key), law in laws.items()
    ]


def _slope(
    axis: str, key: Key, law: PowerLaw, column: int, variance: float, freedom: float
) -> Slope:
    kind, name, quantity, step = key
    half = math.inf
    if freedom:
        half = math.sqrt(variance * law.spreads[column]) * student_t(freedom)
    exponent = law.exponents[column]
    return Slope(
        axis=axis,
        kind=kind,
        name=name,
        quantity=quantity,
        step=step,
        slope=exponent,
        low=exponent - half,
        high=exponent + half,
    )


def _along(values: Series, axis: str, axes: Mapping[str, Sequence[int]], *, joint: bool) -> Series:
    """Return the values along one axis: the other at its smallest, or the whole grid."""
    if joint or len(axes) == 1:
        return values
    other = 1 - AXES.index(axis)
    smallest = axes[AXES[other]][0]
    return {network: value for network, value in values.items() if network[other] == smallest}


def _laws(
    measured: Mapping[Key, Series], axes: Mapping[str, Sequence[int]], *, joint: bool
) -> dict[tuple[str, Key], PowerLaw]:
    """Fit the power laws of all quantities that vanish nowhere."""
    batches: dict[tuple[str, tuple[tuple[int, int, int], ...]], dict[Key, Series]] = {}
    for key, whole in measured.items():
        for axis in axes:
            values = _along(whole, axis, axes, joint=joint)
            if values and all(value > 0 and math.isfinite(value) for value in values.values()):
                batches.setdefault((axis, tuple(values)), {})[key] = values
    laws: dict[tuple[str, Key], PowerLaw] = {}
    for (axis, networks), batch in batches.items():
        columns = [AXES.index(name) for name in (axes if joint else [axis])]
        sizes = np.array([[network[column] for column in columns] for network in networks])
        if np.ptp(sizes[:, columns.index(AXES.index(axis))]) > 0:
            fitted = power_laws(sizes, np.array([list(each.values()) for each in batch.values()]))
            laws |= {(axis, key): law for key, law in zip(batch, fitted, strict=True)}
    return {
        (axis, key): laws[axis, key] for key in measured for axis in axes if (axis, key) in laws
    }
