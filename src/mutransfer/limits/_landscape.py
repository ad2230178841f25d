"""Loss of infinitely wide networks as a function of a hyperparameter: results.

Axes: values of the hyperparameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Float

from ..core import (
    Drawn,
    MutransferError,
    Result,
    about,
    number,
    parsed,
    parsing,
    plain,
    save_folder,
)
from ..statistics import Array
from ._json import array, fields_of, size
from ._problem import Depth, Problem, scaling

Metric = Literal["final", "mean"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Losses at values of a hyperparameter.

    Attributes:
        values: Values, ascending, (points,).
        losses: Their losses, as of `Curve`, (points,).
        errors: Their errors, as of `Curve`, (points,).
    """

    values: Float[Array, " points"] = field(default_factory=lambda: np.zeros(0))
    losses: Float[Array, " points"] = field(default_factory=lambda: np.zeros(0))
    errors: Float[Array, " points"] = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, solved: Mapping[float, tuple[float, float]]) -> Self:
        """Return the points of losses and errors by value."""
        values = sorted(solved)
        pairs = np.array([solved[value] for value in values]).reshape(-1, 2)
        return cls(values=np.array(values), losses=pairs[:, 0], errors=pairs[:, 1])

    def joined(self, other: Points) -> Points:
        """Return the points of both, ascending."""
        values = np.concatenate([self.values, other.values])
        order = np.argsort(values)
        return Points(
            values=values[order],
            losses=np.concatenate([self.losses, other.losses])[order],
            errors=np.concatenate([self.errors, other.errors])[order],
        )

    def at(self, chosen: Bool[Any, " points"]) -> Points:
        """Return some of the points."""
        return Points(
            values=self.values[chosen], losses=self.losses[chosen], errors=self.errors[chosen]
        )

    def to_json(self) -> dict[str, Any]:
        """Return the points as plain data."""
        data: dict[str, Any] = plain(
            {"values": self.values, "losses": self.losses, "standard_errors": self.errors}
        )
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Points:
        """Return the points that `to_json` wrote."""
        names = ("values", "losses", "standard_errors")
        values, losses, errors = (array(data.get(name, ())) for name in names)
        return cls(values=values, losses=losses, errors=errors)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """The loss of one size as a function of the hyperparameter.

    Attributes:
        width: Width; infinite for the limit.
        depth: Depth, or math.inf.
        losses: Loss at every given value, (values,); infinite where training diverges, NaN where a
            budget ended before anything was known. At finite width the mean over networks.
        errors: Errors of the losses, (values,), of which 1.96 are half the 95% interval; zero where
            nothing is sampled. At finite width the standard error.
        optimum: Value of lowest loss, among the further points as well; None where the lowest lies
            at the edge of the values. Where nothing is sampled it is settled to 1/64 of the
            distance of the given values.
        interval: 95% interval of the optimum where it is sampled: between the neighbours of all
            values whose losses cannot be told from the lowest.
        unsettled: Values whose sampled loss did not reach the accuracy.
        further: Points between the given values, solved to settle the optimum.
    """

    width: float
    depth: Depth
    losses: Float[Array, " values"]
    errors: Float[Array, " values"]
    optimum: float | None
    interval: tuple[float, float] | None = None
    unsettled: tuple[float, ...] = ()
    further: Points = field(default_factory=Points)

    @classmethod
    def of(cls, grid: Float[Array, " values"], points: Points, **rest: Any) -> Self:
        """Return the curve of points at the given values, and between them."""
        given = np.isin(points.values, grid)
        losses, errors = points.losses[given], points.errors[given]
        return cls(losses=losses, errors=errors, further=points.at(~given), **rest)

    @property
    def size(self) -> dict[str, Any]:
        """Width and depth as plain data."""
        sizes: dict[str, Any] = plain({"width": self.width, "depth": self.depth})
        return sizes

    def to_json(self) -> dict[str, Any]:
        """Return the curve as plain data."""
        values = {
            "losses": self.losses,
            "standard_errors": self.errors,
            "optimum": self.optimum,
            "interval": self.interval,
            "unsettled": self.unsettled,
            "further": self.further.to_json(),
        }
        data: dict[str, Any] = self.size | plain(values)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Curve:
        """Return the curve that `to_json` wrote."""
        optimum, ends = data["optimum"], data.get("interval")
        return cls(
            width=size(data["width"]),
            depth=size(data["depth"]),
            losses=array(data["losses"]),
            errors=array(data["standard_errors"]),
            optimum=None if optimum is None else number(optimum),
            interval=None if ends is None else (number(ends[0]), number(ends[1])),
            unsettled=tuple(map(number, data.get("unsettled", ()))),
            further=Points.from_json(data.get("further", {})),
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Landscape(Result, Drawn):
    """Losses over one hyperparameter, of limits and of finite networks.

    Attributes:
        problem: The problem that was varied.
        over: Name of the hyperparameter.
        values: Its values, (values,).
        metric: "final" loss, or the "mean" loss over all times.
        curves: The limit's curves by depth, then those of finite networks.
        accuracy: Accuracy that was asked of sampled losses, as a share of the initial loss; None
            where nothing was sampled.
        about: Versions, device, command and date.
    """

    problem: Problem
    over: str
    values: Float[Array, " values"]
    metric: Metric
    curves: tuple[Curve, ...]
    accuracy: float | None = None
    about: Mapping[str, Any] = field(default_factory=about)

    @property
    def logarithmic(self) -> bool:
        """True if the values are more even on a logarithmic scale than on a linear one."""
        return is_logarithmic(self.values)

    def points(self, curve: Curve) -> Points:
        """Return all points of a curve: at the given values, and those between them."""
        given = Points(values=self.values, losses=curve.losses, errors=curve.errors)
        return given.joined(curve.further)

    def __str__(self) -> str:
        title = f"{scaling(self.problem)}: best {self.over} by {self.metric} loss"
        header = f"{'width':>7} {'depth':>6} {'optimum':>12} {'lowest loss':>12}"
        if self.accuracy is not None:
            header = f"{header} {'95% interval':>14}  {'error':>8}"
        return "\n".join([title, header, *map(self._line, self.curves), *self._remarks()])

    def _line(self, curve: Curve) -> str:
        points = self.points(curve)
        known = ~np.isnan(points.losses)
        if not known.any():
            optimum, loss = "", "unknown"
        elif math.isinf(lowest := points.losses[known].min()):
            optimum, loss = "", "diverges"
        else:
            optimum, loss = self._optimum(curve), f"{lowest:.4g}"
        line = f"{curve.width:>7g} {curve.depth:>6g} {optimum:>12} {loss:>12}"
        if self.accuracy is None or not optimum:
            return line
        ends = "" if curve.interval is None else " to ".join(map(self._value, curve.interval))
        return f"{line} {ends:>14}  {1.96 * points.errors[np.nanargmin(points.losses)]:>8.2g}"

    def _remarks(self) -> Iterator[str]:
        """Yield which values did not reach the accuracy, a line for each depth."""
        for curve in self.curves:
            if not curve.unsettled:
                continue
            points = self.points(curve)
            chosen = np.isin(points.values, curve.unsettled)
            errors = 1.96 * points.errors[chosen & ~np.isnan(points.losses)]
            known = f"errors up to {errors.max():.2g}" if len(errors) else "nothing known"
            if unknown := int((chosen & np.isnan(points.losses)).sum()):
                known = f"{known}, {unknown} without any estimate" if len(errors) else known
            named = ", ".join(map(self._value, curve.unsettled))
            yield (
                f"depth {curve.depth:g}: accuracy {self.accuracy:g} not reached at "
                f"{self.over} {named}; {known}"
            )

    def _optimum(self, curve: Curve) -> str:
        return "at the edge" if curve.optimum is None else self._value(curve.optimum)

    def _value(self, value: float) -> str:
        if not self.logarithmic:
            return f"{value:.3g}"
        octave = f"{math.log2(value):.2f}"
        return f"2^{octave.removesuffix('.00') if value in self.values else octave}"

    def drift(self) -> float:
        """Return the shift of the limit's optimum from the smallest depth to the largest.

        It is in octaves, or on a linear scale in the unit of the values.

        Raises:
            MutransferError: one of the two optima lies at the edge of the values.
        """
        limits = [curve for curve in self.curves if math.isinf(curve.width)]
        first, last = (self._inner_optimum(curve) for curve in (limits[0], limits[-1]))
        return math.log2(last / first) if self.logarithmic else last - first

    def _inner_optimum(self, curve: Curve) -> float:
        if curve.optimum is None:
            raise MutransferError(
                f"at depth {curve.depth:g} the best {self.over} lies at the edge of the values, "
                f"{self.values[0]:g} to {self.values[-1]:g}; add values beyond it"
            )
        return curve.optimum

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row for every size and value; what is infinite as "inf"."""
        return [
            {
                **curve.size,
                self.over: float(value),
                "loss": plain(float(loss)),
                "standard_error": float(error),
                "optimum": curve.optimum,
                "settled": float(value) not in curve.unsettled,
                "further": value in curve.further.values,
            }
            for curve in self.curves
            for points in [self.points(curve)]
            for value, loss, error in zip(points.values, points.losses, points.errors, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the landscape that `to_json` wrote.

        Raises:
            MutransferError: the data is no landscape, or its problem has an activation or loss of
                the user's own.
        """
        with parsing("a landscape written by Landscape.to_json"):
            given = parsed(data)
            return cls(
                problem=Problem.from_json(given.pop("problem")),
                values=array(given.pop("values")),
                curves=tuple(map(Curve.from_json, given.pop("curves"))),
                **given,
            )

    def save(self, out: str | Path) -> Path:
        """Write limit.txt, .json, .csv, .png and .svg into this folder.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        return Landscapes(landscapes=(self,)).save(out)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Landscapes(Result, Drawn):
    """Several landscapes, to be compared: a panel each, on common scales.

    Attributes:
        landscapes: The landscapes.
    """

    landscapes: tuple[Landscape, ...]

    def __len__(self) -> int:
        return len(self.landscapes)

    def __iter__(self) -> Iterator[Landscape]:
        return iter(self.landscapes)

    def __getitem__(self, index: int) -> Landscape:
        return self.landscapes[index]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.landscapes))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of all landscapes, with the scaling of their branches."""
        return [
            {"scaling": scaling(landscape.problem)} | row
            for landscape in self.landscapes
            for row in landscape.rows()
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {"landscapes": plain(self.landscapes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the landscapes that `to_json` wrote.

        Raises:
            MutransferError: the data is no landscapes.
        """
        with parsing("landscapes written by Landscapes.to_json"):
            given = parsed(data)["landscapes"]
            return cls(landscapes=tuple(map(Landscape.from_json, given)))

    def save(self, out: str | Path) -> Path:
        """Write limit.txt, .json, .csv, .png and .svg into this folder.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        return save_folder(self, self.rows(), out, name="limit")


def is_logarithmic(values: Float[Array, " values"]) -> bool:
    """Return True if ratios of the values are more even than their differences."""
    if values[0] <= 0 or len(values) < 3:
        return bool(values[0] > 0)
    steps, ratios = np.diff(values), np.diff(np.log(values))
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(steps) / steps.mean())
