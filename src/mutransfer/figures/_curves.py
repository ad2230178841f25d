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
from ._canvas import drawing, lay_out, loss_ticks
from ..report._section import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_ROOM = 0.06
_STRETCHES = 50
_LONGEST_NAME = 26


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The loss of one run at every step.

    Attributes:
        name: What to call it in the figure.
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
                f"curve {self.name!r} has {len(self.losses)} losses at {len(self.steps)} steps: give one for each"
            )

    def points(self) -> tuple[Float[Array, " steps"], Float[Array, " steps"]]:
        """Steps and losses; NaN for what a logarithmic axis cannot show."""
        losses = np.array(
            [np.nan if loss is None else loss for loss in self.losses], dtype=np.float64
        )
        steps = np.arange(1, len(losses) + 1) if self.steps is None else self.steps
        return np.array(steps, dtype=np.float64), np.where(
            np.isfinite(losses) & (losses > 0), losses, np.nan
        )

    @property
    def diverged(self) -> bool:
        """Whether it has no loss at its last step."""
        return not np.isfinite(self.points()[1][-1])


def curves_figure(curves: Sequence[Curve], *, narrow: bool = False) -> Figure:
    """Loss against step on a logarithmic axis, each curve named at its end; a cross ends one that diverged.

    Args:
        curves: The curves.
        narrow: For small screens.

    Raises:
        MutransferError: there are no curves, or matplotlib is missing.
    """
    if not curves:
        raise MutransferError("the figure has no curves: give at least one")
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(4.2 if narrow else 6.6, 3.3))
        axes = figure.add_subplot()
        axes.set_yscale("log")
        axes.set_ylim(_limits(curves))
        axes.set_xlim(
            min(c.points()[0][0] for c in curves), max(c.points()[0][-1] for c in curves) + 1e-9
        )
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
        axes.set_ylabel("training loss")
        for number, curve in enumerate(curves):
            _draw(axes, curve, _COLOURS[number % len(_COLOURS)])
        loss_ticks(axes)
        _name(axes, curves)
        lay_out(figure)
    return figure


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """All losses, but for those far above the first ones."""
    finite = [losses[np.isfinite(losses)] for losses in (curve.points()[1] for curve in curves)]
    finite = [losses for losses in finite if len(losses)]
    if not finite:
        return 0.1, 1.0
    low, first = min(losses.min() for losses in finite), max(losses[0] for losses in finite)
    high = min(max(losses.max() for losses in finite), 3 * first)
    margin = max((high / low) ** _ROOM, 1.05)
    return float(low / margin), float(high * margin)


def _draw(axes: Axes, curve: Curve, colour: str) -> None:
    """The losses, faint under their running mean where there are many."""
    steps, losses = curve.points()
    many = len(losses) > 2 * _STRETCHES
    axes.plot(
        steps,
        losses,
        color=colour,
        linewidth=0.6 if many else 1.5,
        alpha=0.3 if many else 1.0,
        label=curve.name,
    )
    if many:
        axes.plot(*_smooth(steps, losses), color=colour, linewidth=1.6, label="_smooth")
    smooth_steps, smooth = _smooth(steps, losses)
    if curve.diverged and len(smooth):
        style: dict[str, Any] = {
            "marker": "x",
            "markersize": 7,
            "markeredgewidth": 1.8,
            "clip_on": False,
            "zorder": 5,
        }
        axes.plot(
            smooth_steps[-1],
            min(smooth[-1], axes.get_ylim()[1]),
            color=colour,
            label="_diverged",
            **style,
        )


def _smooth(
    steps: Float[Array, " steps"], losses: Float[Array, " steps"]
) -> tuple[Float[Array, " bins"], Float[Array, " bins"]]:
    """First loss, means over equal stretches of what there is, and the last mean once more, at the end."""
    finite = np.isfinite(losses)
    middles, means = [], []
    for start, stop in pairwise(np.linspace(0, len(losses), _STRETCHES + 1).astype(int)):
        if (own := finite[start:stop]).any():
            middles.append(float(steps[start:stop][own].mean()))
            means.append(float(losses[start:stop][own].mean()))
    steps, losses = steps[finite], losses[finite]
    return np.array([*steps[:1], *middles, *steps[-1:]]), np.array(
        [*losses[:1], *means, *means[-1:]]
    )


def _name(axes: Axes, curves: Sequence[Curve]) -> None:
    """Each curve's name beside its end, or at its cross, moved apart where ends are close."""
    low, high = np.log(axes.get_ylim())
    start, end = axes.get_xlim()
    for diverged in (False, True):
        own = [number for number, curve in enumerate(curves) if curve.diverged == diverged]
        ends = [_smooth(*curves[number].points()) for number in own]
        places = [
            float(np.clip((np.log(losses[-1]) - low) / (high - low), 0, 1)) if len(losses) else 1.0
            for _, losses in ends
        ]
        for number, (steps, _), place in zip(own, ends, _apart(places), strict=True):
            across = (steps[-1] - start) / (end - start) if diverged and len(steps) else 1.0
            left = diverged and across > 0.6
            lines = textwrap.wrap(curves[number].name, _LONGEST_NAME) or [""]
            axes.annotate(
                "\n".join([*lines, "diverged"] if diverged else lines),
                (across, place),
                (-8 if left else 8, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                parse_math=False,
                color=_COLOURS[number % len(_COLOURS)],
                fontsize=8,
                linespacing=1.1,
                ha="right" if left else "left",
                va="center",
            )


def _apart(places: Sequence[float], gap: float = 0.12) -> list[float]:
    """Moves places up until they are a gap apart, and then all down again by what is too high.

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
