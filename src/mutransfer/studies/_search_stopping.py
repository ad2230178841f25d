"""Early stopping without bias, by bounds on the mean loss of whole runs.

The mean loss of a run is known to be at least (sum so far + remaining steps x least loss) / steps.
This bound compares runs of equal length; losses at equal steps do not, as curves cross: a large
rate is often worse early and better late. It needs a loss that is known never to be negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..core import FrozenDict
from ..tasks import cross_entropy
from ._metric import loss_of
from ._run import Run
from ._runs import Runs
from ._store import Row

WINDOW = 0.25
"""Share of the best mean loss by which a run must be worse to be stopped.

Nearer runs show the shape of the curve around the optimum.
"""

_RECENT = 20
"""Steps whose mean is the present level of a loss."""

_FUNCTIONS = (
    cross_entropy,
    F.cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
)
"""Functions of a batch that are never negative."""

_MODULES = (
    nn.CrossEntropyLoss,
    nn.BCEWithLogitsLoss,
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
)
"""Their classes."""


@dataclass(frozen=True, kw_only=True)
class Hopeless:
    """Judge that stops members whose mean loss cannot come near the best.

    The best is the lowest mean of finished runs, or, of runs that train at the same time, the
    second lowest of those expected at different points: each is expected to stay at its present
    level, and one of them may still diverge. Nothing is stopped where a loss, or the mean of a
    finished run, lies below `least`.

    Args:
        curves: The curve of each member, which is compared with its own kind: rule, size, seed.
        points: The point of each member.
        steps: Number of steps of a whole run.
        finished: Lowest mean loss among finished runs of a curve.
        window: Share of the best mean loss by which a run must be worse.
        least: A loss that no step can go below.
    """

    curves: Sequence[Hashable]
    points: Sequence[Hashable]
    steps: int
    finished: Mapping[Hashable, float] = FrozenDict()
    window: float = WINDOW
    least: float = 0.0

    def __call__(
        self, losses: Float[Tensor, "member steps"], done: Int[Tensor, " member"]
    ) -> list[int]:
        """Return the members to stop.

        Args:
            losses: Losses so far; NaN where a member was not trained.
            done: Number of steps that each member has done.
        """
        done = done.to(losses.device)
        trained = torch.arange(losses.shape[1], device=losses.device) < done[:, None]
        lowest = min(self.finished.values(), default=math.inf)
        if lowest < self.least or (losses[trained] < self.least).any():
            return []
        sums = torch.where(trained, losses - self.least, 0.0).sum(1)
        # Means of whole runs, above the least loss: at least these, and at most those expected.
        bounds = (sums / self.steps).tolist()
        left = 1 - done / self.steps
        expected = (sums / self.steps + left * (self._level(losses, done) - self.least)).tolist()
        best = self._best(expected)
        return [
            member
            for member, curve in enumerate(self.curves)
            # Those that diverged have ended by themselves.
            if 0 < done[member] < self.steps
            and (1 + self.window) * best[curve] < bounds[member] < math.inf
        ]

    def _level(
        self, losses: Float[Tensor, "member steps"], done: Int[Tensor, " member"]
    ) -> Float[Tensor, " member"]:
        """Return the mean of the last steps, or of those before if they were higher."""
        levels = []
        for ago in (0, _RECENT):
            steps = torch.arange(losses.shape[1], device=losses.device)
            end = (done - ago)[:, None]
            recent = (steps < end) & (steps >= end - _RECENT)
            count = recent.sum(1)
            mean = torch.where(recent, losses, 0.0).sum(1) / count.clamp(min=1)
            levels.append(torch.where(count > 0, mean, -torch.inf))
        # A member that has not begun is expected to be of any height.
        return torch.where(done > 0, torch.maximum(*levels), torch.inf)

    def _best(self, expected: Sequence[float]) -> dict[Hashable, float]:
        """Return the mean loss, above the least one, that each curve is sure to reach."""
        by_point: dict[Hashable, dict[Hashable, float]] = {curve: {} for curve in self.curves}
        for curve, point, mean in zip(self.curves, self.points, expected, strict=True):
            known = by_point[curve].get(point, float("inf"))
            # A comparison with NaN is false, so that members that diverged do not count.
            by_point[curve][point] = min(known, mean) if mean < known else known
        best = {}
        for curve, means in by_point.items():
            second = sorted(means.values())[1] if len(means) > 1 else float("inf")
            best[curve] = min(second, self.finished.get(curve, float("inf")) - self.least)
        return best


def hopeless_members(
    runs: Sequence[Run], steps: int, finished: Runs, *, window: float = WINDOW
) -> Hopeless | None:
    """Return the judge of runs that train together; None where nothing may be stopped.

    Only a mean over the whole run is bounded by its beginning. Which runs are finished decides
    which others are stopped, so it has to be the same when a sweep is taken up again: give the runs
    of all batches before this one. A negative loss among them shows that there is no bound.

    Args:
        runs: The members.
        steps: Number of steps of each.
        finished: Runs of the batches before, with the metric that is compared.
        window: Share of the best mean loss by which a run must be worse.
    """
    if finished.metric != "mean" or any(map(_is_negative, finished.rows)):
        return None
    best: dict[Hashable, float] = {}
    for row in finished.rows:
        # Seeds may differ by more than points do: each is compared with itself.
        curve = row["rule"], finished.size_of(row), row["seed"]
        best[curve] = min(finished.loss_of(row), best.get(curve, float("inf")))
    return Hopeless(
        curves=[(run.rule, run.size, run.seed) for run in runs],
        points=[run.point for run in runs],
        steps=steps,
        finished=best,
        window=window,
    )


def is_never_negative(loss: Callable[..., Tensor]) -> bool:
    """Return True if a task's loss is known to have no negative values.

    A loss of one's own may begin above zero and end below it, as a log likelihood of densities
    does.
    """
    return loss in _FUNCTIONS or type(loss) in _MODULES


def _is_negative(row: Row) -> bool:
    """Return True if a run had negative losses."""
    losses: list[float] = [loss_of(row), *row.get("curve", ())]
    return min(losses) < 0
