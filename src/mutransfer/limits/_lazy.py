"""The lazy limit, gamma0 -> 0 after infinite width: training by a fixed kernel.

Axes: T times; P examples; points = scales x P examples. A scale is a share of the initial weights
that some step still holds; without weight decay there is one, 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from ..core import Result, parsed, parsing
from ..statistics import Array
from ._json import array, fields_of, size
from ._kernels import expectations
from ._limit import check_outputs
from ._memory import memory
from ._problem import Depth, Problem

# Layers of the limit of infinite depth that are kept.
_RECORDED = 17

# Numbers of steps from one such layer to the next, whose results are extrapolated; and the error
# above which the way is split in halves.
_PARTS, _TOLERANCE = (2, 4, 6, 8), 1e-10

Pair = Float[Array, "points points"]
State = Float[Array, "3 points points"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Lazy(Result):
    """Training in the limit of infinite width, then gamma0 -> 0.

    Time t is before step t; the last time is after the last step.

    Attributes:
        problem: The problem that was solved.
        depth: Number of branches, or math.inf.
        layers: Layer time l / L of every recorded layer, (layers,), from 0 to 1.
        nngp: Kernel <h^l_mu h^l_nu> of every layer at initialisation, (layers, examples, examples).
        gradients: Kernel <g^l_mu g^l_nu> with g = gamma0 N df/dh, the same way.
        ntk: Neural tangent kernel K at initialisation, (examples, examples):
            df_mu/dtheta . df_nu/dtheta, each tensor weighted by its rate over lr. Without decay,
            momentum and schedule f(t+1) = f(t) + lr K pull(t).
        outputs: Outputs f, (times, examples).
        losses: Mean loss over all examples, (times,).
    """

    problem: Problem
    depth: Depth
    layers: Float[Array, " layers"]
    nngp: Float[Array, "layers examples examples"]
    gradients: Float[Array, "layers examples examples"]
    ntk: Float[Array, "examples examples"]
    outputs: Float[Array, "times examples"]
    losses: Float[Array, " times"]

    def __str__(self) -> str:
        return (
            f"infinite width, depth {self.depth:g}, lazy (gamma0 -> 0): loss {self.losses[0]:.4g}, "
            f"after {self.problem.steps} steps {self.losses[-1]:.4g}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the lazy limit that `to_json` wrote.

        Raises:
            MutransferError: the data is no lazy limit.
        """
        with parsing("a lazy limit written by Lazy.to_json"):
            given = parsed(data)
            problem, depth = Problem.from_json(given.pop("problem")), size(given.pop("depth"))
            arrays = {name: array(values) for name, values in given.items()}
            return cls(problem=problem, depth=depth, **arrays)


def lazy(problem: Problem, depth: Depth) -> Lazy:
    r"""Solve the lazy limit of a problem, whatever its gamma0.

    The kernels are those of Lee et al. (arXiv 1711.00165) and Jacot et al. (1806.07572), and at
    infinite depth the differential equations of Bordelon et al. (2309.16620, Proposition 2), solved
    to 1e-10. Weight decay shrinks the initial weights that step t still holds to k_t theta_0 and
    the features with them, so that with the optimizer's memory m

    $$f(t) = \sum_{s<t} m_{ts} K(t, s)\, \mathrm{pull}(s), \qquad
    K(t, s) = \partial_\theta f(k_t \theta_0) \cdot \partial_\theta f(k_s \theta_0),$$

    with kernels of times x examples. Without decay every k is 1, and there is one kernel.

    Args:
        problem: The network, its data and training.
        depth: Number of branches, or math.inf.

    Returns:
        The kernels at initialisation, and the trajectory.

    Raises:
        MutransferError: the depth is not one, or infinite without depth scaling.
        Diverged: the learning rate is too large.
    """
    problem.check_depth(depth)
    # One kernel for every pair of scales that occurs, not of times: without decay, one at all.
    scales, scale_at = np.unique(memory(problem).kept, return_inverse=True)
    examples = len(problem.targets)
    initial = slice(scale_at[0] * examples, (scale_at[0] + 1) * examples)
    layers = np.linspace(0.0, 1.0, _RECORDED if math.isinf(depth) else int(depth) + 1)
    tangent, nngp, growths = _kernels(problem, depth, scales, len(layers) - 1)
    outputs = _trained(problem, depth, tangent, scale_at)
    ones = np.ones((examples, examples))
    above = [growth[initial, initial] for growth in reversed(growths)]
    return Lazy(
        problem=problem,
        depth=depth,
        layers=layers,
        nngp=np.array([kernel[initial, initial] for kernel in nngp]),
        gradients=np.cumprod([ones, *above], axis=0)[::-1],
        ntk=tangent[initial, initial],
        outputs=outputs,
        losses=problem.losses(outputs),
    )


def _kernels(
    problem: Problem, depth: Depth, scales: Float[Array, " scales"], layers: int
) -> tuple[Pair, list[Pair], list[Pair]]:
    """Return the tangent kernel, every layer's kernel of features, and growths."""
    examples = len(problem.targets)
    each = np.repeat(scales, examples)
    kept, gram = np.multiply.outer(each, each), np.tile(problem.gram, (len(scales), len(scales)))
    advance = _advance(problem, depth, kept)
    features, tangent = (kept * gram, gram) if problem.train_input else (gram, np.zeros_like(gram))
    nngp, growths = [features], []
    for _ in range(layers):
        features, tangent, growth = advance(features, tangent)
        nngp.append(features)
        growths.append(growth)
    return features + kept * tangent if problem.train_readout else tangent, nngp, growths


def _trained(
    problem: Problem, depth: Depth, tangent: Pair, scale_at: np.ndarray[Any, Any]
) -> Float[Array, "times examples"]:
    """Return the outputs in training, f(t) = sum over s < t of m_ts K(t, s) pull(s)."""
    examples, moved = len(problem.targets), memory(problem).moved
    kernels = tangent.reshape(-1, examples, len(tangent) // examples, examples)
    outputs = np.zeros((problem.steps + 1, examples))
    pulls = np.zeros((problem.steps, examples))
    for step in range(problem.steps):
        pulls[step] = problem.pull(step, outputs[step])
        past = slice(step + 1)
        kernel = kernels[scale_at[step + 1]][:, scale_at[past]]
        outputs[step + 1] = np.einsum("s,msn,sn->m", moved[step + 1, past], kernel, pulls[past])
        check_outputs(problem, depth, outputs, step + 1)
    return outputs


def _advance(
    problem: Problem, depth: Depth, kept: Pair
) -> Callable[[Pair, Pair], tuple[Pair, Pair, Pair]]:
    """Return a function from one recorded layer's kernels to the next layer's.

    It maps the kernel of features and the tangent kernel of all weights so far to the next two. It
    adds the factor by which the kernel of gradients is larger in the layer below.
    """
    if math.isinf(depth):
        return _panel(problem, kept)
    noise = problem.branch(depth) ** 2
    learning = noise * problem.hidden_rate(depth)

    def layer(features: Pair, tangent: Pair) -> tuple[Pair, Pair, Pair]:
        value, slope, learned = _branch(problem, kept, features)
        growth = 1 + noise * slope
        return features + noise * value, growth * tangent + learning * learned, growth

    return layer


def _panel(problem: Problem, kept: Pair) -> Callable[[Pair, Pair], tuple[Pair, Pair, Pair]]:
    """Return `_advance` at infinite depth, by differential equations over layers."""
    # Where alpha exceeds 1/2, the noise of branches vanishes with depth and only learning is left.
    noise = problem.beta0**2 if problem.alpha == 0.5 else 0.0

    def change(state: State) -> State:
        features, tangent, _ = state
        value, slope, learned = _branch(problem, kept, features)
        grown = noise * slope * tangent + problem.beta0**2 * learned
        return np.array([noise * value, grown, noise * slope])

    def panel(features: Pair, tangent: Pair) -> tuple[Pair, Pair, Pair]:
        start = np.array([features, tangent, np.zeros_like(kept)])
        features, tangent, log_growth = _integrate(change, start, 1 / (_RECORDED - 1))
        return features, tangent, np.exp(log_growth)

    return panel


def _branch(problem: Problem, kept: Pair, features: Pair) -> tuple[Pair, Pair, Pair]:
    """Return three kernels of a branch with factor 1, from the kernel of its input.

    They are those of its output; of the gradients at its input, where those at its output have
    kernel 1; and of its own weights' tangents, likewise.
    """
    value, slope, learned = features, np.ones_like(features), np.zeros_like(features)
    mean = np.zeros(len(features))
    parts = ("activation", "weight") if problem.block == "pre" else ("weight", "activation")
    for part in parts * problem.block_depth:
        if part == "weight":
            value, slope, learned = kept * value, kept * slope, kept * learned + value
        else:
            phi = expectations(problem.phi, value)
            value, slope, learned = phi.value, phi.slope * slope, phi.slope * learned
            mean = phi.mean
    if problem.block == "post":
        value = value - np.multiply.outer(mean, mean)
    return value, slope, learned


def _integrate(change: Callable[[State], State], state: State, width: float) -> State:
    """Return the state after this width of layer time.

    Gragg's midpoint rule, extrapolated to order 8 (Hairer, Norsett and Wanner, II.9). The width is
    halved where the estimates of orders 8 and 6 differ, as where the kernels of parallel inputs
    have a square root.
    """
    estimates = [_midpoint(change, state, width, parts) for parts in _PARTS]
    fine, rough = _extrapolate(estimates, _PARTS), _extrapolate(estimates[1:], _PARTS[1:])
    if width > 1e-8 and np.abs(fine - rough).max() > _TOLERANCE * max(1.0, np.abs(fine).max()):
        return _integrate(change, _integrate(change, state, width / 2), width / 2)
    return fine


def _midpoint(change: Callable[[State], State], state: State, width: float, parts: int) -> State:
    step = width / parts
    before, now = state, state + step * change(state)
    for _ in range(parts - 1):
        before, now = now, before + 2 * step * change(now)
    return now


def _extrapolate(estimates: list[State], parts: tuple[int, ...]) -> State:
    """Return the estimate of infinitely many parts; errors are even in 1 / parts."""
    weights = [math.prod(n**2 / (n**2 - m**2) for m in parts if m != n) for n in parts]
    return np.tensordot(weights, estimates, 1)
