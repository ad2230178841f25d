"""Transfer from theory alone: the loss of infinitely wide networks as a function of a hyperparameter, at finite and infinite depth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, about, write_csv
from ..statistics import edge, vertex
from ._activations import Array
from ._limit import Diverged, Unsettled, hopeless
from ._nonlinear import Report
from ._problem import Depth, Problem
from ._simulate import simulate
from ._solve import solve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vary = Callable[[Problem, float], Problem]
"""The problem with one hyperparameter set to a value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """The loss of one size as a function of the hyperparameter.

    Attributes:
        width: Width; infinite for the limit.
        depth: Depth, or math.inf.
        losses: At every value, (values,); infinite where training diverges. The mean over networks where the width is finite.
        errors: Standard errors of these, (values,); zero where nothing is sampled.
        optimum: The value of lowest loss by a parabola through three points, or None where the lowest lies at the edge of the values.
    """

    width: float
    depth: Depth
    losses: Float[Array, " values"]
    errors: Float[Array, " values"]
    optimum: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Landscape:
    """Losses over one hyperparameter, for the limit at several depths and for finite networks beside it.

    Attributes:
        problem: What was varied.
        over: Name of the hyperparameter.
        values: Its values, (values,).
        metric: "final" loss, or the "mean" loss over all times.
        curves: The limit's curves by depth, then those of finite networks.
    """

    problem: Problem
    over: str
    values: Float[Array, " values"]
    metric: Literal["final", "mean"]
    curves: tuple[Curve, ...]

    @property
    def logarithmic(self) -> bool:
        """Whether values are spaced evenly on a logarithmic scale rather than on a linear one."""
        return _is_logarithmic(self.values)

    def __str__(self) -> str:
        """A row for each size: its optimum, and its lowest loss."""
        title = f"{scaling(self.problem)}: best {self.over} by {self.metric} loss"
        lines = [title, f"{'width':>7} {'depth':>6} {'optimum':>12} {'lowest loss':>12}"]
        for curve in self.curves:
            best = (
                "at the edge"
                if curve.optimum is None
                else f"2^{math.log2(curve.optimum):.2f}"
                if self.logarithmic
                else f"{curve.optimum:.3g}"
            )
            lowest = float(curve.losses.min())
            shown = "diverges" if math.isinf(lowest) else f"{lowest:.4g}"
            lines.append(
                f"{curve.width:>7g} {curve.depth:>6g} {'' if shown == 'diverges' else best:>12} {shown:>12}"
            )
        return "\n".join(lines)

    def drift(self) -> float:
        """How far the limit's optimum moves from the smallest depth to the largest: octaves, or the value's unit on a linear scale.

        Raises:
            MutransferError: one of the two optima is not bracketed.
        """
        limits = [curve for curve in self.curves if math.isinf(curve.width)]
        first, last = limits[0], limits[-1]
        for curve in (first, last):
            if curve.optimum is None:
                raise MutransferError(
                    f"at depth {curve.depth:g} the best {self.over} lies at the edge of the values, {self.values[0]:g} to "
                    f"{self.values[-1]:g}; add values beyond it"
                )
        assert first.optimum is not None and last.optimum is not None
        return (
            math.log2(last.optimum / first.optimum)
            if self.logarithmic
            else last.optimum - first.optimum
        )

    def rows(self) -> list[dict[str, Any]]:
        """One plain row for every size and value; infinite sizes and losses as "inf"."""
        return [
            {
                "width": _plain(curve.width),
                "depth": _plain(curve.depth),
                self.over: float(value),
                "loss": _plain(loss),
                "standard_error": float(error),
                "optimum": curve.optimum,
            }
            for curve in self.curves
            for value, loss, error in zip(self.values, curve.losses, curve.errors, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything that was found, and what made it, as plain data."""
        return {
            "problem": self.problem.describe(),
            "over": self.over,
            "metric": self.metric,
            "values": self.values.tolist(),
            "curves": [
                {
                    "width": _plain(curve.width),
                    "depth": _plain(curve.depth),
                    "losses": [_plain(loss) for loss in curve.losses],
                    "standard_errors": curve.errors.tolist(),
                    "optimum": curve.optimum,
                }
                for curve in self.curves
            ],
            "about": about(),
        }

    def figure(self) -> Figure:
        """Loss over the hyperparameter, a line for each depth of the limit with its optimum, marks for finite networks.

        Raises:
            MutransferError: matplotlib is missing.
        """
        from ..figures import landscape_figure

        return landscape_figure([self])

    def save(self, out: str | Path) -> None:
        """Write limit.json, limit.csv and the figure, limit.png and limit.svg, into this folder.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        save_landscapes([self], out)


def landscape(
    problem: Problem,
    *,
    values: Sequence[float],
    depths: Sequence[Depth],
    over: str | tuple[str, Vary] = "lr",
    metric: Literal["final", "mean"] = "mean",
    widths: Sequence[int] = (),
    seeds: int = 4,
    accuracy: float = 0.02,
    report: Report | None = None,
) -> Landscape:
    """The loss of infinitely wide networks as a function of a hyperparameter: where its optimum lies, and whether it moves with depth.

    Nothing is trained for the limit; it takes the place of a sweep of infinitely many networks. With branches of scale 1 / sqrt(depth)
    the optimum converges (2309.16620, Figure 1 for finite networks); without, it runs away.

    Args:
        problem: The network, its data and training.
        values: The hyperparameter's values, ascending.
        depths: Depths of the limit, ascending; math.inf among them.
        over: The hyperparameter: "lr", "momentum", "weight_decay", "gamma0" or "beta0", or a name and a function that sets it, such as
            ("half time", lambda problem, value: replace(problem, schedule=lambda step: 0.5 ** (step / value))).
        metric: The "mean" loss over all times, or the "final" one.
        widths: Widths of finite networks to put beside the limit, at every finite depth.
        seeds: Finite networks of each size.
        accuracy: Of nonlinear limits, a share of the initial loss; where it is not reached, as near divergence, the curve's errors say so.
        report: Called as report(what, done, total) after every solution.

    Raises:
        MutransferError: there are no values or depths, they do not ascend, or the hyperparameter is unknown.
    """
    name, vary = _varied(over)
    if metric not in ("final", "mean"):
        raise MutransferError(f"metric is {metric!r}: give 'final' or 'mean'")
    for what, given in (("values", values), ("depths", depths)):
        if not len(given) or list(given) != sorted(set(given)):
            raise MutransferError(f"{what} are {list(given)}: give at least one, ascending")
    for depth in depths:
        problem.check_depth(depth)
    if len(widths) and all(math.isinf(depth) for depth in depths):
        raise MutransferError(
            f"widths {list(widths)} have no finite depth to be trained at: give one beside infinite depth"
        )
    grid = np.array(values, dtype=np.float64)
    sizes: list[tuple[float, Depth]] = [(math.inf, depth) for depth in depths]
    sizes += [(width, depth) for width in widths for depth in depths if not math.isinf(depth)]
    curves = []
    for number, (width, depth) in enumerate(sizes):
        losses, errors = np.zeros((2, len(grid)))
        for i, value in enumerate(grid):
            own = vary(problem, float(value))
            losses[i], errors[i] = (
                _limit_loss(own, depth, metric, accuracy)
                if math.isinf(width)
                else _mean_loss(own, int(width), int(depth), seeds, metric)
            )
            if report is not None:
                report(
                    f"width {width:g}, depth {depth:g}",
                    number * len(grid) + i + 1,
                    len(sizes) * len(grid),
                )
        curves.append(
            Curve(
                width=width,
                depth=depth,
                losses=losses,
                errors=errors,
                optimum=_optimum(grid, losses),
            )
        )
    return Landscape(problem=problem, over=name, values=grid, metric=metric, curves=tuple(curves))


def save_landscapes(landscapes: Sequence[Landscape], out: str | Path) -> None:
    """As Landscape.save, with the panels of several landscapes side by side.

    Raises:
        MutransferError: the folder cannot be written, or matplotlib is missing.
    """
    from ..figures import save
    from ..figures import landscape_figure

    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "limit.json").write_text(
            json.dumps([each.to_json() for each in landscapes], indent=1) + "\n"
        )
    except OSError as error:
        raise MutransferError(
            f"cannot write to {folder}: {error.strerror}; give another folder"
        ) from None
    write_csv(
        folder / "limit.csv",
        [{"scaling": scaling(each.problem)} | row for each in landscapes for row in each.rows()],
    )
    save(landscape_figure(landscapes), folder / "limit")


def scaling(problem: Problem) -> str:
    """How branches scale with depth, in words."""
    if not problem.alpha:
        return "no depth scaling"
    return "branches × " + {0.5: "1/√depth", 1.0: "1/depth"}.get(
        problem.alpha, f"depth^-{problem.alpha:g}"
    )


_FIELDS = ("lr", "momentum", "weight_decay", "gamma0", "beta0")


def _varied(over: str | tuple[str, Vary]) -> tuple[str, Vary]:
    if not isinstance(over, str):
        return over
    if over not in _FIELDS:
        raise MutransferError(
            f"unknown hyperparameter {over!r}; choose one of {', '.join(_FIELDS)}, or give a name and a function"
        )
    return over, lambda problem, value: replace(problem, **{over: value})


def _limit_loss(
    problem: Problem, depth: Depth, metric: str, accuracy: float
) -> tuple[float, float]:
    try:
        found = solve(problem, depth, accuracy=accuracy)
    except Diverged:
        return math.inf, 0.0
    except Unsettled as error:
        found = error.limit
    errors = np.broadcast_to(found.losses_error, found.losses.shape)
    # Errors of one run's times go together, so that of their mean is at most the mean error.
    return (
        (float(found.losses[-1]), float(errors[-1]))
        if metric == "final"
        else (float(found.losses.mean()), float(errors.mean()))
    )


def _mean_loss(
    problem: Problem, width: int, depth: int, seeds: int, metric: str
) -> tuple[float, float]:
    losses = problem.losses(simulate(problem, width, depth, seeds))
    own = losses[:, -1] if metric == "final" else losses.mean(1)
    if hopeless(losses[:, :1], losses).any():
        return math.inf, 0.0
    return float(own.mean()), float(own.std(ddof=1) / seeds**0.5) if seeds > 1 else 0.0


def _is_logarithmic(values: Float[Array, " values"]) -> bool:
    if values[0] <= 0 or len(values) < 3:
        return bool(values[0] > 0)
    steps, ratios = np.diff(values), np.diff(np.log(values))
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(steps) / steps.mean())


def _optimum(values: Float[Array, " values"], losses: Float[Array, " values"]) -> float | None:
    if len(values) < 3 or edge(losses):
        return None
    logarithmic = _is_logarithmic(values)
    best = float(vertex(np.log2(values) if logarithmic else values, losses))
    return 2.0**best if logarithmic else best


def _plain(value: float) -> float | int | str:
    """A number that JSON knows."""
    return "inf" if math.isinf(value) else int(value) if value == int(value) else float(value)
