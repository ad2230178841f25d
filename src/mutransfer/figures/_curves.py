"""Loss against step, for a few runs by name."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ..statistics import Array
from ._canvas import drawing, lay_out, loss_ticks
from ._draw import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The palette of Okabe and Ito, distinct to all kinds of colour vision."""

_MARGIN = 0.06
"""Share of the range of losses that stays free above and below them."""

_STRETCHES = 50
"""Points of a running mean."""

_LONGEST_NAME = 26
_GAP = 0.12
"""Least distance of two names, as a share of the height of the figure."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The loss of one run at every step.

    Attributes:
        name: Its name in the figure.
        losses: The losses; None, NaN or infinity where there is none.
        steps: The steps they were taken at; 1, 2, ... by default.

    Raises:
        MutransferError: there are no losses, or not one for each step.
    """

    name: str
    losses: Sequence[float | None]
    steps: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if len(self.losses) == 0:
            raise MutransferError(f"curve {self.name!r} has no losses")
        if self.steps is not None and len(self.steps) != len(self.losses):
            raise MutransferError(
                f"curve {self.name!r} has {len(self.losses)} losses at {len(self.steps)} steps: "
                "give one for each"
            )

    def points(self) -> tuple[Float[Array, " steps"], Float[Array, " steps"]]:
        """Return steps and losses, with NaN for what a logarithmic axis cannot show."""
        numbers = [np.nan if loss is None else loss for loss in self.losses]
        losses = np.array(numbers, dtype=np.float64)
        steps = np.arange(1, len(losses) + 1) if self.steps is None else self.steps
        shown = np.where(np.isfinite(losses) & (losses > 0), losses, np.nan)
        return np.array(steps, dtype=np.float64), shown

    @property
    def diverged(self) -> bool:
        """True if it has no loss at its last step."""
        return not np.isfinite(self.points()[1][-1])


def curves_figure(curves: Sequence[Curve]) -> Figure:
    """Draw loss against step, on a logarithmic axis of losses.

    Each curve is named at its end; a cross ends one that diverged.

    Args:
        curves: The curves.

    Raises:
        MutransferError: there are no curves, or matplotlib is missing.
    """
    if not curves:
        raise MutransferError("the figure has no curves: give at least one")
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(6.6, 3.3))
        axes = figure.add_subplot()
        axes.set_yscale("log")
        axes.set_ylim(_limits(curves))
        steps = [curve.points()[0] for curve in curves]
        # One step alone would give limits of no extent, which matplotlib warns of.
        axes.set_xlim(min(each[0] for each in steps), max(each[-1] for each in steps) + 1e-9)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
        axes.set_ylabel("training loss")
        for number, curve in enumerate(curves):
            _draw_curve(axes, curve, _colour(number))
        loss_ticks(axes)
        _name(axes, curves)
        lay_out(figure)
    return figure


@draw.register(Curve)
def _(curve: Curve) -> Figure:
    return curves_figure([curve])


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return limits that hold all losses, but for those far above the first ones."""
    finite = [losses[np.isfinite(losses)] for losses in (curve.points()[1] for curve in curves)]
    finite = [losses for losses in finite if len(losses)]
    if not finite:
        return 0.1, 1.0
    low, first = min(losses.min() for losses in finite), max(losses[0] for losses in finite)
    high = min(max(losses.max() for losses in finite), 3 * first)
    margin = max((high / low) ** _MARGIN, 1.05)
    return float(low / margin), float(high * margin)


def _draw_curve(axes: Axes, curve: Curve, colour: str) -> None:
    """Draw the losses, faint under their running mean where there are many."""
    steps, losses = curve.points()
    smooth_steps, smooth = _smooth(steps, losses)
    many = len(losses) > 2 * _STRETCHES
    style: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.3} if many else {"linewidth": 1.5}
    axes.plot(steps, losses, color=colour, label=curve.name, **{"alpha": 1.0, **style})
    if many:
        axes.plot(smooth_steps, smooth, color=colour, linewidth=1.6, label="_smooth")
    if curve.diverged and len(smooth):
        height = min(smooth[-1], axes.get_ylim()[1])
        cross: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 1.8}
        place: dict[str, Any] = {"clip_on": False, "zorder": 5, "label": "_diverged"}
        axes.plot(smooth_steps[-1], height, color=colour, **cross, **place)


def _smooth(
    steps: Float[Array, " steps"], losses: Float[Array, " steps"]
) -> tuple[Float[Array, " bins"], Float[Array, " bins"]]:
    """Return means over equal stretches of the curve.

    The first loss stands before them, and the last mean once more at the end, so that the line has
    the extent of the curve.
    """
    finite = np.isfinite(losses)
    middles, means = [], []
    for start, stop in pairwise(np.linspace(0, len(losses), _STRETCHES + 1).astype(int)):
        if (shown := finite[start:stop]).any():
            middles.append(float(steps[start:stop][shown].mean()))
            means.append(float(losses[start:stop][shown].mean()))
    steps, losses = steps[finite], losses[finite]
    all_steps = np.array([*steps[:1], *middles, *steps[-1:]])
    return all_steps, np.array([*losses[:1], *means, *means[-1:]])


def _name(axes: Axes, curves: Sequence[Curve]) -> None:
    """Write each curve's name at its end, moved apart where ends are close."""
    for diverged in (False, True):
        numbers = [number for number, curve in enumerate(curves) if curve.diverged == diverged]
        ends = [_end(axes, curves[number]) for number in numbers]
        heights = _apart([height for _, height in ends])
        for number, (across, _), height in zip(numbers, ends, heights, strict=True):
            _write_name(axes, curves[number], across, height, _colour(number))


def _end(axes: Axes, curve: Curve) -> tuple[float, float]:
    """Return the end of a curve, as shares of the width and height of the axes.

    A curve that did not diverge is named at the right edge.
    """
    low, high = np.log(axes.get_ylim())
    start, end = axes.get_xlim()
    steps, losses = _smooth(*curve.points())
    if not len(losses):
        return 1.0, 1.0
    across = (steps[-1] - start) / (end - start) if curve.diverged else 1.0
    return float(across), float(np.clip((np.log(losses[-1]) - low) / (high - low), 0, 1))


def _write_name(axes: Axes, curve: Curve, across: float, height: float, colour: str) -> None:
    """Write a name to the right of this place, or to the left of a cross far right."""
    left = curve.diverged and across > 0.6
    lines = textwrap.wrap(curve.name, _LONGEST_NAME) or [""]
    axes.annotate(
        "\n".join([*lines, "diverged"] if curve.diverged else lines),
        (across, height),
        (-8 if left else 8, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        parse_math=False,
        color=colour,
        fontsize=8,
        linespacing=1.1,
        ha="right" if left else "left",
        va="center",
    )


def _apart(places: Sequence[float], gap: float = _GAP) -> list[float]:
    """Move places up until they are a gap apart, then down again by what is too high.

    >>> [round(place, 2) for place in _apart([0.5, 0.5, 0.1])]
    [0.5, 0.62, 0.1]
    """
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: places[i])
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    ceiling = 1.0
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved
