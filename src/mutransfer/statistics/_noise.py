"""Settings of the noise of a loss curve, weighted by the seeds' differences.

Axes: values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._paired import Paired

MISFIT = 0.08
"""Error of a shape near the optimum, as a share of the excess over the lowest loss."""

NEAR = 1.5
"""Distance from the lowest value, in units of the scale, to the excess on which it grows."""

WORST = 0.4
"""Largest share."""

CLOSE = 0.45
"""Distance below which two values tell noise apart, not slopes, in units of the scale."""

SHIFTS = (0.1, 0.2, 0.3)
"""Sds of one seed's own optimum, in units of the scale."""

SHIFT_PRIOR = (0.35, 0.5, 0.15)
"""Their prior probabilities; on digits they are .16 to .23 octave."""

FACTORS = 2.0 ** np.arange(-2, 2.5, 0.5)
"""Factors on the first guess of the noise."""

LONE = np.geomspace(0.005, 1.0, 6)
"""Noise of one seed's runs, in units of the curve's typical excess."""

TILTED, SHIFTED = 0.7, 0.85
"""Parts of one seed's shift that tilt the curve and that move it; together a little more."""

SETTINGS = 5
"""Most settings kept."""

UNLIKELY = 3.0
"""Settings whose log weight is this far below the largest are left out."""

FLOOR = 4e-3
"""Smallest noise, in typical excesses: below it products in single precision lose their digits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Noise:
    """Settings of the noise of the mean curve, with weights.

    Attributes:
        precisions: 1 / variance of independent errors, zero where a value is not used.
        tilts: Variance of the slope of the whole curve.
        logs: Log of the prior and of the likelihood of the seeds' differences.
        excess: Excess of the mean loss over the lowest.
        seed_noise: Variance of independent errors without the misfit, (settings, values).
    """

    precisions: Float[Array, "settings values"]
    tilts: Float[Array, " settings"]
    logs: Float[Array, " settings"]
    excess: Float[Array, " values"]
    seed_noise: Float[Array, "settings values"]


def noise(x: Float[Array, " values"], data: Paired, scale: float, shift: float) -> Noise:
    """Return the settings of the noise that the seeds' differences support.

    Args:
        x: Values in units of the scale.
        data: The losses.
        scale: The unit of loss in which the noise is returned.
        shift: Sd of one seed's own optimum, for one seed, in units of the scale.
    """
    usable, whole = data.usable, data.whole
    excess = np.where(usable, data.mean - data.mean[usable].min(), 0.0) / scale
    if data.is_lone:
        slope = TILTED * shift * _slope(x[usable], excess[usable])
        sds, slopes = LONE, np.full(len(LONE), slope)
        logs = np.full(len(LONE), -np.log(len(LONE)))
    else:
        contrasts = data.contrasts[:, whole] / scale
        sds, slopes, logs = _from_seeds(x[whole], contrasts, excess[whole])
        kept = np.argsort(-logs, kind="stable")[:SETTINGS]
        kept = kept[logs[kept] > logs.max() - UNLIKELY]
        sds, slopes, logs = sds[kept], slopes[kept], logs[kept]
    # Rounded losses of several seeds may agree and be wrong together.
    least = max(FLOOR, data.rounding / scale)
    seed_noise = np.maximum(sds[:, None] ** 2 / data.counts, least**2)
    return Noise(
        precisions=np.where(usable, 1 / (seed_noise + misfit(excess) ** 2), 0.0),
        # Runs of few seeds tilt the curve by their own shift.
        tilts=slopes**2 / (1.0 if data.is_lone else len(data.contrasts) + 1),
        logs=logs - logs.max(),
        excess=excess,
        seed_noise=seed_noise,
    )


def misfit(excess: Float[Array, " values"]) -> Float[Array, " values"]:
    """Return the error of a shape, for the excess in units of a typical one.

    Its share grows with the excess: far from the optimum curves bend in ways of their own.
    """
    return excess * np.minimum(MISFIT * (1 + 0.5 * excess), WORST)


def typical(x: Float[Array, " values"], data: Paired) -> float:
    """Return the excess over the lowest mean loss at the values near it; positive."""
    x, mean = x[data.usable], data.mean[data.usable]
    excess = np.sort(mean - mean.min())
    near = np.abs(x - x[np.argmin(mean)]) <= NEAR
    rank = min(max(int(near.sum()) - 1, 2), len(x) - 1)
    return float(excess[rank]) or float(excess.max()) or 1.0


def _from_seeds(
    x: Float[Array, " usable"],
    z: Float[Array, "contrasts usable"],
    excess: Float[Array, " usable"],
) -> tuple[Array, Array, Array]:
    """Return sds, slopes and log weights on a grid, from the differences of seeds."""
    near = excess <= np.median(excess)
    offsets = z[:, near].mean(1, keepdims=True)
    freedom = max(len(z) * (near.sum() - 1), 1)
    guess = float(np.sqrt(((z[:, near] - offsets) ** 2).sum() / freedom))
    sds, shifts = max(guess, FLOOR) * FACTORS, _slope(x, excess) * np.array(SHIFTS)
    sds, slopes = (a.ravel() for a in np.meshgrid(sds, shifts, indexing="ij"))
    prior = np.tile(np.log(SHIFT_PRIOR), len(FACTORS))
    variances = sds[:, None] ** 2 + misfit(excess) ** 2
    return sds, slopes, prior + _log_likelihood(x, z, 1 / variances, slopes**2)


def _slope(x: Float[Array, " usable"], excess: Float[Array, " usable"]) -> float:
    """Return the change of the curve's slope per unit, around the lowest value."""
    away = np.abs(x - x[np.argmin(excess)])
    if not away.any():
        return 0.0
    close = away < min(CLOSE, away.max())
    # The fourth nearest and any as near: noise averages out where values are many.
    reach = max(np.sort(away[~close])[:4].max(), 2 * CLOSE)
    near = ~close & (away <= reach)
    # The lowest of many close values is lower than the curve.
    rises = excess[near] - np.median(excess[close])
    # On a plateau the nearest values do not rise, but the typical excess, the unit, does.
    rise = float(np.median(2 * rises / away[near] ** 2))
    return max(rise, 1 / NEAR**2)


def _log_likelihood(
    x: Float[Array, " usable"],
    z: Float[Array, "contrasts usable"],
    d: Float[Array, "settings usable"],
    tilts: Float[Array, " settings"],
) -> Float[Array, " settings"]:
    """Return log likelihoods of contrasts: free offsets, a tilt, independent errors."""
    total = d.sum(1)
    centre = (d @ x) / total
    x_c = x - centre[:, None]
    z_c = z[None] - (np.einsum("ku,cu->kc", d, z) / total[:, None])[..., None]
    chi = np.einsum("kcu,ku->kc", z_c**2, d)
    slopes = np.einsum("kcu,ku->kc", z_c, d * x_c)
    strength = (d * x_c**2).sum(1)
    gain = 1 + tilts * strength
    chi = chi - (tilts / gain)[:, None] * slopes**2
    log_det = np.log(d).sum(1) - np.log(total) - np.log(gain)
    return np.asarray(0.5 * len(z) * log_det - 0.5 * chi.sum(1))
