"""The lazy limit, gamma0 -> 0 of infinite width: training by a fixed kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._activations import Array
from ._kernels import expectations
from ._limit import check_outputs
from ._memory import memory
from ._problem import Depth, Problem

_RECORDED = 17
"""Layers of the limit of infinite depth that are kept."""

_PARTS, _TOLERANCE = (2, 4, 6, 8), 1e-10
"""Steps of the rules that are extrapolated from one such layer to the next, and the error at which that is done in halves."""

Pair = Float[Array, "points points"]
State = Float[Array, "3 points points"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lazy:
    """Training in the limit of infinite width, then gamma0 -> 0. Time t is before step t; the last time is after the last step.

    Attributes:
        problem: What was solved.
        depth: Number of branches, or math.inf.
        layers: The layer time l / L of every recorded layer, (layers,), from 0 to 1.
        nngp: Kernel <h^l_mu h^l_nu> of every layer at initialisation, (layers, examples, examples).
        gradients: Kernel <g^l_mu g^l_nu> with g = gamma0 N df/dh, the same way.
        ntk: Neural tangent kernel K at initialisation, (examples, examples): df_mu/dtheta . df_nu/dtheta, each tensor weighted by its
            rate over lr. Without decay, momentum and schedule f(t+1) = f(t) + lr K pull(t).
        outputs: f, (times, examples).
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


def lazy(problem: Problem, depth: Depth) -> Lazy:
    r"""Solve the lazy limit of a problem, whatever its gamma0.

    The kernels are those of Lee et al. (arXiv 1711.00165) and Jacot et al. (1806.07572), and at infinite depth the differential
    equations of Bordelon et al. (2309.16620, Proposition 2), solved to 1e-10. Weight decay shrinks the initial weights that step t still
    holds to k_t theta_0 and the features with them, so that with the optimizer's memory m

    $$f(t) = \sum_{s<t} m_{ts} K(t, s)\, \mathrm{pull}(s), \qquad
    K(t, s) = \partial_\theta f(k_t \theta_0) \cdot \partial_\theta f(k_s \theta_0),$$

    with kernels of times x examples. Without decay every k is 1, and there is one kernel.

    Args:
        problem: The network, its data and training.
        depth: Number of branches, or math.inf.

    Returns:
        The kernels at initialisation, and the trajectory.

    Raises:
        MutransferError: the depth is none, or infinite without depth scaling.
        Diverged: the learning rate is too large.
    """
    problem.check_depth(depth)
    past = memory(problem)
    scales, at = np.unique(past.kept, return_inverse=True)
    examples = len(problem.targets)
    initial = slice(at[0] * examples, (at[0] + 1) * examples)
    each = np.repeat(scales, examples)
    kept, gram = np.multiply.outer(each, each), np.tile(problem.gram, (len(scales), len(scales)))

    layers = np.linspace(0.0, 1.0, _RECORDED if math.isinf(depth) else int(depth) + 1)
    advance = _advance(problem, depth, kept)
    features, tangent = (kept * gram, gram) if problem.train_input else (gram, np.zeros_like(gram))
    nngp, growths = [features[initial, initial]], []
    for _ in layers[1:]:
        features, tangent, growth = advance(features, tangent)
        nngp.append(features[initial, initial])
        growths.append(growth[initial, initial])
    if problem.train_readout:
        tangent = features + kept * tangent

    kernels = tangent.reshape(len(scales), examples, len(scales), examples)
    outputs = np.zeros((problem.steps + 1, examples))
    pulls = np.zeros((problem.steps, examples))
    for step in range(problem.steps):
        pulls[step] = problem.pull(step, outputs[step])
        kernel = kernels[at[step + 1]][:, at[: step + 1]]
        outputs[step + 1] = np.einsum(
            "s,msn,sn->m", past.moved[step + 1, : step + 1], kernel, pulls[: step + 1]
        )
        check_outputs(problem, depth, outputs, step + 1)
    return Lazy(
        problem=problem,
        depth=depth,
        layers=layers,
        nngp=np.array(nngp),
        gradients=np.cumprod([np.ones((examples, examples)), *reversed(growths)], axis=0)[::-1],
        ntk=tangent[initial, initial],
        outputs=outputs,
        losses=problem.losses(outputs),
    )


def _advance(
    problem: Problem, depth: Depth, kept: Pair
) -> Callable[[Pair, Pair], tuple[Pair, Pair, Pair]]:
    """What takes the features' kernel and the tangent kernel of all weights so far from a recorded layer to the next.

    It returns the two, and the factor by which the kernel of the gradients is larger in the layer below.
    """
    if not math.isinf(depth):
        noise = problem.branch(depth) ** 2
        learning = noise * problem.hidden_rate(depth)

        def layer(features: Pair, tangent: Pair) -> tuple[Pair, Pair, Pair]:
            value, slope, learned = _branch(problem, kept, features)
            growth = 1 + noise * slope
            return features + noise * value, growth * tangent + learning * learned, growth

        return layer

    noise = problem.beta0**2 if problem.alpha == 0.5 else 0.0

    def change(state: State) -> State:
        value, slope, learned = _branch(problem, kept, state[0])
        return np.array(
            [noise * value, noise * slope * state[1] + problem.beta0**2 * learned, noise * slope]
        )

    def panel(features: Pair, tangent: Pair) -> tuple[Pair, Pair, Pair]:
        features, tangent, logarithm = _integrate(
            change, np.array([features, tangent, np.zeros_like(kept)]), 1 / (_RECORDED - 1)
        )
        return features, tangent, np.exp(logarithm)

    return panel


def _branch(problem: Problem, kept: Pair, features: Pair) -> tuple[Pair, Pair, Pair]:
    """Three kernels of a branch with factor 1, whose input has this one.

    They are of its output; of the gradients it hands down, where those it gets have kernel 1; and of its own weights' tangents, likewise.
    """
    value, slope, learned = features, np.ones_like(features), np.zeros_like(features)
    mean = np.zeros(len(features))
    parts = ("activation", "weight") if problem.block == "pre" else ("weight", "activation")
    for part in parts * problem.block_depth:
        if part == "weight":
            value, slope, learned = kept * value, kept * slope, kept * learned + value
        else:
            phi = expectations(problem.phi, value)
            value, slope, learned, mean = (
                phi.value,
                phi.slope * slope,
                phi.slope * learned,
                phi.mean,
            )
    if problem.block == "post":
        value = value - np.multiply.outer(mean, mean)
    return value, slope, learned


def _integrate(change: Callable[[State], State], state: State, width: float) -> State:
    """The state after this width, by Gragg's extrapolated midpoint rule (Hairer, Norsett and Wanner, II.9) of order 8.

    It goes in halves where the estimates of orders 8 and 6 differ, as where the kernels of parallel inputs have a square root.
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
    """To no error, from errors in even powers of 1 / parts."""
    weights = [math.prod(n**2 / (n**2 - m**2) for m in parts if m != n) for n in parts]
    return np.tensordot(weights, estimates, 1)
