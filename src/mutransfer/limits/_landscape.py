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
from jaxtyping import Float

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
class Curve:
    """The loss of one size as a function of the hyperparameter.

    Attributes:
        width: Width; infinite for the limit.
        depth: Depth, or math.inf.
        losses: Loss at every value, (values,); infinite where training diverges. At finite width
            the mean over networks.
        errors: Standard errors of the losses, (values,); zero where nothing is sampled.
        optimum: Value of lowest loss, by a parabola through three points; None where the lowest
            lies at the edge of the values.
    """

    width: float
    depth: Depth
    losses: Float[Array, " values"]
    errors: Float[Array, " values"]
    optimum: float | None

    @property
    def size(self) -> dict[str, Any]:
        """Width and depth as plain data."""
        sizes: dict[str, Any] = plain({"width": self.width, "depth": self.depth})
        return sizes

    def to_json(self) -> dict[str, Any]:
        """Return the curve as plain data."""
        values = {"losses": self.losses, "standard_errors": self.errors, "optimum": self.optimum}
        data: dict[str, Any] = self.size | plain(values)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Curve:
        """Return the curve that `to_json` wrote."""
        optimum = data["optimum"]
        return cls(
            width=size(data["width"]),
            depth=size(data["depth"]),
            losses=array(data["losses"]),
            errors=array(data["standard_errors"]),
            optimum=None if optimum is None else number(optimum),
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
        about: Versions, device, command and date.
    """

    problem: Problem
    over: str
    values: Float[Array, " values"]
    metric: Metric
    curves: tuple[Curve, ...]
    about: Mapping[str, Any] = field(default_factory=about)

    @property
    def logarithmic(self) -> bool:
        """True if the values are more even on a logarithmic scale than on a linear one."""
        return is_logarithmic(self.values)

    def __str__(self) -> str:
        title = f"{scaling(self.problem)}: best {self.over} by {self.metric} loss"
        header = f"{'width':>7} {'depth':>6} {'optimum':>12} {'lowest loss':>12}"
        return "\n".join([title, header, *map(self._line, self.curves)])

    def _line(self, curve: Curve) -> str:
        lowest = float(curve.losses.min())
        if math.isinf(lowest):
            optimum, loss = "", "diverges"
        else:
            optimum, loss = self._optimum(curve), f"{lowest:.4g}"
        return f"{curve.width:>7g} {curve.depth:>6g} {optimum:>12} {loss:>12}"

    def _optimum(self, curve: Curve) -> str:
        if curve.optimum is None:
            return "at the edge"
        if self.logarithmic:
            return f"2^{math.log2(curve.optimum):.2f}"
        return f"{curve.optimum:.3g}"

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
            }
            for curve in self.curves
            for value, loss, error in zip(self.values, curve.losses, curve.errors, strict=True)
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
