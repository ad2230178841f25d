"""Linear networks of infinite width: two solvers, closed forms, symmetries, the lazy limit, and networks of finite width and depth."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError
from mutransfer.limits import Diverged, Limit, Problem, lazy, linear, linear_recursion, simulate, two_layer, two_layer_flow
from mutransfer.limits._activations import Array


def problem(**changes: Any) -> Problem:
    """Four random inputs of six dimensions, two of either sign, which twenty steps learn."""
    inputs, targets = np.random.default_rng(1).normal(size=(4, 6)), np.array([1.0, -1.0, 1.0, -1.0])
    inputs[2:] *= -1
    return Problem(**{"inputs": inputs, "targets": targets, "lr": 0.1, "steps": 20, **changes})


def one(**changes: Any) -> Problem:
    """One example of norm 1."""
    return Problem(**{"inputs": [1.0], "targets": [1.3], "lr": 0.1, "steps": 12, **changes})


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    examples, steps = draw(st.integers(1, 4)), draw(st.integers(0, 6))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    momentum = draw(st.sampled_from([0.0, 0.5, 0.9]))
    scheduled, batched = draw(st.booleans()), draw(st.booleans())
    return Problem(
        inputs=random.normal(size=(examples, draw(st.integers(1, 3)))),
        targets=random.choice([-1.0, 1.0], size=examples),
        lr=draw(st.floats(0.0, 0.2)),
        steps=steps,
        loss=draw(st.sampled_from(["mse", "logistic"])),
        block=draw(st.sampled_from(["pre", "post"])),
        gamma0=draw(st.floats(0.05, 3.0)),
        beta0=draw(st.floats(0.0, 1.5)),
        alpha=draw(st.sampled_from([0.0, 0.5, 0.75, 1.0])),
        train_input=draw(st.booleans()),
        train_readout=draw(st.booleans()),
        momentum=momentum,
        nesterov=bool(momentum) and draw(st.booleans()),
        weight_decay=draw(st.sampled_from([0.0, 0.3, 1.0])),
        schedule=random.uniform(0, 1.5, size=steps) if scheduled else None,
        batches=random.integers(examples, size=(steps, 2)) if batched and steps else None,
    )


def outcome(p: Problem, depth: int, method: Literal["imbedding", "march"]) -> Limit | int:
    try:
        return linear(p, depth, method=method)
    except Diverged as error:
        return error.step


# Two solvers, and what they must reduce to


@settings(deadline=None, max_examples=60)
@given(p=problems(), depth=st.integers(0, 5))
def test_the_march_and_the_imbedding_agree(p: Problem, depth: int) -> None:
    found, march = outcome(p, depth, "imbedding"), outcome(p, depth, "march")
    if isinstance(found, int) or isinstance(march, int):
        assert found == march
        return
    np.testing.assert_array_equal(found.layers, march.layers)
    for own, theirs in (
        (found.outputs, march.outputs),
        (found.losses, march.losses),
        (found.features, march.features),
        (found.gradients, march.gradients),
        (found.responses["forward"], march.responses["forward"]),
        (found.responses["backward"], march.responses["backward"]),
    ):
        assert own.shape == theirs.shape
        np.testing.assert_allclose(own, theirs, atol=1e-10 * max(1.0, np.abs(theirs).max(initial=0)), rtol=0)


@pytest.mark.parametrize("loss", ["mse", "logistic"])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_a_stream_of_scalars_is_tensor_programs_vi(loss: str, depth: int) -> None:
    """Lemma 4.3 is the case of one example a step, one dimension and a frozen input and readout."""
    inputs, targets = np.array([1.0, -0.6, 1.3, 0.8, -1.1, 0.9]), np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    steps = len(inputs)
    p = Problem(
        inputs=inputs,
        targets=targets,
        lr=0.4,
        steps=steps,
        loss=loss,
        beta0=0.9,
        train_input=False,
        train_readout=False,
        batches=[[t] for t in range(steps)],
    )
    slopes = {"mse": lambda t, f: f - targets[t], "logistic": lambda t, f: -targets[t] / (1 + math.exp(targets[t] * f))}
    known = linear_recursion(inputs, slopes[loss], depth, lr=0.4, branch=0.9)
    found, t = linear(p, depth), np.arange(steps)
    np.testing.assert_allclose(found.outputs[t, t], known.outputs, atol=1e-10)
    own = found.features[:, t, t][:, :, t, t]
    np.testing.assert_allclose(own, np.moveaxis(known.kernels[:, :, 0], -1, 0), atol=1e-10)
    gradients = found.gradients[:, :steps, :steps] * np.outer(known.slopes, known.slopes)
    np.testing.assert_allclose(gradients, np.moveaxis(known.kernels[:, :, 1], -1, 0), atol=1e-10)


@settings(deadline=None, max_examples=50)
@given(target=st.floats(-2, 2), lr=st.floats(0, 0.3), gamma0=st.floats(0.1, 3), entry=st.floats(0.3, 1.5))
def test_no_branches_are_two_layers(target: float, lr: float, gamma0: float, entry: float) -> None:
    p = Problem(inputs=[entry], targets=[target], lr=lr, steps=8, gamma0=gamma0)
    found, known = outcome(p, 0, "imbedding"), two_layer(target, lr=lr, steps=8, gamma0=gamma0, norm=entry**2)
    if isinstance(found, int):
        return
    scale = max(1.0, known.features.max(), known.gradients.max())
    np.testing.assert_allclose(found.outputs[:, 0], known.outputs, atol=1e-12 * scale / min(gamma0, 1))
    np.testing.assert_allclose(np.diag(found.features[0, :, 0, :, 0]), known.features, atol=1e-12 * scale)
    np.testing.assert_allclose(np.diag(found.gradients[0]), known.gradients, atol=1e-12 * scale)


def test_small_rates_approach_the_flow_at_first_order() -> None:
    errors = []
    for steps in (50, 100, 200):
        found = linear(one(lr=2 / steps, steps=steps, gamma0=1.7), 0).outputs[:, 0]
        errors.append(np.abs(found - two_layer_flow(1.3, np.arange(steps + 1) * 2 / steps, gamma0=1.7)).max())
    assert errors[0] > 1e-3
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.03)


@settings(deadline=None, max_examples=20)
@given(
    depth=st.integers(0, 6),
    gamma0=st.floats(0.1, 2),
    alpha=st.sampled_from([0.0, 0.5, 1.0]),
    momentum=st.sampled_from([0.0, 0.6]),
    decay=st.sampled_from([0.0, 0.5]),
    ends=st.booleans(),
)
def test_one_example_of_norm_one_looks_the_same_from_both_ends(
    depth: int, gamma0: float, alpha: float, momentum: float, decay: float, ends: bool
) -> None:
    """Features of layer l are gradients of layer L - l: transposing all weights is the same network."""
    p = one(gamma0=gamma0, alpha=alpha, momentum=momentum, weight_decay=decay, train_input=ends, train_readout=ends, lr=0.03, beta0=0.5)
    found = linear(p, depth)
    scale = max(1.0, found.features.max())
    np.testing.assert_allclose(found.features[:, :, 0, :, 0], found.gradients[::-1], atol=1e-12 * scale)
    forward, backward = found.responses["forward"][:, :, 0, :], found.responses["backward"][..., 0]
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-12 * scale)
    if depth > 1:
        assert forward.any()


def test_one_example_at_infinite_depth_looks_the_same_from_both_ends() -> None:
    found = linear(one(), math.inf, nodes=4)
    np.testing.assert_allclose(found.features[:, :, 0, :, 0], found.gradients[::-1], atol=1e-12)
    np.testing.assert_allclose(found.responses["forward"][:, :, 0, :], found.responses["backward"][::-1, ..., 0], atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("depth", [3, math.inf])
def test_whitened_inputs_are_one_example_along_the_targets(depth: float, momentum: float) -> None:
    """With K^x = 1 and the mean loss of P examples: outputs stay along y, learned as |y| from one input of norm 1 at the rate lr / P,
    and features across y stay what they were."""
    targets = np.array([1.0, -0.5, 2.0])
    size = float(np.linalg.norm(targets))
    along = targets / size
    shared = {"gamma0": 1.5, "steps": 10, "momentum": momentum}
    found = linear(Problem(inputs=math.sqrt(3) * np.eye(3), targets=targets, lr=0.15, **shared), depth)
    single = linear(Problem(inputs=[1.0], targets=[size], lr=0.05, **shared), depth)
    assert single.outputs[-1, 0] > 0.3 * size
    np.testing.assert_allclose(found.outputs, single.outputs * along, atol=1e-12)
    np.testing.assert_allclose(found.gradients, single.gradients, atol=1e-12)
    across = np.eye(3) - np.outer(along, along)
    expected = np.einsum("ltasb,mn->ltmsn", single.features, np.outer(along, along))
    expected += single.features[:, :1, :, :1] * across[:, None]
    np.testing.assert_allclose(found.features, expected, atol=1e-12)


def test_batches_and_decay_of_one_example_are_no_different_for_its_copies() -> None:
    p = one(weight_decay=0.2, steps=4)
    copies = replace(p, inputs=np.ones(3), targets=np.full(3, 1.3), batches=[[0, 1], [2, 2], [1, 0], [0, 2]])
    np.testing.assert_allclose(linear(copies, 3).outputs, np.tile(linear(p, 3).outputs, 3), atol=1e-12)


def test_a_frozen_input_does_not_decay() -> None:
    """Without branches that is a linear model: w <- (1 - lr lambda0) w + lr gamma0 (y - f) h."""
    found, f = linear(one(train_input=False, weight_decay=0.5, gamma0=1.5), 0).outputs[:, 0], 0.0
    for output in found:
        assert output == pytest.approx(f, abs=1e-12)
        f += 0.1 * (1.3 - f - 0.5 * f)


# The lazy limit


@pytest.mark.parametrize("depth", [0, 3, math.inf])
@pytest.mark.parametrize(
    "training",
    [
        pytest.param({}, id="plain"),
        pytest.param({"momentum": 0.7}, id="momentum"),
        pytest.param({"weight_decay": 0.4}, id="decay"),
        pytest.param({"weight_decay": 0.4, "momentum": 0.7, "nesterov": True, "alpha": 1.0}, id="everything"),
        pytest.param({"train_input": False, "loss": "logistic", "lr": 0.8}, id="frozen"),
    ],
)
def test_small_gamma0_is_lazy(training: dict[str, Any], depth: float) -> None:
    p = problem(**{"steps": 5, "lr": 0.2, **training})
    kernel = lazy(p, depth).outputs
    assert np.abs(kernel).max() > 0.1
    gaps = [np.abs(linear(replace(p, gamma0=gamma0), depth, nodes=32).outputs - kernel).max() for gamma0 in (1e-4, 0.05, 0.1)]
    assert gaps[0] < (5e-6 if depth == math.inf else 1e-6)
    if depth or p.train_input:
        assert gaps[1] > 1e-5
        assert gaps[2] / gaps[1] == pytest.approx(4, rel=0.03)


def test_kernels_of_small_gamma0_are_those_of_initialization() -> None:
    p = problem(gamma0=1e-4, steps=3)
    found, kernel = linear(p, 3), lazy(p, 3)
    for t in (0, 3):
        np.testing.assert_allclose(found.features[:, t, :, t], kernel.nngp, atol=1e-6)
        np.testing.assert_allclose(
            np.broadcast_to(found.gradients[:, t, t, None, None], kernel.gradients.shape), kernel.gradients, atol=1e-6
        )


def test_features_move_as_the_square_of_gamma0() -> None:
    coefficients = []
    for gamma0 in (0.05, 0.1, 0.2, 0.4):
        features = linear(problem(gamma0=gamma0), 4).features
        coefficients.append(np.abs(features[:, -1, :, -1] - features[:, 0, :, 0]).max() / gamma0**2)
    assert coefficients[0] > 0.1
    np.testing.assert_allclose(coefficients[1:3], coefficients[0], rtol=0.02)
    np.testing.assert_allclose(coefficients[3], coefficients[0], rtol=0.06)


# Networks of finite width


WIDTHS = {64: 150, 128: 100, 256: 50, 512: 16, 1024: 4}


@cache
def squares(gamma0: float) -> list[Array]:
    """The mean squared distance of every network from the limit, by width."""
    p = problem(gamma0=gamma0, steps=8, lr=0.2)
    limit = linear(p, 4).outputs
    return [((simulate(p, width, 4, seeds) - limit) ** 2).mean((1, 2)) for width, seeds in WIDTHS.items()]


def test_networks_differ_from_the_limit_by_one_over_the_width() -> None:
    """Theory: width * MSE(f) is about 1 from 64 to 2048, so one network is off by width^-1/2."""
    found, widths = squares(1.0), np.array([*WIDTHS])
    random = np.random.default_rng(0)

    def slope(draws: list[Array]) -> float:
        spread = [draw.std() / draw.mean() / len(draw) ** 0.5 for draw in found]
        return float(np.polyfit(np.log(widths), np.log([draw.mean() for draw in draws]), 1, w=1 / np.array(spread))[0])

    resampled = [slope([random.choice(draw, len(draw)) for draw in found]) for _ in range(300)]
    low, high = np.quantile(resampled, [0.005, 0.995])
    assert high - low < 0.4
    assert low < -1 < high
    constants = np.array([width * draw.mean() for width, draw in zip(widths, found, strict=True)])
    errors = np.array([width * draw.std(ddof=1) / len(draw) ** 0.5 for width, draw in zip(widths, found, strict=True)])
    mean = np.average(constants, weights=errors**-2)
    assert (np.abs(constants - mean) < 4 * errors).all()
    assert 0.3 < mean < 2


def test_the_mean_over_networks_is_biased_by_one_over_the_width() -> None:
    """Theory: width times the root mean square of the bias is constant, of order 1."""
    p = problem(steps=8, lr=0.2)
    limit, constants = linear(p, 2).outputs, []
    for width in (16, 32):
        found = simulate(p, width, 2, 1000)
        noise = found.var(0, ddof=1) / 1000
        constants.append(width * float(np.sqrt(((found.mean(0) - limit) ** 2 - noise).mean())))
    assert constants[0] == pytest.approx(constants[1], rel=0.25)
    assert 0.3 < constants[0] < 2


TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "logistic": {"loss": "logistic", "lr": 0.6},
    "momentum": {"momentum": 0.8, "lr": 0.1},
    "decay": {"weight_decay": 0.8},
    "schedule": {"schedule": lambda step: 1 - step / 8, "lr": 0.3},
    "batches": {"batches": [[step % 4, (step + 1) % 4] for step in range(8)]},
    "frozen": {"train_input": False, "train_readout": False, "lr": 0.6},
    "strong branches": {"alpha": 0.0, "lr": 0.1, "beta0": 0.6},
    "weak branches": {"alpha": 1.0},
    "everything": {"gamma0": 2.5, "momentum": 0.5, "nesterov": True, "weight_decay": 0.3, "lr": 0.1},
}


@pytest.mark.parametrize("training", TRAININGS)
def test_the_limit_is_that_of_networks_however_trained(training: str) -> None:
    """N * MSE is the same at both widths, the mean is the limit's but for a bias of order 1 / N, and no other training's."""
    plain = problem(steps=8, lr=0.2)
    p = replace(plain, **TRAININGS[training])
    other = linear(plain if training != "plain" else replace(plain, lr=0.22), 2).outputs
    limit, scaled = linear(p, 2).outputs, []
    for width, seeds in ((64, 120), (256, 40)):
        found = simulate(p, width, 2, seeds)
        each = width * ((found - limit) ** 2).mean((1, 2))
        scaled.append((each.mean(), each.std(ddof=1) / seeds**0.5))
        error, bias = found.std(0) / seeds**0.5, 4 / width * np.abs(limit).max()
        assert (np.abs(found.mean(0) - limit) < 4 * error + bias).all()
    assert (np.abs(found.mean(0) - other) > 4 * error + bias).any()
    (narrow, first), (wide, second) = scaled
    assert abs(narrow - wide) < 3 * math.hypot(first, second) + 0.2 * wide


# Depth


DEPTHS = (4, 8, 16, 32, 64)


def settles(values: list[float], share: float) -> bool:
    """Whether every change is smaller than the one before, and the last is within this share."""
    changes = np.abs(np.diff(values))
    return bool((changes[1:] < changes[:-1]).all() and changes[-1] < share * values[-1])


@pytest.mark.parametrize("gamma0", [0.5, 2.0])
def test_finite_depth_is_off_by_one_over_the_depth(gamma0: float) -> None:
    """Theory: depth times the error settles (.29 at gamma0 = .5, .41 at 2, of other data)."""
    p = problem(gamma0=gamma0, steps=10)
    infinite = linear(p, math.inf, nodes=16)
    limits = [linear(p, depth) for depth in DEPTHS]
    outputs = [depth * float(np.sqrt(((each.outputs - infinite.outputs) ** 2).mean())) for depth, each in zip(DEPTHS, limits, strict=True)]
    assert settles(outputs, 0.05)
    assert 0.1 < outputs[-1] < 1
    for at, name in ((-1, "features"), (0, "gradients")):
        kernels = [
            depth * float(np.abs(getattr(each, name)[at] - getattr(infinite, name)[at]).max())
            for depth, each in zip(DEPTHS, limits, strict=True)
        ]
        assert settles(kernels, 0.08)


@pytest.mark.parametrize(("alpha", "power"), [(0.75, 0.5), (1.0, 1.0)])
def test_weaker_branches_approach_infinite_depth_as_their_noise_vanishes(alpha: float, power: float) -> None:
    """Their noise is depth^(1 - 2 alpha)."""
    p = problem(alpha=alpha, steps=10)
    infinite = linear(p, math.inf).outputs
    scaled = [depth**power * float(np.abs(linear(p, depth).outputs - infinite).max()) for depth in DEPTHS]
    assert scaled[-1] == pytest.approx(scaled[-2], rel=0.03)
    assert scaled[-1] > 0.05


def test_infinite_depth_converges_in_its_nodes_within_its_error() -> None:
    p = problem(steps=10)
    exact = linear(p, math.inf, nodes=32).outputs
    found = [linear(p, math.inf, nodes=nodes, accuracy=math.inf) for nodes in (1, 2, 4, 8)]
    errors = [np.abs(each.outputs - exact).max() for each in found]
    assert all(before > 4 * after for before, after in pairwise(errors[1:]))
    assert errors[2] / errors[3] > 6
    for each, error in zip(found[1:], errors[1:], strict=True):
        assert each.outputs_error.shape == exact.shape
        assert error < each.outputs_error.max() < 20 * error
    assert errors[-1] < 5e-4


@pytest.mark.parametrize(
    "change", [{"lr": 0.4}, {"lr": 0.1, "gamma0": 2.0}, {"lr": 0.05, "beta0": 1.5}], ids=["large rate", "strong learning", "large branches"]
)
def test_infinite_depth_is_refined_until_it_settles(change: dict[str, float]) -> None:
    """Where 8, 16 and 32 branches are too few, more are taken; a deep stack is off by its share, which its half shows."""
    p = problem(steps=10, **change)
    rough, found = linear(p, math.inf, accuracy=math.inf), linear(p, math.inf)
    deep, half = linear(p, 192).outputs, linear(p, 96).outputs
    assert np.abs(found.outputs - (2 * deep - half)).max() < 3e-3 * np.abs(deep).max() + found.outputs_error.max()
    assert found.outputs_error.max() < rough.outputs_error.max()
    assert found.losses_error.shape == found.losses.shape and found.losses_error.max() > 0


def test_layers_and_responses_of_infinite_depth_are_those_of_deep_stacks() -> None:
    """A stack of 32 branches is off by its share, and one of 64 by half as much: of features, gradients and responses."""
    p = problem(steps=10)
    infinite = linear(p, math.inf, nodes=4, accuracy=math.inf)
    stacks = [linear(p, depth) for depth in (32, 64)]
    np.testing.assert_allclose(infinite.layers, np.linspace(0, 1, 5))
    for found in ("features", "gradients"):
        gaps = [
            np.abs(getattr(each, found)[:: depth // 4] - getattr(infinite, found)).max()
            for depth, each in zip((32, 64), stacks, strict=True)
        ]
        assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.4)
    for found, ends in (("forward", 0), ("backward", 1)):
        scale = np.abs(infinite.responses[found]).max()
        gaps = []
        for depth, each in zip((32, 64), stacks, strict=True):
            own = math.sqrt(depth) * each.responses[found][ends * (depth // 4 - 1) :: depth // 4]
            gaps.append(np.abs(own - infinite.responses[found]).max())
        assert gaps[1] < 0.1 * scale
        assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.5)


def test_the_branchs_place_does_not_matter() -> None:
    np.testing.assert_array_equal(linear(problem(block="post"), 3).outputs, linear(problem(), 3).outputs)


def test_a_limit_says_what_it_is() -> None:
    p = problem(steps=3)
    found = linear(p, 2)
    assert (found.problem, found.depth, found.samples) == (p, 2, 0)
    np.testing.assert_allclose(found.layers, [0, 0.5, 1])
    np.testing.assert_allclose(found.losses, 0.5 * ((found.outputs - p.targets) ** 2).mean(1))
    assert not found.outputs[0].any() and not found.outputs_error.any() and not found.losses_error.any()
    assert found.features.shape == (3, 4, 4, 4, 4) and found.gradients.shape == (3, 4, 4)
    assert found.responses["forward"].shape == (2, 4, 4, 4) and found.responses["backward"].shape == (2, 4, 4, 4)
    np.testing.assert_allclose(linear(p, 0).layers, [0.0])
    assert linear(replace(p, steps=0), 2).outputs.shape == (1, 4)


# What cannot be solved


@pytest.mark.parametrize("method", ["imbedding", "march"])
def test_a_rate_that_is_too_large_names_the_step(method: Literal["imbedding", "march"]) -> None:
    known = two_layer(1.3, lr=2.0, steps=5).outputs
    step = int(np.argmax(~((known - 1.3) ** 2 <= 100 * 1.3**2)))
    assert 0 < step <= 5
    with pytest.raises(Diverged, match=rf"the limit of depth 0 diverges at step {step} with lr 2: .*give a smaller lr") as caught:
        linear(one(lr=2.0), 0, method=method)
    assert caught.value.step == step
    linear(one(lr=2.0, steps=step - 1), 0, method=method)


@pytest.mark.parametrize("depth", [2, math.inf])
def test_rates_that_overflow_are_divergence_without_warnings(depth: float) -> None:
    with pytest.raises(Diverged, match=f"depth {depth} diverges at step 1 with lr 1e"):
        linear(one(lr=1e200), depth)


@pytest.mark.parametrize(
    ("changes", "depth", "options", "said"),
    [
        pytest.param({"activation": "relu"}, 2, {}, "not relu of block depth 1; use limits.nonlinear", id="activation"),
        pytest.param({"block_depth": 2}, 2, {}, "not linear of block depth 2; use limits.nonlinear", id="block depth"),
        pytest.param({}, 2, {"method": "riccati"}, "method 'riccati' does not solve depth 2", id="method"),
        pytest.param({}, math.inf, {"method": "march"}, "method 'march' does not solve depth inf; use 'imbedding'", id="infinite march"),
        pytest.param({}, math.inf, {"nodes": 0}, "nodes is 0", id="nodes"),
        pytest.param({}, -1, {}, "depth is -1", id="negative depth"),
        pytest.param({}, 2.5, {}, "depth is 2.5", id="half a branch"),
        pytest.param({}, math.nan, {}, "depth is nan", id="no number"),
        pytest.param({}, "2", {}, "depth is 2", id="text"),
        pytest.param({"alpha": 0.0}, math.inf, {}, "alpha = 0", id="no depth scaling"),
    ],
)
def test_refuses_what_it_does_not_solve(changes: dict[str, Any], depth: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(MutransferError, match=said):
        linear(problem(**changes), depth, **options)
