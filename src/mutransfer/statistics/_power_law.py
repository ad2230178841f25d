"""Power laws, fitted by least squares in logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._student import student_t


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """values = constant * product of sizes^exponents.

    Attributes:
        exponents: One for each axis of the sizes, (axes,).
        constant: The factor in front.
        errors: Standard error of each exponent, (axes,); infinite without degrees of freedom.
        freedom: Degrees of freedom of the fit, points less parameters.
        variance: Variance of the residuals of the logarithms; infinite without degrees of freedom.
        spreads: Variance of each exponent over that of the residuals, (axes,).
    """

    exponents: tuple[float, ...]
    constant: float
    errors: tuple[float, ...]
    freedom: int
    variance: float = math.inf
    spreads: tuple[float, ...] = ()

    def half_interval(self, axis: int = 0) -> float:
        """Return half the width of an exponent's 95% interval, by Student's t."""
        if self.freedom < 1:
            return math.inf
        return self.errors[axis] * student_t(self.freedom)


def power_law(sizes: Float[Array, "points axes"], values: Float[Array, " points"]) -> PowerLaw:
    """Fit a power law by least squares in logarithms.

    Args:
        sizes: Positive sizes along one axis, (points,), or several, (points, axes).
        values: Positive values.

    Returns:
        The fit; exponents of axes that do not vary mean nothing.
    """
    return power_laws(sizes, np.asarray(values, dtype=np.float64)[None])[0]


def power_laws(
    sizes: Float[Array, "points axes"], values: Float[Array, "laws points"]
) -> list[PowerLaw]:
    """Fit power laws of the same sizes, as `power_law` does for one."""
    sizes = np.asarray(sizes, dtype=np.float64)
    logs = np.log(sizes[:, None] if sizes.ndim == 1 else sizes)
    design = np.column_stack([np.ones(len(logs)), logs])
    y = np.log(np.asarray(values, dtype=np.float64)).T
    solutions, *_ = np.linalg.lstsq(design, y, rcond=None)
    freedom = len(y) - design.shape[1]
    spreads = [max(0.0, float(entry)) for entry in np.diag(np.linalg.pinv(design.T @ design))[1:]]
    variances = np.full(y.shape[1], math.inf)
    if freedom >= 1:
        variances = ((y - design @ solutions) ** 2).sum(axis=0) / freedom
    return [
        PowerLaw(
            exponents=tuple(map(float, solution[1:])),
            constant=math.exp(float(solution[0])),
            errors=tuple(
                math.sqrt(variance * spread) if freedom >= 1 else math.inf for spread in spreads
            ),
            freedom=freedom,
            variance=float(variance),
            spreads=tuple(spreads),
        )
        for solution, variance in zip(solutions.T, variances, strict=True)
    ]
