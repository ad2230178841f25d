"""The coefficient march: fields of a linear network in independent Gaussians.

In a linear network of infinite width every field is a sum of independent Gaussians with fixed
coefficients. They are the input's draw, the readout's, and two for each branch. Its weights make
one in the forward pass (covariance H of its input), one in the backward pass (covariance G of its
signal). Kernels are products of coefficients; the answer of a weight matrix to its own use is a
coefficient that can be read off. The march is slower than the imbedding, and independent of it.

Axes: n = T times x P examples of features, time by time; T times of gradients; the basis of
Gaussians.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from ..statistics import Array
from ._limit import Limit, check_outputs, linear_tangent
from ._memory import memory
from ._problem import Depth, Problem


def march(problem: Problem, layers: int, noise: float, rate: float, depth: Depth) -> Limit:
    """Solve a stack of branches; arguments and errors as of `imbedding`."""
    run = _March(problem, layers, noise, rate)
    for t in range(run.times):
        run.up(t)
        run.readout(t)
        check_outputs(problem, depth, run.outputs, t)
        run.down(t)
    shape = (run.times, run.examples)
    features = run.H.reshape(-1, *shape, *shape)
    return Limit(
        problem=problem,
        depth=depth,
        layers=np.linspace(0, 1, layers + 1),
        outputs=run.outputs,
        losses=problem.losses(run.outputs),
        features=features,
        gradients=run.G,
        tangent=linear_tangent(problem, features, run.G, rate),
        responses={"forward": run.forward, "backward": run.backward},
    )


class _Basis:
    """Slices of the independent Gaussians: input, readout, and two for every branch."""

    def __init__(self, times: int, examples: int, layers: int) -> None:
        n = times * examples
        starts = np.cumsum([0, examples, 1, *[n] * layers, *[times] * layers])
        blocks = [slice(a, b) for a, b in pairwise(starts)]
        self.size = int(starts[-1])
        self.input, self.readout = blocks[:2]
        self.forward, self.backward = blocks[2 : 2 + layers], blocks[2 + layers :]


class _March:
    """All coefficients and kernels so far.

    Attributes:
        h: Coefficients of features, (layers + 1, n, basis).
        g: Coefficients of gradients, (layers + 1, times, basis).
        H: Kernels of features, (layers + 1, n, n).
        G: Kernels of gradients, (layers + 1, times, times).
    """

    def __init__(self, problem: Problem, layers: int, noise: float, rate: float) -> None:
        self.problem, self.layers, self.rate = problem, layers, rate
        self.times, self.examples = problem.steps + 1, len(problem.targets)
        times, examples, n = self.times, self.examples, self.times * self.examples
        self.b, self.kept, self.basis = np.sqrt(noise), memory(problem), _Basis(*self.sizes)
        self.h = np.zeros((layers + 1, n, self.basis.size))
        self.g = np.zeros((layers + 1, times, self.basis.size))
        self.H, self.G = np.zeros((layers + 1, n, n)), np.zeros((layers + 1, times, times))
        self.outputs, self.pulls = np.zeros((2, times, examples))
        self.forward = np.zeros((layers, times, examples, times))
        self.backward = np.zeros((layers, times, times, examples))

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.times, self.examples, self.layers

    def up(self, t: int) -> None:
        """Set the features of all layers at this time."""
        problem, basis, examples = self.problem, self.basis, self.examples
        now, learned = slice(t * examples, (t + 1) * examples), self._learned(t)
        self.h[0, now, basis.input] = self.kept.kept_input[t] * np.eye(examples)
        if problem.train_input:
            self.h[0, now] += problem.gram @ learned.T @ self.g[0, :t]
        self._see_features(0, t)
        for i in range(1, self.layers + 1):
            answers = self.h[i - 1, now, basis.backward[i - 1]][:, :t]
            self.forward[i - 1, t, :, :t] = answers
            kernel = self.H[i - 1, now, : t * examples].reshape(examples, t, examples)
            step = self.rate * np.einsum("msn,sn->ms", kernel, learned)
            weights = self.b * self.kept.kept[t] * answers + step
            self.h[i, now] = self.h[i - 1, now] + weights @ self.g[i, :t]
            drawn = self.b * self.kept.kept[t] * np.eye(examples)
            self.h[i, now, basis.forward[i - 1]][:, now] += drawn
            self._see_features(i, t)

    def readout(self, t: int) -> None:
        """Set the last layer's gradients, the readout, and the outputs at this time."""
        examples, last = self.examples, self.layers
        now, past = slice(t * examples, (t + 1) * examples), slice(t * examples)
        self.g[last, t, self.basis.readout] = self.kept.kept_readout[t]
        if self.problem.train_readout:
            self.g[last, t] += self._learned(t).ravel() @ self.h[last, past]
        overlap = self._covaried(self.h[last, now]) @ self.g[last, t]
        self.outputs[t] = overlap / self.problem.gamma0

    def down(self, t: int) -> None:
        """Set the gradients of all layers at this time."""
        self.pulls[t] = self.problem.pull(t, self.outputs[t])
        basis, past, learned = self.basis, slice(t * self.examples), self._learned(t)
        self._see_gradients(self.layers, t)
        for i in reversed(range(self.layers)):
            answers = self.g[i + 1, t, basis.forward[i]][past]
            self.backward[i, t, :t] = answers.reshape(t, self.examples)
            step = (self.G[i + 1, t, :t, None] * learned).ravel()
            weights = self.b * self.kept.kept[t] * answers + self.rate * step
            self.g[i, t] = self.g[i + 1, t] + weights @ self.h[i, past]
            self.g[i, t, basis.backward[i]][t] += self.b * self.kept.kept[t]
            self._see_gradients(i, t)

    def _learned(self, t: int) -> Float[Array, "past examples"]:
        """Return the weight of every past gradient, gamma0 moved[t, s] pull_mu(s)."""
        return np.asarray(self.problem.gamma0 * self.kept.moved[t, :t, None] * self.pulls[:t])

    def _covaried(self, rows: Float[Array, "rows basis"]) -> Float[Array, "rows basis"]:
        """Return rows of coefficients times the covariance of the basis."""
        out, basis = np.empty_like(rows), self.basis
        out[:, basis.input] = rows[:, basis.input] @ self.problem.gram
        out[:, basis.readout] = rows[:, basis.readout]
        for i in range(self.layers):
            out[:, basis.forward[i]] = rows[:, basis.forward[i]] @ self.H[i]
            out[:, basis.backward[i]] = rows[:, basis.backward[i]] @ self.G[i + 1]
        return out

    def _see_features(self, i: int, t: int) -> None:
        """Set the kernel of a layer's features at this time with all until now."""
        now = slice(t * self.examples, (t + 1) * self.examples)
        until = slice(now.stop)
        self.H[i, now, until] = self._covaried(self.h[i, now]) @ self.h[i, until].T
        self.H[i, until, now] = self.H[i, now, until].T

    def _see_gradients(self, i: int, t: int) -> None:
        """Set the kernel of a layer's gradients at this time with all until now."""
        until = slice(t + 1)
        self.G[i, t, until] = self._covaried(self.g[i, t : t + 1])[0] @ self.g[i, until].T
        self.G[i, until, t] = self.G[i, t, until]
