"""The coefficient march: every field of a linear network as a combination of the independent Gaussians it is made of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ._activations import Array
from ._limit import Limit, check_outputs
from ._memory import memory
from ._problem import Depth, Problem


class _Basis:
    """Where each independent Gaussian stands: the input's draw, the readout's, and two for the weights of every branch."""

    def __init__(self, times: int, examples: int, layers: int) -> None:
        n = times * examples
        starts = np.cumsum([0, examples, 1, *[n] * layers, *[times] * layers])
        blocks = [slice(a, b) for a, b in pairwise(starts)]
        self.size = int(starts[-1])
        self.input, self.readout, self.forward, self.backward = (
            blocks[0],
            blocks[1],
            blocks[2 : 2 + layers],
            blocks[2 + layers :],
        )


def march(problem: Problem, layers: int, noise: float, rate: float, depth: Depth) -> Limit:
    """Solve a stack of branches; arguments and errors as of `imbedding`."""
    times, examples = problem.steps + 1, len(problem.targets)
    n, b, kept = times * examples, np.sqrt(noise), memory(problem)
    basis = _Basis(times, examples, layers)
    h, g = np.zeros((layers + 1, n, basis.size)), np.zeros((layers + 1, times, basis.size))
    H, G = np.zeros((layers + 1, n, n)), np.zeros((layers + 1, times, times))

    def covaried(rows: Array) -> Array:
        """Rows of coefficients times the covariance of the basis."""
        out = np.empty_like(rows)
        out[:, basis.input] = rows[:, basis.input] @ problem.gram
        out[:, basis.readout] = rows[:, basis.readout]
        for i in range(layers):
            out[:, basis.forward[i]] = rows[:, basis.forward[i]] @ H[i]
            out[:, basis.backward[i]] = rows[:, basis.backward[i]] @ G[i + 1]
        return out

    outputs, pulls = np.zeros((times, examples)), np.zeros((times, examples))
    forward, backward = (
        np.zeros((layers, times, examples, times)),
        np.zeros((layers, times, times, examples)),
    )
    for t in range(times):
        now, past, until = (
            slice(t * examples, (t + 1) * examples),
            slice(t * examples),
            slice((t + 1) * examples),
        )
        learned = problem.gamma0 * kept.moved[t, :t, None] * pulls[:t]
        h[0, now, basis.input] = kept.kept_input[t] * np.eye(examples)
        if problem.train_input:
            h[0, now] += problem.gram @ learned.T @ g[0, :t]
        for i in range(layers + 1):
            if i:
                answers = h[i - 1, now, basis.backward[i - 1]][:, :t]
                forward[i - 1, t, :, :t] = answers
                kernel = H[i - 1, now, past].reshape(examples, t, examples)
                h[i, now] = (
                    h[i - 1, now]
                    + (b * kept.kept[t] * answers + rate * np.einsum("msn,sn->ms", kernel, learned))
                    @ g[i, :t]
                )
                h[i, now, basis.forward[i - 1]][:, now] += b * kept.kept[t] * np.eye(examples)
            H[i, now, until] = covaried(h[i, now]) @ h[i, until].T
            H[i, until, now] = H[i, now, until].T
        g[layers, t, basis.readout] = kept.kept_readout[t]
        if problem.train_readout:
            g[layers, t] += learned.ravel() @ h[layers, past]
        outputs[t] = (covaried(h[layers, now]) @ g[layers, t]) / problem.gamma0
        check_outputs(problem, depth, outputs, t)
        pulls[t] = problem.pull(t, outputs[t])
        for i in reversed(range(layers + 1)):
            if i < layers:
                answers = g[i + 1, t, basis.forward[i]][past]
                backward[i, t, :t] = answers.reshape(t, examples)
                own = (G[i + 1, t, :t, None] * learned).ravel()
                g[i, t] = g[i + 1, t] + (b * kept.kept[t] * answers + rate * own) @ h[i, past]
                g[i, t, basis.backward[i]][t] += b * kept.kept[t]
            G[i, t, : t + 1] = covaried(g[i, t : t + 1])[0] @ g[i, : t + 1].T
            G[i, : t + 1, t] = G[i, t, : t + 1]
    shape = (times, examples)
    return Limit(
        problem=problem,
        depth=depth,
        layers=np.linspace(0, 1, layers + 1),
        outputs=outputs,
        losses=problem.losses(outputs),
        features=H.reshape(-1, *shape, *shape),
        gradients=G,
        responses={"forward": forward, "backward": backward},
    )
