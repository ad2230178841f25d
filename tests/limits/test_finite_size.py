"""Errors of finite networks: their laws on curves with known constants and on real networks, and the proxy that follows from them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer import MutransferError
from mutransfer.limits import FiniteSize, Law, Limit, Problem, finite_size, how_small, lazy, simulate, solve
from mutransfer.limits import _error_laws as laws_module
from mutransfer.limits import _finite_size as module
from mutransfer.limits._activations import Array
from mutransfer.limits._error_laws import Fit, against, against_extrapolated, fits, sizes
from mutransfer.tasks import mlp, resmlp

WIDTHS = (16, 32, 64, 128)


def problem(**changes: Any) -> Problem:
    draw = np.random.default_rng(0)
    return Problem(**{"inputs": draw.normal(size=(4, 6)), "targets": np.array([1.0, -1.0, 1.0, -1.0]), "lr": 0.05, "steps": 10, **changes})


# Curves with known constants


class Planted:
    """limit + bias / N + far / L + noise N^-1/2 at every point; each part has the rms that its name's argument gives."""

    def __init__(
        self,
        seed: int,
        *,
        bias: float,
        noise: float = 1.0,
        far: float = 0.0,
        seeds: int = 16,
        points: int = 12,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = (2,),
    ) -> None:
        draw = np.random.default_rng(seed)
        shape = np.sin(np.arange(points)) + 1.2
        shape /= np.sqrt(np.mean(shape**2))
        self.limit = np.linspace(2, 4, points)
        self.known = {depth: self.limit + far * shape[::-1] / depth for depth in depths}
        self.curves = {
            (width, depth): self.known[depth] + bias * shape / width + noise * draw.standard_normal((seeds, points)) * width**-0.5
            for width in widths
            for depth in depths
        }
        self.exact = {depth: np.zeros(1) for depth in depths}

    def fits(self, how: str) -> dict[str, Fit]:
        return fits(self.curves, against(self.known, self.exact) if how == "against" else against_extrapolated)


HOW = pytest.mark.parametrize("how", ["against", "extrapolated"])


@HOW
def test_powers_and_constants_are_recovered(how: str) -> None:
    planted = Planted(1, bias=6.0, noise=0.5, seeds=64)
    found = planted.fits(how)
    one, mean = found["one network"], found["mean over networks"]
    assert mean.slope is not None and one.slope is not None
    assert mean.constant[1] < 6.0 < mean.constant[2] and mean.constant[0] == pytest.approx(6.0, rel=0.07)
    assert mean.slope[0] == pytest.approx(-1, abs=0.1) and mean.slope[1] < -0.95 and mean.slope[2] > -1.05
    # One network is off by noise and bias: N MSE = 0.5^2 + 6^2 / N.
    total = math.sqrt(0.25 + float(np.mean([36 / width for width in WIDTHS])))
    assert one.constant[0] == pytest.approx(total, rel=0.07)
    np.testing.assert_allclose(one.errors, [math.sqrt(0.25 / n + 36 / n**2) for n in WIDTHS], rtol=0.12)


@HOW
def test_without_bias_one_network_falls_as_the_root_and_the_mean_is_not_told_from_noise(how: str) -> None:
    found = Planted(2, bias=0.0, seeds=64).fits(how)
    one, mean = found["one network"], found["mean over networks"]
    assert one.slope is not None
    assert one.slope[0] == pytest.approx(-0.5, abs=0.05) and one.slope[1] < one.slope[0] < one.slope[2]
    assert one.constant[1] < 1 < one.constant[2]
    assert mean.slope is None and mean.constant[1] == 0 and mean.constant[2] < 1.2


def test_noise_is_taken_off_the_bias() -> None:
    """Squares of the mean over few noisy networks are several times too large before it; resampled ones twice as much."""
    raw, clean, again = [], [], []
    for seed in range(40):
        planted = Planted(seed, bias=2.0, seeds=8, points=6)
        estimate = against(planted.known, planted.exact)
        clean.append(estimate(planted.curves, False).bias)
        raw.append(np.array([np.mean((own.mean(0) - planted.known[2]) ** 2) for own in planted.curves.values()]))
        rows = np.random.default_rng(seed).integers(8, size=8)
        again.append(estimate({cell: own[rows] for cell, own in planted.curves.items()}, True).bias)
    truth = 4.0 / np.array(WIDTHS) ** 2
    for found in (np.array(clean), np.array(again)):
        error = found.std(0, ddof=1) / math.sqrt(40)
        assert (np.abs(found.mean(0) - truth) < 4 * error).all()
    assert (np.mean(raw, axis=0)[1:] > truth[1:] + 0.1 / np.array(WIDTHS[1:])).all()


@pytest.mark.parametrize("bias", [0.0, 4.0], ids=["no bias", "bias"])
@pytest.mark.parametrize("resampled", [False, True], ids=["as drawn", "resampled"])
def test_a_fitted_limit_follows_the_same_noise(bias: float, resampled: bool) -> None:
    """With few networks the limit bends towards widths that happen to be off; squares against it are right at every width all the same."""
    single, mean = [], []
    for seed in range(300):
        curves: Any = Planted(seed, bias=bias, seeds=4, points=12, widths=(16, 32, 64)).curves
        if resampled:
            rows = np.random.default_rng(seed)
            curves = {cell: own[rows.integers(4, size=4)] for cell, own in curves.items()}
        found = against_extrapolated(curves, resampled)
        single.append(found.single)
        mean.append(found.bias)
    width = np.array([16, 32, 64])
    for errors, truth in ((np.array(mean), bias**2 / width**2), (np.array(single), bias**2 / width**2 + 1 / width)):
        assert (np.abs(errors.mean(0) - truth) < 4 * errors.std(0, ddof=1) / 300**0.5).all()


@HOW
def test_intervals_cover_the_truth_as_often_as_they_say(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws_module, "RESAMPLES", 40)
    covered = []
    for seed in range(100):
        found = Planted(seed, bias=1.5, points=6, widths=(16, 64)).fits(how)
        truths = {"one network": math.sqrt(1 + 2.25 * np.mean([1 / 16, 1 / 64])), "mean over networks": 1.5}
        covered.append([found[name].constant[1] <= truth <= found[name].constant[2] for name, truth in truths.items()])
    share = np.mean(covered, axis=0)
    assert (share >= 0.85).all()
    assert share[0] < 1.0


def test_the_law_of_depth_is_found_beside_that_of_width() -> None:
    planted = Planted(3, bias=2.0, far=0.8, depths=(2, 4, 8), seeds=32)
    found = planted.fits("extrapolated")
    assert found["depth"].constant[1] < 0.8 < found["depth"].constant[2]
    assert found["depth"].constant[0] == pytest.approx(0.8, rel=0.1)
    assert found["mean over networks"].constant[1] < 2.0 < found["mean over networks"].constant[2]
    assert "depth" not in planted.fits("against")


@pytest.mark.parametrize("far", [0.0, 3.0], ids=["one depth", "depths"])
def test_the_extrapolated_limit_is_the_true_one(far: float) -> None:
    """Without noise both ways are exact, so that they agree."""
    planted = Planted(0, bias=3.0, noise=0.0, far=far, depths=(2, 4, 8) if far else (2,))
    told = against(planted.known, planted.exact)(planted.curves, 1)
    found = against_extrapolated(planted.curves, False)
    np.testing.assert_allclose(found.bias, 9.0 / np.array(WIDTHS) ** 2, rtol=1e-9)
    np.testing.assert_allclose([found.bias, found.single], [told.bias, told.single], rtol=1e-9)
    assert [found.mean, told.mean] == pytest.approx([9.0, 9.0])
    assert found.depth == pytest.approx(far**2) if far else math.isnan(found.depth)


def test_both_ways_agree_within_their_intervals() -> None:
    planted = Planted(5, bias=3.0, seeds=64)
    told, found = planted.fits("against"), planted.fits("extrapolated")
    assert found["one network"].constant[0] == pytest.approx(told["one network"].constant[0], rel=0.03)
    for name in told:
        (_, low, high), (_, other_low, other_high) = told[name].constant, found[name].constant
        assert max(low, other_low) < min(high, other_high)


def test_the_uncertainty_of_the_limit_is_taken_off() -> None:
    """A limit with a standard error of 0.05 adds its square to everything that is measured against it."""
    found = []
    for seed in range(30):
        planted = Planted(seed, bias=0.0, noise=0.2)
        off = {2: planted.known[2] + 0.05 * np.random.default_rng(seed).standard_normal(12)}
        found.append(against(off, {2: np.full(12, 0.05)})(planted.curves, 1).bias)
    error = np.std(found, axis=0, ddof=1) / math.sqrt(30)
    assert (np.abs(np.mean(found, axis=0)) < 4 * error).all() and (error < 0.05**2 / 4).all()


def test_sizes_ascend() -> None:
    assert sizes({(64, 4): np.zeros((1, 1)), (16, 8): np.zeros((1, 1))}) == ([16, 64], [4, 8])


# Problems


@pytest.fixture(scope="module")
def linear_found() -> FiniteSize:
    return finite_size(problem(steps=20), widths=WIDTHS, depths=[4], seeds=48)


@pytest.fixture(scope="module")
def depths_found() -> FiniteSize:
    return finite_size(problem(), widths=[16, 32, 64], depths=[2, 4, 8], seeds=24)


def test_networks_approach_their_limit_by_the_powers_of_theory(linear_found: FiniteSize) -> None:
    """Theory section 1.8: N MSE is 1.1 and N times the bias 1.3 to 1.5, for other draws of such data."""
    one, mean = linear_found.laws["one network"], linear_found.laws["mean over networks"]
    assert one.slope is not None and one.slope_low is not None and one.slope_high is not None
    assert one.slope_low < -0.4 and one.slope_high > -0.6 and one.slope == pytest.approx(-0.5, abs=0.1)
    assert 0.8 < one.constant < 1.3 and one.low < one.constant < one.high < 1.1 * one.low + 0.1
    assert 0.5 < mean.constant < 2 and 0 <= mean.low < mean.constant < mean.high
    assert linear_found.limit == "theory" and linear_found.of == "outputs" and linear_found.seeds == 48
    outputs = solve(problem(steps=20), 4).outputs
    assert linear_found.scale == pytest.approx(float(np.sqrt(np.mean(outputs**2))))


def test_the_bias_of_the_mean_falls_as_one_over_width() -> None:
    p = problem(lr=0.1, steps=6)
    found = finite_size(p, widths=[4, 8, 16], depths=[1], seeds=1500)
    mean = found.laws["mean over networks"]
    assert mean.slope is not None and mean.slope == pytest.approx(-1, abs=0.25)
    assert found.laws["one network"].slope == pytest.approx(-0.5, abs=0.15)
    direct = [np.sqrt(np.mean((simulate(p, n, 1, 1500).mean(0) - solve(p, 1).outputs) ** 2)) for n in (4, 8, 16)]
    np.testing.assert_allclose(mean.errors, direct, rtol=0.2)


def test_finite_depth_falls_as_one_over_depth() -> None:
    """Theory section 1.8: L times the error is 0.29 at gamma0 = 1/2 and 0.41 at 2."""
    found = finite_size(problem(steps=20), widths=[16, 32], depths=[8, 16, 32], seeds=2)
    depth = found.laws["depth"]
    assert depth.slope == pytest.approx(-1, abs=0.1)
    assert depth.sizes == (8, 16, 32) and (depth.power, depth.axis) == (1.0, "depth")
    assert 0.2 < depth.constant < 0.5 and depth.low <= depth.constant <= depth.high
    limits = [solve(problem(steps=20), size).outputs for size in (8, 16, 32, math.inf)]
    np.testing.assert_allclose(depth.errors, [np.sqrt(np.mean((each - limits[-1]) ** 2)) for each in limits[:-1]], rtol=5e-3)


def test_a_depth_without_scaling_has_no_law() -> None:
    found = finite_size(problem(alpha=0.0, lr=0.01, steps=4), widths=[16, 32], depths=[1, 2], seeds=2)
    assert list(found.laws) == ["one network", "mean over networks"]


WRONG = [
    pytest.param(lambda p: solve(replace(p, lr=2 * p.lr), 4).outputs, id="another rate"),
    pytest.param(lambda p: lazy(p, 4).outputs, id="nothing is learned"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_against_a_wrong_limit_do_not_fall(wrong: Any) -> None:
    p = problem(steps=20)
    options: dict[str, Any] = {"widths": [64, 128, 256], "depths": [4], "seeds": 16}
    given = finite_size(p, **options, limit={4: wrong(p)})
    right = finite_size(p, **options, limit={4: solve(p, 4).outputs})
    one, other = given.laws["one network"], right.laws["one network"]
    assert given.limit == right.limit == "given" and "depth" not in given.laws
    assert one.slope is not None and other.slope is not None
    assert one.slope > -0.38 and one.slope - other.slope > 0.1
    mean = given.laws["mean over networks"]
    assert mean.slope is not None and mean.slope_low is not None and mean.slope_low > -0.75


def test_a_given_limit_is_as_good_as_the_solved_one() -> None:
    p, options = problem(), {"widths": [16, 32], "depths": [2, 4], "seeds": 8}
    solved = finite_size(p, **options)
    given = finite_size(p, **options, limit={depth: solve(p, depth).outputs for depth in (2, 4)})
    for name in ("one network", "mean over networks"):
        np.testing.assert_allclose(given.laws[name].errors, solved.laws[name].errors, rtol=1e-6)
        assert given.laws[name].constant == pytest.approx(solved.laws[name].constant, rel=1e-6)


def test_losses_can_be_compared() -> None:
    p = problem()
    found = finite_size(p, widths=[32, 128], depths=[2], seeds=16, of="losses")
    limit = solve(p, 2).losses
    direct = [np.sqrt(np.mean((p.losses(simulate(p, n, 2, 16)) - limit) ** 2)) for n in (32, 128)]
    np.testing.assert_allclose(found.laws["one network"].errors, direct, rtol=1e-6)
    assert found.of == "losses" and found.scale == pytest.approx(float(np.sqrt(np.mean(limit**2))))


def test_a_sampled_limit_is_compared_with_its_own_error_taken_off() -> None:
    p = problem(activation="tanh", steps=4)
    found = finite_size(p, widths=[16, 64], depths=[1], seeds=24, accuracy=0.05, limit=None)
    one = found.laws["one network"]
    assert one.slope == pytest.approx(-0.5, abs=0.15) and found.limit == "theory"


# Networks of one's own


SGD: dict[str, Any] = {"widths": [32, 64, 128, 256], "depths": [2], "seeds": 12, "lr": [2**-4], "steps": 6, "batch": 16, "optimizer": "sgd"}


def test_the_default_rule_has_a_limit_and_standard_parametrization_has_none() -> None:
    default, standard = (finite_size(mlp, **SGD, rules=[rule]) for rule in ("default", "sp"))
    assert default.limit == "extrapolated" and default.of == "losses"
    slopes = [each.laws["one network"].slope for each in (default, standard)]
    assert slopes[0] is not None and slopes[1] is not None
    assert slopes[0] < -0.4 < -0.3 < slopes[1]
    assert standard.laws["one network"].errors[-1] > 3 * default.laws["one network"].errors[-1]


def test_a_builders_depths_get_a_law() -> None:
    found = finite_size(resmlp, widths=[16, 32], depths=[2, 4], seeds=4, lr=[2**-5], steps=4, batch=16, optimizer="sgd")
    assert list(found.laws) == ["one network", "mean over networks", "depth"]
    assert found.laws["depth"].sizes == (2, 4) and found.laws["depth"].slope is None


def test_all_networks_see_the_same_batches_from_different_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def train(members: Any, recipe: Any) -> torch.Tensor:
        seen.append(members)
        return 1 + torch.rand(len(members), recipe.steps, dtype=torch.float64)

    monkeypatch.setattr(module, "train", train)
    finite_size(mlp, widths=[8, 16], depths=[2], seeds=3, lr=[0.1], steps=3, batch=8)
    assert [len(members) for members in seen] == [3, 3]
    assert len({member.seed for members in seen for member in members}) == 1
    weights = [next(member.model.parameters()).detach() for member in seen[0]]
    assert not any(torch.equal(weights[0], other) for other in weights[1:])


def test_progress_is_reported_to_the_end() -> None:
    told: list[Any] = []
    finite_size(problem(steps=2), widths=[8, 16], depths=[1, 2], seeds=2, report=lambda *each: told.append(each))
    assert [(done, total) for _, done, total in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[0][0] == "width 8, depth 1" and told[-1][0] == "width 16, depth 2"


# Refusals


GOOD: dict[str, Any] = {"widths": [8, 16], "depths": [1], "seeds": 2}
TRAINED: dict[str, Any] = {**GOOD, "lr": [0.1], "steps": 2, "batch": 8}


@pytest.mark.parametrize(
    ("build", "options", "said"),
    [
        pytest.param(problem(), {**GOOD, "widths": [8]}, "at least two widths and one depth, positive, ascending", id="one width"),
        pytest.param(problem(), {**GOOD, "widths": [16, 8]}, "ascending", id="widths descend"),
        pytest.param(problem(), {**GOOD, "depths": []}, "at least two widths and one depth", id="no depths"),
        pytest.param(problem(), {**GOOD, "depths": [2, 2]}, "ascending", id="a depth twice"),
        pytest.param(problem(), {**GOOD, "seeds": 1}, "seeds is 1: errors need at least 2", id="one seed"),
        pytest.param(problem(), TRAINED, "lr, steps, batch: a problem knows its own training", id="study options of a problem"),
        pytest.param(problem(lr=1000.0, steps=40), GOOD, "networks of width 8 and depth 1 diverged; give a smaller lr", id="diverges"),
        pytest.param(mlp, {**TRAINED, "lr": [1e9], "optimizer": "sgd"}, "of width 8 and depth 1 diverged", id="a builder diverges"),
        pytest.param(mlp, {**TRAINED, "lr": [0.1, 0.2]}, "at one rate under one rule", id="two rates"),
        pytest.param(mlp, {**TRAINED, "rules": ["sp", "mup"]}, "at one rate under one rule", id="two rules"),
        pytest.param(problem(), {**GOOD, "limit": {1: np.zeros(4)}}, "a curve of 44 points for every depth", id="limit too short"),
        pytest.param(problem(), {**GOOD, "limit": {2: np.zeros(44)}}, "a curve of 44 points for every depth", id="limit of another depth"),
        pytest.param(
            problem(), {**GOOD, "of": "losses", "limit": {1: np.zeros(44)}}, "a curve of 11 points for every depth", id="outputs for losses"
        ),
        pytest.param(mlp, {**TRAINED, "limit": {1: np.zeros(3)}}, "a curve of 2 points for every depth", id="a builder's limit too long"),
    ],
)
def test_refuses_what_is_wrong(build: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(MutransferError, match=said):
        finite_size(build, **options)


# What is written


def test_rows_words_and_files_say_what_was_found(depths_found: FiniteSize, tmp_path: Path) -> None:
    rows = depths_found.rows()
    assert {(row["law"], row["axis"]) for row in rows} == {("one network", "width"), ("mean over networks", "width"), ("depth", "depth")}
    assert [row["error"] for row in rows if row["law"] == "one network"] == list(depths_found.laws["one network"].errors)
    text = str(depths_found).splitlines()
    assert "24 networks of each size" in text[0] and "(theory)" in text[0]
    assert [line.split("  ")[1] for line in text[1:]] == list(depths_found.laws)
    assert "N^-1/2" in text[1] and "1/N" in text[2] and "1/L" in text[3]
    depths_found.save(tmp_path / "new" / "folder")
    found = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert found == [f"finite-size.{kind}" for kind in ("csv", "json", "png", "svg")]
    plain = json.loads((tmp_path / "new" / "folder" / "finite-size.json").read_text(), parse_constant=pytest.fail)
    assert plain["laws"]["depth"]["errors"] == list(depths_found.laws["depth"].errors) and "about" in plain
    assert json.dumps(depths_found.to_json(), allow_nan=False)
    lines = (tmp_path / "new" / "folder" / "finite-size.csv").read_text().splitlines()
    assert lines[0] == "law,axis,size,error" and len(lines) == 1 + len(rows)


def test_a_folder_that_cannot_be_written_is_an_error(depths_found: FiniteSize, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MutransferError, match="cannot write to"):
        depths_found.save(tmp_path / "file" / "folder")


# Proxies


def made(one: float, mean: float, deep: float | None = None) -> FiniteSize:
    """Laws with these upper ends of their constants."""

    def law(name: str, high: float) -> Law:
        axis: Any = "depth" if name == "depth" else "width"
        power = 0.5 if name == "one network" else 1.0
        plain: dict[str, Any] = {"slope": None, "slope_low": None, "slope_high": None, "constant": high / 2, "low": 0.0, "high": high}
        return Law(name=name, axis=axis, power=power, sizes=(16, 64), errors=(0.1, 0.1), **plain)

    constants = {"one network": one, "mean over networks": mean} | ({} if deep is None else {"depth": deep})
    laws = {name: law(name, high) for name, high in constants.items()}
    return FiniteSize(of="outputs", limit="theory", widths=(16, 64), depths=(2, 8), seeds=4, laws=laws, scale=1.0)


@pytest.mark.parametrize(
    ("one", "mean", "deep", "networks"),
    [(1.0, 1.5, 0.3, 1), (1.0, 1.5, 0.3, 9), (0.0, 4.0, 0.8, 1), (1.0, 0.0, 1.0, 1), (0.7, 10.0, 0.1, 2), (1.0, 2.0, None, 1)],
    ids=["all", "nine networks", "bias alone", "no bias", "shallow", "one depth"],
)
@pytest.mark.parametrize("tolerance", [0.5, 0.3, 0.17])
def test_no_cheaper_proxy_reaches_the_tolerance(one: float, mean: float, deep: float | None, networks: int, tolerance: float) -> None:
    proxy = how_small(made(one, mean, deep), tolerance, networks=networks)
    widths, depths = np.arange(1, 401), (np.arange(1, 81) if deep else np.array([8]))[:, None]
    errors = one / np.sqrt(networks * widths) + mean / widths + (deep or 0.0) / depths
    cheapest = np.where(errors <= tolerance * (1 + 1e-12), widths**2 * depths, 1 << 40).min()
    assert proxy.error <= tolerance * (1 + 1e-12)
    assert proxy.width**2 * proxy.depth == cheapest
    assert errors[int(np.argmax(depths[:, 0] == proxy.depth)), proxy.width - 1] == pytest.approx(proxy.error)


def test_parts_add_up_and_networks_help() -> None:
    alone, averaged = (how_small(made(1.0, 1.5, 0.3), 0.2, networks=networks) for networks in (1, 16))
    for proxy in (alone, averaged):
        assert list(proxy.parts) == ["one network", "mean over networks", "depth"]
        assert sum(proxy.parts.values()) == pytest.approx(proxy.error)
    assert averaged.width < alone.width
    assert averaged.parts["one network"] == pytest.approx(1 / math.sqrt(16 * averaged.width))
    assert how_small(made(1.0, 1.5, 0.3), 0.1).width > alone.width


@pytest.mark.parametrize(
    ("found", "tolerance", "outside"),
    [
        (made(1.0, 0.0), 0.2, False),
        (made(1.0, 0.0), 0.3, True),
        (made(1.0, 0.0), 0.1, True),
        (made(1.0, 0.0, 0.3), 0.25, False),
        (made(0.2, 0.0, 3.0), 0.3, True),
    ],
    ids=["inside", "narrower", "wider", "depth inside", "deeper"],
)
def test_sizes_beyond_the_measured_ones_are_marked(found: FiniteSize, tolerance: float, outside: bool) -> None:
    assert how_small(found, tolerance).extrapolated is outside


@pytest.mark.parametrize(("tolerance", "networks"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (0.1, 0)], ids=["zero", "negative", "nan", "none"])
def test_a_proxy_needs_a_tolerance_and_networks(tolerance: float, networks: int) -> None:
    with pytest.raises(MutransferError, match="give a positive tolerance and at least one network"):
        how_small(made(1.0, 1.0, 0.3), tolerance, networks=networks)


@pytest.fixture(scope="module")
def endless() -> Limit:
    return solve(problem(), math.inf)


@pytest.mark.parametrize(("tolerance", "networks"), [(0.25, 1), (0.15, 4)], ids=["alone", "four"])
def test_a_proxy_keeps_its_promise(depths_found: FiniteSize, endless: Limit, tolerance: float, networks: int) -> None:
    """Other networks of the proxy's size against the limit of infinite width and depth."""
    proxy = how_small(depths_found, tolerance, networks=networks)
    outputs = simulate(problem(), proxy.width, proxy.depth, range(1000, 1000 + 16 * networks))
    means = outputs.reshape(16, networks, *outputs.shape[1:]).mean(1)
    squares = np.mean((means - endless.outputs) ** 2, axis=(1, 2))
    rms, spread = _rms(squares)
    assert rms - 2 * spread < tolerance
    assert rms > tolerance / 4


def _rms(squares: Array) -> tuple[float, float]:
    """The root of a mean and its standard error."""
    rms = float(np.sqrt(squares.mean()))
    return rms, float(squares.std(ddof=1) / math.sqrt(len(squares)) / (2 * rms))
