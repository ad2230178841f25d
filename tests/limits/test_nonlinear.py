"""Networks of infinite width with any activation: against the linear solvers, the lazy limit, and networks of finite width and depth."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.limits import Activation, Diverged, Limit, Loss, Problem, Unsettled, landscape, lazy, linear, nonlinear, simulate
from mutransfer.limits import _nonlinear as module
from mutransfer.limits._activations import Array
from mutransfer.limits._limit import hopeless, loss_scale
from mutransfer.limits._network import run
from mutransfer.limits._sites import SiteDraw, _Conditioned, _Side, _Source, _whitened

INPUTS, TARGETS = np.random.default_rng(1).normal(size=(2, 6)), np.array([1.0, -1.0])
SOFTPLUS = Activation("softplus", lambda x: np.logaddexp(0.0, x), lambda x: 1 / (1 + np.exp(-x)))
CASES: dict[str, dict[str, Any]] = {
    "tanh": {"activation": "tanh"},
    "relu": {"activation": "relu"},
    "abs post": {"activation": "abs", "block": "post"},
    "tanh pre of two": {"activation": "tanh", "block_depth": 2, "lr": 0.2},
    "relu post of two": {"activation": "relu", "block": "post", "block_depth": 2},
    "softplus post": {"activation": SOFTPLUS, "block": "post"},
}
TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.7, "nesterov": True, "lr": 0.1},
    "decay": {"weight_decay": 0.4},
    "batches": {"batches": [[0], [1], [0], [0], [1], [1]]},
    "schedule": {"schedule": [1.0, 0.5, 0.0, 2.0, 1.0, 0.5]},
    "frozen": {"train_input": False, "train_readout": False, "lr": 0.6},
    "logistic": {"loss": "logistic", "lr": 0.6, "alpha": 1.0},
}


def problem(**changes: Any) -> Problem:
    return Problem(**{"inputs": INPUTS, "targets": TARGETS, "lr": 0.3, "steps": 6, **changes})


@cache
def solved(case: str) -> Limit:
    return nonlinear(problem(**CASES[case]), 2, accuracy=0.01)


@cache
def networks(case: str) -> dict[int, Array]:
    return {width: simulate(problem(**CASES[case]), width, 2, seeds) for width, seeds in ((32, 250), (64, 200), (128, 80), (256, 20))}


# Linear networks have no sampling error


@pytest.mark.parametrize("training", TRAININGS)
def test_linear_networks_are_solved_exactly(training: str) -> None:
    p = problem(**TRAININGS[training], block="post" if training == "plain" else "pre")
    exact, found = linear(p, 3), nonlinear(p, 3, repetitions=2, accuracy=1e-6)
    assert np.abs(exact.outputs).max() > 0.2
    np.testing.assert_allclose(found.outputs, exact.outputs, atol=1e-8)
    np.testing.assert_allclose(found.losses, exact.losses, atol=1e-8)
    np.testing.assert_allclose(found.features, exact.features, atol=1e-8)
    gradients = np.broadcast_to(exact.gradients[:, :, None, :, None], found.gradients.shape)
    np.testing.assert_allclose(found.gradients, gradients, atol=1e-8)
    assert found.outputs_error.max() < 1e-8 and found.losses_error.max() < 1e-8


@pytest.mark.parametrize("depth", [0, 1])
def test_shallow_linear_networks_are_solved_exactly(depth: int) -> None:
    found = nonlinear(problem(gamma0=2.0, lr=0.2), depth, repetitions=2)
    np.testing.assert_allclose(found.outputs, linear(problem(gamma0=2.0, lr=0.2), depth).outputs, atol=1e-8)
    assert found.layers.shape == (depth + 1,)


def test_parallel_inputs_are_solved_exactly() -> None:
    """The Gram matrix has no inverse."""
    p = problem(inputs=[[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0]], targets=[1.0, 0.5, -1.0], lr=0.05)
    np.testing.assert_allclose(nonlinear(p, 2, repetitions=2).outputs, linear(p, 2).outputs, atol=1e-8)


def test_linear_networks_of_infinite_depth_are_extrapolated() -> None:
    """With stacks of `nodes`, twice and four times as many branches the error falls as 1 / nodes^3."""
    p = problem(steps=3)
    exact = linear(p, math.inf, nodes=32).outputs
    found = {nodes: nonlinear(p, math.inf, repetitions=2, nodes=nodes, accuracy=1.0) for nodes in (2, 4)}
    coarse, fine = (np.abs(each.outputs - exact).max() for each in found.values())
    assert coarse / fine > 4
    np.testing.assert_allclose(found[2].layers, [0, 0.5, 1])
    stacks = [linear(p, depth).outputs for depth in (2, 4, 8)]
    np.testing.assert_allclose(found[2].outputs, (stacks[0] - 6 * stacks[1] + 8 * stacks[2]) / 3, atol=1e-8)
    np.testing.assert_allclose(found[2].outputs_error, np.abs(found[2].outputs - (2 * stacks[2] - stacks[1])), atol=1e-8)


def test_infinite_depth_is_as_accurate_as_was_asked() -> None:
    p = problem(steps=8, lr=0.15)
    exact = linear(p, math.inf, nodes=32).losses
    found = nonlinear(p, math.inf, repetitions=2, accuracy=0.004)
    assert np.abs(found.losses - exact).max() < 0.004 * exact[0]
    assert len(found.layers) > len(nonlinear(p, math.inf, repetitions=2, accuracy=1.0).layers)


# Networks of finite width


@pytest.mark.parametrize("case", CASES)
def test_networks_differ_from_the_limit_by_one_over_the_width(case: str) -> None:
    """Theory: width * MSE(f) is constant, and the mean over networks is off by order 1 / width."""
    limit, scaled, errors = solved(case), [], []
    for width, found in networks(case).items():
        each = width * ((found - limit.outputs) ** 2).mean((1, 2))
        scaled.append(each.mean())
        errors.append(each.std(ddof=1) / len(each) ** 0.5)
        spread = np.hypot(found.std(0, ddof=1) / len(found) ** 0.5, limit.outputs_error)
        assert (np.abs(found.mean(0) - limit.outputs) < 4.5 * spread + 3 / width).all()
    constants, error = np.array(scaled), np.array(errors)
    assert (np.abs(constants - constants[-1]) < 4 * np.hypot(error, error[-1]) + 0.1 * constants[-1]).all()
    assert 0.1 < constants[-1] < 3


@pytest.mark.parametrize("training", ["momentum", "decay", "batches", "frozen", "logistic"])
def test_the_limit_is_that_of_networks_however_trained(training: str) -> None:
    p = problem(activation="tanh", **TRAININGS[training])
    limit, found = nonlinear(p, 2, accuracy=0.02), simulate(p, 128, 2, 150)
    spread = np.hypot(found.std(0, ddof=1) / 150**0.5, limit.outputs_error)
    assert (np.abs(found.mean(0) - limit.outputs) < 4.5 * spread + 3 / 128).all()
    other = nonlinear(problem(activation="tanh"), 2, accuracy=0.02)
    assert (np.abs(found.mean(0) - other.outputs) > 8 * spread + 3 / 128).any()


@pytest.mark.parametrize("case", ["tanh", "relu post of two"])
def test_kernels_are_those_of_wide_networks(case: str) -> None:
    from mutransfer.limits._simulate import trained

    p, width, seeds = problem(**CASES[case]), 256, 24
    limit, found = solved(case), trained(p, width, 2, range(seeds))
    for own, theirs in ((limit.features, found.features), (limit.gradients, found.gradients)):
        assert own.shape == (3, 7, 2, 7, 2)
        for layer, fields in enumerate(theirs):
            kernels = (np.swapaxes(fields, -1, -2) @ fields / width).reshape(seeds, 7, 2, 7, 2)
            spread = kernels.std(0, ddof=1) / seeds**0.5
            sampled = 5 * np.abs(own[layer]).max() / math.sqrt(4 * limit.samples)
            assert (np.abs(kernels.mean(0) - own[layer]) < 5 * spread + sampled + 5 / width).all()


def without_answers(self: _Conditioned, x: Array, own: _Side, other: _Side) -> Array:
    known = own.used.T @ x / len(x)
    new, coefficients = _whitened(x - own.used @ known, float(np.einsum("sp,sp->", x, x)) / len(x))
    fresh = self.source.draw(new.shape[1], other)
    product = own.made @ known + fresh @ coefficients
    own.append(new, fresh)
    return np.asarray(product)


def test_a_solver_that_drops_the_responses_is_not_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theory: dropping them moves f by a root mean square of .04 to .08, and more time does not repair it."""
    exact = solved("tanh")
    monkeypatch.setattr(_Conditioned, "_multiply", without_answers)
    wrong = nonlinear(problem(**CASES["tanh"]), 2, accuracy=0.01)
    error = np.hypot(exact.outputs_error, wrong.outputs_error)[1:]
    assert (np.abs(wrong.outputs - exact.outputs)[1:] / error).max() > 15
    assert float(np.sqrt(((wrong.outputs - exact.outputs) ** 2).mean())) > 0.02
    found = networks("tanh")[128]
    spread = np.hypot(found.std(0, ddof=1) / len(found) ** 0.5, wrong.outputs_error)
    assert (np.abs(found.mean(0) - wrong.outputs) > 4.5 * spread + 3 / 128).any()


# The lazy limit


@pytest.mark.parametrize("case", [case for case in CASES if case != "softplus post"])
def test_small_gamma0_is_lazy(case: str) -> None:
    p = problem(**CASES[case], gamma0=1e-3, weight_decay=0.2, steps=4)
    kernel, found = lazy(p, 2), nonlinear(p, 2, accuracy=0.08, repetitions=8)
    assert np.abs(kernel.outputs).max() > 0.2
    assert (np.abs(found.outputs - kernel.outputs) < 5 * found.outputs_error + 1e-3).all()
    assert found.outputs_error.max() < 0.05
    moved = nonlinear(replace(p, gamma0=2.0), 2, accuracy=0.1)
    assert (np.abs(moved.outputs - kernel.outputs) > 5 * moved.outputs_error + 1e-3).any()


# Accuracy and errors


def test_a_better_accuracy_is_reached_with_more_samples() -> None:
    p, samples = problem(**CASES["tanh"]), []
    for accuracy in (0.05, 0.005):
        found = nonlinear(p, 2, accuracy=accuracy)
        assert (3.18 * found.losses_error <= accuracy * found.losses[0]).all()
        samples.append(found.samples)
    assert samples[1] >= 4 * samples[0]
    np.testing.assert_allclose(found.losses[0], 0.5)


def test_error_bars_are_those_of_other_seeds() -> None:
    """Errors relative to their bars follow Student's t: with 8 repetitions nearly a normal distribution."""
    p = problem(**CASES["relu"], gamma0=1.3, steps=4)
    limits = [nonlinear(p, 1, accuracy=1.0, repetitions=8, seed=seed) for seed in range(16)]
    outputs, bars = (np.array([getattr(each, name) for each in limits])[:, 1:] for name in ("outputs", "outputs_error"))
    z = (outputs - outputs.mean(0)) / bars
    assert 0.75 < np.sqrt((z**2).mean()) < 1.5
    losses, bars = (np.array([getattr(each, name) for each in limits])[:, 1:] for name in ("losses", "losses_error"))
    assert 0.6 < np.sqrt((((losses - losses.mean(0)) / bars) ** 2).mean()) < 1.6


def test_few_samples_are_not_biased_beyond_their_error() -> None:
    p = problem(**CASES["relu"])
    few = nonlinear(p, 2, accuracy=1.0, repetitions=8, seed=5)
    many = nonlinear(p, 2, accuracy=0.003, repetitions=8)
    assert many.samples >= 4 * few.samples
    z = (few.outputs - many.outputs)[1:] / np.hypot(few.outputs_error, many.outputs_error)[1:]
    assert np.abs(z).max() < 5


def test_a_seed_gives_one_result_and_another_seed_another() -> None:
    p = problem(**CASES["tanh"], steps=3)
    first, again, other = (nonlinear(p, 1, accuracy=0.1, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.outputs, again.outputs)
    np.testing.assert_array_equal(first.features, again.features)
    assert (first.outputs[1:] != other.outputs[1:]).all()


def test_outputs_begin_at_zero() -> None:
    found = solved("relu")
    np.testing.assert_allclose(found.outputs[0], 0, atol=1e-13)


def test_progress_is_reported_after_every_repetition() -> None:
    seen: list[tuple[str, int, int]] = []
    found = nonlinear(problem(**CASES["tanh"], steps=2), 1, accuracy=0.2, repetitions=3, report=lambda *args: seen.append(args))
    assert seen[-3:] == [(f"{found.samples} samples", i, 3) for i in (1, 2, 3)]


def test_no_steps_are_solved() -> None:
    found = nonlinear(problem(activation="relu", steps=0), 2)
    assert found.outputs.shape == (1, 2) and found.gradients.shape == (3, 1, 2, 1, 2)


# Infinite depth


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_infinite_depth_is_the_limit_of_finite_depths(alpha: float) -> None:
    p = problem(activation="tanh", steps=3, alpha=alpha)
    infinite = nonlinear(p, math.inf, accuracy=0.01)
    finite = {depth: nonlinear(p, depth, accuracy=0.01) for depth in (4, 8, 16)}
    gaps = {depth: each.outputs - infinite.outputs for depth, each in finite.items()}
    errors = {depth: 4.5 * np.hypot(each.outputs_error, infinite.outputs_error) for depth, each in finite.items()}
    extrapolated = (8 * finite[16].outputs - 6 * finite[8].outputs + finite[4].outputs) / 3
    assert (np.abs(infinite.outputs - extrapolated) < 4 * errors[16] + 0.01).all()
    assert (np.abs(gaps[4]) > errors[4]).any()
    assert np.abs(gaps[16]).max() < 0.5 * np.abs(gaps[4]).max()
    np.testing.assert_allclose(infinite.layers, np.linspace(0, 1, len(infinite.layers)))


# What cannot be solved


def test_a_rate_that_is_too_large_names_the_step() -> None:
    with pytest.raises(Diverged, match="the limit of depth 0 diverges at step") as known:
        linear(problem(lr=9.0), 0)
    with pytest.raises(
        Diverged, match=f"the limit of depth 0 diverges at step {known.value.step} with lr 9: .*give a smaller lr"
    ) as caught:
        nonlinear(problem(lr=9.0), 0)
    assert caught.value.step == known.value.step
    with pytest.raises(Diverged, match="diverges at step 1 with lr 1e"):
        nonlinear(problem(activation="relu", lr=1e200), 2)


@pytest.mark.parametrize(
    ("changes", "depth", "options", "said"),
    [
        pytest.param({}, 2, {"accuracy": 0.0}, "accuracy 0.0", id="no accuracy"),
        pytest.param({}, 2, {"accuracy": math.nan}, "accuracy nan", id="accuracy is no number"),
        pytest.param({}, 2, {"repetitions": 1}, "repetitions 1", id="one repetition"),
        pytest.param({}, 2, {"repetitions": 9}, "2 to 8 repetitions", id="nine repetitions"),
        pytest.param({}, math.inf, {"nodes": 0}, "at least 1 node", id="nodes"),
        pytest.param({"alpha": 0.75}, math.inf, {}, "alpha 1/2 and 1, not 0.75; give a finite depth", id="infinite depth of this alpha"),
        pytest.param({"alpha": 0.0}, math.inf, {}, "alpha = 0", id="no depth scaling"),
        pytest.param({}, 2.5, {}, "depth is 2.5", id="half a branch"),
        pytest.param({"steps": 500}, 100, {}, "GB, more than 8: give fewer steps or examples, a smaller depth", id="memory"),
    ],
)
def test_refuses_what_it_does_not_solve(changes: dict[str, Any], depth: float, options: dict[str, Any], said: str) -> None:
    with pytest.raises(MutransferError, match=said):
        nonlinear(problem(activation="tanh", **changes), depth, **options)


def test_an_accuracy_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1 << 22)
    with pytest.raises(MutransferError, match="or an accuracy above 1e-06"):
        nonlinear(problem(activation="tanh"), 1, accuracy=1e-6)


# Losses without a scale, and draws apart from the fields on the other side


def test_a_loss_that_starts_below_zero_is_trained() -> None:
    below = Loss("below", lambda f, y: 0.5 * (f - y) ** 2 - 1, lambda f, y: f - y)
    np.testing.assert_allclose(linear(problem(loss=below), 2).losses, linear(problem(), 2).losses - 1, atol=1e-12)
    found = nonlinear(problem(loss=below, activation="tanh"), 2)
    assert 0 < (3.18 * found.losses_error).max() <= 0.01 * abs(found.losses[0])


def test_without_a_scale_only_what_is_not_finite_is_hopeless() -> None:
    first, now = np.array([0.0, 1e-18, -1.0, 1.0, 1.0, 0.0]), np.array([1.0, 1.0, 200.0, 99.0, 101.0, np.inf])
    np.testing.assert_array_equal(hopeless(first, now), [False, False, False, False, True, True])
    assert loss_scale(np.array([1e-18, 0.3, -0.4])) == 0.4 and loss_scale(np.array([-2.0, 5.0])) == 2.0


def test_draws_apart_from_other_fields_make_small_gamma0_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without, the sampling error of the outputs is divided by gamma0."""
    p = problem(activation="relu", gamma0=0.01, steps=3)

    def spread() -> float:
        found = [run(p, 2, SiteDraw(p, 2, 400, seed)).outputs for seed in range(6)]
        return float(np.std(found, axis=0, ddof=1).mean())

    apart = spread()
    draw = _Source.draw
    monkeypatch.setattr(_Source, "draw", lambda self, count, other=None: draw(self, count))
    assert spread() > 4 * apart


def test_samples_are_not_doubled_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accuracy that is out of reach ends in a sentence that holds the best limit found."""
    p, used = problem(activation="relu", steps=2), []
    whole = module._repetition
    monkeypatch.setattr(module, "_repetition", lambda *given: used.append(given[3]) or whole(*given))
    with pytest.raises(Unsettled, match="does not reach the accuracy 1e-09 with 16384 samples a repetition") as caught:
        nonlinear(p, 1, accuracy=1e-9, repetitions=2)
    assert sorted(set(used)) == [256 << i for i in range(7)]
    np.testing.assert_allclose(caught.value.limit.losses, nonlinear(p, 1).losses, atol=0.02)
    assert caught.value.limit.losses_error.max() > 0


def test_a_landscape_takes_what_is_unsettled_with_its_error() -> None:
    found = landscape(problem(activation="relu", steps=2), values=[0.1, 0.2, 0.4], depths=[1], accuracy=1e-9)
    assert np.isfinite(found.curves[0].losses).all() and (found.curves[0].errors > 0).all()
