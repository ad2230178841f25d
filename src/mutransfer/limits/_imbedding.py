"""Invariant imbedding in layers: linear networks of infinite width, time by time.

The fields of a layer depend on all other layers: the weights below it learned from its gradients,
the weights above it from its features. Cut the network at one layer. All that lies below is summed
up by how it turns g of the cut into h of the cut. All that lies above turns h into g:

    h = zeta + R g      zeta: the part made below alone; R: learned below from g, and answers to g
    g = kappa + Q h     kappa: the part made above alone; Q: the same of the weights above

so h = (1 - R Q)^-1 (zeta + R kappa), and likewise g. Moving the cut up by one layer changes R by
the weights that it passes. So one sweep up gives R everywhere, and one sweep down gives Q. Row t of
R holds times before t alone, because weights learn from the past, and so does row t of Q. So every
time needs one sweep up for the features, then one sweep down for the gradients, and no iteration.

Axes:

    n   T times x P examples of features, time by time; rows and columns of H, R and Q
    t   T times of gradients; in a linear network they are the same for all examples

Names: `features.kernel` is H = <h h>, `gradients.kernel` is G = <g g>, `through` is (1 - loop)^-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from ..statistics import Array
from ._limit import Limit, check_outputs, linear_tangent
from ._memory import Memory, memory
from ._problem import Depth, Problem


def imbedding(problem: Problem, layers: int, noise: float, rate: float, depth: Depth) -> Limit:
    """Solve a stack of branches.

    Args:
        problem: Data and training.
        layers: Number of branches.
        noise: Square of the factor of a branch.
        rate: The same, times the factor of the rate of its weights.
        depth: Depth that the stack stands for, in the result and in messages.

    Raises:
        Diverged: the loss is hopeless.
    """
    times, examples = problem.steps + 1, len(problem.targets)
    kept = memory(problem)
    stream = [_Layer(times, examples) for _ in range(layers + 1)]
    matrices = [_Matrix(below, above, kept, noise, rate) for below, above in pairwise(stream)]
    outputs, pulls = np.zeros((times, examples)), np.zeros((times, examples))
    for t in range(times):
        now = _Now.of(t, examples, problem.gamma0 * kept.moved[t, :t, None] * pulls[:t])
        _embed(problem, kept, stream[0], now)
        for matrix in matrices:
            matrix.up(now)
        outputs[t] = _readout(problem, kept, stream[-1], now)
        check_outputs(problem, depth, outputs, t)
        pulls[t] = problem.pull(t, outputs[t])
        for matrix in reversed(matrices):
            matrix.down(now)
    shape = (times, examples)
    # A branch that draws u and r answers with factor sqrt(noise) to what is kept of its weights.
    answers = np.sqrt(noise) * kept.kept
    forward = np.array([layer.RS * answers for layer in stream[:-1]])
    backward = np.array([layer.QS * np.repeat(answers, examples) for layer in stream[1:]])
    features = np.stack([layer.features.kernel for layer in stream]).reshape(-1, *shape, *shape)
    gradients = np.stack([layer.gradients.kernel for layer in stream])
    return Limit(
        problem=problem,
        depth=depth,
        layers=np.linspace(0, 1, layers + 1),
        outputs=outputs,
        losses=problem.losses(outputs),
        features=features,
        gradients=gradients,
        tangent=linear_tangent(problem, features, gradients, rate),
        responses={
            "forward": forward.reshape(-1, *shape, times),
            "backward": backward.reshape(-1, times, *shape),
        },
    )


@dataclass(frozen=True)
class _Now:
    """One time, as slices of the two axes.

    Attributes:
        t: The time.
        examples: Number of examples.
        learned: Weight of every past gradient, gamma0 moved[t, s] pull_mu(s), (past, examples).
        h: Rows of this time on axis n.
        h_past: Rows of all times before.
        h_until: Both.
        g: The row of this time on axis t.
        g_past: Rows of all times before.
        g_until: Both.
    """

    t: int
    examples: int
    learned: Float[Array, "past examples"]
    h: slice
    h_past: slice
    h_until: slice
    g: slice
    g_past: slice
    g_until: slice

    @classmethod
    def of(cls, t: int, examples: int, learned: Float[Array, "past examples"]) -> _Now:
        start, end = t * examples, (t + 1) * examples
        features = slice(start, end), slice(start), slice(end)
        return cls(t, examples, learned, *features, slice(t, t + 1), slice(t), slice(t + 1))


class _Second:
    """Second moments of a field after a loop: kernel = through inner through^T.

    A field that passes a loop again and again is multiplied by through = (1 - loop)^-1. It is lower
    triangular, since loops go through the past, and so it grows by its last rows.
    """

    def __init__(self, size: int) -> None:
        self.inner, self.through, self.kernel = (np.zeros((size, size)) for _ in range(3))

    def grow(self, rows: slice, past: slice, until: slice, inner: Array, through: Array) -> None:
        """Add rows.

        Args:
            rows: Rows of this time.
            past: Rows of times before.
            until: Both.
            inner: Moments of the field before the loop, of these rows with all until now.
            through: Passes from earlier rows to these.
        """
        _mirror(self.inner, rows, inner)
        self.through[rows, past] = through
        self.through[rows, rows] = np.eye(len(through))
        half = self.through[rows, until] @ self.inner[until, until]
        _mirror(self.kernel, rows, half @ self.through[until, until].T)


def _mirror(kernel: Array, rows: slice, values: Array) -> None:
    """Set rows of a symmetric matrix, and the columns that mirror them."""
    kernel[rows, : values.shape[1]] = values
    kernel[: values.shape[1], rows] = values.T


class _Layer:
    """A cut of the network, with all that lies below and above it summed up.

    Attributes:
        R: Answers of features to gradients, (n, t).
        RS: R (1 - Q R)^-1: the answer of h to the Gaussian part of g, all loops included.
        Q: Answers of gradients to features, (t, n).
        QS: Q (1 - R Q)^-1, the same of g.
        zeta: Moments <zeta zeta>, (n, n).
        kappa: Moments <kappa kappa>, (t, t).
        features: Moments of h, through (1 - R Q)^-1.
        gradients: Moments of g, through (1 - Q R)^-1.
    """

    def __init__(self, times: int, examples: int) -> None:
        n = times * examples
        self.R, self.RS = np.zeros((n, times)), np.zeros((n, times))
        self.Q, self.QS = np.zeros((times, n)), np.zeros((times, n))
        self.zeta, self.kappa = np.zeros((n, n)), np.zeros((times, times))
        self.features, self.gradients = _Second(n), _Second(times)

    def see_features(self, now: _Now) -> None:
        """Add this time to the kernel of h = (1 - R Q)^-1 (zeta + R kappa).

        R and zeta must have their rows of this time.
        """
        R = self.R[now.h, now.g_past]
        self.RS[now.h, now.g_past] = R @ self.gradients.through[now.g_past, now.g_past]
        from_above = (R @ self.kappa[now.g_past, now.g_past]) @ self.R[now.h_until, now.g_past].T
        inner = self.zeta[now.h, now.h_until] + from_above
        through = self.RS[now.h, now.g_past] @ self.Q[now.g_past, now.h_past]
        self.features.grow(now.h, now.h_past, now.h_until, inner, through)

    def see_gradients(self, now: _Now) -> None:
        """Add this time to the kernel of g = (1 - Q R)^-1 (kappa + Q zeta)."""
        Q = self.Q[now.g, now.h_past]
        self.QS[now.g, now.h_past] = Q @ self.features.through[now.h_past, now.h_past]
        from_below = (Q @ self.zeta[now.h_past, now.h_past]) @ self.Q[now.g_until, now.h_past].T
        inner = self.kappa[now.g, now.g_until] + from_below
        through = self.QS[now.g, now.h_past] @ self.R[now.h_past, now.g_past]
        self.gradients.grow(now.g, now.g_past, now.g_until, inner, through)


class _Matrix:
    """The weights between two cuts.

    With the independent Gaussians u and r of their forward and backward passes,

        h_above = h_below + u + M g_above
        g_below = g_above + r + N h_below

    where M and N hold what the weights learned, and their answers to their own use. Eliminating
    the fields between the cuts moves the cut up, and moves it down:

        R_above = M + R_below (1 - N R_below)^-1
        zeta_above = u + (1 - R_below N)^-1 (zeta_below + R_below r)
        Q_below = N + (1 - Q_above M)^-1 Q_above
        kappa_below = r + (1 - Q_above M)^-1 (kappa_above + Q_above u)

    Attributes:
        M: Weights of the forward pass on g above, (n, t).
        N: Weights of the backward pass on h below, (t, n).
        zeta: Moments of zeta above but for u, through (1 - R_below N)^-1.
        kappa: Moments of kappa below but for r, through (1 - Q_above M)^-1.
        loop: The loop (1 - N R_below)^-1, (t, t).
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
        """Set R, zeta and features of the cut above at this time; u and r are moments."""
        below, above = self.below, self.above
        kernel = below.features.kernel[now.h, now.h_past].reshape(now.examples, now.t, now.examples)
        learned = np.einsum("msn,sn->ms", kernel, now.learned)
        kept, kept_past = self.kept_g[now.t], self.kept_g[now.g_past]
        answers = self.noise * kept * below.RS[now.h, now.g_past] * kept_past
        self.M[now.h, now.g_past] = answers + self.rate * learned
        R = below.R[now.h, now.g_past]
        looped = R @ self.loop[now.g_past, now.g_past]
        above.R[now.h, now.g_past] = looped + self.M[now.h, now.g_past]
        G = above.gradients.kernel[now.g_past, now.g_past]
        r = self.noise * kept_past[:, None] * G * kept_past
        inner = below.zeta[now.h, now.h_until] + (R @ r) @ below.R[now.h_until, now.g_past].T
        through = looped @ self.N[now.g_past, now.h_past]
        self.zeta.grow(now.h, now.h_past, now.h_until, inner, through)
        H = below.features.kernel[now.h, now.h_until]
        u = self.noise * kept * H * self.kept_h[now.h_until]
        _mirror(above.zeta, now.h, u + self.zeta.kernel[now.h, now.h_until])
        above.see_features(now)

    def down(self, now: _Now) -> None:
        """Set Q, kappa and gradients of the cut below at this time; u and r are moments."""
        below, above = self.below, self.above
        learned = (above.gradients.kernel[now.t, now.g_past, None] * now.learned).ravel()
        kept, kept_past = self.kept_g[now.t], self.kept_h[now.h_past]
        answers = self.noise * kept * above.QS[now.t, now.h_past] * kept_past
        self.N[now.t, now.h_past] = answers + self.rate * learned
        round_trip = self.N[now.t, now.h_past] @ below.R[now.h_past, now.g_past]
        self.loop[now.t, now.g_past] = round_trip @ self.loop[now.g_past, now.g_past]
        self.loop[now.t, now.t] = 1.0
        Q = above.Q[now.g, now.h_past]
        H = below.features.kernel[now.h_past, now.h_past]
        u = self.noise * kept_past[:, None] * H * kept_past
        inner = above.kappa[now.g, now.g_until] + (Q @ u) @ above.Q[now.g_until, now.h_past].T
        through = (Q @ self.M[now.h_past, now.g_past]) @ self.kappa.through[now.g_past, now.g_past]
        self.kappa.grow(now.g, now.g_past, now.g_until, inner, through)
        looped = Q + through @ above.Q[now.g_past, now.h_past]
        below.Q[now.g, now.h_past] = looped + self.N[now.g, now.h_past]
        G = above.gradients.kernel[now.g, now.g_until]
        r = self.noise * kept * G * self.kept_g[now.g_until]
        _mirror(below.kappa, now.g, r + self.kappa.kernel[now.g, now.g_until])
        below.see_gradients(now)


def _embed(problem: Problem, kept: Memory, first: _Layer, now: _Now) -> None:
    """Set the features of layer 0, which the input's weights make."""
    if problem.train_input:
        first.R[now.h, now.g_past] = problem.gram @ now.learned.T
    drawn = kept.kept_input[now.t] * np.kron(kept.kept_input[now.g_until], problem.gram)
    _mirror(first.zeta, now.h, drawn)
    first.see_features(now)


def _readout(problem: Problem, kept: Memory, last: _Layer, now: _Now) -> Float[Array, " examples"]:
    """Return the outputs f = <w h> / gamma0, and set the last layer's gradients g = w."""
    w = kept.kept_readout
    overlap = w[now.t] * (last.RS[now.h, now.g_past] @ w[now.g_past])
    if problem.train_readout:
        last.Q[now.t, now.h_past] = now.learned.ravel()
        overlap = overlap + last.features.kernel[now.h, now.h_past] @ now.learned.ravel()
    _mirror(last.kappa, now.g, (w[now.t] * w[now.g_until])[None])
    last.see_gradients(now)
    return np.asarray(overlap / problem.gamma0)
