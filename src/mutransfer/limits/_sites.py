"""The single-site process of an infinitely wide network, sampled.

At infinite width neurons are independent copies of one random site, and means over neurons are
means over sites. What is left of a weight matrix is how it acts on fields, and that is known: a
matrix that has multiplied some fields from both sides acts on the next field as

    the part of the field in the span of the old ones    made again from their products
    the rest                                             a fresh Gaussian
    and what it did on the other side                    a deterministic answer

(Gaussian conditioning; Tensor Programs' master theorem). The old fields are kept whitened, with the
Gaussian that each of them made; then all three parts are products with what is stored. The answer
is the overlap of the field with those Gaussians (Stein's lemma), so no derivative is propagated and
nothing is iterated.

Every fresh Gaussian is orthonormal over the samples to draws before it, and to the fields that it
must be independent of. That removes most of the sampling error. Orthogonal to all draws, a linear
network has no sampling error at all, but samples must outnumber the draws of all layers. Orthogonal
to those of its own matrix, the samples need not grow with the depth: deep stacks cost a tenth.

Axes: samples S of the site, draws, directions (whitened fields), P examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..statistics import Array
from ._network import Field, Initial
from ._problem import Problem

# Share of a field's second moment below which a direction is rounding and no new one. Adding a
# small multiple of the identity instead would spoil kernels by 1e-3 at best.
_RANK = 1e-12

# Share of a direction's second moment outside all draws, below which it depends on them.
_INDEPENDENT = 1e-10


Apart = Literal["all", "matrix", "none"]
"""Draws that a Gaussian is orthogonal to: all, those of its own matrix, or no Gaussian at all."""


class SiteDraw:
    """The initial weights of an infinitely wide network, at sampled sites; see `Draw`.

    Args:
        problem: Network, data and training.
        depth: Number of branches.
        samples: Number of sites, more than `draws`.
        seed: Seed of the samples.
        apart: Draws that every Gaussian is orthogonal to over the samples: "all", or those of the
            same "matrix"; "none" leaves out the branches' initial weights, whose products vanish
            at infinite depth where alpha exceeds 1/2.
    """

    def __init__(
        self,
        problem: Problem,
        depth: int,
        samples: int,
        seed: int | Sequence[int],
        apart: Apart = "all",
    ) -> None:
        self.problem, self.depth, self.apart = problem, depth, apart
        most = draws(problem, depth) if apart == "all" else 2 + len(problem.targets)
        self.source = _Source(samples, most, seed)

    def embedding(self) -> Field:
        """Return Gaussians of covariance x . x' / D."""
        values, vectors = np.linalg.eigh(self.problem.gram)
        kept = values > _RANK * values.sum()
        normals = self.source.draw(int(kept.sum()))
        return np.asarray(normals @ (vectors[:, kept] * np.sqrt(values[kept])).T)

    def matrices(self) -> Sequence[Initial]:
        """Return the matrices of all branches."""
        most = (self.problem.steps + 1) * len(self.problem.targets)
        kinds: dict[Apart, Callable[[_Source, int], Initial]] = {
            "all": _Conditioned,
            "matrix": _Separate,
            "none": _Absent,
        }
        kind = kinds[self.apart]
        return [kind(self.source, most) for _ in range(self.depth * self.problem.block_depth)]

    def readout(self, features: Field) -> Array:
        """Return w, uncorrelated with the features, so that f = 0 before training."""
        directions, _ = _whitened(features, _second_moment(features))
        side = _Side(self.source, features.shape[1])
        side.append(directions, directions)
        return self.source.draw(1, side)


def draws(problem: Problem, depth: int, apart: Apart = "all") -> int:
    """Return the most orthogonal directions that a run needs.

    They are the constant, the readout, the embedding, and one for each field that meets a matrix:
    any matrix, or, apart from one matrix alone, its fields of both sides.
    """
    examples, fields = len(problem.targets), (problem.steps + 1) * len(problem.targets)
    of_matrices = {
        "all": 2 * depth * problem.block_depth * fields,
        "matrix": examples + (2 * fields if depth else 0),
        "none": examples,
    }
    return 2 + examples + of_matrices[apart]


class _Source:
    """Standard normals over the samples, orthonormal to each other and the constant."""

    def __init__(self, samples: int, most: int, seed: int | Sequence[int]) -> None:
        self.random = np.random.default_rng(seed)
        self.drawn, self.count = _columns(samples, most), 1
        # The constant comes first: draws orthogonal to it have mean 0 over the samples.
        self.drawn[:, 0] = 1.0

    def normals(self, count: int) -> Float[Array, "samples count"]:
        """Return new normals as they come."""
        return self.random.standard_normal((len(self.drawn), count))

    def draw(self, count: int, apart: _Side | None = None) -> Float[Array, "samples count"]:
        """Return new normals.

        Args:
            count: Their number.
            apart: Fields that they are orthogonal to as well. Without, sampling errors of outputs
                would be divided by gamma0.
        """
        samples = len(self.drawn)
        before = self.drawn[:, : self.count]
        fresh = self.normals(count)
        onto = before.T @ fresh / samples
        if apart is not None:
            # Project out draws and directions at once: the directions first, in the complement of
            # the draws (a Schur complement), and then the draws.
            overlaps = apart.overlaps(before)
            inverse = _inverse(np.eye(overlaps.shape[1]) - overlaps.T @ overlaps)
            along = inverse @ (apart.used.T @ fresh / samples - overlaps.T @ onto)
            fresh -= apart.used @ along
            onto -= overlaps @ along
        fresh -= before @ onto
        fresh = np.linalg.qr(fresh)[0] * np.sqrt(samples)
        self.drawn[:, self.count : self.count + count] = fresh
        self.count += count
        return np.asarray(fresh)


def _columns(samples: int, most: int) -> Array:
    """Return an array to be filled column by column."""
    return np.empty((samples, most), order="F")


def _second_moment(fields: Field) -> float:
    return float(np.einsum("sp,sp->", fields, fields)) / len(fields)


def _inverse(moment: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the inverse of a second moment of unit scale, 0 where that is rounding."""
    values, vectors = np.linalg.eigh(moment)
    kept = values > _INDEPENDENT
    return np.asarray((vectors[:, kept] / values[kept]) @ vectors[:, kept].T)


def _whitened(
    fields: Field, scale: float
) -> tuple[Float[Array, "samples rank"], Float[Array, "rank examples"]]:
    """Return orthonormal directions of fields over samples, and their coefficients.

    Args:
        fields: Fields (samples, examples), whose directions are wanted.
        scale: Second moment that rounding errors are compared with.
    """
    values, vectors = np.linalg.eigh(fields.T @ fields / len(fields))
    kept = values > _RANK * scale
    roots = np.sqrt(values[kept])
    directions = np.asarray(fields @ (vectors[:, kept] / roots))
    return directions, np.asarray((vectors[:, kept] * roots).T)


class _Side:
    """The past of a matrix on one side: directions, and the Gaussian of each."""

    def __init__(self, source: _Source, most: int) -> None:
        samples, draws = source.drawn.shape
        self._used, self._made, self._count = _columns(samples, most), _columns(samples, most), 0
        self._overlaps, self._known = np.empty((draws, most)), (0, 0)

    @property
    def used(self) -> Array:
        """Directions that the matrix was applied to, (samples, directions)."""
        return self._used[:, : self._count]

    @property
    def made(self) -> Array:
        """Gaussian of each direction, (samples, directions)."""
        return self._made[:, : self._count]

    def append(self, used: Array, made: Array) -> None:
        """Add directions and their Gaussians."""
        new = slice(self._count, self._count + used.shape[1])
        self._used[:, new], self._made[:, new] = used, made
        self._count = new.stop

    def overlaps(self, drawn: Float[Array, "samples draws"]) -> Float[Array, "draws directions"]:
        """Return the mean over samples of every draw times every direction.

        Draws and directions only ever grow, so the corner that is known is kept.
        """
        rows, columns = self._known
        samples, draws = drawn.shape
        below, right = (slice(rows, draws), slice(columns)), slice(columns, self._count)
        self._overlaps[below] = drawn[:, rows:].T @ self._used[:, :columns] / samples
        self._overlaps[:draws, right] = drawn.T @ self._used[:, right] / samples
        self._known = draws, self._count
        return self._overlaps[:draws, : self._count]


class _Conditioned:
    """An infinitely large Gaussian matrix, known by its products so far."""

    def __init__(self, source: _Source, most: int) -> None:
        self.source = source
        self.inputs, self.signals = (_Side(source, most) for _ in range(2))

    def forward(self, x: Field) -> Field:
        return self._multiply(x, self.inputs, self.signals)

    def backward(self, y: Field) -> Field:
        return self._multiply(y, self.signals, self.inputs)

    def _multiply(self, x: Field, near: _Side, far: _Side) -> Field:
        """Return the product with x from the side `near`; the other side is `far`."""
        samples = len(x)
        known = near.used.T @ x / samples
        rest = x - near.used @ known
        directions, coefficients = _whitened(rest, _second_moment(x))
        # Apart from the fields on the far side, which the fresh Gaussian must not know.
        fresh = self.source.draw(directions.shape[1], far)
        answer = far.used @ (far.made.T @ x / samples)
        product = near.made @ known + fresh @ coefficients + answer
        near.append(directions, fresh)
        return np.asarray(product)


class _Basis:
    """Orthonormal directions over the samples that only grow."""

    def __init__(self, samples: int, most: int) -> None:
        self._columns, self._count = _columns(samples, most), 0

    def without(self, fields: Field) -> Field:
        """Return the part of fields that is orthogonal to all directions."""
        known = self._columns[:, : self._count]
        return np.asarray(fields - known @ (known.T @ fields / len(fields)))

    def append(self, fields: Field) -> None:
        """Add the directions of orthonormal fields that are new."""
        self.extend(_whitened(self.without(fields), _INDEPENDENT / _RANK)[0])

    def extend(self, directions: Field) -> None:
        """Add directions that are orthogonal to all others."""
        new = slice(self._count, self._count + directions.shape[1])
        self._columns[:, new], self._count = directions, new.stop


class _Separate:
    """An infinitely large Gaussian matrix, with draws apart from its own alone.

    Each side has a basis of all that a Gaussian of the other side must be orthogonal to: directions
    of this side, Gaussians of the other, and what matrices share (constant, embedding and readout).
    """

    def __init__(self, source: _Source, most: int) -> None:
        samples, shared = source.drawn.shape
        self.source, self.shared = source, 0
        self.inputs, self.signals = (_Fields(samples, most, shared + 2 * most) for _ in range(2))

    def forward(self, x: Field) -> Field:
        return self._multiply(x, self.inputs, self.signals)

    def backward(self, y: Field) -> Field:
        return self._multiply(y, self.signals, self.inputs)

    def _multiply(self, x: Field, near: _Fields, far: _Fields) -> Field:
        """Return the product with x from the side `near`; the other side is `far`."""
        samples = len(x)
        if self.shared < self.source.count:
            new = self.source.drawn[:, self.shared : self.source.count]
            self.shared = self.source.count
            near.basis.append(new)
            far.basis.append(new)
        known = near.used.T @ x / samples
        directions, coefficients = _whitened(x - near.used @ known, _second_moment(x))
        fresh = far.basis.without(self.source.normals(directions.shape[1]))
        fresh = np.linalg.qr(fresh)[0] * np.sqrt(samples)
        answer = far.used @ (far.made.T @ x / samples)
        product = near.made @ known + fresh @ coefficients + answer
        near.append(directions, fresh)
        far.basis.extend(fresh)
        near.basis.append(directions)
        return np.asarray(product)


class _Fields:
    """The past of a matrix on one side, with the basis that other draws avoid."""

    def __init__(self, samples: int, most: int, directions: int) -> None:
        self._used, self._made, self._count = _columns(samples, most), _columns(samples, most), 0
        self.basis = _Basis(samples, directions)

    @property
    def used(self) -> Array:
        """Directions that the matrix was applied to, (samples, directions)."""
        return self._used[:, : self._count]

    @property
    def made(self) -> Array:
        """Gaussian of each direction, (samples, directions)."""
        return self._made[:, : self._count]

    def append(self, used: Array, made: Array) -> None:
        """Add directions and their Gaussians."""
        new = slice(self._count, self._count + used.shape[1])
        self._used[:, new], self._made[:, new] = used, made
        self._count = new.stop


class _Absent:
    """A matrix of zeros."""

    def __init__(self, source: _Source, most: int) -> None:
        pass

    def forward(self, x: Field) -> Field:
        return np.zeros_like(x)

    def backward(self, y: Field) -> Field:
        return np.zeros_like(y)
