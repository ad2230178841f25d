"""Optima as data of a law: evidence of models, and what they say given it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._law_basis import Basis
from ._law_models import Models

_CHUNK = 2_000_000
"""Numbers of covariances that are made at once, to stay within the processor's caches."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Optima of some sizes, and the covariances between them that each part brings.

    Attributes:
        basis: The parts of laws.
        z: Sizes, in doublings from the centre.
        middle: Weighted mean of the places, which is taken off.
        places: Places of the optima, less `middle`.
        noise: Variances of their errors.
        features: All features at the sizes.
        covariances: Covariance of each part at unit variance.
    """

    basis: Basis
    z: Float[Array, "n axes"]
    middle: float
    places: Float[Array, " n"]
    noise: Float[Array, " n"]
    features: Float[Array, "features n"]
    covariances: Float[Array, "parts n n"]

    @classmethod
    def of(
        cls,
        basis: Basis,
        z: Float[Array, "n axes"],
        places: Float[Array, " n"],
        errors: Float[Array, " n"],
        scatter: float,
    ) -> Data:
        """Return the data of these optima; the scatter's scale weighs their mean."""
        middle = float(np.average(places, weights=1 / (errors**2 + scatter**2)))
        return cls(
            basis=basis,
            z=z,
            middle=middle,
            places=places - middle,
            noise=errors**2,
            features=basis.features(z),
            covariances=basis.covariances(z, z),
        )

    def covariance(self, models: Models) -> Float[Array, "models n n"]:
        """Return the covariance of the optima that each model expects."""
        n = len(self.z)
        flat = models.variances @ self.covariances.reshape(self.basis.parts, n * n)
        full = flat.reshape(-1, n, n)
        full[:, np.arange(n), np.arange(n)] += self.noise
        return np.asarray(full)

    def residuals(self, models: Models) -> Float[Array, "models n"]:
        """Return the optima less the mean that each model expects."""
        return np.asarray(self.places - models.means @ self.features)

    def evidence(self, models: Models) -> Float[Array, " models"]:
        """Return the logarithm of each model's marginal likelihood, up to a constant."""
        step = max(1, _CHUNK // len(self.z) ** 2)
        return np.concatenate(
            [self._evidence(models.part(i, i + step)) for i in range(0, len(models.picks), step)]
        )

    def _evidence(self, models: Models) -> Float[Array, " models"]:
        factors, scaled = _factored(self.covariance(models), self.residuals(models)[:, :, None])
        logs = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        return np.asarray(-(scaled**2).sum((1, 2)) / 2 - logs)

    def inverse(self, models: Models) -> Float[Array, "models n n"]:
        """Return the inverse of the covariance that each model expects."""
        covariance = self.covariance(models)
        identity = np.broadcast_to(np.eye(len(self.z)), covariance.shape)
        root = _factored(covariance, identity)[1]
        return np.asarray(root @ np.swapaxes(root, 1, 2))


def _factored(
    covariance: Float[Array, "models n n"], columns: Float[Array, "models n m"]
) -> tuple[Float[Array, "models n n"], Float[Array, "models m n"]]:
    """Return Cholesky factors L, and the columns over them, (L^-1 columns)'.

    Both come from one factor of the matrix with the columns as further rows. numpy has no
    triangular solver, and its general one starts threads, which takes many times as long.
    """
    n, m = columns.shape[1:]
    bordered = np.zeros((len(covariance), n + m, n + m))
    bordered[:, :n, :n] = covariance
    bordered[:, n:, :n] = np.swapaxes(columns, 1, 2)
    # Any diagonal that keeps it positive will do: the corner is thrown away.
    smallest = np.diagonal(covariance, axis1=1, axis2=2).min() * 1e-12
    corner = (columns**2).sum((1, 2)) / smallest
    bordered[:, range(n, n + m), range(n, n + m)] = corner[:, None] + 1
    factors = np.linalg.cholesky(bordered)
    return factors[:, :n, :n], factors[:, n:, :n]


@dataclass(frozen=True, kw_only=True, eq=False)
class Functional:
    """A Gaussian quantity of each model before the data: values at targets, a slope.

    Attributes:
        mean: Its means.
        covariance: Its covariances.
        cross: Its covariances with the optima.
    """

    mean: Float[Array, "models m"]
    covariance: Float[Array, "models m m"]
    cross: Float[Array, "models n m"]

    def given(
        self, inverse: Float[Array, "models n n"], residuals: Float[Array, "models n"]
    ) -> tuple[Float[Array, "models m"], Float[Array, "models m m"]]:
        """Return means and covariances given the optima."""
        gain = inverse @ self.cross
        mean = self.mean + np.einsum("knm,kn->km", gain, residuals)
        return mean, self.covariance - np.swapaxes(self.cross, 1, 2) @ gain


def values(data: Data, models: Models, z: Float[Array, "m axes"], own: bool = True) -> Functional:
    """Return the places of optima at some sizes.

    Args:
        data: The optima.
        models: The models.
        z: Sizes, in doublings from the centre.
        own: False for the law alone, without effects of sizes and of their values.
    """
    basis, variances = data.basis, models.variances
    if not own:
        variances = variances.copy()
        variances[:, basis.effects(0) :] = 0
    cross = np.einsum("kp,pnm->knm", variances, basis.covariances(data.z, z), optimize=True)
    covariance = np.einsum("kp,pij->kij", variances, basis.covariances(z, z), optimize=True)
    return Functional(mean=models.means @ basis.features(z), covariance=covariance, cross=cross)


def slope(data: Data, models: Models, axis: int) -> Functional:
    """Return the slope of the law along an axis, at the centre."""
    # Walks and squares have no slope there, products of axes neither.
    basis = data.basis
    derivatives = basis.derivatives(axis)
    variances = models.variances[:, : basis.count] * derivatives
    return Functional(
        mean=(models.means @ derivatives)[:, None],
        covariance=(variances @ derivatives)[:, None, None],
        cross=(variances @ data.features)[:, :, None],
    )


def contrast(values: Functional, weights: Float[Array, " m"]) -> Functional:
    """Return a weighted sum of values."""
    return Functional(
        mean=(values.mean @ weights)[:, None],
        covariance=(values.covariance @ weights @ weights)[:, None, None],
        cross=(values.cross @ weights)[:, :, None],
    )
