"""Invariant imbedding in layers, one time after another: a linear residual network of infinite width and finite depth.

Every layer keeps how its features h answer to its own gradients g, and its gradients to its own features:

    h = zeta + R g      zeta: all that is made below, R: what the weights below learned from g, and answer to it
    g = kappa + Q h     kappa: all that is made above, Q: the same of the weights above

Rows of R at time t hold only earlier times, and so do those of Q, so each time needs one sweep up and one sweep down.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from ._activations import Array
from ._limit import Limit, check_outputs
from ._memory import Memory, memory
from ._problem import Depth, Problem


def imbedding(problem: Problem, layers: int, noise: float, rate: float, depth: Depth) -> Limit:
    """Solve a stack of branches.

    Args:
        problem: Data and training.
        layers: Number of branches.
        noise: Square of the factor of a branch.
        rate: The same, times the factor of its weights' rate.
        depth: For the result and for messages.

    Raises:
        Diverged: the loss is hopeless.
    """
    times, examples = problem.steps + 1, len(problem.targets)
    kept = memory(problem)
    stream = [_Layer(times, examples) for _ in range(layers + 1)]
    matrices = [_Matrix(below, above, kept, noise, rate) for below, above in pairwise(stream)]
    outputs, pulls = np.zeros((times, examples)), np.zeros((times, examples))
    for t in range(times):
        now = _Now(t, examples, problem.gamma0 * kept.moved[t, :t, None] * pulls[:t])
        _embed(problem, kept, stream[0], now)
        for matrix in matrices:
            matrix.up(now)
        outputs[t] = _readout(problem, kept, stream[-1], now)
        check_outputs(problem, depth, outputs, t)
        pulls[t] = problem.pull(t, outputs[t])
        for matrix in reversed(matrices):
            matrix.down(now)
    shape = (times, examples)
    answers = np.sqrt(noise) * kept.kept
    return Limit(
        problem=problem,
        depth=depth,
        layers=np.linspace(0, 1, layers + 1),
        outputs=outputs,
        losses=problem.losses(outputs),
        features=np.stack([layer.features.kernel for layer in stream]).reshape(-1, *shape, *shape),
        gradients=np.stack([layer.gradients.kernel for layer in stream]),
        responses={
            "forward": np.array([layer.RS * answers for layer in stream[:-1]]).reshape(
                -1, *shape, times
            ),
            "backward": np.array(
                [layer.QS * np.repeat(answers, examples) for layer in stream[1:]]
            ).reshape(-1, times, *shape),
        },
    )


class _Now:
    """One time: its rows among features, which are (time, example), and among gradients, and what was learned until then.

    `learned` (past, examples) is gamma0 moved[t, s] pull_mu(s).
    """

    def __init__(self, t: int, examples: int, learned: Float[Array, "past examples"]) -> None:
        self.t, self.examples, self.learned = t, examples, learned
        self.h, self.h_past, self.h_until = (
            slice(t * examples, (t + 1) * examples),
            slice(t * examples),
            slice((t + 1) * examples),
        )
        self.g, self.g_past, self.g_until = slice(t, t + 1), slice(t), slice(t + 1)


class _Second:
    """Second moments of what is passed through (1 - loop)^-1, a lower triangular matrix that grows by its last rows."""

    def __init__(self, size: int) -> None:
        self.inner, self.through, self.kernel = (np.zeros((size, size)) for _ in range(3))

    def grow(self, rows: slice, past: slice, until: slice, inner: Array, through: Array) -> None:
        """Add rows: inner moments with all until then, what earlier rows pass on; the kernel follows."""
        _mirror(self.inner, rows, inner)
        self.through[rows, past] = through
        self.through[rows, rows] = np.eye(len(through))
        _mirror(
            self.kernel,
            rows,
            (self.through[rows, until] @ self.inner[until, until]) @ self.through[until, until].T,
        )


def _mirror(kernel: Array, rows: slice, values: Array) -> None:
    """Set rows of a symmetric matrix, and the columns that mirror them."""
    kernel[rows, : values.shape[1]] = values
    kernel[: values.shape[1], rows] = values.T


class _Layer:
    """One layer of the stream: R, Q, the moments of zeta and kappa, and the kernels of features and gradients."""

    def __init__(self, times: int, examples: int) -> None:
        n = times * examples
        self.R, self.RS = np.zeros((n, times)), np.zeros((n, times))
        self.Q, self.QS = np.zeros((times, n)), np.zeros((times, n))
        self.zeta, self.kappa = np.zeros((n, n)), np.zeros((times, times))
        self.features, self.gradients = _Second(n), _Second(times)

    def see_features(self, now: _Now) -> None:
        """The kernel's rows of this time, once R and zeta have theirs: h = (1 - R Q)^-1 (zeta + R kappa)."""
        R = self.R[now.h, now.g_past]
        self.RS[now.h, now.g_past] = R @ self.gradients.through[now.g_past, now.g_past]
        inner = (
            self.zeta[now.h, now.h_until]
            + (R @ self.kappa[now.g_past, now.g_past]) @ self.R[now.h_until, now.g_past].T
        )
        through = self.RS[now.h, now.g_past] @ self.Q[now.g_past, now.h_past]
        self.features.grow(now.h, now.h_past, now.h_until, inner, through)

    def see_gradients(self, now: _Now) -> None:
        """The same for gradients: g = (1 - Q R)^-1 (kappa + Q zeta)."""
        Q = self.Q[now.g, now.h_past]
        self.QS[now.g, now.h_past] = Q @ self.features.through[now.h_past, now.h_past]
        inner = (
            self.kappa[now.g, now.g_until]
            + (Q @ self.zeta[now.h_past, now.h_past]) @ self.Q[now.g_until, now.h_past].T
        )
        through = self.QS[now.g, now.h_past] @ self.R[now.h_past, now.g_past]
        self.gradients.grow(now.g, now.g_past, now.g_until, inner, through)


class _Matrix:
    """The weights between two layers: what they pass on at first, and what they learn.

    With u and r the independent Gaussians of a forward and a backward pass, h_above = h_below + u + M g_above and
    g_below = g_above + r + N h_below.
    """

    def __init__(
        self, below: _Layer, above: _Layer, kept: Memory, noise: float, rate: float
    ) -> None:
        self.below, self.above, self.noise, self.rate = below, above, noise, rate
        n, times = below.R.shape
        self.kept_g, self.kept_h = kept.kept, np.repeat(kept.kept, n // times)
        self.M, self.N = np.zeros((n, times)), np.zeros((times, n))
        self.zeta, self.kappa = _Second(n), _Second(times)
        self.loop = np.zeros((times, times))

    def up(self, now: _Now) -> None:
        """R, zeta and the features of the layer above at this time."""
        below, above = self.below, self.above
        kernel = below.features.kernel[now.h, now.h_past].reshape(now.examples, now.t, now.examples)
        learned = np.einsum("msn,sn->ms", kernel, now.learned)
        kept, kept_past = self.kept_g[now.t], self.kept_g[now.g_past]
        self.M[now.h, now.g_past] = (
            self.noise * kept * below.RS[now.h, now.g_past] * kept_past + self.rate * learned
        )
        R = below.R[now.h, now.g_past]
        looped = R @ self.loop[now.g_past, now.g_past]
        above.R[now.h, now.g_past] = looped + self.M[now.h, now.g_past]
        drawn = (
            self.noise
            * kept_past[:, None]
            * above.gradients.kernel[now.g_past, now.g_past]
            * kept_past
        )
        inner = below.zeta[now.h, now.h_until] + (R @ drawn) @ below.R[now.h_until, now.g_past].T
        self.zeta.grow(
            now.h, now.h_past, now.h_until, inner, looped @ self.N[now.g_past, now.h_past]
        )
        drawn = (
            self.noise * kept * below.features.kernel[now.h, now.h_until] * self.kept_h[now.h_until]
        )
        _mirror(above.zeta, now.h, drawn + self.zeta.kernel[now.h, now.h_until])
        above.see_features(now)

    def down(self, now: _Now) -> None:
        """Q, kappa and the gradients of the layer below at this time."""
        below, above = self.below, self.above
        learned = (above.gradients.kernel[now.t, now.g_past, None] * now.learned).ravel()
        kept, kept_past = self.kept_g[now.t], self.kept_h[now.h_past]
        self.N[now.t, now.h_past] = (
            self.noise * kept * above.QS[now.t, now.h_past] * kept_past + self.rate * learned
        )
        self.loop[now.t, now.g_past] = (
            self.N[now.t, now.h_past]
            @ below.R[now.h_past, now.g_past]
            @ self.loop[now.g_past, now.g_past]
        )
        self.loop[now.t, now.t] = 1.0
        Q = above.Q[now.g, now.h_past]
        drawn = (
            self.noise
            * kept_past[:, None]
            * below.features.kernel[now.h_past, now.h_past]
            * kept_past
        )
        inner = above.kappa[now.g, now.g_until] + (Q @ drawn) @ above.Q[now.g_until, now.h_past].T
        through = (Q @ self.M[now.h_past, now.g_past]) @ self.kappa.through[now.g_past, now.g_past]
        self.kappa.grow(now.g, now.g_past, now.g_until, inner, through)
        below.Q[now.g, now.h_past] = (
            Q + through @ above.Q[now.g_past, now.h_past] + self.N[now.g, now.h_past]
        )
        drawn = (
            self.noise
            * kept
            * above.gradients.kernel[now.g, now.g_until]
            * self.kept_g[now.g_until]
        )
        _mirror(below.kappa, now.g, drawn + self.kappa.kernel[now.g, now.g_until])
        below.see_gradients(now)


def _embed(problem: Problem, kept: Memory, first: _Layer, now: _Now) -> None:
    """The features of layer 0, which the input's weights make."""
    if problem.train_input:
        first.R[now.h, now.g_past] = problem.gram @ now.learned.T
    _mirror(
        first.zeta,
        now.h,
        kept.kept_input[now.t] * np.kron(kept.kept_input[now.g_until], problem.gram),
    )
    first.see_features(now)


def _readout(problem: Problem, kept: Memory, last: _Layer, now: _Now) -> Float[Array, " examples"]:
    """The outputs f = w . h / (gamma0 N), and the gradients of the last layer, which are the readout's weights w."""
    w = kept.kept_readout
    own = w[now.t] * (last.RS[now.h, now.g_past] @ w[now.g_past])
    if problem.train_readout:
        last.Q[now.t, now.h_past] = now.learned.ravel()
        own = own + last.features.kernel[now.h, now.h_past] @ now.learned.ravel()
    _mirror(last.kappa, now.g, (w[now.t] * w[now.g_until])[None])
    last.see_gradients(now)
    return np.asarray(own / problem.gamma0)
