"""Tensor Programs VI's recursion for a deep linear residual network, written as it stands there (arXiv 2310.02244, Lemma 4.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..core import MutransferError
from ._activations import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearRecursion:
    """Gamma, C and the outputs of Tensor Programs VI, Lemma 4.3. Axes come in the order of the paper's indices and arguments.

    a and b are 0 for features x and 1 for gradients dx = n dloss_t/dx, which hold the loss's slope chi_t. Cell k of q is
    (k/L, (k+1)/L]: the matrix W^(k+1), which gives two Gaussian vectors for every step r >= 0, b = 0 from W x^k and b = 1 from
    W^T dx^(k+1). Axis r starts with r = -1, which is U (b = 0) or V (b = 1) and the same in every cell.

    Attributes:
        outputs: f_t, before the step on input t, (steps,).
        slopes: chi_t = l'(f_t), (steps,).
        gamma: Gamma_{t,r,a,b}(p, q), (steps t, 1 + steps r, 2 a, 2 b, 1 + depth layers p, depth cells q): the coefficient of x^l_t or
            dx^l_t on a Gaussian vector, times sqrt(L) for r >= 0.
        kernels: C_{t,s,a}(p), (steps t, steps s, 2 a, 1 + depth layers p): <x^l_t x^l_s> and <dx^l_t dx^l_s>, averages over the width.
    """

    outputs: Float[Array, " steps"]
    slopes: Float[Array, " steps"]
    gamma: Float[Array, "steps bases 2 2 layers cells"]
    kernels: Float[Array, "steps steps 2 layers"]


def linear_recursion(
    inputs: ArrayLike,
    slope: Callable[[int, float], float],
    depth: int,
    lr: float = 1.0,
    branch: float = 1.0,
) -> LinearRecursion:
    """Train a deep linear residual network of infinite width by SGD on one scalar input at a time.

    With width n, U of entries N(0, 1), V of N(0, 1/n^2) and W^l of N(0, 1/n):

        x^0 = U xi_t,   x^l = x^(l-1) + branch / sqrt(L) W^l x^(l-1),   f_t = V . x^L,   W^l <- W^l - lr dloss_t/dW^l

    U and V stay as they are. This is the recursion of Tensor Programs VI (arXiv 2310.02244, Lemma 4.3, proved in Appendix C.1), where
    lr = branch = 1; it converges as 1 / L to its limit of infinite depth (Proposition 4.4). Time grows as depth^2 steps^3, memory as
    depth^2 steps^2.

    Args:
        inputs: xi_t, (steps,).
        slope: Maps the step t and the output f_t to the derivative of that step's loss with respect to the output.
        depth: L, at least 1.
        lr: Learning rate eta.
        branch: Block multiplier a.

    Raises:
        MutransferError: an argument is empty, of the wrong shape or out of range, or training diverges.

    Example:
        >>> found = linear_recursion([1.0, 1.0, 1.0], lambda step, output: output - 1.0, depth=1, lr=0.5)
        >>> found.outputs.tolist()
        [0.0, 0.5, 0.75]
    """
    xi = _checked(inputs, depth, lr, branch)
    steps = len(xi)
    gamma = np.zeros((steps, 1 + steps, 2, 2, 1 + depth, depth))
    kernels = np.zeros((steps, steps, 2, 1 + depth))
    covariance = np.zeros((1 + steps, 1 + steps, 2, depth))
    covariance[0, 0] = 1.0
    outputs, slopes = np.zeros(steps), np.zeros(steps)

    def measure(t: int, a: int, layer: int) -> None:
        known = slice(t + 2)
        weighted = np.einsum(
            "rbq,rsbq->sbq", gamma[t, known, a, :, layer], covariance[known, known]
        )
        kernels[t, : t + 1, a, layer] = (
            np.einsum("sbq,usbq->u", weighted, gamma[: t + 1, known, a, :, layer]) / depth
        )
        kernels[: t + 1, t, a, layer] = kernels[t, : t + 1, a, layer]

    def pass_layer(t: int, a: int, start: int, end: int) -> None:
        cell, other = min(start, end), 1 - a
        covariance[1:, 1:, a, cell] = kernels[:, :, a, start]
        reuse = (
            branch * gamma[t, 1 : 1 + t, a, other, start, cell]
            - lr * branch**2 * kernels[t, :t, a, start]
        )
        gamma[t, :, a, :, end] = (
            gamma[t, :, a, :, start] + np.tensordot(reuse, gamma[:t, :, other, :, end], 1) / depth
        )
        gamma[t, 1 + t, a, a, end, cell] += branch
        measure(t, a, end)

    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps):
            gamma[t, 0, 0, 0, 0] = xi[t]
            measure(t, 0, 0)
            for layer in range(depth):
                pass_layer(t, 0, layer, layer + 1)
            outputs[t] = gamma[t, 0, 0, 1, -1, -1]
            slopes[t] = slope(t, float(outputs[t]))
            if not math.isfinite(outputs[t]) or not math.isfinite(slopes[t]):
                raise MutransferError(
                    f"the recursion of depth {depth} diverges at step {t} with lr {lr:g}; give a smaller lr"
                )
            gamma[t, 0, 1, 1, -1] = slopes[t]
            measure(t, 1, depth)
            for layer in range(depth, 0, -1):
                pass_layer(t, 1, layer, layer - 1)
    return LinearRecursion(outputs=outputs, slopes=slopes, gamma=gamma, kernels=kernels)


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
