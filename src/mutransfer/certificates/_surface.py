"""The loss over two hyperparameters: its lowest point, and the ridge through it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from ..core import (
    MEMORY,
    Drawn,
    Estimate,
    MutransferError,
    Result,
    Size,
    number,
    parsed,
    parsing,
    plain,
    value_at,
)
from ..statistics import Array, SurfaceFit, surface_optimum
from ..studies import Runs
from ._proxy import summary
from ._scales import decimal, interval_text
from ._surface_runs import SurfaceRuns, surface_runs


@dataclass(frozen=True, kw_only=True, repr=False)
class Surface(Result, Drawn):
    """The loss of one rule and size over two hyperparameters, near its lowest point.

    Places are on the scales of the two, as in `Transfer`. Lists of two have the first
    hyperparameter first. The curvature is in loss per square of these places.

    Attributes:
        rule: The rule.
        size: The size.
        over: The two hyperparameters.
        scales: Their scales, as in `Transfer.scale`.
        status: "inside", "open" where the grid does not bracket the optimum, or "flat".
        optimum: The place of the lowest loss.
        spread: Covariance of its draws.
        hessian: Curvature of the loss there.
        level: The lowest loss.
        ridge: Slope of the ridge: distance of the second for a distance 1 of the first.
        flatness: Curvature across the ridge over that along it, in `steps`.
        correlation: Correlation of the two among nearly equal losses; 0 where each can be tuned
            alone.
        shifts: Distance that the best value of each moves where the other is 1 further.
        points: First place, second place, mean loss of each point; infinite where it diverged.
        steps: The usual distance between neighbours, along each scale; an octave on log2.
        warnings: Reasons not to trust it.
    """

    rule: str
    size: Size
    over: tuple[str, str]
    scales: tuple[str, str]
    status: str
    optimum: tuple[Estimate, Estimate]
    spread: tuple[tuple[float, float], tuple[float, float]]
    hessian: tuple[tuple[float, float], tuple[float, float]]
    level: float
    ridge: Estimate
    flatness: Estimate
    correlation: Estimate
    shifts: tuple[Estimate, Estimate]
    points: tuple[tuple[float, float, float], ...]
    steps: tuple[float, float]
    warnings: tuple[str, ...] = ()

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The best values of the two by name."""
        pairs = zip(self.over, self.optimum, self.scales, strict=True)
        return {name: value_at(best.value, scale) for name, best, scale in pairs}

    @property
    def has_ridge(self) -> bool:
        """True if the two are seen to depend on each other."""
        return self.correlation.low > 0 or self.correlation.high < 0

    def __str__(self) -> str:
        names = zip(self.over, self.optimum, self.scales, strict=True)
        best = ", ".join(f"{name} {interval_text(place, scale)}" for name, place, scale in names)
        lines = [f"{self.rule} at {self.size}: {best} ({self.status})", f"  {self.ridge_text}"]
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])

    @property
    def ridge_text(self) -> str:
        """A sentence on the ridge."""
        first, second = self.over
        low, high = self.correlation.low, self.correlation.high
        correlation = f"correlation {self.correlation.value:+.2f} [{low:+.2f}, {high:+.2f}]"
        if not self.has_ridge:
            return (
                f"no ridge is seen, so that {first} and {second} can be tuned apart; {correlation}"
            )
        # The larger step of the two is the one that is named first.
        flip = abs(self.ridge.value) * self.steps[0] > 1.01 * self.steps[1]
        slope = 1 / self.ridge.value if flip else self.ridge.value
        order = (1, 0) if flip else (0, 1)
        start = self.steps[order[0]]
        one, other = (
            _move(self.over[i], self.scales[i], distance)
            for i, distance in zip(order, (start, slope * start), strict=True)
        )
        return (
            f"ridge: {one} goes with {other}; the loss is {self.flatness.value:.2g} "
            f"[{self.flatness.low:.2g}, {self.flatness.high:.2g}] times flatter along it than "
            f"across; {correlation}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the surface as data, with the best values."""
        data: dict[str, Any] = plain(vars(self) | {"hyperparameters": self.hyperparameters})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the surface that `to_json` wrote.

        Raises:
            MutransferError: the data is no surface.
        """
        with parsing("a surface written by Surface.to_json"):
            values = parsed(data)
            return cls(
                rule=values["rule"],
                size=Size(values["size"]),
                over=_pair(values["over"]),
                scales=_pair(values["scales"]),
                status=values["status"],
                optimum=_pair([Estimate.from_json(each) for each in values["optimum"]]),
                spread=_matrix(values["spread"]),
                hessian=_matrix(values["hessian"]),
                level=number(values["level"]),
                ridge=Estimate.from_json(values["ridge"]),
                flatness=Estimate.from_json(values["flatness"]),
                correlation=Estimate.from_json(values["correlation"]),
                shifts=_pair([Estimate.from_json(each) for each in values["shifts"]]),
                points=tuple((number(x), number(y), number(z)) for x, y, z in values["points"]),
                steps=_pair([number(each) for each in values["steps"]]),
                warnings=tuple(values["warnings"]),
            )


def surface(
    runs: Runs, rule: str, size: Size, over: tuple[str, str] = ("lr", "weight_decay")
) -> Surface:
    """Return the surface of the loss over two hyperparameters swept together.

    A quadratic is fitted near the lowest losses, with cubic terms and jumps of its curvature that
    are as likely as they are found to be. Errors are the seeds' noise, a slope of each seed's own,
    and a misfit of 15% of the excess, so that far points count little. Points that diverged only
    exclude the places nearest to them.

    Args:
        runs: The record.
        rule: The rule.
        size: The size.
        over: The two hyperparameters; others stay at their best values.

    Raises:
        MutransferError: the points do not show a surface: too few, or never varied together; or the
            record compares what is no loss.
    """
    if len(set(over)) != 2:
        raise MutransferError(f"a surface is over two hyperparameters, not {', '.join(over)}")
    runs.check_comparable()
    found = surface_runs(runs, rule, size, over)
    best = surface_optimum(found)
    fit, units = best.fit, found.units
    means = np.where(found.alive, found.losses.mean(0), np.inf)
    ends = zip(best.place.tolist(), best.low.tolist(), best.high.tolist(), strict=True)
    return Surface(
        rule=rule,
        size=size,
        over=over,
        scales=found.scales,
        status=best.status,
        optimum=_pair([Estimate(value=value, low=low, high=high) for value, low, high in ends]),
        spread=_covariance(best.spots),
        hessian=_matrix(fit.hessian / np.outer(units, units)),
        level=fit.level,
        **_shape(fit, best.kept, units),
        points=tuple((x, y, loss) for (x, y), loss in zip(found.places, means, strict=True)),
        steps=_pair(units),
        warnings=_warnings(best.status, found, over),
    )


def _shape(fit: SurfaceFit, kept: SurfaceFit, units: Float[Array, " 2"]) -> dict[str, Any]:
    """Return ridge, flatness, correlation and shifts with their intervals."""
    hessians = np.concatenate([fit.hessian[None], kept.hessians[kept.closed]])
    values, vectors = np.linalg.eigh(hessians)
    along = vectors[:, :, 0]
    # A direction has no sign: all are turned to that of the fit.
    turn = np.arctan2(
        along[:, 1] * along[0, 0] - along[:, 0] * along[0, 1],
        along[:, 0] * along[0, 0] + along[:, 1] * along[0, 1],
    )
    turn = (turn + math.pi / 2) % math.pi - math.pi / 2
    first = math.atan2(along[0, 1], along[0, 0])
    low, high = (first + float(np.quantile(turn, share)) for share in (0.025, 0.975))
    xx, xy, yy = hessians[:, 0, 0], hessians[:, 0, 1], hessians[:, 1, 1]
    ratio = float(units[1] / units[0])
    return {
        "ridge": _slope(first, low, high, ratio),
        "flatness": _interval(_ratio(values[:, 1], values[:, 0])),
        "correlation": _interval(np.clip(_ratio(-xy, np.sqrt(np.abs(xx * yy))), -1, 1)),
        "shifts": (_interval(_ratio(-xy, xx) / ratio), _interval(_ratio(-xy, yy) * ratio)),
    }


def _ratio(above: Float[Array, " draws"], below: Float[Array, " draws"]) -> Float[Array, " draws"]:
    """Return the quotient; infinite where the surface does not turn up."""
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.inf)


def _covariance(spots: Float[Array, "draws 2"]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the covariance of the draws that have a lowest point."""
    closed = spots[np.isfinite(spots).all(1)]
    return _matrix(np.cov(closed.T) if len(closed) > 1 else np.full((2, 2), np.nan))


def _slope(angle: float, low: float, high: float, ratio: float) -> Estimate:
    """Return the slope of a direction, with infinite ends around the vertical."""
    upright = math.floor(angle / math.pi - 0.5), math.floor(angle / math.pi + 0.5)
    ends = [(turn + 0.5) * math.pi for turn in (upright[0], upright[1])]
    value = math.tan(angle) * ratio
    return Estimate(
        value=value,
        low=-math.inf if low <= ends[0] or high >= ends[1] else min(value, math.tan(low) * ratio),
        high=math.inf if low <= ends[0] or high >= ends[1] else max(value, math.tan(high) * ratio),
    )


def _interval(draws: Float[Array, " draws"]) -> Estimate:
    """Return the first value, that of the fit, with the interval of all."""
    spread, value = summary(draws), float(draws[0])
    return Estimate(value=value, low=min(spread.low, value), high=max(spread.high, value))


def _warnings(status: str, found: SurfaceRuns, over: tuple[str, str]) -> tuple[str, ...]:
    first, second = over
    texts = {
        "open": f"the grid does not bracket the best {first} and {second}: extend it along the "
        "ridge, in both together",
        "flat": f"the loss hardly depends on {first} and {second} here",
    }
    one = "one seed: its own optimum is assumed to be off by 0.2 octaves, or a quarter of a step"
    return tuple(
        text
        for text in (texts.get(status, ""), one if len(found.losses) == 1 else "", found.note)
        if text
    )


def _move(name: str, scale: str, distance: float) -> str:
    """Return a move along a scale, such as "lr x 2" or "(1 - beta2) / 2"."""
    if scale == "log2":
        factor = 2.0**distance
        return f"{name} x {factor:.2g}" if factor >= 1 else f"{name} / {1 / factor:.2g}"
    if scale == MEMORY:
        # A longer memory is a smaller 1 - beta.
        return _move(f"(1 - {name})", "log2", -distance)
    return f"{name} {'+' if distance >= 0 else '-'} {decimal(abs(distance), scale)}"


def _pair(values: Any) -> tuple[Any, Any]:
    first, second = values
    return (
        first.item() if isinstance(first, np.generic) else first,
        second.item() if isinstance(second, np.generic) else second,
    )


def _matrix(values: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = values
    return (number(a), number(b)), (number(c), number(d))
