"""Training of one network in function space: what is common to networks of finite width and to sampled sites of an infinite one.

A field has the shape (*networks, sites, examples); a site is a neuron of a finite network, or an independent sample of the limit's
single-site process. Weights are never updated: a trained matrix is what is kept of its initial value, and a sum over past gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float

from ._activations import Activation, Array
from ._memory import Memory, memory
from ._problem import Problem

Field = Float[Array, "*networks sites examples"]


class Initial(Protocol):
    """An initial weight matrix W / sqrt(sites), of which only products are needed."""

    def forward(self, x: Field) -> Field:
        """W x / sqrt(sites)."""

    def backward(self, y: Field) -> Field:
        """W^T y / sqrt(sites)."""


class Draw(Protocol):
    """The initial draw of a whole network."""

    def embedding(self) -> Field:
        """W^0 x / sqrt(D) of every example."""

    def matrices(self) -> Sequence[Initial]:
        """The matrices of all branches, from the first to the last."""

    def readout(self, features: Field) -> Float[Array, "*networks sites one"]:
        """w; the last layer's features before training are given to those who draw it last."""


@dataclass(frozen=True)
class Trained:
    """One training run: outputs (*networks, times, examples), and features and gradients of all layers at all times.

    The latter are (*networks, sites, times * examples) each, from the first layer to the last.
    """

    outputs: Array
    features: list[Array]
    gradients: list[Array]


class _Part(ABC):
    """One operation of a branch."""

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
    """A trained matrix: its initial value, and the inputs and back-propagated signals of the past."""

    def __init__(self, initial: Initial, rate: float, inputs: _History, signals: _History) -> None:
        self.initial, self.rate, self.inputs, self.signals = initial, rate, inputs, signals

    def forward(self, x: Field, past: _Past) -> Field:
        self.inputs.append(x)
        return past.kept * self.initial.forward(x) + self.rate * past.learned(
            x, self.inputs, self.signals
        )

    def backward(self, y: Field, past: _Past) -> Field:
        self.signals.append(y)
        return past.kept * self.initial.backward(y) + self.rate * past.learned(
            y, self.signals, self.inputs
        )


class _History:
    """Fields of all times until now, (*networks, sites, times * examples)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        *first, sites, columns = shape
        self.fields, self.filled = np.swapaxes(np.empty((*first, columns, sites)), -1, -2), 0

    def append(self, field: Field) -> None:
        self.fields[..., self.filled : self.filled + field.shape[-1]] = field
        self.filled += field.shape[-1]


@dataclass(frozen=True)
class _Past:
    """One time, as the weights see it.

    Attributes:
        kept: What is kept of initial weights.
        weights: gamma0 moved[t, s] pull_mu(s), (*networks, past * examples).
    """

    kept: float
    weights: Float[Array, "*networks past"]

    def learned(self, x: Field, seen: _History, made: _History) -> Field:
        """What a matrix learned from past pairs does to x: the sum of `made` times the weighted overlap of `seen` with x."""
        size = self.weights.shape[-1]
        overlaps = np.swapaxes(seen.fields[..., :size], -1, -2) @ x / x.shape[-2]
        return np.asarray(made.fields[..., :size] @ (self.weights[..., None] * overlaps))


def run(
    problem: Problem, depth: int, draw: Draw, watch: Callable[[int, Array], None] | None = None
) -> Trained:
    """Train from this draw.

    Args:
        problem: Network, data and training.
        depth: Number of branches.
        draw: The initial weights.
        watch: Called at every time with the time and all outputs so far.
    """
    kept = memory(problem)
    start = draw.embedding()
    times, examples = problem.steps + 1, start.shape[-1]
    shape = (*start.shape[:-1], times * examples)
    b = problem.branch(depth)
    branches = [
        _branch(problem, own, problem.hidden_rate(depth), shape)
        for own in _of_branches(draw.matrices(), problem.block_depth)
    ]
    features, gradients = ([_History(shape) for _ in range(depth + 1)] for _ in range(2))
    outputs, pulls = np.zeros((2, *start.shape[:-2], times, examples))
    for t in range(times):
        past = _past(problem, kept, pulls, t)
        h = kept.kept_input[t] * start
        if problem.train_input:
            repeated = np.tile(problem.gram, (t, 1))
            h = h + gradients[0].fields[..., : t * examples] @ (past.weights[..., None] * repeated)
        features[0].append(h)
        for branch, seen in zip(branches, features[1:], strict=True):
            x = h
            for part in branch:
                x = part.forward(x, past)
            h = h + b * x
            seen.append(h)
        if t == 0:
            readout = draw.readout(h)
        w = kept.kept_readout[t] * readout
        if problem.train_readout:
            w = w + features[-1].fields[..., : t * examples] @ past.weights[..., None]
        outputs[..., t, :] = (w * h).mean(-2) / problem.gamma0
        if watch is not None:
            watch(t, outputs)
        pulls[..., t, :] = problem.pull(t, outputs[..., t, :])
        g = np.broadcast_to(w, h.shape)
        gradients[-1].append(g)
        for branch, seen in zip(reversed(branches), reversed(gradients[:-1]), strict=True):
            y = b * g
            for part in reversed(branch):
                y = part.backward(y, past)
            g = g + y
            seen.append(g)
    return Trained(outputs, [each.fields for each in features], [each.fields for each in gradients])


def _past(problem: Problem, kept: Memory, pulls: Array, t: int) -> _Past:
    weights = problem.gamma0 * kept.moved[t, :t, None] * pulls[..., :t, :]
    return _Past(float(kept.kept[t]), weights.reshape(*weights.shape[:-2], -1))


def _of_branches(matrices: Sequence[Initial], each: int) -> list[Sequence[Initial]]:
    return [matrices[i : i + each] for i in range(0, len(matrices), each)]


def _branch(
    problem: Problem, initials: Sequence[Initial], rate: float, shape: tuple[int, ...]
) -> list[_Part]:
    parts: list[_Part] = []
    for initial in initials:
        matrix = _Matrix(initial, rate, _History(shape), _History(shape))
        parts += (
            [_Pointwise(problem.phi), matrix]
            if problem.block == "pre"
            else [matrix, _Pointwise(problem.phi)]
        )
    return parts if problem.block == "pre" else [*parts, _Centred()]


def streams(
    features: Sequence[Array], examples: int
) -> Float[Array, "layers times examples *networks sites"]:
    """Features of all layers as a trained run has them, with the sites last."""
    return np.stack(
        [
            np.moveaxis(each.reshape(*each.shape[:-1], -1, examples), (-2, -1), (0, 1))
            for each in features
        ]
    )
