"""Gaps between loss curves of several sizes, in octaves of training.

Axes: seeds, sizes (ascending), points (of a curve), windows (of training), gaps (every size but the
smallest).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from ._arrays import Array

FEWEST_SIZES = 3
"""Fewest sizes that show whether the gaps between them close."""

FEWEST_POINTS = 16
"""Fewest points of a curve, so that its first tenth has points of its own."""

LEAST_FALL = 0.3
"""Least fall of the logarithm of the loss that shows how fast a network trains."""

# Windows end at 1, 1/2, 1/4, ... of training: early on a curve has most to tell.
_WINDOWS = 7

# Curves are compared until nine tenths of the fall are done. What remains shows how well each size
# can fit the data, not how fast it trains: it differs from size to size under any rule.
_REMAINING = 0.1

_LAST = 0.1
"""Share of training that counts as its end."""

# A run's own pace, which one run cannot show: octaves of training by which runs differ in their
# seed alone. Their first losses differ by the second number, in logarithms. Both as on digits, at
# widths of 32 to 256 (benchmarks/transfer/collapse.py).
_OWN_PACE, _OWN_START = 0.15, 0.05

# Degrees of freedom that these two count for, once several seeds show how runs differ.
_PRIOR = 4

# Octaves of finite-size effects that the law a + b / size leaves at small sizes.
_MISFIT = 0.25

_DRAWS = 2000

_QUANTILE, _ONE_SIDED = 1.96, 1.645


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveGaps:
    """Loss curves against what the curves of the other sizes foretell.

    Attributes:
        ends: Progress at which each window ends, from 0 to 1.
        octaves: Octaves of training by which a size is ahead of what the others foretell.
        errors: Standard deviations of those, by what runs of one size differ in.
        noise: Octaves by which one run differs from another of the same size, rms over windows.
        bound: Octaves that no gap exceeds, at the end of training either: the largest upper end of
            the 90% intervals.
        fall: Fall of the logarithm of the typical loss, from its highest to the end.
        p_value: Probability of a gap as clear as the clearest, if no size had one in earnest. Gaps
            up to 0.25 octave count as the misfit of the law of finite size.
    """

    ends: Float[Array, " windows"]
    octaves: Float[Array, "gaps windows"]
    errors: Float[Array, "gaps windows"]
    noise: float
    bound: float
    fall: float
    p_value: float

    @property
    def clearest(self) -> tuple[int, int]:
        """Gap and window of the clearest gap, counted from 0."""
        place = np.argmax(clearness(self.octaves, self.errors))
        gap, window = np.unravel_index(place, self.octaves.shape)
        return int(gap), int(window)

    def interval(self, gap: int, window: int) -> tuple[float, float, float]:
        """Return one gap with the ends of its 95% interval, in octaves."""
        value, error = float(self.octaves[gap, window]), float(self.errors[gap, window])
        return value, value - _QUANTILE * error, value + _QUANTILE * error


def clearness(octaves: Float[Array, ...], errors: Float[Array, ...]) -> Float[Array, ...]:
    """Return how far gaps exceed the misfit of the law, in their errors.

    Args:
        octaves: Gaps.
        errors: Standard deviations of the gaps, or a multiple of all of them.
    """
    return (np.abs(octaves) - _MISFIT) / errors


def curve_gaps(
    curves: Float[Array, "seeds sizes points"],
    sizes: Float[Array, " sizes"],
    power: float = 1.0,
) -> CurveGaps:
    """Compare each size's loss curve with what the other sizes' curves foretell.

    Under right scaling curves converge with size: in each window of training the logarithm of the
    loss is a + b / size^power, whatever b is (power 1 early in training, smaller powers later,
    2402.01092: gaps are measured until nine tenths of the fall are done). That law, fitted to the
    other sizes, foretells the curve of a size. A gap in the loss is divided by the fall of the loss
    per doubling of training, which makes it octaves of training: about what a rate so many octaves
    higher does to a curve while it falls.

    One run differs from another of its size by three parts, all independent: its own pace (0.15
    octave, stated) and first loss (5%, stated), and the fluctuation of its curve, which is measured
    by second differences along the curve of the difference of neighbouring sizes; what shared
    batches do to all sizes alike cancels there. Several seeds measure their sum, and the stated
    parts count as four degrees of freedom.

    Args:
        curves: Positive losses at equal steps; seeds are averaged.
        sizes: At least three sizes, ascending.
        power: Power of size by which finite-size effects fall.
    """
    edges = window_edges(curves.shape[-1])
    logs = np.log(curves)
    count, fall = _falling(np.median(logs.mean(0), axis=0), edges)
    weights = _foretelling(sizes, power)
    early = _measured(logs, edges, count, weights)
    whole = _measured(logs, edges, len(edges) - 1, weights)
    clearest = float(clearness(early.octaves, early.errors).max())
    return CurveGaps(
        ends=np.array(edges[1 : count + 1]) / edges[-1],
        octaves=early.octaves,
        errors=early.errors,
        noise=early.noise,
        bound=float(np.max(np.abs(whole.octaves) + _ONE_SIDED * whole.errors)),
        fall=fall,
        p_value=_share_above(clearest, weights, early.parts),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """Gaps in the first windows, and the standard deviations of a run's three parts."""

    octaves: Float[Array, "gaps windows"]
    errors: Float[Array, "gaps windows"]
    noise: float
    parts: Float[Array, "parts windows"]


def _measured(
    logs: Float[Array, "seeds sizes points"],
    edges: list[int],
    count: int,
    weights: Float[Array, "gaps sizes"],
) -> _Measured:
    means = np.stack([logs[..., a:b].mean(-1) for a, b in pairwise(edges)], axis=-1)
    slope = _slopes(np.median(means.mean(0), axis=0), edges, count)
    # Lower losses are further training: the sign is that of progress.
    each = -np.einsum("gn,snw->sgw", weights, means[..., :count]) / slope
    parts = np.stack(
        [np.full(count, _OWN_PACE), _OWN_START / slope, _fluctuation(logs, edges, count) / slope]
    )
    stated, scale = (parts**2).sum(0), np.sqrt((weights**2).sum(1))[:, None]
    variance = stated * _excess_of_seeds(each / scale, stated)
    return _Measured(
        octaves=each.mean(0),
        errors=scale * np.sqrt(variance / len(logs)),
        noise=float(np.sqrt(variance.mean())),
        parts=parts,
    )


def window_edges(points: int) -> list[int]:
    """Return the edges of windows that end at 1, 1/2, 1/4, ... of a curve's points.

    >>> window_edges(50)
    [0, 1, 2, 3, 6, 13, 25, 50]
    """
    ends = {max(1, math.floor(points / 2**k + 0.5)) for k in range(_WINDOWS)}
    return sorted({0, *ends})


def _falling(typical: Float[Array, " points"], edges: list[int]) -> tuple[int, float]:
    """Return the number of windows until the fall is nearly done, and the fall."""
    losses = np.exp(typical)
    end = float(losses[-max(1, round(_LAST * len(losses))) :].mean())
    windows = np.array([losses[a:b].mean() for a, b in pairwise(edges)])
    top = float(windows.max())
    above = windows >= end + _REMAINING * (top - end)
    count = len(above) if above.all() else int(np.argmin(above))
    return max(1, count), math.log(top / end)


def _slopes(
    typical: Float[Array, " windows"], edges: list[int], count: int
) -> Float[Array, " compared"]:
    """Return the fall of the log loss per doubling of training, in each window.

    Nowhere less than the average: in the first steps the loss hardly moves, and a gap there would
    be many octaves.
    """
    middles = np.log2([(a + b) / 2 for a, b in pairwise(edges)])
    local = np.abs(np.gradient(typical, middles))[:count]
    last = count - 1 if count > 1 else len(typical) - 1
    average = (typical.max() - typical[last]) / (middles[last] - middles[0])
    return np.maximum(local, max(float(average), 1e-12))


def _foretelling(sizes: Float[Array, " sizes"], power: float) -> Float[Array, "gaps sizes"]:
    """Return the weights of sizes in each gap: a size less what the others foretell."""
    law = np.stack([np.ones(len(sizes)), np.asarray(sizes, dtype=np.float64) ** -power], axis=1)
    weights = np.eye(len(sizes))
    for left_out in range(len(sizes)):
        others = [n for n in range(len(sizes)) if n != left_out]
        weights[left_out, others] = -law[left_out] @ np.linalg.pinv(law[others])
    # The smallest size is farthest from the limit, and the law says least of it.
    return weights[1:]


def _fluctuation(
    logs: Float[Array, "seeds sizes points"], edges: list[int], count: int
) -> Float[Array, " compared"]:
    """Return the fluctuation of one run's curve, from its second differences."""
    # The variance of a second difference of independent points is 6 times theirs, and that of the
    # difference of two runs twice that of one.
    rough = np.diff(np.diff(logs, axis=1), 2, axis=-1) / math.sqrt(12)
    found = []
    for start, end in list(pairwise(edges))[:count]:
        half = max(3, (end - start + 1) // 2)
        first = int(np.clip((start + end) // 2 - 1 - half, 0, max(0, rough.shape[-1] - 2 * half)))
        found.append(math.sqrt(float(np.mean(rough[..., first : first + 2 * half] ** 2))))
    return np.array(found)


def _share_above(
    clearest: float, weights: Float[Array, "gaps sizes"], parts: Float[Array, "parts windows"]
) -> float:
    """Return the share of draws of noise alone whose clearest gap is as clear.

    A run's pace and start are alike in all its windows, its fluctuation is not; a run counts in
    the gaps of all sizes.
    """
    draws, sizes, windows = _DRAWS, weights.shape[1], parts.shape[1]
    random = np.random.default_rng(0)
    own = random.standard_normal((2, draws, sizes, 1)) * parts[:2, None, None, :]
    noise = own.sum(0) + random.standard_normal((draws, sizes, windows)) * parts[2]
    gaps = np.einsum("gn,dnw->dgw", weights, noise)
    errors = np.sqrt((weights**2).sum(1))[:, None] * np.sqrt((parts**2).sum(0))
    above = (gaps / errors).max(axis=(1, 2)) >= clearest
    return float((1 + above.sum()) / (1 + draws))


def _excess_of_seeds(
    each: Float[Array, "seeds gaps windows"], stated: Float[Array, " windows"]
) -> float:
    """Return the variance between seeds, as a moderated multiple of the stated one."""
    seeds = len(each)
    if seeds < 2:
        return 1.0
    ratio = float(np.mean(each.var(0, ddof=1) / stated))
    # Windows and gaps of one seed go together: all of them count as two.
    freedom = 2 * (seeds - 1)
    return (_PRIOR + freedom * ratio) / (_PRIOR + freedom)
