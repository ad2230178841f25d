"""Searches of several hyperparameters by points: surfaces and Optuna."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mutransfer as mt
from mutransfer import MutransferError, Random, Study, sweep
from mutransfer.studies import OptunaSearch, SearchWarning, SurfaceSearch
from tests.studies.landscapes import landscape, valley
from tests.studies.small_study import on_disk, untimed


def bowl(rule: str, width: int, point: Any) -> float:
    """A ridge over rate and decay, a cliff at large rates, and a worse schedule."""
    x, y = math.log2(point["lr"]) + 5.3, math.log2(point["weight_decay"]) + 3.2
    worse = 0.3 if point.get("schedule", "cosine") != "cosine" else 0.0
    return math.inf if x > 2.5 else 0.5 + 0.05 * (x**2 + y**2 + x * y) + worse


def bowl_study(**changes: Any) -> Study:
    grid = {"weight_decay": mt.log2(-8, 0), "width": [8, 16], "rules": ["mup"], "seeds": 1}
    return landscape(bowl, **grid | changes)


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_a_surface_is_searched_near_its_lowest_point(tmp_path: Path) -> None:
    wanted = bowl_study(design=Random(12))
    runs = sweep(wanted, tmp_path, search="refine")
    for size in wanted.sizes():
        found = mt.surface(runs, "mup", size).hyperparameters
        assert math.log2(found["lr"]) == pytest.approx(-5.3, abs=0.3)
        assert math.log2(found["weight_decay"]) == pytest.approx(-3.2, abs=0.3)
        best = runs.best("mup", size)
        assert best is not None and abs(math.log2(best["lr"]) + 5.3) < 0.5
    assert 12 < len(runs.rows) / 2 <= 12 + 4 * 8


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_new_points_are_nearer_than_random_ones(tmp_path: Path) -> None:
    wanted = bowl_study(design=Random(12), width=[8])
    runs = sweep(wanted, tmp_path, search=SurfaceSearch())
    drawn, added = runs.rows[:12], runs.rows[12:]
    losses = [np.median([min(runs.loss_of(row), 9.0) for row in rows]) for rows in (drawn, added)]
    assert losses[1] < 0.5 * (losses[0] + 0.5)


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_a_surface_keeps_the_best_choice(tmp_path: Path) -> None:
    wanted = bowl_study(design=Random(16), schedule=["constant", "cosine"], width=[8])
    runs = sweep(wanted, tmp_path, search="refine")
    assert {row["schedule"] for row in runs.rows[16:]} == {"cosine"}


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_surfaces_of_nothing_end(tmp_path: Path) -> None:
    diverged = landscape(lambda *_: math.inf, width=[8], design=Random(5), seeds=1)
    assert len(sweep(diverged, tmp_path / "a", search=SurfaceSearch()).rows) == 10
    flat = landscape(lambda *_: 1.0, width=[8], design=Random(5), seeds=1)
    assert len(sweep(flat, tmp_path / "b", search=SurfaceSearch()).rows) <= 2 * (5 + 4 * 8)


def test_a_search_of_a_surface_ends_by_what_the_record_shows(tmp_path: Path) -> None:
    wanted = bowl_study(design=Random(10), width=[8], seeds=3)
    runs = sweep(wanted, tmp_path, search=SurfaceSearch(within=0.4, seeds=3))
    found = mt.surface(runs, "mup", wanted.sizes()[0])
    assert found.status == "inside" and len(runs.rows) < 3 * (10 + 4 * 8)
    assert all((place.high - place.low) / 2 <= 0.4 for place in found.optimum)


def test_a_surface_of_one_seed_is_said_to_be_wide(tmp_path: Path) -> None:
    """All draws of a surface without noise lie close together, and its record shows less."""

    def round_bowl(rule: str, width: int, point: Any) -> float:
        return 3 + 0.1 * ((math.log2(point["lr"]) + 5) ** 2 + math.log2(point["readout"]) ** 2)

    wanted = landscape(
        round_bowl, readout=mt.log2(-3, 3), width=[8], rules=["mup"], seeds=1, design=Random(10)
    )
    with pytest.warns(SearchWarning, match=r"wider than ±0.25: lr of mup .* with 1 of 1 seeds"):
        runs = sweep(wanted, tmp_path, search="refine")
    assert mt.surface(runs, "mup", wanted.sizes()[0], ("lr", "readout")).status == "inside"


@pytest.mark.parametrize(("best", "is_reached"), [(-12.0, True), (-20.0, False)])
def test_points_go_on_where_the_best_lies_at_an_end(
    tmp_path: Path, best: float, is_reached: bool
) -> None:
    def formula(rule: str, width: int, point: Any) -> float:
        return 3 + 0.02 * (math.log2(point["lr"]) - best) ** 2

    wanted = landscape(formula, width=[8], rules=["mup"], seeds=1, design=Random(8))
    expected = r"lr of mup at width 8 .* lies beyond the range that .*\(beyond=...\), now 6"
    with nullcontext() if is_reached else pytest.warns(SearchWarning, match=expected):
        runs = sweep(wanted, tmp_path, search=SurfaceSearch(within=0.5))
    lowest = min(math.log2(row["lr"]) for row in runs.rows)
    assert lowest < best if is_reached else lowest == -14


def test_three_hyperparameters_are_searched_together(tmp_path: Path) -> None:
    def formula(rule: str, width: int, point: Any) -> float:
        return bowl(rule, width, point) + 0.1 * math.log2(point["readout"] / 2) ** 2

    wanted = landscape(
        formula,
        weight_decay=mt.log2(-8, 0),
        readout=mt.log2(-2, 2),
        width=[8],
        rules=["mup"],
        design=Random(12),
    )
    runs = sweep(wanted, tmp_path, search=SurfaceSearch(within=0.5, seeds=2))
    best = runs.best("mup", wanted.sizes()[0])
    assert best is not None
    for name, place in (("lr", -5.3), ("weight_decay", -3.2), ("readout", 1.0)):
        assert math.log2(best[name]) == pytest.approx(place, abs=0.6)


@pytest.mark.filterwarnings("ignore:intervals are wider")
@pytest.mark.parametrize(
    "search", [SurfaceSearch(), OptunaSearch(number=12, batch=5)], ids=["surface", "optuna"]
)
@pytest.mark.parametrize("kept", [3, 14])
def test_a_killed_search_of_points_goes_on(tmp_path: Path, search: Any, kept: int) -> None:
    if isinstance(search, OptunaSearch):
        pytest.importorskip("optuna")
    wanted = bowl_study(design=Random(6))
    whole = sweep(wanted, tmp_path, search=search)
    (shard,) = tmp_path.glob("rows-*.jsonl")
    shard.write_text("".join(shard.read_text().splitlines(keepends=True)[:kept]))
    assert untimed(sweep(wanted, tmp_path, search=search)) == untimed(whole)
    assert len(on_disk(tmp_path)) == len(whole.rows)


def test_optuna_proposes_points_in_batches(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    wanted = bowl_study(schedule=["constant", "cosine"])
    runs = sweep(wanted, tmp_path, search=OptunaSearch(number=30, batch=6))
    # A point that is asked for twice is run once.
    assert 58 <= len(runs.rows) <= 60
    low, high = (math.log2(bound) for bound in (min(wanted.swept["lr"]), max(wanted.swept["lr"])))
    assert all(low <= math.log2(row["lr"]) <= high for row in runs.rows)
    small, large = wanted.sizes()
    best, first = runs.best("mup", small), runs.rows[30]
    assert best is not None and best == {name: first[name] for name in runs.hyperparameters}
    found = runs.best("mup", large)
    assert found is not None and found["schedule"] == "cosine"
    random = [runs.loss_of(row) for row in runs.rows[:6]]
    assert runs.loss_of(min(runs.rows, key=runs.loss_of)) < min(random)


def test_any_sampler_of_optuna_is_taken(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    samplers = optuna.samplers
    search = OptunaSearch(
        number=8, batch=4, sampler=lambda seed: samplers.RandomSampler(seed=seed), seed=3
    )
    wanted = bowl_study(width=[8], seeds=2)
    rows = sweep(wanted, tmp_path, search=search).rows
    other = OptunaSearch(number=8, batch=4, seed=3)
    assert rows != sweep(wanted, tmp_path / "b", search=other).rows
    assert sweep(wanted, tmp_path, search=search).rows == rows
    with pytest.raises(MutransferError, match="give a function of a seed"):
        OptunaSearch(number=8, sampler=samplers.TPESampler())  # type: ignore[arg-type]


def test_every_seed_of_a_point_counts(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    wanted = landscape(lambda rule, width, point: valley(0, 0), width=[8], seeds=3)
    runs = sweep(wanted, tmp_path, search=OptunaSearch(number=4, batch=2, seeds=2))
    assert len(runs.rows) == 2 * 4 * 2 and {row["seed"] for row in runs.rows} == {0, 1}


def test_optuna_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MutransferError, match=r"needs optuna: pip install 'mutransfer\[optuna\]'"):
        sweep(bowl_study(), tmp_path, search=OptunaSearch(number=4))


@pytest.mark.parametrize("name", ["number", "batch", "seeds"])
def test_numbers_of_points_are_positive(name: str) -> None:
    with pytest.raises(MutransferError, match=rf"{name}=0\): at least 1"):
        OptunaSearch(**{"number": 4, name: 0})
    if name != "number":
        with pytest.raises(MutransferError, match=rf"{name}=0\): above 0"):
            SurfaceSearch(**{name: 0})
