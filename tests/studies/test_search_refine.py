"""Refinement finds the optimum of every size with few runs, also where it does not transfer."""

import math
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mutransfer as mt
from mutransfer import MutransferError, OneAtATime, Runs, Size, Study, Trial, sweep
from mutransfer.studies import Refine, SearchWarning, missing
from mutransfer.tasks import mlp
from tests.studies.landscapes import landscape, valley
from tests.studies.small_study import on_disk, untimed


def drifting(rule: str, width: int, point: Any) -> float:
    """The best rate falls by an octave per doubling under sp, and stays under mup."""
    slope = -1.0 if rule == "sp" else 0.0
    return valley(math.log2(point["lr"]), -4.4 + slope * math.log2(width / 8))


def best_rates(runs: Runs, rule: str) -> list[float]:
    """Log2 of the best rates from small to large, as a certificate reads the record."""
    optima = mt.transfer(runs)[rule].optima
    assert [best.size for best in optima] == [Size(width=width) for width in (8, 16, 32, 64)]
    return [best.position for best in optima]


@pytest.fixture(scope="module")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("drifted")
    return sweep(landscape(drifting, noise=0.003), folder, search="refine")


def test_every_optimum_is_found_also_where_it_drifts(drifted: Runs) -> None:
    for rule, slope in (("sp", -1.0), ("mup", 0.0)):
        expected = [-4.4 + slope * doublings for doublings in range(4)]
        assert best_rates(drifted, rule) == pytest.approx(expected, abs=0.4)


def test_refinement_takes_few_runs(drifted: Runs) -> None:
    grid = landscape(drifting).runs()
    assert len(drifted.rows) < 0.6 * len(grid)


def test_a_budget_leaves_no_size_behind(tmp_path: Path) -> None:
    """Five runs a line, where six to ten would be asked for."""
    wanted = landscape(drifting, noise=0.003)
    with pytest.warns(SearchWarning, match="budget of 40 ended the search, which wanted at least"):
        runs = sweep(wanted, tmp_path, search="refine", budget=40)
    assert len(runs.rows) == 40
    for rule, slope in (("sp", -1.0), ("mup", 0.0)):
        expected = [-4.4 + slope * doublings for doublings in range(4)]
        assert best_rates(runs, rule) == pytest.approx(expected, abs=0.6)


def test_rates_are_powers_of_two_to_eighths(drifted: Runs) -> None:
    eighths = [8 * math.log2(row["lr"]) for row in drifted.rows]
    assert np.allclose(eighths, np.round(eighths), atol=1e-9)
    assert {row["lr"] for row in drifted.rows} & set(landscape(drifting).lr)


@pytest.mark.filterwarnings("ignore:intervals are wider")
@pytest.mark.parametrize("far", [-6.0, 5.0])
def test_an_optimum_that_jumps_is_found(tmp_path: Path, far: float) -> None:
    """Three sizes say that nothing moves; the fourth is octaves away, beyond the study's ends."""

    def formula(rule: str, width: int, point: Any) -> float:
        return valley(math.log2(point["lr"]), -5.0 + (far if width == 64 else 0.0))

    runs = sweep(landscape(formula, rules=["mup"]), tmp_path, search="refine")
    expected = [-5.0, -5.0, -5.0, -5.0 + far]
    assert best_rates(runs, "mup") == pytest.approx(expected, abs=0.4)


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_the_search_ends_at_its_limit(tmp_path: Path) -> None:
    falling = landscape(lambda rule, width, point: 2 + math.log2(point["lr"]) / 100, width=[8])
    rates = {row["lr"] for row in sweep(falling, tmp_path, search=Refine(beyond=3.0)).rows}
    assert min(rates) == 2.0**-11
    diverging = landscape(lambda *_: math.inf, width=[8])
    runs = sweep(diverging, tmp_path / "b", search=Refine(beyond=3.0))
    assert min(row["lr"] for row in runs.rows) == 2.0**-11
    assert {row["status"] for row in runs.rows} == {"diverged"}


def test_an_optimum_beyond_the_range_is_said(tmp_path: Path) -> None:
    falling = landscape(lambda rule, width, point: 2 + math.log2(point["lr"]) / 100, width=[8])
    message = r"at an end.*beyond the range.*beyond=...\), now 1"
    with pytest.warns(SearchWarning, match=message) as told:
        sweep(falling, tmp_path, search=Refine(beyond=1.0))
    assert "more seeds" not in str(told[0].message)


def test_optima_that_are_not_known_are_said(tmp_path: Path) -> None:
    diverging = landscape(lambda *_: math.inf, width=[8], rules=["mup"])
    with pytest.warns(SearchWarning, match="lr of mup at width 8 unknown, as all diverged"):
        sweep(diverging, tmp_path, search=Refine(beyond=1.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"within": 1e-7}, "apart, so give a step of at least that, and within=0.03125 or more"),
        ({"step": 1 / 16}, "values lie 0.125 octaves or steps apart"),
        ({"within": "0.5"}, r"Refine\(within='0.5'\): give a positive number"),
        ({"seeds": 1.5}, r"Refine\(seeds=1.5\): give a positive whole number"),
        ({"beyond": "6"}, r"Refine\(beyond='6'\): it cannot be negative"),
    ],
)
def test_what_no_refinement_can_do_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        Refine(**arguments)


def test_flat_losses_end_the_search(tmp_path: Path) -> None:
    flat = landscape(lambda *_: 1.0, noise=0.0, width=[8])
    with pytest.warns(SearchWarning, match="intervals are wider than ±0.25: lr of sp at width 8 ±"):
        assert len(sweep(flat, tmp_path, search="refine").rows) <= 2 * 3 * 7


@pytest.mark.filterwarnings("ignore:.* runs failed")
def test_a_failed_run_does_not_end_the_walk_beside_it(tmp_path: Path) -> None:
    """Rates from 2^-5.2 on raise, as loops do that check gradients; the best is 2^-5.6."""

    def train(trial: Trial) -> None:
        place = math.log2(trial.lr)
        if place > -5.2:
            raise FloatingPointError("nan in gradient")
        draw = np.random.default_rng([trial.seed, int(1000 * (place + 40))]).standard_normal()
        trial.report(1, 3 + 0.02 * (place + 5.6) ** 2 + 0.001 * float(draw))

    wanted = Study(None, train=train, width=[16], lr=mt.log2(-9, -3), steps=1)
    runs = sweep(wanted, tmp_path, search="refine")
    failed = {row["lr"] for row in runs.rows if row["status"] == "failed"}
    assert 1 <= len(failed) <= 2
    (best,) = mt.transfer(runs)["as it is"].optima
    assert best.position == pytest.approx(-5.6, abs=0.3) and best.status == "inside"


@pytest.mark.filterwarnings("ignore:.* runs failed")
def test_a_study_whose_runs_all_fail_ends_at_once(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        raise RuntimeError("no data")

    wanted = Study(None, train=train, width=[16], lr=mt.log2(-9, -3), steps=1)
    with pytest.warns(
        SearchWarning, match="width 16 unknown, beside runs that failed.*rows say why"
    ):
        assert len(sweep(wanted, tmp_path, search="refine").rows) == 3


def test_intervals_that_stay_wide_for_want_of_seeds_are_said(tmp_path: Path) -> None:
    """Those of three seeds are narrow enough, and nothing is said of them."""
    wanted = landscape(drifting, noise=0.003, seeds=1)
    with pytest.warns(SearchWarning, match=r"another of its seeds, 1 in all.*give .* more seeds"):
        sweep(wanted, tmp_path, search=Refine(within=0.05))


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_a_noisy_study_runs_more_than_one_seed(tmp_path: Path) -> None:
    def noisy(rule: str, width: int, point: Any) -> float:
        place = math.log2(point["lr"])
        each = np.random.default_rng([17, int(1000 * (place + 40))]).standard_normal()
        return 2 + 0.05 * (place + 5.3) ** 2 + 0.02 * float(each)

    wanted = landscape(noisy, noise=0.01, width=[8], rules=["mup"])
    runs = sweep(wanted, tmp_path, search="refine")
    assert {row["seed"] for row in runs.rows} > {0}


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_two_hyperparameters_are_refined_in_turn(tmp_path: Path) -> None:
    """They depend on each other: one after the other, each alone, would end off the optimum."""

    def formula(rule: str, width: int, point: Any) -> float:
        x, y = math.log2(point["lr"]) + 5.3, math.log2(point["weight_decay"]) + 3.2
        return 0.5 + 0.05 * (x**2 + y**2 + 0.8 * x * y)

    wanted = landscape(formula, rules=["mup"], width=[8, 16], weight_decay=mt.log2(-8, 0), seeds=1)
    runs = sweep(wanted, tmp_path, search="refine")
    for size in wanted.sizes():
        best = runs.best("mup", size)
        assert best is not None
        assert math.log2(best["lr"]) == pytest.approx(-5.3, abs=0.5)
        assert math.log2(best["weight_decay"]) == pytest.approx(-3.2, abs=0.5)
        for name in ("lr", "weight_decay"):
            assert len(runs.grid("mup", size, name)[0]) >= 3
    assert len(runs.rows) < len(wanted.runs()) / 2
    found = mt.transfer(runs)["mup"].hyperparameters
    assert math.log2(found["weight_decay"]) == pytest.approx(-3.2, abs=0.5)


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_linear_scales_and_choices_are_searched_too(tmp_path: Path) -> None:
    def formula(rule: str, width: int, point: Any) -> float:
        schedule = 0.0 if point["schedule"] == "cosine" else 0.1
        return valley(math.log2(point["lr"]), -5) + 30 * (point["beta2"] - 0.97) ** 2 + schedule

    lists = {"beta2": [0.9, 0.92, 0.94, 0.96], "schedule": ["constant", "cosine", "linear"]}
    wanted = landscape(formula, rules=["mup"], width=[8, 16], seeds=1, **lists)
    runs = sweep(wanted, tmp_path, search="refine")
    for size in wanted.sizes():
        best = runs.best("mup", size)
        assert best is not None and best["schedule"] == "cosine"
        assert best["beta2"] == pytest.approx(0.97, abs=0.01)
    assert max(row["beta2"] for row in runs.rows) < 1


def test_the_centre_of_a_design_is_the_start(tmp_path: Path) -> None:
    design = OneAtATime({"lr": 2.0**-7, "readout": 2.0})
    changes: dict[str, Any] = {"width": [8], "rules": ["mup"], "seeds": 1, "design": design}
    wanted = landscape(drifting, readout=mt.log2(-2, 2), **changes)
    first = Refine().propose(wanted, Runs(header={"hyperparameters": ["lr", "readout"]}, rows=[]))
    assert sorted(run.lr for run in first) == [2.0**-8, 2.0**-7, 2.0**-6]
    assert {run.point["readout"] for run in first} == {2.0}


def test_there_must_be_something_to_refine() -> None:
    with pytest.raises(MutransferError, match="nothing to refine"):
        Refine().propose(landscape(drifting, lr=0.1), Runs(header={}, rows=[]))


KILLED = '''
"""A study that stops for ever once a second batch of its search begins."""
import sys, time
from mutransfer import Study, log2, sweep
from mutransfer.tasks import mlp

grid = {"width": [16, 32], "depth": [2], "lr": log2(-8, -3), "seeds": 2, "rules": ["mup"]}
settings = grid | {"steps": 8, "batch": 16}

def hold(progress):
    if len(progress.result.rows) > 3:
        print("ready", flush=True)
        time.sleep(600)

if __name__ == "__main__":
    sweep(Study(mlp, **settings), sys.argv[1], search="refine", within=2.0, progress=hold)
'''


def test_a_killed_refinement_finishes_as_an_undisturbed_one(tmp_path: Path) -> None:
    file, out = tmp_path / "killed.py", tmp_path / "killed"
    file.write_text(KILLED)
    with subprocess.Popen([sys.executable, file, out], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    wanted = Study(mlp, **runpy.run_path(str(file))["settings"])
    (finished,) = out.glob("rows-*.jsonl")
    before, done = finished.read_bytes(), len(on_disk(out))
    resumed = sweep(wanted, out, search="refine", within=2.0)
    assert len(resumed.rows) > done > 3
    assert finished.read_bytes() == before
    assert untimed(resumed) == untimed(
        sweep(wanted, tmp_path / "whole", search="refine", within=2.0)
    )
    assert len({row["id"] for row in on_disk(out)}) == len(on_disk(out)) == len(resumed.rows)
    assert missing(wanted, out)
