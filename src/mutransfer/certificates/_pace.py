"""The pace of training: how far a metric falls where a run is longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size, varying
from ..statistics import Array, infinite
from ..studies import Runs
from ._decay import DRAWS, Decay, decay

LONGEST = 3.0
"""Largest share of the run that is added: beyond it, a law of one run is a guess."""

SHARES = np.concatenate([[0.0], np.geomspace(1e-4, LONGEST, 200)])
"""Shares of the run that are added to it."""

_FROM = 0.25
"""Share of the run from which on its curve is fitted: earlier losses follow other laws."""

_FEWEST_POINTS = 6
_LONGER = ("steps", "tokens")
"""Axes along which a run is longer and nothing else differs."""

_POWERS = (0.05, 2.0)
"""Smallest and largest power of losses in steps: .1 to 1 in what is published."""

_ASSUMED_ERROR = 0.05
"""Error of best losses of one seed, as a share of their range."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pace:
    """The fall of the metric where the runs of one size are longer.

    Attributes:
        falls: Draws of the metric now less the metric of a run that is longer by each of `SHARES`.
        source: The runs that show it, in words.
    """

    falls: Float[Array, "draws shares"]
    source: str


def pace(runs: Runs, rule: str, size: Size, over: str = "lr") -> Pace:
    """Return the pace at one size, from other lengths or else from loss curves.

    Runs of other lengths are those that differ in steps or tokens alone: their best losses follow a
    power law with a limit. Of one length, a power law is fitted to the last three quarters of the
    curves of the best value. A final loss is the end of the curve; a mean loss over a run falls as
    (mean - end of the curve) / length.

    Raises:
        MutransferError: there are neither other lengths nor curves, or the schedule lowers the rate
            at the end, so that the curve is not that of a longer run.
    """
    lengths = _other_lengths(runs, rule, size)
    return _of_lengths(runs, rule, lengths, over) if lengths else _of_curves(runs, rule, size, over)


def _other_lengths(runs: Runs, rule: str, size: Size) -> list[Size]:
    """Return this size and those that differ from it in length alone, this one first."""
    others = [each for each in runs.sizes(rule) if each != size]
    for axis in _LONGER:
        alike = [each for each in others if varying([size, each]) == [axis]]
        if alike:
            return [size, *alike]
    return []


def _of_lengths(runs: Runs, rule: str, sizes: list[Size], over: str) -> Pace:
    """Return the pace that the best losses of several lengths show."""
    (axis,) = varying(sizes)
    best, errors, lengths = [], [], []
    for size in sizes:
        losses = infinite(runs.grid(rule, size, over)[2])
        column = losses[:, int(np.argmin(losses.mean(0)))]
        if np.isfinite(column).all():
            best.append(float(column.mean()))
            errors.append(float(column.std(ddof=1) / len(column) ** 0.5) if len(column) > 1 else 0)
            lengths.append(size[axis] / sizes[0][axis])
    if len(best) < 2 or lengths[0] != 1.0:
        raise MutransferError(f"too few lengths of rule {rule!r} have a run that did not diverge")
    least = _ASSUMED_ERROR * (max(best) - min(best))
    law = decay(
        np.array(lengths),
        np.array(best),
        np.maximum(errors, max(least, 1e-9 * abs(best[0]))),
        powers=_POWERS,
    )
    now, *later = law.at(np.concatenate([[1.0], 1 + SHARES])).T
    return Pace(
        falls=now[:, None] - np.stack(later, axis=-1),
        source=f"best losses at {len(best)} lengths ({axis})",
    )


def _of_curves(runs: Runs, rule: str, size: Size, over: str) -> Pace:
    """Return the pace that the loss curves of the best value show."""
    rows = _best_rows(runs, rule, size, over)
    schedules = {str(row.get("schedule", "constant")) for row in rows}
    if schedules != {"constant"}:
        raise MutransferError(
            f"the schedule is {', '.join(sorted(schedules))}: a longer run does "
            "not begin as this one; sweep a second length (steps) to see what more steps are worth"
        )
    times, curves = _curves(rows, runs.metric)
    late = times >= _FROM
    if late.sum() < _FEWEST_POINTS:
        raise MutransferError(
            f"the curve has {int(late.sum())} points in the last three quarters of the run: "
            f"{_FEWEST_POINTS} show how fast it falls; evaluate more often"
        )
    weights = _seed_weights(len(rows))
    means = np.array([runs.loss_of(row) for row in rows])
    law = _fitted(times[late], curves[:, late], weights)
    falls = _mean_falls(law, means @ weights.T) if runs.metric == "mean" else _end_falls(law)
    seeds = f"{len(rows)} seed{'' if len(rows) == 1 else 's'}"
    return Pace(falls=falls, source=f"loss curves of {seeds} at the best {over} of {size}")


def _best_rows(runs: Runs, rule: str, size: Size, over: str) -> list[dict[str, Any]]:
    """Return the runs of the point with the lowest mean loss.

    Raises:
        MutransferError: every point diverged.
    """
    best = runs.best(rule, size)
    if best is None:
        raise MutransferError(f"every {over} of rule {rule!r} at {size} diverged")
    return [
        row
        for row in runs.only(rule).rows
        if runs.size_of(row) == size
        and all(row.get(name) == value for name, value in best.items())
        and np.isfinite(runs.loss_of(row))
    ]


def _curves(
    rows: list[dict[str, Any]], metric: str
) -> tuple[Float[Array, " points"], Float[Array, "seeds points"]]:
    """Return the curve of the metric of every run, and its times as shares of the run.

    Raises:
        MutransferError: the runs have none, or of different lengths.
    """
    name = "curve" if metric in ("mean", "final") else f"{metric}_curve"
    curves = [row.get(name) or [] for row in rows]
    if not curves or min(map(len, curves)) == 0:
        raise MutransferError(f"the record has no curve of the metric {metric!r}")
    if len({len(curve) for curve in curves}) > 1:
        raise MutransferError("the curves of the best runs have different lengths")
    array = np.array(curves, dtype=np.float64)
    if not np.isfinite(array).all():
        raise MutransferError(f"the curve of the metric {metric!r} has gaps")
    return _times(rows[0], name, array.shape[1]), array


def _times(row: dict[str, Any], name: str, points: int) -> Float[Array, " points"]:
    """Return the times of a curve's points, as shares of the run.

    A point of the training curve is the mean over a stretch of steps and stands at its middle.
    """
    if name != "curve" and len(row.get("evaluated_at", ())) == points:
        steps = np.array(row["evaluated_at"], dtype=np.float64)
        return np.asarray(steps / row.get("steps", steps[-1]))
    steps = row.get("steps", points)
    stride = max(1, -(-steps // points))
    ends = np.minimum(np.arange(1, points + 1) * stride, max(steps, points))
    return np.asarray((np.concatenate([[0.0], ends[:-1]]) + ends) / 2 / ends[-1])


def _seed_weights(seeds: int) -> Float[Array, "draws seeds"]:
    """Return bootstrap weights of the seeds, spread as a mean of this many seeds is."""
    random = np.random.default_rng(1)
    counts = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds
    # A bootstrap of few seeds is too narrow by the root of (seeds - 1) / seeds.
    return np.asarray(1 / seeds + (counts - 1 / seeds) * (seeds / max(seeds - 1, 1)) ** 0.5)


def _fitted(
    times: Float[Array, " points"],
    curves: Float[Array, "seeds points"],
    weights: Float[Array, "draws seeds"],
) -> Decay:
    """Return the law of the mean curve; its noise is what the law leaves over."""
    mean = curves.mean(0)
    one = np.ones(len(times))
    middle = decay(times, mean, one * max(float(np.ptp(mean)), 1e-12) / 10, powers=_POWERS)
    residuals = mean - np.median(middle.at(times), axis=0)
    freedom = len(times) - 3
    # Neighbours that move together count as fewer points.
    alike = float(
        np.clip((residuals[1:] @ residuals[:-1]) / max(residuals @ residuals, 1e-300), 0.0, 0.8)
    )
    variance = float(residuals @ residuals) / freedom * (1 + alike) / (1 - alike)
    error = max(variance**0.5, 1e-9 * float(np.abs(mean).max()) + 1e-300)
    return decay(times, mean, one * error, weights @ curves - mean, _POWERS)


def _end_falls(law: Decay) -> Float[Array, "draws shares"]:
    """Return how far the end of the curve falls."""
    values = law.at(np.concatenate([[1.0], 1 + SHARES]))
    return np.asarray(values[:, :1] - values[:, 1:])


def _mean_falls(law: Decay, means: Float[Array, " draws"]) -> Float[Array, "draws shares"]:
    """Return how far the mean over the run falls if it goes on as the law."""
    longer, rest = 1 + SHARES, 1 - law.powers[:, None]
    small = np.abs(rest) < 1e-6
    power = np.where(small, 1.0, rest)
    area = np.where(small, np.log(longer), (longer**power - 1) / power)
    added = law.limits[:, None] * SHARES + law.amplitudes[:, None] * area
    return np.asarray((SHARES * means[:, None] - added) / longer)
