"""Linear networks of infinite width: two solvers, closed forms, symmetries and the lazy limit."""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError
from mutransfer.limits import (
    Diverged,
    Limit,
    Problem,
    lazy,
    linear,
    linear_recursion,
    two_layer,
    two_layer_flow,
)
from tests.limits.linear_problems import problem, single


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
    """The limit, or the step at which it diverges."""
    try:
        return linear(p, depth, method=method)
    except Diverged as error:
        return error.step


def everything(limit: Limit) -> list[np.ndarray]:
    responses = [limit.responses[name] for name in ("forward", "backward")]
    return [limit.outputs, limit.losses, limit.features, limit.gradients, *responses]


# Two solvers, and their special cases


@settings(deadline=None, max_examples=60)
@given(p=problems(), depth=st.integers(0, 5))
def test_the_march_and_the_imbedding_agree(p: Problem, depth: int) -> None:
    imbedding, march = outcome(p, depth, "imbedding"), outcome(p, depth, "march")
    if isinstance(imbedding, int) or isinstance(march, int):
        assert imbedding == march
        return
    np.testing.assert_array_equal(imbedding.layers, march.layers)
    for ours, theirs in zip(everything(imbedding), everything(march), strict=True):
        assert ours.shape == theirs.shape
        scale = max(1.0, np.abs(theirs).max(initial=0))
        np.testing.assert_allclose(ours, theirs, atol=1e-10 * scale, rtol=0)


@pytest.mark.parametrize("loss", ["mse", "logistic"])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_a_stream_of_scalars_is_tensor_programs_vi(loss: str, depth: int) -> None:
    """Lemma 4.3 is the case of one example a step, one dimension and a frozen input and readout."""
    inputs, targets = (
        np.array([1.0, -0.6, 1.3, 0.8, -1.1, 0.9]),
        np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0]),
    )
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
    slopes = {
        "mse": lambda t, f: f - targets[t],
        "logistic": lambda t, f: -targets[t] / (1 + math.exp(targets[t] * f)),
    }
    known = linear_recursion(inputs, slopes[loss], depth, lr=0.4, branch=0.9)
    limit, t = linear(p, depth), np.arange(steps)
    np.testing.assert_allclose(limit.outputs[t, t], known.outputs, atol=1e-10)
    features = limit.features[:, t, t][:, :, t, t]
    gradients = limit.gradients[:, :steps, :steps] * np.outer(known.slopes, known.slopes)
    for ours, theirs in zip((features, gradients), np.moveaxis(known.kernels, 2, 0), strict=True):
        np.testing.assert_allclose(ours, np.moveaxis(theirs, -1, 0), atol=1e-10)


@settings(deadline=None, max_examples=50)
@given(
    target=st.floats(-2, 2),
    lr=st.floats(0, 0.3),
    gamma0=st.floats(0.1, 3),
    entry=st.floats(0.3, 1.5),
)
def test_no_branches_are_two_layers(target: float, lr: float, gamma0: float, entry: float) -> None:
    p = Problem(inputs=[entry], targets=[target], lr=lr, steps=8, gamma0=gamma0)
    limit = outcome(p, 0, "imbedding")
    known = two_layer(target, lr=lr, steps=8, gamma0=gamma0, norm=entry**2)
    if isinstance(limit, int):
        return
    scale = max(1.0, known.features.max(), known.gradients.max())
    np.testing.assert_allclose(
        limit.outputs[:, 0], known.outputs, atol=1e-12 * scale / min(gamma0, 1)
    )
    np.testing.assert_allclose(
        np.diag(limit.features[0, :, 0, :, 0]), known.features, atol=1e-12 * scale
    )
    np.testing.assert_allclose(np.diag(limit.gradients[0]), known.gradients, atol=1e-12 * scale)


def test_small_rates_approach_the_flow_at_first_order() -> None:
    errors = []
    for steps in (50, 100, 200):
        limit = linear(single(lr=2 / steps, steps=steps, gamma0=1.7), 0).outputs[:, 0]
        flow = two_layer_flow(1.3, np.arange(steps + 1) * 2 / steps, gamma0=1.7)
        errors.append(np.abs(limit - flow).max())
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
    """Features of layer l are gradients of layer L - l: all weights are transposed."""
    frozen = {"train_input": ends, "train_readout": ends}
    training = {"momentum": momentum, "weight_decay": decay, "lr": 0.03, "beta0": 0.5}
    limit = linear(single(gamma0=gamma0, alpha=alpha, **frozen, **training), depth)
    scale = max(1.0, limit.features.max())
    np.testing.assert_allclose(
        limit.features[:, :, 0, :, 0], limit.gradients[::-1], atol=1e-12 * scale
    )
    forward, backward = limit.responses["forward"][:, :, 0, :], limit.responses["backward"][..., 0]
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-12 * scale)
    if depth > 1:
        assert forward.any()


def test_one_example_at_infinite_depth_looks_the_same_from_both_ends() -> None:
    limit = linear(single(), math.inf, nodes=4)
    np.testing.assert_allclose(limit.features[:, :, 0, :, 0], limit.gradients[::-1], atol=1e-12)
    forward, backward = limit.responses["forward"][:, :, 0, :], limit.responses["backward"][..., 0]
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("depth", [3, math.inf])
def test_whitened_inputs_are_one_example_along_the_targets(depth: float, momentum: float) -> None:
    """With K^x = 1, outputs stay along y, and features across y stay as they were.

    Along y, |y| is learned from one input of norm 1, by the mean loss at the rate lr / P.
    """
    targets = np.array([1.0, -0.5, 2.0])
    size = float(np.linalg.norm(targets))
    along = targets / size
    shared = {"gamma0": 1.5, "steps": 10, "momentum": momentum}
    whitened = Problem(inputs=math.sqrt(3) * np.eye(3), targets=targets, lr=0.15, **shared)
    limit = linear(whitened, depth)
    line = linear(Problem(inputs=[1.0], targets=[size], lr=0.05, **shared), depth)
    assert line.outputs[-1, 0] > 0.3 * size
    np.testing.assert_allclose(limit.outputs, line.outputs * along, atol=1e-12)
    np.testing.assert_allclose(limit.gradients, line.gradients, atol=1e-12)
    across = np.eye(3) - np.outer(along, along)
    expected = np.einsum("ltasb,mn->ltmsn", line.features, np.outer(along, along))
    expected += line.features[:, :1, :, :1] * across[:, None]
    np.testing.assert_allclose(limit.features, expected, atol=1e-12)


def test_copies_of_one_example_train_as_it_does_in_any_batches() -> None:
    p = single(weight_decay=0.2, steps=4)
    batches = [[0, 1], [2, 2], [1, 0], [0, 2]]
    copies = replace(p, inputs=np.ones(3), targets=np.full(3, 1.3), batches=batches)
    expected = np.tile(linear(p, 3).outputs, 3)
    np.testing.assert_allclose(linear(copies, 3).outputs, expected, atol=1e-12)


def test_a_frozen_input_does_not_decay() -> None:
    """Without branches it is a linear model: w <- (1 - lr lambda0) w + lr gamma0 (y - f) h."""
    limit, f = linear(single(train_input=False, weight_decay=0.5, gamma0=1.5), 0).outputs[:, 0], 0.0
    for output in limit:
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
        pytest.param(
            {"weight_decay": 0.4, "momentum": 0.7, "nesterov": True, "alpha": 1.0}, id="everything"
        ),
        pytest.param({"train_input": False, "loss": "logistic", "lr": 0.8}, id="frozen"),
    ],
)
def test_small_gamma0_is_lazy(training: dict[str, Any], depth: float) -> None:
    p = problem(**{"steps": 5, "lr": 0.2, **training})
    kernel = lazy(p, depth).outputs
    assert np.abs(kernel).max() > 0.1
    gaps = [
        np.abs(linear(replace(p, gamma0=gamma0), depth, nodes=32).outputs - kernel).max()
        for gamma0 in (1e-4, 0.05, 0.1)
    ]
    assert gaps[0] < (5e-6 if depth == math.inf else 1e-6)
    if depth or p.train_input:
        assert gaps[1] > 1e-5
        assert gaps[2] / gaps[1] == pytest.approx(4, rel=0.03)


def test_kernels_of_small_gamma0_are_those_of_initialization() -> None:
    p = problem(gamma0=1e-4, steps=3)
    limit, kernel = linear(p, 3), lazy(p, 3)
    for t in (0, 3):
        np.testing.assert_allclose(limit.features[:, t, :, t], kernel.nngp, atol=1e-6)
        gradients = np.broadcast_to(limit.gradients[:, t, t, None, None], kernel.gradients.shape)
        np.testing.assert_allclose(gradients, kernel.gradients, atol=1e-6)


def test_features_move_as_the_square_of_gamma0() -> None:
    coefficients = []
    for gamma0 in (0.05, 0.1, 0.2, 0.4):
        features = linear(problem(gamma0=gamma0), 4).features
        moved = np.abs(features[:, -1, :, -1] - features[:, 0, :, 0]).max()
        coefficients.append(moved / gamma0**2)
    assert coefficients[0] > 0.1
    np.testing.assert_allclose(coefficients[1:3], coefficients[0], rtol=0.02)
    np.testing.assert_allclose(coefficients[3], coefficients[0], rtol=0.06)


def test_the_branchs_place_does_not_matter() -> None:
    np.testing.assert_array_equal(
        linear(problem(block="post"), 3).outputs, linear(problem(), 3).outputs
    )


def test_a_limit_has_layers_losses_kernels_and_no_errors() -> None:
    p = problem(steps=3)
    limit = linear(p, 2)
    assert (limit.problem, limit.depth, limit.samples) == (p, 2, 0)
    np.testing.assert_allclose(limit.layers, [0, 0.5, 1])
    np.testing.assert_allclose(limit.losses, 0.5 * ((limit.outputs - p.targets) ** 2).mean(1))
    assert (
        not limit.outputs[0].any()
        and not limit.outputs_error.any()
        and not limit.losses_error.any()
    )
    assert limit.features.shape == (3, 4, 4, 4, 4) and limit.gradients.shape == (3, 4, 4)
    assert {response.shape for response in limit.responses.values()} == {(2, 4, 4, 4)}
    np.testing.assert_allclose(linear(p, 0).layers, [0.0])
    assert linear(replace(p, steps=0), 2).outputs.shape == (1, 4)


# Refusals


@pytest.mark.parametrize("method", ["imbedding", "march"])
def test_a_rate_that_is_too_large_names_the_step(method: Literal["imbedding", "march"]) -> None:
    known = two_layer(1.3, lr=2.0, steps=5).outputs
    step = int(np.argmax(~((known - 1.3) ** 2 <= 100 * 1.3**2)))
    assert 0 < step <= 5
    message = rf"the limit of depth 0 diverges at step {step} with lr 2: .*give a smaller lr"
    with pytest.raises(Diverged, match=message) as caught:
        linear(single(lr=2.0), 0, method=method)
    assert caught.value.step == step
    linear(single(lr=2.0, steps=step - 1), 0, method=method)


@pytest.mark.parametrize("depth", [2, math.inf])
def test_rates_that_overflow_are_divergence_without_warnings(depth: float) -> None:
    with pytest.raises(Diverged, match=f"depth {depth} diverges at step 1 with lr 1e"):
        linear(single(lr=1e200), depth)


@pytest.mark.parametrize(
    ("changes", "depth", "options", "message"),
    [
        pytest.param(
            {"activation": "relu"},
            2,
            {},
            "not relu of block depth 1; use limits.nonlinear",
            id="activation",
        ),
        pytest.param(
            {"block_depth": 2},
            2,
            {},
            "not linear of block depth 2; use limits.nonlinear",
            id="block depth",
        ),
        pytest.param(
            {}, 2, {"method": "riccati"}, "method 'riccati' does not solve depth 2", id="method"
        ),
        pytest.param(
            {},
            math.inf,
            {"method": "march"},
            "method 'march' does not solve depth inf; use 'imbedding'",
            id="infinite march",
        ),
        pytest.param({}, math.inf, {"nodes": 0}, "nodes is 0", id="nodes"),
        pytest.param({}, -1, {}, "depth is -1", id="negative depth"),
        pytest.param({}, 2.5, {}, "depth is 2.5", id="half a branch"),
        pytest.param({}, math.nan, {}, "depth is nan", id="no number"),
        pytest.param({}, "2", {}, "depth is 2", id="text"),
        pytest.param({"alpha": 0.0}, math.inf, {}, "alpha = 0", id="no depth scaling"),
    ],
)
def test_unsolved_problems_depths_and_methods_are_refused(
    changes: dict[str, Any], depth: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        linear(problem(**changes), depth, **options)
