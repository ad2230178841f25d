"""The lowest point of a noisy surface over two hyperparameters, and its ridge.

Axes: seeds, points (places that were run), draws. Places are in units in which the two scales can
be compared: octaves, or steps of a linear grid. Near its lowest point the loss is taken as

    level + w'Hw / 2 + cubic(w) + error,   w = R (place - centre),

where R makes the excess |w|^2 / 2, so that a prior on the cubic terms, which are the asymmetry, has
no unit. Errors are noise and, where the excess is large, misfit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ._arrays import Array

DRAWS = 512
FEWEST_SURFACE_POINTS = 7
"""A quadratic surface has six numbers."""

_MISFIT = 0.15
"""Error of the surface's shape, as a share of the excess."""

_ASYMMETRY = 0.5
"""Standard deviation of the cubic terms over the quadratic ones, where half of the points lie."""

_JUMP = 0.4
"""Standard deviation of a jump of the curvature at the lowest point, over the curvature."""

_FLOOR = 0.25
"""Share of the sixth lowest excess below which the shape error does not fall."""

_PRIOR_FREEDOM = 2.0
"""Degrees of freedom of the shift of single seeds that is assumed before they are seen."""

_ROUNDS = 4
_NEWTON = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceFit:
    """Draws of the lowest point and of the curvature there.

    Attributes:
        place: The lowest point, (2,).
        hessian: The curvature there, (2, 2).
        level: The loss there.
        places: Draws of the lowest point; of a draw that has none, the best place that was run.
        hessians: Draws of the curvature there.
        closed: True for the draws that have a lowest point.
        noise: Standard deviation of one run's loss; not a number for one seed.
    """

    place: Float[Array, " 2"]
    hessian: Float[Array, "2 2"]
    level: float
    places: Float[Array, "draws 2"]
    hessians: Float[Array, "draws 2 2"]
    closed: Bool[np.ndarray, " draws"]
    noise: float


def fit_surface(
    places: Float[Array, "points 2"],
    losses: Float[Array, "seeds points"],
    shift: Float[Array, " 2"],
) -> SurfaceFit:
    """Fit a quadratic surface with corrections of its shape near the lowest losses.

    The fit is made twice, as the corrections are about a centre: that of the first fit is its own
    lowest point. One seed shows its noise only by what the first fit leaves over.

    Args:
        places: Places that were run, none of them diverged.
        losses: Finite losses, seeds in the same order at all of them.
        shift: Standard deviation of one seed's own optimum that is assumed, along each axis.
    """
    # In units of its own the fit is the same whatever the loss is measured in, draws included.
    offset, unit = _units(losses.mean(0))
    losses = (losses - offset) / unit
    seeds, mean = len(losses), losses.mean(0)
    noise = _noise(losses)
    error = 0.0 if np.isnan(noise) else noise / seeds**0.5
    centre, root, excess = _whitened(places, mean, error)
    for _ in range(2):
        frame = _Frame.of(centre, root)
        at, radius = (places - centre) @ root.T, _radius(excess)
        solve, covariance = _solve(frame.design(at), _variances(mean, excess, error**2), radius)
        found = solve @ mean
        left = mean - frame.design(at) @ found
        if seeds == 1:
            low = np.argsort(mean)[: max(10, len(mean) // 3)]
            error = float(np.sqrt((left[low] ** 2).sum() / max(len(low) - 6, 1)))
        first, _ = _lowest(found[None], frame, radius)
        if np.isfinite(first).all():
            moved = centre + np.linalg.solve(root, first[0])
            centre = np.clip(moved, places.min(0), places.max(0))
    misfit = float((left**2 / _variances(mean, excess, error**2)).sum()) / max(len(at) - 6, 1)
    covariance = covariance * max(1.0, misfit)
    covariance[1:3, 1:3] += _tilt(losses, solve, root, shift, noise) / seeds
    drawn = _drawn(found, covariance, 2 * seeds + 4)
    lowest, curved = _lowest(np.vstack([found, drawn]), frame, radius)
    hessians = unit * np.einsum("ji,djk,kl->dil", root, curved, root)
    closed = np.asarray(np.isfinite(lowest).all(1))
    spots = frame.centre + lowest @ np.linalg.inv(root).T
    best = (np.vstack([found, drawn]) @ frame.design(at).T).argmin(1)
    spots = np.where(closed[:, None], spots, places[best])
    return SurfaceFit(
        place=spots[0],
        hessian=hessians[0],
        level=offset + unit * float((frame.design((spots[:1] - frame.centre) @ root.T) @ found)[0]),
        places=spots[1:],
        hessians=hessians[1:],
        closed=closed[1:],
        noise=unit * noise,
    )


def _units(mean: Float[Array, " points"]) -> tuple[float, float]:
    """Return the lowest loss, and the median loss above it."""
    low = float(mean.min())
    return low, float(np.median(mean)) - low or 1.0


@dataclass(frozen=True, eq=False)
class _Frame:
    """The coordinates w of a fit, and the directions of jumps of the curvature.

    Attributes:
        centre: The place of w = 0.
        root: The matrix R.
        directions: Unit vectors in w: the two axes of the ridge, and those of the scales.
    """

    centre: Float[Array, " 2"]
    root: Float[Array, "2 2"]
    directions: Float[Array, "4 2"]

    @classmethod
    def of(cls, centre: Float[Array, " 2"], root: Float[Array, "2 2"]) -> _Frame:
        scales = np.linalg.inv(root)
        units = scales / np.linalg.norm(scales, axis=1, keepdims=True)
        return cls(centre, root, np.vstack([np.eye(2), units]))

    def design(self, at: Float[Array, "points 2"]) -> Float[Array, "points terms"]:
        """Return constant, slopes, curvatures, cubic terms and jumps."""
        x, y = at.T
        along = at @ self.directions.T
        squares = [x**2 / 2, x * y, y**2 / 2]
        cubes = [x**3, x**2 * y, x * y**2, y**3]
        columns = [np.ones(len(at)), x, y, *squares, *cubes, along * np.abs(along) / 2]
        return np.asarray(np.column_stack(columns), dtype=np.float64)

    def slopes(
        self, found: Float[Array, "draws terms"], at: Float[Array, "draws 2"]
    ) -> Float[Array, "draws 2"]:
        """Return the gradient of each draw's surface at its own place."""
        (x, y), (a, b, c, d) = at.T, found[:, 6:10].T
        flat = found[:, 1:3] + np.einsum("dij,dj->di", _hessians(found), at)
        cubic = [3 * a * x**2 + 2 * b * x * y + c * y**2, b * x**2 + 2 * c * x * y + 3 * d * y**2]
        jumps = (found[:, 10:] * np.abs(at @ self.directions.T)) @ self.directions
        return np.asarray(flat + np.stack(cubic, -1) + jumps)

    def jumps(
        self, found: Float[Array, "draws terms"], at: Float[Array, "draws 2"]
    ) -> Float[Array, "draws 2 2"]:
        """Return the share of the jumps in the curvature of each draw."""
        sides = found[:, 10:] * np.sign(at @ self.directions.T)
        return np.asarray(np.einsum("dk,ki,kj->dij", sides, self.directions, self.directions))


def _radius(excess: Float[Array, " points"]) -> float:
    """Return the length of w within which half of the points lie, or the ten lowest."""
    near = np.sort(excess)[: max(10, len(excess) // 2)]
    return max(float(np.sqrt(2 * np.median(near))), 1e-12)


def _solve(
    design: Float[Array, "points terms"], variance: Float[Array, " points"], radius: float
) -> tuple[Float[Array, "terms points"], Float[Array, "terms terms"]]:
    """Return the terms as weights of the mean losses, and their covariance."""
    prior = np.zeros(design.shape[1])
    prior[6:10] = (2 * radius / _ASYMMETRY) ** 2
    prior[10:] = 1 / _JUMP**2
    precision = design.T @ (design / variance[:, None]) + np.diag(prior)
    covariance = np.linalg.pinv(precision, hermitian=True)
    return covariance @ design.T / variance, np.asarray(covariance, dtype=np.float64)


def _drawn(
    found: Float[Array, " terms"], covariance: Float[Array, "terms terms"], freedom: int
) -> Float[Array, "draws terms"]:
    """Return draws of the terms, with the tails of Student's t."""
    random = np.random.default_rng(0)
    scale = np.sqrt(freedom / random.chisquare(freedom, (DRAWS, 1)))
    zero = np.zeros(len(found))
    drawn = random.multivariate_normal(zero, covariance, DRAWS, method="svd")
    return np.asarray(found + scale * drawn)


def _noise(losses: Float[Array, "seeds points"]) -> float:
    """Return the standard deviation of one run's loss, each seed's own offset removed."""
    seeds, points = losses.shape
    if seeds < 2:
        return float("nan")
    # Noise grows with the loss: the lower half of the points is what counts.
    low = losses[:, np.argsort(losses.mean(0))[: max(FEWEST_SURFACE_POINTS, points // 2)]]
    left = low - low.mean(0) - low.mean(1, keepdims=True) + low.mean()
    return float(np.sqrt((left**2).sum() / ((seeds - 1) * (low.shape[1] - 1))))


def _variances(
    mean: Float[Array, " points"], excess: Float[Array, " points"], noise: float
) -> Float[Array, " points"]:
    """Return the variance of each mean loss: noise, and misfit with the excess."""
    floor = _FLOOR * np.sort(excess)[min(6, len(excess) - 1)]
    tiny = (1e-12 * np.abs(mean).max()) ** 2 + 1e-300
    return np.asarray(noise + (_MISFIT * np.maximum(excess, floor)) ** 2 + tiny)


def _whitened(
    places: Float[Array, "points 2"], mean: Float[Array, " points"], noise: float
) -> tuple[Float[Array, " 2"], Float[Array, "2 2"], Float[Array, " points"]]:
    """Return centre, R and excesses, by quadratic fits with changing weights."""
    excess = mean - mean.min()
    centre, root = places[int(mean.argmin())], np.eye(2)
    for _ in range(_ROUNDS):
        design = _quadratic(places - centre)
        weights = 1 / np.sqrt(_variances(mean, excess, noise**2))
        solution = np.linalg.lstsq(design * weights[:, None], mean * weights, rcond=None)[0]
        found = np.asarray(solution, dtype=np.float64)
        values, vectors = np.linalg.eigh(_hessians(found[None])[0])
        if values[1] <= 0:
            break
        # A ridge that is open gets a curvature for the sake of units alone.
        floored = np.maximum(values, 1e-3 * values[1])
        root = np.sqrt(floored)[:, None] * vectors.T
        step = -vectors @ ((vectors.T @ found[1:3]) / floored)
        centre = np.clip(centre + step, places.min(0), places.max(0))
        fitted = ((places - centre) @ root.T) ** 2 / 2
        excess = np.maximum(mean - mean.min(), fitted.sum(1))
    return centre, root, excess


def _tilt(
    losses: Float[Array, "seeds points"],
    solve: Float[Array, "terms points"],
    root: Float[Array, "2 2"],
    shift: Float[Array, " 2"],
    noise: float,
) -> Float[Array, "2 2"]:
    """Return the covariance of one seed's own slope, seen and assumed."""
    assumed = (root * shift**2) @ root.T
    seeds = len(losses)
    if seeds < 2:
        return np.asarray(assumed)
    slopes = (losses - losses.mean(0)) @ solve[1:3].T
    seen = slopes.T @ slopes / (seeds - 1) - noise**2 * solve[1:3] @ solve[1:3].T
    values, vectors = np.linalg.eigh(seen)
    seen = (vectors * np.maximum(values, 0.0)) @ vectors.T
    freedom = _PRIOR_FREEDOM + seeds - 1
    return np.asarray((_PRIOR_FREEDOM * assumed + (seeds - 1) * seen) / freedom)


def _quadratic(at: Float[Array, "points 2"]) -> Float[Array, "points 6"]:
    """Return constant, slopes and curvatures."""
    x, y = at.T
    return np.column_stack([np.ones(len(at)), x, y, x**2 / 2, x * y, y**2 / 2])


def _hessians(
    found: Float[Array, "draws terms"], at: Float[Array, "draws 2"] | None = None
) -> Float[Array, "draws 2 2"]:
    """Return the curvature of each draw, at the centre or at its own place."""
    xx, xy, yy = found[:, 3:6].T
    if at is not None:
        (x, y), (a, b, c, d) = at.T, found[:, 6:10].T
        xx, yy = xx + 6 * a * x + 2 * b * y, yy + 2 * c * x + 6 * d * y
        xy = xy + 2 * b * x + 2 * c * y
    return np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)


def _lowest(
    found: Float[Array, "draws terms"], frame: _Frame, radius: float
) -> tuple[Float[Array, "draws 2"], Float[Array, "draws 2 2"]]:
    """Return lowest point and curvature of each draw, by Newton's method.

    A draw whose quadratic part has no lowest point has none. One whose corrections lead away keeps
    the lowest point of its quadratic part.
    """
    plain = _hessians(found)
    closed = _is_bowl(plain)
    plain_at = np.where(closed[:, None], -_solved(plain, found[:, 1:3]), 0.0)
    at = np.clip(plain_at, -radius, radius)
    length = np.full((len(at), 1), np.inf)
    for _ in range(_NEWTON):
        curved = _hessians(found, at) + frame.jumps(found, at)
        # Where a step would lead uphill, the quadratic part alone shows the way.
        curved = np.where(_is_bowl(curved)[:, None, None], curved, plain)
        step = _solved(curved, frame.slopes(found, at))
        length = np.linalg.norm(step, axis=1, keepdims=True)
        at = at - step * np.minimum(1.0, radius / np.maximum(length, 1e-300))
    # The curvature of both sides together is what a ridge is made of.
    curved = _hessians(found, at)
    good = closed & _is_bowl(curved) & (length[:, 0] < 1e-2 * radius)
    at = np.where(good[:, None], at, np.where(closed[:, None], plain_at, np.nan))
    return at, np.where(good[:, None, None], curved, plain)


def _is_bowl(hessians: Float[Array, "draws 2 2"]) -> Bool[np.ndarray, " draws"]:
    return np.asarray((hessians[:, 0, 0] > 0) & (np.linalg.det(hessians) > 0))


def _solved(
    hessians: Float[Array, "draws 2 2"], slopes: Float[Array, "draws 2"]
) -> Float[Array, "draws 2"]:
    """Return H^-1 g of each draw, also where H is nearly singular."""
    safe = hessians + 1e-12 * np.eye(2)
    return np.asarray(np.linalg.solve(safe, slopes[..., None])[..., 0])
