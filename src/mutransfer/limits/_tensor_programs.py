"""Tensor Programs VI's recursion for a deep linear residual network, as printed.

arXiv 2310.02244, Lemma 4.3. Axes are the paper's indices and arguments, in its order:

    t, s    steps of features and gradients
    r       steps of the Gaussian basis, one more: index 0 is the paper's r = -1
    a, b    0 for features x, 1 for gradients dx
    p       layers, 0 to depth
    q       cells between layers
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..core import MutransferError, Result, parsed, parsing
from ..statistics import Array
from ._json import array, fields_of


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LinearRecursion(Result):
    """Gamma, C and the outputs of Tensor Programs VI, Lemma 4.3.

    a and b are 0 for features x and 1 for gradients dx = n dloss_t/dx, which hold the loss's slope
    chi_t. Cell k of q is (k/L, (k+1)/L]: the matrix W^(k+1), which gives two Gaussian vectors for
    every step r >= 0, b = 0 from W x^k and b = 1 from W^T dx^(k+1). Axis r starts with r = -1,
    which is U (b = 0) or V (b = 1) and the same in every cell.

    Attributes:
        outputs: Outputs f_t, before the step on input t, (steps,).
        slopes: Slopes chi_t = l'(f_t), (steps,).
        gamma: Coefficients Gamma_{t,r,a,b}(p, q) of x^l_t or dx^l_t on a Gaussian vector, times
            sqrt(L) for r >= 0; (steps t, 1 + steps r, 2 a, 2 b, 1 + depth layers p, depth cells q).
        kernels: Averages C_{t,s,a}(p) over the width, <x^l_t x^l_s> and <dx^l_t dx^l_s>;
            (steps t, steps s, 2 a, 1 + depth layers p).
    """

    outputs: Float[Array, " steps"]
    slopes: Float[Array, " steps"]
    gamma: Float[Array, "steps bases 2 2 layers cells"]
    kernels: Float[Array, "steps steps 2 layers"]

    def __str__(self) -> str:
        steps, depth = len(self.outputs), self.gamma.shape[-1]
        return f"depth {depth} after {steps - 1} steps: output {self.outputs[-1]:.4g}"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the recursion that `to_json` wrote.

        Raises:
            MutransferError: the data is no recursion.
        """
        with parsing("a result written by LinearRecursion.to_json"):
            return cls(**{name: array(values) for name, values in parsed(data).items()})


def linear_recursion(
    inputs: ArrayLike,
    slope: Callable[[int, float], float],
    depth: int,
    lr: float = 1.0,
    branch: float = 1.0,
) -> LinearRecursion:
    """Train a deep linear residual network of infinite width, as Tensor Programs VI.

    SGD sees one scalar input at a time. With width n, U of entries N(0, 1), V of N(0, 1/n^2) and
    W^l of N(0, 1/n):

        x^0 = U xi_t,   x^l = x^(l-1) + branch / sqrt(L) W^l x^(l-1),   f_t = V . x^L,
        W^l <- W^l - lr dloss_t/dW^l

    U and V stay as they are. This is the recursion of Tensor Programs VI (arXiv 2310.02244, Lemma
    4.3, proved in Appendix C.1), where lr = branch = 1; it converges as 1 / L to its limit of
    infinite depth (Proposition 4.4). Time grows as depth^2 steps^3, memory as depth^2 steps^2.

    Args:
        inputs: Inputs xi_t, (steps,).
        slope: Function of the step t and the output f_t: the derivative of that step's loss with
            respect to the output.
        depth: Number of branches L, at least 1.
        lr: Learning rate eta.
        branch: Block multiplier a.

    Raises:
        MutransferError: an argument is empty, of the wrong shape or out of range, or training
            diverges.

    Example:
        >>> found = linear_recursion([1, 1, 1], lambda step, output: output - 1, depth=1, lr=0.5)
        >>> found.outputs.tolist()
        [0.0, 0.5, 0.75]
    """
    xi = _checked(inputs, depth, lr, branch)
    run = _Recursion(len(xi), int(depth), lr, branch)
    outputs, slopes = np.zeros(len(xi)), np.zeros(len(xi))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(len(xi)):
            outputs[t] = run.forward(t, xi[t])
            slopes[t] = slope(t, float(outputs[t]))
            if not math.isfinite(outputs[t]) or not math.isfinite(slopes[t]):
                raise MutransferError(
                    f"the recursion of depth {depth} diverges at step {t} with lr {lr:g}; "
                    "give a smaller lr"
                )
            run.backward(t, slopes[t])
    return LinearRecursion(outputs=outputs, slopes=slopes, gamma=run.gamma, kernels=run.kernels)


class _Recursion:
    """Gamma and C so far."""

    def __init__(self, steps: int, depth: int, lr: float, branch: float) -> None:
        self.depth, self.lr, self.branch = depth, lr, branch
        self.gamma = np.zeros((steps, 1 + steps, 2, 2, 1 + depth, depth))
        self.kernels = np.zeros((steps, steps, 2, 1 + depth))
        # Of the Gaussian vectors: r = -1 alone has variance 1, others that of what W multiplied.
        self.covariance = np.zeros((1 + steps, 1 + steps, 2, depth))
        self.covariance[0, 0] = 1.0

    def forward(self, t: int, xi: float) -> float:
        """Pass input t upwards, and return the output."""
        self.gamma[t, 0, 0, 0, 0] = xi
        self._measure(t, 0, 0)
        for layer in range(self.depth):
            self._pass_layer(t, 0, layer, layer + 1)
        # V is a Gaussian vector of its own, so the output is the coefficient on it.
        return float(self.gamma[t, 0, 0, 1, -1, -1])

    def backward(self, t: int, slope: float) -> None:
        """Pass the loss's slope downwards."""
        self.gamma[t, 0, 1, 1, -1] = slope
        self._measure(t, 1, self.depth)
        for layer in range(self.depth, 0, -1):
            self._pass_layer(t, 1, layer, layer - 1)

    def _pass_layer(self, t: int, a: int, start: int, end: int) -> None:
        cell, other = min(start, end), 1 - a
        self.covariance[1:, 1:, a, cell] = self.kernels[:, :, a, start]
        # W answers to its own use on the other side, less what it learned from the past.
        answers = self.branch * self.gamma[t, 1 : 1 + t, a, other, start, cell]
        reuse = answers - self.lr * self.branch**2 * self.kernels[t, :t, a, start]
        passed = np.tensordot(reuse, self.gamma[:t, :, other, :, end], 1) / self.depth
        self.gamma[t, :, a, :, end] = self.gamma[t, :, a, :, start] + passed
        self.gamma[t, 1 + t, a, a, end, cell] += self.branch
        self._measure(t, a, end)

    def _measure(self, t: int, a: int, layer: int) -> None:
        """Set the kernel of a layer at step t with all steps until then."""
        known = slice(t + 2)
        coefficients = self.gamma[t, known, a, :, layer]
        weighted = np.einsum("rbq,rsbq->sbq", coefficients, self.covariance[known, known])
        sums = np.einsum("sbq,usbq->u", weighted, self.gamma[: t + 1, known, a, :, layer])
        self.kernels[t, : t + 1, a, layer] = sums / self.depth
        self.kernels[: t + 1, t, a, layer] = self.kernels[t, : t + 1, a, layer]


def _checked(inputs: ArrayLike, depth: int, lr: float, branch: float) -> Float[Array, " steps"]:
    try:
        xi = np.array(inputs, dtype=np.float64)
    except (TypeError, ValueError):
        raise MutransferError(
            "inputs are not numbers: give an array of one scalar a step"
        ) from None
    if xi.ndim != 1 or not xi.size or not np.isfinite(xi).all():
        raise MutransferError(
            f"inputs have the shape {xi.shape}: give one finite scalar a step, (steps,)"
        )
    if not isinstance(depth, Integral) or depth < 1:
        raise MutransferError(f"depth is {depth!r}: give a whole number of branches, at least 1")
    for name, value in (("lr", lr), ("branch", branch)):
        if not math.isfinite(value) or value < 0:
            raise MutransferError(f"{name} is {value}: it must be finite and not negative")
    return xi
