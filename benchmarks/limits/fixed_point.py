"""The reference method for infinite width: a damped self-consistent fixed point (2205.09653).

This is our own implementation of arXiv 2205.09653 for the residual networks of limits.Problem, by
Monte Carlo. Every iteration draws all Gaussian fields over all times from the current kernels, runs
the single-site process forward in time, and measures kernels, responses and outputs anew. The next
iterate is X + damping (X_new - X). Where the reference leaves a choice, the faster one is taken:

- The same standard normals serve every iteration. So it converges to the fixed point of the sampled
  map instead of wandering by the sampling error, and a tolerance below that error can be reached.
  redraw=True draws anew, as the reference does.
- Responses come from Stein's lemma, <d phi(t) / d r(s)> = <phi(t) z> C^-1 for r = C z, which costs
  one product of matrices a layer. The reference propagates every sample's Jacobian
  (responses="jacobian"). That costs depth times examples times times as much, and for relu misses
  the delta function in the slope's derivative.
- The first readout is orthogonal to the first features, so that the first outputs are 0 without
  sampling error.
- Outputs at a time follow from the process up to it, not from the last iteration, so that they need
  no damping of their own.
- The default tolerance leaves an error of the outputs about half of their sampling error at 8,000
  samples. Below it iterations are waste, and for relu most of them only move innovations across the
  threshold of the rank.
- It starts from the kernels of the network that does not learn and from responses of 0.

Axes: 2 directions (forward, backward), layers, columns (times x examples, time by time), samples.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from mutransfer.limits import Problem, memory

Array = np.ndarray[Any, np.dtype[np.float64]]

# Innovations below RANK / samples of a kernel's mean diagonal are dropped: their responses would be
# sampling error over their size.
RANK = 10.0
CHUNK = 64


class FixedPoint(NamedTuple):
    """The fixed point.

    Attributes:
        outputs: Outputs f, (times, examples).
        losses: Mean losses, (times,).
        features: Kernels <h h>, (layers, times, examples, times, examples).
        gradients: Kernels <g g>, the same way.
        iterations: Number of iterations.
        change: Largest change of a kernel <phi phi> in the last iteration, before damping, over its
            largest entry.
    """

    outputs: Array
    losses: Array
    features: Array
    gradients: Array
    iterations: int
    change: float


def fixed_point(
    problem: Problem,
    depth: int,
    samples: int = 1000,
    *,
    iterations: int = 100,
    tolerance: float = 1e-2,
    damping: float = 0.6,
    seed: int = 0,
    responses: Literal["stein", "jacobian", "none"] = "stein",
    redraw: bool = False,
) -> FixedPoint:
    """Iterate until no <phi phi> changes by the tolerance times the largest.

    It ends after the last iteration in any case. Branches must be W phi(h).
    """
    if (problem.block, problem.block_depth) != ("pre", 1):
        raise ValueError("the reference method is for blocks W phi(h)")
    site = _Site(problem, depth, samples, seed)
    kernels, answers = site.lazy(), np.zeros((2, depth, site.size, site.size))
    change = np.inf
    for iteration in range(1, iterations + 1):
        if redraw and iteration > 1:
            site.draw()
        factors = [
            [_causal_factor(kernel, site.examples, RANK / samples) for kernel in each]
            for each in kernels
        ]
        run = site.run(kernels, answers, factors)
        if not np.isfinite(run.kernels).all():
            raise FloatingPointError(f"the iteration diverged after {iteration} iterations")
        change = float(
            np.abs(run.kernels[0] - kernels[0]).max(initial=0.0) / kernels[0].max(initial=1e-300)
        )
        if responses == "stein":
            answers += damping * (site.stein(run, factors) - answers)
        elif responses == "jacobian":
            answers += damping * (site.jacobian(run, kernels, answers) - answers)
        kernels += damping * (run.kernels - kernels)
        if not change > tolerance:
            break
    shape = (1 + depth, site.times, site.examples, site.times, site.examples)
    features, gradients = (
        np.einsum("las,lbs->lab", each, each, optimize=True).reshape(shape) / samples
        for each in (run.h, run.g)
    )
    return FixedPoint(
        run.outputs, problem.losses(run.outputs), features, gradients, iteration, change
    )


class _Run(NamedTuple):
    """Fields of one iteration.

    h, g, phi and inner are (layers, columns, samples); outputs and pulls (times, examples); kernels
    <phi phi> and <g g> of every branch (2, layers, columns, columns).
    """

    h: Array
    g: Array
    phi: Array
    inner: Array
    outputs: Array
    pulls: Array
    kernels: Array


class _Site:
    def __init__(self, problem: Problem, depth: int, samples: int, seed: int) -> None:
        self.problem, self.depth, self.samples = problem, depth, samples
        self.times, self.examples = problem.steps + 1, len(problem.targets)
        self.size = self.times * self.examples
        self.random = np.random.default_rng(seed)
        self.memory = memory(problem)
        self.branch = problem.branch(depth) if depth else 0.0
        self.learning = (
            problem.gamma0 * self.branch**2 * problem.hidden_rate(max(depth, 1)) * self.memory.moved
        )
        values, vectors = np.linalg.eigh(problem.gram)
        self.root = vectors * np.sqrt(np.maximum(values, 0.0))
        self.draw()

    def draw(self) -> None:
        self.normals = self.random.standard_normal((2, self.depth, self.size, self.samples))
        self.inputs = self.root @ self.random.standard_normal((self.examples, self.samples))
        self.readout = self.random.standard_normal(self.samples)

    def lazy(self) -> Array:
        """Return the kernels of the network that does not learn, the same at all times."""
        phi, square = self.problem.phi, self.branch**2
        feature, features, slopes = self.problem.gram, [], []
        for normals in self.normals[0, :, : self.examples]:
            values, vectors = np.linalg.eigh(feature)
            field = (vectors * np.sqrt(np.maximum(values, 0.0))) @ normals
            value, slope = phi.value(field), phi.slope(field)
            features.append(value @ value.T / self.samples)
            slopes.append(slope @ slope.T / self.samples)
            feature = feature + square * features[-1]
        gradients = [np.ones_like(feature)]
        for slope in slopes[:0:-1]:
            gradients.insert(0, gradients[0] * (1 + square * slope))
        every = np.ones((self.times, self.times))
        return np.array(
            [
                [np.kron(every, each) for each in kind[: self.depth]]
                for kind in (features, gradients)
            ]
        ).reshape(2, self.depth, self.size, self.size)

    def run(self, kernels: Array, answers: Array, factors: list[list[tuple[Array, Array]]]) -> _Run:
        """Pass through all times: forward through the layers, then backward."""
        problem, depth, examples, phi = self.problem, self.depth, self.examples, self.problem.phi
        moved, kept = self.memory.moved, self.memory.kept
        h, g = np.zeros((2, 1 + depth, self.size, self.samples))
        values, inner = np.zeros((2, depth, self.size, self.samples))
        outputs, pulls = np.zeros((2, self.times, examples))
        noises = [
            [factor @ normals for (factor, _), normals in zip(*each, strict=True)]
            for each in zip(factors, self.normals, strict=True)
        ]
        readout = self.readout
        for t in range(self.times):
            past, now = slice(t * examples), slice(t * examples, (t + 1) * examples)
            until = slice((t + 1) * examples)
            pulled = (moved[t, :t, None] * pulls[:t]).ravel()
            learned = (self.learning[t, :t, None] * pulls[:t]).ravel()
            if problem.train_input:
                h[0, now] = (
                    kept[t] * self.inputs
                    + problem.gamma0 * (np.tile(problem.gram, t) * pulled) @ g[0, past]
                )
            else:
                h[0, now] = self.inputs
            for layer in range(depth):
                values[layer, now] = phi.value(h[layer, now])
                reused = (
                    self.branch * kept[t] * answers[0, layer, now, past]
                    + learned * kernels[0, layer, now, past]
                )
                h[layer + 1, now] = (
                    h[layer, now]
                    + self.branch * kept[t] * noises[0][layer][now]
                    + reused @ g[layer + 1, past]
                )
            if t == 0:
                readout = (
                    readout
                    - h[depth, now].T @ np.linalg.lstsq(h[depth, now].T, readout, rcond=None)[0]
                )
            weights = (
                kept[t] * readout + problem.gamma0 * pulled @ h[depth, past]
                if problem.train_readout
                else readout
            )
            outputs[t] = h[depth, now] @ weights / (problem.gamma0 * self.samples)
            pulls[t] = problem.pull(t, outputs[t])
            learned = np.append(learned, np.zeros(examples))
            g[depth, now] = weights
            for layer in range(depth - 1, -1, -1):
                reused = (
                    self.branch * kept[t] * answers[1, layer, now, until]
                    + learned * kernels[1, layer, now, until]
                )
                inner[layer, now] = (
                    self.branch * kept[t] * noises[1][layer][now] + reused @ values[layer, until]
                )
                g[layer, now] = g[layer + 1, now] + phi.slope(h[layer, now]) * inner[layer, now]
        measured = (
            np.array(
                [[each @ each.T for each in values], [each @ each.T for each in g[1:]]]
            ).reshape(kernels.shape)
            / self.samples
        )
        return _Run(h, g, values, inner, outputs, pulls, measured)

    def stein(self, run: _Run, factors: list[list[tuple[Array, Array]]]) -> Array:
        """Return responses by Gaussian integration by parts.

        They are correlations with the innovations of the fields.
        """
        times = np.arange(self.size) // self.examples
        before, until = times[:, None] > times, times[:, None] >= times
        answers = np.zeros((2, self.depth, self.size, self.size))
        for layer in range(self.depth):
            answers[0, layer] = (
                before
                * (run.phi[layer] @ self.normals[1, layer].T / self.samples)
                @ factors[1][layer][1]
            )
            answers[1, layer] = (
                until
                * (run.g[layer + 1] @ self.normals[0, layer].T / self.samples)
                @ factors[0][layer][1]
            )
        return answers

    def jacobian(self, run: _Run, kernels: Array, answers: Array) -> Array:
        """Return responses by forward propagation of derivatives, chunk by chunk of samples."""
        found = np.zeros_like(answers)
        for start in range(0, self.samples, CHUNK):
            found += (
                self.jacobian_of(
                    slice(start, min(start + CHUNK, self.samples)), run, kernels, answers
                )
                / self.samples
            )
        return found

    def jacobian_of(self, chunk: slice, run: _Run, kernels: Array, answers: Array) -> Array:
        """Return the sum over a chunk of samples.

        Derivatives have the axes (columns, fields, samples), fields (times, 2, depth, examples).
        """
        problem, depth, examples, phi = self.problem, self.depth, self.examples, self.problem.phi
        moved, kept = self.memory.moved, self.memory.kept
        count = len(range(*chunk.indices(self.samples)))
        fields = 2 * depth * examples
        found = np.zeros_like(answers)
        by_time = found.reshape(2, depth, self.size, self.times, examples)
        dh, dg, dphi = (
            np.zeros((layers, self.size, self.times * fields, count))
            for layers in (1 + depth, 1 + depth, depth)
        )

        def through(matrix: Array, derivative: Array, t: int) -> Array:
            flat = derivative[: matrix.shape[1], : (t + 1) * fields]
            return (
                np.tensordot(matrix, flat, 1)
                if matrix.shape[1]
                else np.zeros((len(matrix), *flat.shape[1:]))
            )

        own = np.arange(examples)
        for t in range(self.times):
            past, now = slice(t * examples), slice(t * examples, (t + 1) * examples)
            until, known = slice((t + 1) * examples), slice((t + 1) * fields)
            pulled = (moved[t, :t, None] * run.pulls[:t]).ravel()
            learned = (self.learning[t, :t, None] * run.pulls[:t]).ravel()
            if problem.train_input:
                dh[0, now, known] = through(
                    problem.gamma0 * np.tile(problem.gram, t) * pulled, dg[0], t
                )
            for layer in range(depth):
                here = run.h[layer, now, chunk]
                dphi[layer, now, known] = phi.slope(here)[:, None] * dh[layer, now, known]
                by_time[0, layer, now, : t + 1] = (
                    dphi[layer, now, known]
                    .reshape(examples, t + 1, 2, depth, examples, count)[:, :, 1, layer]
                    .sum(-1)
                )
                reused = (
                    self.branch * kept[t] * answers[0, layer, now, past]
                    + learned * kernels[0, layer, now, past]
                )
                dh[layer + 1, now, known] = dh[layer, now, known] + through(
                    reused, dg[layer + 1], t
                )
                dh[layer + 1, t * examples + own, t * fields + layer * examples + own] += (
                    self.branch * kept[t]
                )
            if problem.train_readout:
                dg[depth, now, known] = through(problem.gamma0 * pulled[None], dh[depth], t)
            learned = np.append(learned, np.zeros(examples))
            for layer in range(depth - 1, -1, -1):
                by_time[1, layer, now, : t + 1] = (
                    dg[layer + 1, now, known]
                    .reshape(examples, t + 1, 2, depth, examples, count)[:, :, 0, layer]
                    .sum(-1)
                )
                here = run.h[layer, now, chunk]
                bend = (phi.slope(here + 1e-5) - phi.slope(here - 1e-5)) / 2e-5
                reused = (
                    self.branch * kept[t] * answers[1, layer, now, until]
                    + learned * kernels[1, layer, now, until]
                )
                inside = through(reused, dphi[layer], t)
                inside[own, t * fields + (depth + layer) * examples + own] += self.branch * kept[t]
                dg[layer, now, known] = (
                    dg[layer + 1, now, known]
                    + (bend * run.inner[layer, now, chunk])[:, None] * dh[layer, now, known]
                    + phi.slope(here)[:, None] * inside
                )
        return found


def _causal_factor(kernel: Array, examples: int, rank: float) -> tuple[Array, Array]:
    """Return C with C C^T = kernel, and a left inverse of the same form.

    Both are block lower triangular in time, and 0 where the rank is deficient.
    """
    size = len(kernel)
    factor, inverse = np.zeros((2, size, size))
    smallest = rank * np.trace(kernel) / size
    for start in range(0, size, examples):
        past, now = slice(start), slice(start, start + examples)
        mixed = kernel[now, past] @ inverse[past, past].T
        values, vectors = np.linalg.eigh(kernel[now, now] - mixed @ mixed.T)
        root = np.sqrt(np.where(values > smallest, values, 0.0))
        factor[now, past], factor[now, now] = mixed, vectors * root
        own = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)[:, None] * vectors.T
        inverse[now, now] = own
        inverse[now, past] = -own @ mixed @ inverse[past, past]
    return factor, inverse
