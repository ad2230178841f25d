"""Training in function space: one program for finite and for infinite networks.

Weights are never updated. A trained matrix is the part that is left of its initial value, plus a
sum over past gradients. Every gradient is an outer product of two fields that are kept. So a
network is given by its initial draw alone: weights of N neurons make it finite (`_simulate`),
samples of the limit's single-site process make it infinitely wide (`_sites`). Nothing else differs.

Axes:

    *networks   networks that are trained together; none for sampled sites
    sites       N neurons of a finite network, or S independent samples of the limit's one site
    examples    P examples, at one time
    columns     T times x P examples, time by time
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float

from ..statistics import Array
from ._activations import Activation
from ._memory import memory
from ._problem import Problem

Field = Float[Array, "*networks sites examples"]


class Initial(Protocol):
    """An initial weight matrix W / sqrt(sites), known by its products alone."""

    def forward(self, x: Field) -> Field:
        """Return W x / sqrt(sites)."""

    def backward(self, y: Field) -> Field:
        """Return W^T y / sqrt(sites)."""


class Draw(Protocol):
    """The initial draw of a whole network."""

    def embedding(self) -> Field:
        """Return W^0 x / sqrt(D) of every example."""

    def matrices(self) -> Sequence[Initial]:
        """Return the matrices of all branches, from the first to the last."""

    def readout(self, features: Field) -> Float[Array, "*networks sites one"]:
        """Return w, given the last layer's features before training."""


@dataclass(frozen=True, eq=False)
class Trained:
    """One training run.

    Attributes:
        outputs: Outputs f, (*networks, times, examples).
        features: Features h of every layer, from the first to the last, each
            (*networks, sites, columns).
        gradients: Gradients g = gamma0 N df/dh of every layer, the same way.
        tangent: Tangent kernel at every time, (*networks, times, examples, examples).
    """

    outputs: Array
    features: list[Array]
    gradients: list[Array]
    tangent: Array


def covariance(
    fields: Float[Array, "*networks sites columns"], examples: int
) -> Float[Array, "*networks times examples examples"]:
    """Return the products of fields of one time, means over sites, at every time."""
    *networks, sites, columns = fields.shape
    # Columns lie together in memory, so the last two axes are swapped before they are split.
    split = (*networks, columns // examples, examples, sites)
    apart = np.swapaxes(fields, -1, -2).reshape(split)
    return np.asarray(apart @ np.swapaxes(apart, -1, -2) / sites)


class _Part(ABC):
    """One operation of a branch, forward and backward."""

    @abstractmethod
    def forward(self, x: Field, past: _Past) -> Field: ...

    @abstractmethod
    def backward(self, y: Field, past: _Past) -> Field: ...


class _Pointwise(_Part):
    def __init__(self, phi: Activation) -> None:
        self.phi = phi

    def forward(self, x: Field, past: _Past) -> Field:
        self.slope = self.phi.slope(x)
        return self.phi.value(x)

    def backward(self, y: Field, past: _Past) -> Field:
        return self.slope * y


class _Centred(_Part):
    def forward(self, x: Field, past: _Past) -> Field:
        return np.asarray(x - x.mean(-2, keepdims=True))

    def backward(self, y: Field, past: _Past) -> Field:
        return np.asarray(y - y.mean(-2, keepdims=True))


class _Matrix(_Part):
    """A trained matrix: its initial value, and its inputs and signals so far."""

    def __init__(self, initial: Initial, rate: float, shape: tuple[int, ...]) -> None:
        self.initial, self.rate = initial, rate
        self.inputs, self.signals = _History(shape), _History(shape)

    def forward(self, x: Field, past: _Past) -> Field:
        self.inputs.append(x)
        learned = past.learned(x, self.inputs, self.signals)
        return past.kept * self.initial.forward(x) + self.rate * learned

    def backward(self, y: Field, past: _Past) -> Field:
        self.signals.append(y)
        learned = past.learned(y, self.signals, self.inputs)
        return past.kept * self.initial.backward(y) + self.rate * learned


class _History:
    """Fields of all times until now, (*networks, sites, columns)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        *networks, sites, columns = shape
        # A column is written at once and columns are read in runs, so they lie together in memory.
        self.fields, self.filled = np.swapaxes(np.empty((*networks, columns, sites)), -1, -2), 0

    def append(self, field: Field) -> None:
        self.fields[..., self.filled : self.filled + field.shape[-1]] = field
        self.filled += field.shape[-1]


@dataclass(frozen=True)
class _Past:
    """The past as trained weights hold it at one time.

    Attributes:
        kept: Share of the initial weights.
        weights: Weight of every past gradient, gamma0 moved[t, s] pull_mu(s), (*networks, past)
            with times x examples in the past.
    """

    kept: float
    weights: Float[Array, "*networks past"]

    def learned(self, x: Field, seen: _History, made: _History) -> Field:
        """Return the learned part of a matrix times x.

        Gradients are outer products of `made` and `seen`. So the product is the sum of past `made`,
        each times its weight and the overlap <seen x> over sites.
        """
        size = self.weights.shape[-1]
        overlaps = np.swapaxes(seen.fields[..., :size], -1, -2) @ x / x.shape[-2]
        return np.asarray(made.fields[..., :size] @ (self.weights[..., None] * overlaps))


class _Run:
    """A network in training: all fields so far."""

    def __init__(self, problem: Problem, depth: int, draw: Draw) -> None:
        self.problem, self.draw, self.memory = problem, draw, memory(problem)
        self.start = draw.embedding()
        *networks, sites, examples = self.start.shape
        times = problem.steps + 1
        shape = (*networks, sites, times * examples)
        self.scale, rate, each = problem.branch(depth), problem.hidden_rate(depth), draw.matrices()
        size = problem.block_depth
        self.branches = [
            _branch(problem, each[i : i + size], rate, shape) for i in range(0, len(each), size)
        ]
        self.features, self.gradients = (
            [_History(shape) for _ in range(depth + 1)] for _ in range(2)
        )
        self.outputs, self.pulls = np.zeros((2, *networks, times, examples))

    def past(self, t: int) -> _Past:
        moved = self.memory.moved[t, :t, None]
        weights = self.problem.gamma0 * moved * self.pulls[..., :t, :]
        return _Past(float(self.memory.kept[t]), weights.reshape(*weights.shape[:-2], -1))

    def forward(self, t: int, past: _Past) -> Float[Array, "*networks sites any"]:
        """Append features and set outputs of this time; return the readout's weights w."""
        h = self.memory.kept_input[t] * self.start
        if self.problem.train_input:
            # Gradients of W^0 are outer products of g^0 and inputs, whose overlaps never change.
            gram = np.tile(self.problem.gram, (t, 1))
            h = h + self._so_far(self.gradients[0], past) @ (past.weights[..., None] * gram)
        self.features[0].append(h)
        for branch, history in zip(self.branches, self.features[1:], strict=True):
            x = h
            for part in branch:
                x = part.forward(x, past)
            h = h + self.scale * x
            history.append(h)
        if t == 0:
            self.readout = self.draw.readout(h)
        w = self.memory.kept_readout[t] * self.readout
        if self.problem.train_readout:
            w = w + self._so_far(self.features[-1], past) @ past.weights[..., None]
        self.outputs[..., t, :] = (w * h).mean(-2) / self.problem.gamma0
        return np.asarray(np.broadcast_to(w, h.shape))

    def backward(self, t: int, g: Field, past: _Past) -> None:
        """Append the gradients of this time, from g = w at the last layer."""
        self.pulls[..., t, :] = self.problem.pull(t, self.outputs[..., t, :])
        self.gradients[-1].append(g)
        below = zip(reversed(self.branches), reversed(self.gradients[:-1]), strict=True)
        for branch, history in below:
            y = self.scale * g
            for part in reversed(branch):
                y = part.backward(y, past)
            g = g + y
            history.append(g)

    def tangent(self) -> Float[Array, "*networks times examples examples"]:
        """Return the tangent kernel at every time.

        It is the sum over trained matrices of <x x> <y y>, with inputs x and signals y, so that
        gradient flow changes outputs by rate x kernel x pulls.
        """
        kernel = np.zeros((*self.outputs.shape, self.outputs.shape[-1]))
        examples = self.outputs.shape[-1]
        if self.problem.train_readout:
            kernel += covariance(self.features[-1].fields, examples)
        if self.problem.train_input:
            kernel += covariance(self.gradients[0].fields, examples) * self.problem.gram
        for part in (part for branch in self.branches for part in branch):
            if isinstance(part, _Matrix):
                of_inputs = covariance(part.inputs.fields, examples)
                kernel += part.rate * of_inputs * covariance(part.signals.fields, examples)
        return kernel

    @staticmethod
    def _so_far(history: _History, past: _Past) -> Float[Array, "*networks sites past"]:
        return history.fields[..., : past.weights.shape[-1]]


def _branch(
    problem: Problem, initials: Sequence[Initial], rate: float, shape: tuple[int, ...]
) -> list[_Part]:
    parts: list[_Part] = []
    for initial in initials:
        matrix, pointwise = _Matrix(initial, rate, shape), _Pointwise(problem.phi)
        parts += [pointwise, matrix] if problem.block == "pre" else [matrix, pointwise]
    return parts if problem.block == "pre" else [*parts, _Centred()]


def train(
    problem: Problem, depth: int, draw: Draw, watch: Callable[[int, Array], None] | None = None
) -> Trained:
    """Train a network from its initial draw.

    Args:
        problem: Network, data and training.
        depth: Number of branches.
        draw: The initial weights.
        watch: Called at every time with the time and all outputs so far; it may raise.
    """
    run = _Run(problem, depth, draw)
    for t in range(problem.steps + 1):
        past = run.past(t)
        w = run.forward(t, past)
        if watch is not None:
            watch(t, run.outputs)
        run.backward(t, w, past)
    features, gradients = (
        [history.fields for history in histories] for histories in (run.features, run.gradients)
    )
    return Trained(run.outputs, features, gradients, run.tangent())
