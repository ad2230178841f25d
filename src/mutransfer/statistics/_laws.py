"""The Bayesian average of laws of an optimum across sizes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._arrays import Array
from ._law_average import LawAverage
from ._law_basis import Basis
from ._law_data import Data
from ._law_models import Models, choices, knees
from ._law_prior import LawPrior
from ._law_weights import resampled, weighted

SMALLEST_ERROR = 1e-3
"""Octaves below which no place of an optimum is taken as known."""

_MODELS = 1200
"""Models that are sampled where there are too many to take them all."""

_KEPT = 400
"""Most models that predictions average over."""


def average_of_laws(
    sizes: Float[Array, "n axes"],
    places: Float[Array, " n"],
    errors: Float[Array, " n"],
    prior: LawPrior,
) -> LawAverage:
    """Return the posterior of the law that optima follow across sizes.

    An optimum is law(log2 sizes) + effects of the values of each axis + the size's own scatter +
    its error, all Gaussian. Laws along an axis are constant, linear, saturating, quadratic, or
    have a slope that wanders; models of all of them, with all scales on grids, are averaged with
    their marginal likelihoods as weights (Hoeting et al. 1999).

    Args:
        sizes: Log2 of the sizes, one row an optimum.
        places: Places of the optima, in octaves.
        errors: Their standard errors, in octaves.
        prior: Prior along each axis.

    Raises:
        MutransferError: there are no optima, shapes disagree, or a number is not finite.
    """
    sizes, places, errors = (np.asarray(a, dtype=np.float64) for a in (sizes, places, errors))
    _check(sizes, places, errors, prior)
    low, high = sizes.min(0), sizes.max(0)
    centre, varies = (low + high) / 2, high > low + 1e-9
    basis = Basis(
        starts=tuple(map(float, low - centre)), pairs=tuple(prior.products), knees=knees(prior)
    )
    levels = choices(basis, prior, list(map(bool, varies)))
    data = Data.of(basis, sizes - centre, places, np.maximum(errors, SMALLEST_ERROR), prior.scatter)
    picks, weights = weighted(
        [np.array([level.weight for level in choice]) for choice in levels],
        lambda picks: data.evidence(Models.of(basis, levels, picks)),
        _MODELS,
    )
    kept, shares = resampled(weights, _KEPT)
    return LawAverage(
        data=data,
        levels=levels,
        centre=centre,
        models=Models.of(basis, levels, picks[kept]),
        weights=shares,
    )


def _check(
    sizes: Float[Array, "n axes"],
    places: Float[Array, " n"],
    errors: Float[Array, " n"],
    prior: LawPrior,
) -> None:
    axes = len(prior.axes)
    if sizes.ndim != 2 or sizes.shape[1] != axes or not axes or not len(sizes):
        raise MutransferError(
            f"sizes have the shape {sizes.shape}: give a row of {axes} log2 sizes for each optimum"
        )
    if places.shape != sizes.shape[:1] or errors.shape != places.shape:
        raise MutransferError(
            f"{len(sizes)} sizes have places of shape {places.shape} and errors of shape "
            f"{errors.shape}: give one of each for every size"
        )
    if not all(np.isfinite(a).all() for a in (sizes, places, errors)) or (errors < 0).any():
        raise MutransferError("sizes, places and errors must be finite, and errors not negative")
