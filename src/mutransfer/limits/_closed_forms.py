"""Networks whose limit is a formula: for teaching, and as tests of the solvers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Result, parsed, parsing
from ..statistics import Array
from ._json import array, fields_of


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TwoLayer(Result):
    """An infinitely wide two-layer linear network on one example.

    Time t is before step t.

    Attributes:
        outputs: Outputs f, (times,).
        features: Kernel <h h>, (times,).
        gradients: Kernel <g g>, (times,).
    """

    outputs: Float[Array, " times"]
    features: Float[Array, " times"]
    gradients: Float[Array, " times"]

    def __str__(self) -> str:
        steps, kernels = len(self.outputs) - 1, (self.features[-1], self.gradients[-1])
        return (
            f"two layers after {steps} steps: output {self.outputs[-1]:.4g}, "
            f"<h h> {kernels[0]:.4g}, <g g> {kernels[1]:.4g}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the three curves as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the curves that `to_json` wrote.

        Raises:
            MutransferError: the data is not such curves.
        """
        with parsing("a result written by TwoLayer.to_json"):
            return cls(**{name: array(values) for name, values in parsed(data).items()})


def two_layer(
    target: float, *, lr: float, steps: int, gamma0: float = 1.0, norm: float = 1.0
) -> TwoLayer:
    """Train an infinitely wide two-layer network, by an exact map of three numbers.

    The network is f = w . W^0 x / (gamma0 N sqrt(D)), the loss (f - y)^2 / 2. With H = <h h>,
    G = <g g>, F = <h g> = gamma0 f, k = |x|^2 / D and q = lr gamma0 (y - f), a step takes h to
    h + q k g and g to g + q h. It is a residual network of depth 0, the limit of 2309.16620 without
    branches. Numbers are not finite once training has diverged.

    Args:
        target: Target y.
        lr: Learning rate eta0.
        steps: Number of steps.
        gamma0: Strength of feature learning.
        norm: Squared norm |x|^2 / D.

    Raises:
        MutransferError: gamma0 or norm is not positive, or steps is negative.
    """
    if gamma0 <= 0 or norm <= 0 or steps < 0:
        raise MutransferError(
            f"gamma0 {gamma0} and norm {norm} must be positive, steps {steps} not negative"
        )
    H, G, F = np.float64(norm), np.float64(1.0), np.float64(0.0)
    rows = [(F / gamma0, H, G)]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            q = lr * gamma0 * (target - F / gamma0)
            H, G, F = (
                H + 2 * q * norm * F + (q * norm) ** 2 * G,
                G + 2 * q * F + q**2 * H,
                F + q * (H + norm * G) + q**2 * norm * F,
            )
            rows.append((F / gamma0, H, G))
    outputs, features, gradients = np.array(rows).T
    return TwoLayer(outputs=outputs, features=features, gradients=gradients)


def two_layer_flow(
    target: float, times: Sequence[float], *, gamma0: float = 1.0
) -> Float[Array, " times"]:
    """Return the output of the same network under gradient flow, for norm 1.

    It solves df/dt = 2 sqrt(1 + gamma0^2 f^2) (y - f): with f = sinh(u) / gamma0, a = gamma0 y and
    s = sqrt(1 + a^2), 1 + a tanh(u / 2) = s tanh(s t + artanh(1 / s)).

    Args:
        target: Target y.
        times: Times in units of 1 / lr.
        gamma0: Strength of feature learning.

    Raises:
        MutransferError: gamma0 is not positive.
    """
    if gamma0 <= 0:
        raise MutransferError(f"gamma0 is {gamma0}: it must be positive")
    t, a = np.asarray(times, dtype=np.float64), gamma0 * target
    if a == 0:
        return np.zeros_like(t)
    s = np.sqrt(1 + a**2)
    # tanh(s t + artanh(1 / s)) = (tanh(s t) + 1 / s) / (1 + tanh(s t) / s). Subtracting the 1 of
    # the formula first avoids its cancellation at small a.
    moved = np.tanh(s * t)
    half = a * moved / (s + moved)
    return np.asarray(2 * half / (1 - half**2) / gamma0)


def muP_example(theta: float | Sequence[float], steps: int | None = None) -> Float[Array, " times"]:
    """Return the output of Tensor Programs V's instructive example in muP.

    It is f = V^T U x at infinite width (2203.03466, Section 5). With the gradient of the loss held
    at -theta, a step takes U to U + theta n V and n V to n V + theta U. So
    f_t = (prod (1 + theta_s)^2 - prod (1 - theta_s)^2) / 2 at every width n: the output grows in
    time, not in width.

    Args:
        theta: One number for all steps, or one for each.
        steps: Number of steps, where theta is one number.

    Raises:
        MutransferError: steps is missing, or given with a theta for each step.
    """
    if np.ndim(theta) == 0:
        if steps is None or steps < 0:
            raise MutransferError(
                f"steps is {steps}: give how many steps are taken with theta {theta}"
            )
        theta = [float(np.asarray(theta))] * steps
    elif steps is not None:
        raise MutransferError("theta has a value for each step: leave steps out")
    each = np.asarray(theta, dtype=np.float64)
    grown, shrunk = (np.cumprod([1.0, *(1 + sign * each) ** 2]) for sign in (1, -1))
    return np.asarray((grown - shrunk) / 2)
