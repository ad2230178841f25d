"""Accuracy, error bars, infinite depth and refusals of sampled limits."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Progress
from mutransfer.limits import (
    Diverged,
    Limit,
    Loss,
    Unsettled,
    _sampling,
    landscape,
    linear,
    nonlinear,
    two_layer,
)
from mutransfer.limits._nonlinear import losses_of
from mutransfer.limits._sampling import Repetition, Stack, mean_of
from tests.limits.nonlinear_problems import CASES, Array, problem, solved

# Accuracy and errors


def test_a_better_accuracy_is_reached_with_more_samples() -> None:
    p, samples = problem(**CASES["tanh"]), []
    for accuracy in (0.05, 0.005):
        limit = nonlinear(p, 2, accuracy=accuracy)
        assert (1.96 * limit.losses_error <= accuracy * limit.losses[0]).all()
        assert limit.reached <= accuracy
        samples.append(limit.samples)
    assert samples[1] >= 4 * samples[0]
    np.testing.assert_allclose(limit.losses[0], 0.5)


def test_error_bars_are_those_of_other_seeds() -> None:
    """Errors over their bars follow Student's t, which 8 repetitions make nearly normal."""
    p = problem(**CASES["relu"], gamma0=1.3, steps=4)
    limits = [nonlinear(p, 1, accuracy=1.0, repetitions=8, seed=seed) for seed in range(16)]
    for name, low, high in (("outputs", 0.75, 1.5), ("losses", 0.6, 1.6)):
        values, bars = (
            np.array([getattr(limit, field) for limit in limits])[:, 1:]
            for field in (name, f"{name}_error")
        )
        assert low < np.sqrt((((values - values.mean(0)) / bars) ** 2).mean()) < high


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
    limit = solved("relu")
    np.testing.assert_allclose(limit.outputs[0], 0, atol=1e-13)


def test_progress_is_reported_after_every_repetition() -> None:
    reports: list[Progress] = []
    limit = nonlinear(
        problem(**CASES["tanh"], steps=2),
        1,
        accuracy=0.2,
        repetitions=3,
        progress=reports.append,
    )
    expected = [Progress(what=f"{limit.samples} samples", done=i, total=3) for i in (1, 2, 3)]
    assert reports[-3:] == expected


def test_no_steps_are_solved() -> None:
    limit = nonlinear(problem(activation="relu", steps=0), 2)
    assert limit.outputs.shape == (1, 2) and limit.gradients.shape == (3, 1, 2, 1, 2)


# Budgets


def test_a_budget_of_samples_ends_with_the_error_that_was_reached() -> None:
    p = problem(**CASES["relu"], steps=3)
    limit = nonlinear(p, 1, accuracy=1e-6, samples=1024)
    assert limit.samples == 1024 and 1e-6 < limit.reached < 0.2
    assert limit.reached == pytest.approx(1.96 * limit.losses_error.max() / 0.5)


def test_a_budget_of_time_ends_with_the_error_that_was_reached() -> None:
    p = problem(**CASES["relu"], steps=3)
    short, long = (nonlinear(p, 1, accuracy=1e-6, seconds=seconds) for seconds in (1e-9, 1.0))
    assert short.samples == 256 < long.samples <= 256 * 64
    assert 1e-6 < long.reached < short.reached


def test_a_budget_that_is_enough_changes_nothing() -> None:
    p = problem(**CASES["tanh"], steps=3)
    plain, budgeted = nonlinear(p, 1), nonlinear(p, 1, seconds=1e6, samples=1 << 20)
    np.testing.assert_array_equal(plain.losses, budgeted.losses)


@pytest.mark.parametrize("depth", [4, math.inf])
def test_a_hopeless_rate_takes_two_repetitions_of_the_smallest_stack(
    depth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = list[int]()
    run = _sampling.run_sites

    def counted(p: Any, of: Any, branches: int, draw: Any) -> Any:
        stacks.append(branches)
        return run(p, of, branches, draw)

    monkeypatch.setattr(_sampling, "run_sites", counted)
    with pytest.raises(Diverged):
        nonlinear(problem(activation="relu", lr=50.0), depth)
    assert stacks == [2 if math.isinf(depth) else 4] * 2


# Coverage


@cache
def many_calls() -> list[Limit]:
    p = problem(activation="abs", steps=3, lr=0.15)
    return [nonlinear(p, 1, accuracy=0.02, seed=seed) for seed in range(40)]


def covered(shrunk: float) -> float:
    """Share of calls and steps whose 95% interval, shrunk, holds the mean of all calls."""
    calls = many_calls()
    losses = np.array([call.losses for call in calls])[:, 1:]
    errors = np.array([call.losses_error for call in calls])[:, 1:]
    # Each call is compared with the mean of all others, which has a small error of its own.
    others = (losses.sum(0) - losses) / (len(calls) - 1)
    half = 1.96 * errors * math.sqrt(1 + 1 / (len(calls) - 1)) * shrunk
    return float((np.abs(losses - others) <= half).mean())


def test_intervals_hold_the_limit_in_at_least_nine_of_ten_calls() -> None:
    assert covered(1.0) >= 0.9
    assert covered(0.5) < 0.9


class Planted:
    """A stack whose outputs have an error of 1 / samples besides their noise."""

    def __init__(self, few: int) -> None:
        self.few, self.many, self.seconds = few, 0, {few: 1.0}
        self.drawn: dict[int, list[Repetition]] = {}

    def draw(self, samples: int, spread: float) -> None:
        random = np.random.default_rng(samples)
        losses = 1.0 + 10.0 / samples + spread * random.standard_normal((8, 5)) / samples**0.5
        self.drawn[samples] = [Repetition(each, each, {}) for each in losses]


def test_errors_of_few_samples_are_extrapolated_away() -> None:
    stack = Planted(few=100)
    stack.draw(100, spread=0.01)
    few = mean_of(Stack.weighted(stack, 1.0), losses_of)  # type: ignore[arg-type]
    stack.draw(400, spread=0.01)
    stack.many = 400
    both = mean_of(Stack.weighted(stack, 1.0), losses_of)  # type: ignore[arg-type]
    assert (np.abs(few.value - 1.0) > 20 * few.error).all()
    assert (np.abs(both.value - 1.0) < 4 * both.error).all() and both.error.max() < 0.01


def test_a_pilot_with_a_small_spread_does_not_make_errors_small() -> None:
    """Its spread has decided how many samples there are, and is no measure of the error."""
    stack, lucky = Planted(few=100), Planted(few=100)
    for each, spread in ((stack, 1.0), (lucky, 0.01)):
        each.draw(100, spread)
        each.draw(200, 1.0)
        each.many = 200
    errors = [
        mean_of(Stack.weighted(each, 1.0), losses_of).error  # type: ignore[arg-type]
        for each in (stack, lucky)
    ]
    assert errors[1].mean() > 0.8 * errors[0].mean()


# Infinite depth


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_infinite_depth_is_the_limit_of_finite_depths(alpha: float) -> None:
    p = problem(activation="tanh", steps=3, alpha=alpha)
    infinite = nonlinear(p, math.inf, accuracy=0.01)
    finite = {depth: nonlinear(p, depth, accuracy=0.01) for depth in (4, 8, 16)}
    gaps = {depth: limit.outputs - infinite.outputs for depth, limit in finite.items()}
    errors = {
        depth: 4.5 * np.hypot(limit.outputs_error, infinite.outputs_error)
        for depth, limit in finite.items()
    }
    extrapolated = (8 * finite[16].outputs - 6 * finite[8].outputs + finite[4].outputs) / 3
    assert (np.abs(infinite.outputs - extrapolated) < 4 * errors[16] + 0.01).all()
    assert (np.abs(gaps[4]) > errors[4]).any()
    assert np.abs(gaps[16]).max() < 0.5 * np.abs(gaps[4]).max()
    np.testing.assert_allclose(infinite.layers, np.linspace(0, 1, len(infinite.layers)))


@pytest.mark.parametrize("alpha", [0.7, 0.85])
def test_between_both_alphas_finite_depth_approaches_infinite_depth(alpha: float) -> None:
    """The noise of initial weights falls as depth^(1 - 2 alpha), and nothing falls slower."""
    p = problem(activation="tanh", steps=2, alpha=alpha)
    infinite = nonlinear(p, math.inf, accuracy=0.002)
    gaps = [
        float(np.abs(nonlinear(p, depth, accuracy=0.004).outputs - infinite.outputs).max())
        for depth in (4, 16)
    ]
    assert gaps[0] > 10 * infinite.outputs_error.max()
    assert gaps[0] / gaps[1] == pytest.approx(4 ** (2 * alpha - 1), rel=0.3)


def test_infinite_depth_of_smooth_paths_is_that_of_the_linear_solver() -> None:
    p = problem(steps=3, alpha=0.75)
    sampled, exact = nonlinear(p, math.inf, nodes=4), linear(p, math.inf)
    np.testing.assert_allclose(sampled.losses, exact.losses, atol=1e-4)
    np.testing.assert_allclose(sampled.tangent, exact.tangent, atol=1e-3)


# Refusals


def test_a_rate_that_is_too_large_names_the_step() -> None:
    with pytest.raises(Diverged, match="the limit of depth 0 diverges at step") as known:
        linear(problem(lr=9.0), 0)
    message = f"diverges at step {known.value.step} with lr 9: .*give a smaller lr"
    with pytest.raises(Diverged, match=f"the limit of depth 0 {message}") as caught:
        nonlinear(problem(lr=9.0), 0)
    assert caught.value.step == known.value.step
    with pytest.raises(Diverged, match="diverges at step 1 with lr 1e"):
        nonlinear(problem(activation="relu", lr=1e200), 2)


@pytest.mark.parametrize(
    ("changes", "depth", "options", "message"),
    [
        pytest.param({}, 2, {"accuracy": 0.0}, "accuracy 0.0", id="no accuracy"),
        pytest.param({}, 2, {"accuracy": math.nan}, "accuracy nan", id="accuracy is no number"),
        pytest.param({}, 2, {"repetitions": 1}, "repetitions 1", id="one repetition"),
        pytest.param({}, 2, {"repetitions": 9}, "2 to 8 repetitions", id="nine repetitions"),
        pytest.param({}, math.inf, {"nodes": 0}, "at least 1 node", id="nodes"),
        pytest.param(
            {"alpha": 0.75, "block": "post"},
            math.inf,
            {},
            r"alpha 1/2 and 1, not 0.75, where errors fall as slowly as depth\^-0.25",
            id="infinite depth of this alpha",
        ),
        pytest.param({"alpha": 0.0}, math.inf, {}, "alpha = 0", id="no depth scaling"),
        pytest.param({}, 2, {"seconds": 0.0}, "seconds is 0.0: give a positive", id="no time"),
        pytest.param({}, 2, {"samples": 100}, "samples is 100: .* at least 512", id="samples"),
        pytest.param({}, 2.5, {}, "depth is 2.5", id="half a branch"),
        pytest.param(
            {"steps": 500},
            100,
            {},
            "GB, more than 8: give fewer steps or examples, or a smaller depth",
            id="memory",
        ),
    ],
)
def test_unsolved_problems_depths_and_accuracies_are_refused(
    changes: dict[str, Any], depth: float, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        nonlinear(problem(activation="tanh", **changes), depth, **options)


def test_an_accuracy_that_takes_too_much_memory_is_refused() -> None:
    with pytest.raises(MutransferError, match="or an accuracy above 1e-06"):
        nonlinear(problem(activation="tanh"), 1, accuracy=1e-6, memory=1 / 256)


@pytest.mark.parametrize("accuracy", [0.01, 100.0])
def test_the_fewest_samples_do_not_depend_on_the_accuracy(accuracy: float) -> None:
    with pytest.raises(MutransferError) as caught:
        nonlinear(problem(activation="tanh"), 1, accuracy=accuracy, memory=1e-6)
    assert str(caught.value).endswith("give fewer steps or examples, or a smaller depth")


# Losses without a scale


def test_a_loss_that_starts_below_zero_is_trained() -> None:
    below = Loss("below", lambda f, y: 0.5 * (f - y) ** 2 - 1, lambda f, y: f - y)
    np.testing.assert_allclose(
        linear(problem(loss=below), 2).losses, linear(problem(), 2).losses - 1, atol=1e-12
    )
    limit = nonlinear(problem(loss=below, activation="tanh"), 2)
    assert 0 < (1.96 * limit.losses_error).max() <= 0.01 * abs(limit.losses[0])


def shifted(by: float) -> Loss:
    return Loss("shifted", lambda f, y: 0.5 * (f - y) ** 2 - by, lambda f, y: f - y)


def two_layer_losses(lr: float) -> Array:
    """Losses of forty steps on one example, which overflow at large rates."""
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.5 * (two_layer(1.3, lr=lr, steps=40).outputs - 1.3) ** 2


@pytest.mark.parametrize("lr", [1.4, 1.5, 1.6, 2.0])
def test_training_diverges_at_a_hundred_times_its_first_loss(lr: float) -> None:
    losses = two_layer_losses(lr)
    step = int(np.argmax(~(losses <= 100 * losses[0])))
    with pytest.raises(Diverged) as caught:
        linear(problem(inputs=[1.0], targets=[1.3], lr=lr, steps=40), 0)
    assert caught.value.step == step > 0


def test_a_first_loss_below_zero_has_its_size_as_scale() -> None:
    """As in every training of the library: it has diverged at 99 times its size above itself."""
    losses = two_layer_losses(2.0)
    loss = shifted(losses[0] + 1.0)
    with pytest.raises(Diverged) as caught:
        linear(problem(inputs=[1.0], targets=[1.3], lr=2.0, steps=40, loss=loss), 0)
    assert caught.value.step == int(np.argmax(~(losses - losses[0] <= 99))) > 0


@pytest.mark.parametrize("first", [0.0, 1e-18])
def test_a_loss_without_scale_diverges_only_beyond_all_numbers(first: float) -> None:
    """With a first loss of 0, to rounding, there is nothing to be a hundred times of."""
    losses = two_layer_losses(2.0)
    loss = shifted(losses[0] - first)
    with pytest.raises(Diverged) as caught:
        linear(problem(inputs=[1.0], targets=[1.3], lr=2.0, steps=40, loss=loss), 0)
    assert caught.value.step == int(np.argmax(~np.isfinite(losses)))


def test_without_a_first_loss_the_accuracy_is_that_of_the_largest() -> None:
    p = problem(loss=shifted(0.5), activation="tanh")
    limit = nonlinear(p, 2, accuracy=0.02)
    assert abs(limit.losses[0]) < 1e-12
    assert 0 < (1.96 * limit.losses_error).max() <= 0.02 * np.abs(limit.losses).max()


# Samples


@pytest.mark.parametrize("gamma0", [1.0, 1e-6])
@pytest.mark.parametrize("depth", [2, math.inf])
def test_targets_of_zero_are_solved_and_nothing_is_learned(depth: float, gamma0: float) -> None:
    """Their only losses are rounding, which no number of samples makes small beside itself."""
    p = problem(activation="tanh", targets=np.zeros(2), gamma0=gamma0)
    limit = nonlinear(p, depth)
    np.testing.assert_allclose(limit.outputs, 0, atol=1e-14 / gamma0)
    assert limit.reached < 0.01
    tiny = nonlinear(problem(activation="tanh", targets=[1e-9, -1e-9]), 2)
    large = nonlinear(problem(activation="tanh", targets=[1e-3, -1e-3]), 2)
    np.testing.assert_allclose(tiny.losses * 1e12, large.losses, rtol=1e-4)


def test_draws_apart_from_other_fields_make_small_gamma0_possible() -> None:
    """Draws are orthogonal to the fields on the other side.

    Otherwise the sampling error of the outputs is divided by gamma0.
    """
    errors = [
        nonlinear(
            problem(activation="relu", gamma0=gamma0, steps=3), 2, accuracy=1.0, repetitions=8
        ).outputs_error.mean()
        for gamma0 in (1.0, 0.01)
    ]
    assert errors[1] < 4 * errors[0]


def test_samples_are_not_doubled_without_end() -> None:
    """An accuracy that is out of reach is refused with the best limit that was limit."""
    p, reports = problem(activation="relu", steps=2), list[Progress]()
    message = "does not reach the accuracy 1e-09 with 16384 samples a repetition"
    with pytest.raises(Unsettled, match=message) as caught:
        nonlinear(p, 1, accuracy=1e-9, repetitions=2, progress=reports.append)
    # The pilot shows how far away the accuracy is.
    assert list(dict.fromkeys(each.what for each in reports)) == ["256 samples", "16384 samples"]
    np.testing.assert_allclose(caught.value.limit.losses, nonlinear(p, 1).losses, atol=0.02)
    assert caught.value.limit.losses_error.max() > 0


def test_a_landscape_has_the_errors_of_unsettled_limits() -> None:
    limit = landscape(
        problem(activation="relu", steps=2), values=[0.1, 0.2, 0.4], depth=[1], accuracy=1e-9
    )
    assert np.isfinite(limit.curves[0].losses).all() and (limit.curves[0].errors > 0).all()
