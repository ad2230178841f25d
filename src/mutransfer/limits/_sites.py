"""The single-site process of an infinitely wide network, sampled: its Gaussian matrices, conditioned on all that they did before.

A matrix that has multiplied fields x from one side and y from the other acts on the next field as a fresh Gaussian beyond the span of the
old ones, plus a deterministic answer to what it did on the other side (Gaussian conditioning; Tensor Programs' master theorem). With
the whitened fields and the Gaussians that each of them made, both are products with what is stored: no responses are differentiated,
nothing is iterated. Every draw is orthonormal over the samples to all draws before it, and to the fields that it must be independent of,
which removes most of the sampling error, and all of it in a linear network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ._activations import Array
from ._network import Field
from ._problem import Problem

_RANK = 1e-12
"""Share of a field's second moment below which a direction is no new one."""

_INDEPENDENT = 1e-10
"""Share of a direction's second moment that must lie outside all draws for it to count beside them."""


class SiteDraw:
    """The initial weights of an infinitely wide network, at sampled sites."""

    def __init__(
        self, problem: Problem, depth: int, samples: int, seed: int | Sequence[int]
    ) -> None:
        self.problem, self.depth = problem, depth
        self.source = _Source(samples, directions(problem, depth), seed)

    def embedding(self) -> Field:
        """See Draw: Gaussians of covariance x . x' / D."""
        values, vectors = np.linalg.eigh(self.problem.gram)
        found = values > _RANK * values.sum()
        return np.asarray(
            self.source.draw(int(found.sum())) @ (vectors[:, found] * np.sqrt(values[found])).T
        )

    def matrices(self) -> list[_Conditioned]:
        """See Draw."""
        most = (self.problem.steps + 1) * len(self.problem.targets)
        return [
            _Conditioned(self.source, most) for _ in range(self.depth * self.problem.block_depth)
        ]

    def readout(self, features: Field) -> Array:
        """See Draw: independent of the features, so that f = 0 before training."""
        side = _Side(self.source, features.shape[1])
        directions, _ = _whitened(
            features, float(np.einsum("sp,sp->", features, features)) / len(features)
        )
        side.append(directions, directions)
        return self.source.draw(1, side)


def directions(problem: Problem, depth: int) -> int:
    """How many independent draws a run needs at most."""
    examples = len(problem.targets)
    return 2 + examples + 2 * depth * problem.block_depth * (problem.steps + 1) * examples


class _Source:
    """Standard normals over the samples, all orthonormal to each other and to the constant."""

    def __init__(self, samples: int, most: int, seed: int | Sequence[int]) -> None:
        self.random = np.random.default_rng(seed)
        self.drawn, self.count = _columns(samples, most), 1
        self.drawn[:, 0] = 1.0

    def draw(self, count: int, apart: _Side | None = None) -> Float[Array, "samples count"]:
        """Draw so many, orthogonal to the fields of this side as well."""
        samples = len(self.drawn)
        before = self.drawn[:, : self.count]
        fresh = self.random.standard_normal((samples, count))
        onto = before.T @ fresh / samples
        if apart is not None:
            overlaps = apart.overlaps(before)
            inverse = _inverse(np.eye(overlaps.shape[1]) - overlaps.T @ overlaps)
            beside = inverse @ (apart.used.T @ fresh / samples - overlaps.T @ onto)
            fresh -= apart.used @ beside
            onto -= overlaps @ beside
        fresh -= before @ onto
        fresh = np.linalg.qr(fresh)[0] * np.sqrt(samples)
        self.drawn[:, self.count : self.count + count] = fresh
        self.count += count
        return np.asarray(fresh)


def _columns(samples: int, most: int) -> Array:
    """An array to be filled column by column."""
    return np.empty((samples, most), order="F")


def _inverse(moment: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The inverse of a second moment of unit scale, zero where it has only rounding errors."""
    values, vectors = np.linalg.eigh(moment)
    found = values > _INDEPENDENT
    return np.asarray((vectors[:, found] / values[found]) @ vectors[:, found].T)


def _whitened(
    fields: Field, scale: float
) -> tuple[Float[Array, "samples rank"], Float[Array, "rank examples"]]:
    """Orthonormal directions of the fields over the samples, and the fields' coefficients on them; nothing of what rounding left."""
    values, vectors = np.linalg.eigh(fields.T @ fields / len(fields))
    found = values > _RANK * scale
    roots = np.sqrt(values[found])
    return np.asarray(fields @ (vectors[:, found] / roots)), np.asarray(
        (vectors[:, found] * roots).T
    )


class _Side:
    """What a matrix has multiplied from one side: orthonormal directions, and the Gaussian that each of them made."""

    def __init__(self, source: _Source, most: int) -> None:
        samples, draws = source.drawn.shape
        self._used, self._made, self._count = _columns(samples, most), _columns(samples, most), 0
        self._overlaps, self._known = np.empty((draws, most)), (0, 0)

    @property
    def used(self) -> Array:
        """The directions, (samples, directions)."""
        return self._used[:, : self._count]

    @property
    def made(self) -> Array:
        """The Gaussian of each direction, the same shape."""
        return self._made[:, : self._count]

    def append(self, used: Array, made: Array) -> None:
        """Add directions."""
        new = slice(self._count, self._count + used.shape[1])
        self._used[:, new], self._made[:, new] = used, made
        self._count = new.stop

    def overlaps(self, drawn: Float[Array, "samples draws"]) -> Float[Array, "draws directions"]:
        """The mean over samples of every draw times every direction; what is known already is not computed again."""
        rows, columns = self._known
        samples, draws = drawn.shape
        self._overlaps[rows:draws, :columns] = drawn[:, rows:].T @ self._used[:, :columns] / samples
        self._overlaps[:draws, columns : self._count] = (
            drawn.T @ self._used[:, columns : self._count] / samples
        )
        self._known = draws, self._count
        return self._overlaps[:draws, : self._count]


class _Conditioned:
    """An infinitely large Gaussian matrix, known by what it did."""

    def __init__(self, source: _Source, most: int) -> None:
        self.source = source
        self.inputs, self.signals = (_Side(source, most) for _ in range(2))

    def forward(self, x: Field) -> Field:
        """See Initial."""
        return self._multiply(x, self.inputs, self.signals)

    def backward(self, y: Field) -> Field:
        """See Initial."""
        return self._multiply(y, self.signals, self.inputs)

    def _multiply(self, x: Field, own: _Side, other: _Side) -> Field:
        samples = len(x)
        known = own.used.T @ x / samples
        rest = x - own.used @ known
        new, coefficients = _whitened(rest, float(np.einsum("sp,sp->", x, x)) / samples)
        fresh = self.source.draw(new.shape[1], other)
        answer = other.used @ (other.made.T @ x / samples)
        product = own.made @ known + fresh @ coefficients + answer
        own.append(new, fresh)
        return np.asarray(product)
