"""Betas, whose scale is the logarithm of 1 - beta."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mutransfer as mt
from mutransfer import Runs, Size, Transfer, transfer
from mutransfer.certificates import Refusal, decimal, optimum, scale_along, unit
from mutransfer.certificates._rows import optima_rows, summary_rows
from mutransfer.core import MEMORY, place_of, value_at
from tests.studies.landscapes import landscape

BETAS = [0.9, 0.95, 0.98, 0.99, 0.999]
SIZE = Size(width=64)


def runs_over(
    name: str, values: list[float], loss: Callable[[float, int], float], noise: float = 0.002
) -> Runs:
    """Return a record over one hyperparameter at several widths."""
    random = np.random.default_rng(5)
    rows = [
        {"rule": "mup", "width": width, name: value, "seed": seed}
        | {"loss": loss(value, width) + noise * random.standard_normal()}
        for width in (64, 128, 256)
        for value in values
        for seed in range(3)
    ]
    return Runs(header={"axes": ["width"], "hyperparameters": [name]}, rows=rows)


def dip(best: float, moved: float = 0.0) -> Callable[[float, int], float]:
    """Return a parabola in the octaves of 1 - beta, its lowest point moved per doubling."""

    def loss(value: float, width: int) -> float:
        place = place_of(best, MEMORY) + moved * math.log2(width / 64)
        return 3 + 0.03 * (place_of(value, MEMORY) - place) ** 2

    return loss


@pytest.mark.parametrize("name", ["beta1", "beta2", "momentum", "ema_decay", "adam_beta2"])
def test_a_clear_optimum_of_a_beta_is_certified(name: str) -> None:
    found = transfer(runs_over(name, BETAS, dip(0.985)), at={"width": 512}, over=name)["mup"]
    assert isinstance(found, Transfer) and found.scale == MEMORY
    low, high = found.intervals[name]
    assert low < 0.985 < high < 1 and place_of(high, MEMORY) - place_of(low, MEMORY) < 1.5
    assert 1 - found.value == pytest.approx(0.015, rel=0.15)


def test_a_drift_is_in_octaves_of_the_memory() -> None:
    """Where 1 - beta2 halves with the width, the beta and its drift grow."""
    found = transfer(runs_over("beta2", BETAS, dip(0.95, 1.0), noise=0), over="beta2")["mup"]
    assert isinstance(found, Transfer)
    assert found.drift["width"].value == pytest.approx(1.0, abs=0.15)
    assert "octaves of 1/(1 - beta2) per doubling of width" in str(found)
    assert [best.value for best in found.optima] == pytest.approx([0.95, 0.975, 0.9875], abs=0.005)


@pytest.mark.parametrize("seed", range(6))
def test_an_optimum_is_that_of_a_rate_of_1_over_1_minus_beta(seed: int) -> None:
    random = np.random.default_rng(seed)
    places = np.log2(1 / (1 - np.array(BETAS)))
    losses = 0.1 * np.abs(places - random.uniform(4, 8)) ** 1.5
    losses = losses + 0.01 * random.standard_normal((3, 5))
    losses[:, np.argmin(losses.mean(0))] -= 0.2
    losses[:, [0, -1]] += 1
    one, _ = optimum("mup", SIZE, BETAS, losses, over="beta2", scale=MEMORY)
    rates = [1 / (1 - beta) for beta in BETAS]
    other, _ = optimum("mup", SIZE, rates, losses)
    for end in ("position", "low", "high"):
        assert getattr(one, end) == pytest.approx(getattr(other, end), abs=1e-9)
    assert 1 / (1 - one.value) == pytest.approx(other.value, rel=1e-9)


def simulated(random: np.random.Generator, seeds: int) -> bool | None:
    """Return if the interval of a random dip holds its lowest point; None where refused."""
    places = np.log2(1 / (1 - np.array([0.8, *BETAS, 0.9999])))
    best, sides = random.uniform(3.6, 9.6), random.uniform(0.01, 0.06, 2)
    power = random.choice([1.5, 2.0, 3.0])
    away = places - best
    curve = np.where(away < 0, *sides) * np.abs(away) ** power
    losses = 3 + curve + 0.01 * random.standard_normal((seeds, len(places)))
    values = [value_at(place, MEMORY) for place in places]
    try:
        found, _ = optimum("mup", SIZE, values, losses, over="beta2", scale=MEMORY)
    except mt.MutransferError:
        return None
    return found.low <= best <= found.high


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_intervals_of_simulated_dips_hold_as_promised(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    held = [each for _ in range(300) if (each := simulated(random, seeds)) is not None]
    assert len(held) > 270 and np.mean(held) >= 0.95


# Values at the ends


def test_a_beta_of_0_has_a_place() -> None:
    runs = runs_over("momentum", [0.0, 0.5, 0.75, 0.9], dip(0.6))
    assert scale_along(runs, "momentum") == MEMORY
    found = transfer(runs, over="momentum")["mup"]
    assert isinstance(found, Transfer) and found.value == pytest.approx(0.6, abs=0.06)
    assert not any("no place" in warning for warning in found.warnings)
    one, _ = optimum("mup", SIZE, [0.0, 0.5, 0.9], np.array([[1, 0.9, 3]]), scale=MEMORY)
    assert one.low >= 0, "no beta lies below 0"


@pytest.mark.parametrize("at_one", [0.5, -0.5])
def test_a_beta_of_1_is_set_aside_as_a_decay_of_0(at_one: float) -> None:
    shape = dip(0.985)
    runs = runs_over(
        "ema_decay", [*BETAS, 1.0], lambda b, width: 3 + at_one if b == 1 else shape(b, width)
    )
    found = transfer(runs, over="ema_decay")["mup"]
    assert isinstance(found, Transfer) and found.scale == MEMORY
    alone = replace(runs, rows=[row for row in runs.rows if row["ema_decay"] < 1])
    assert transfer(alone, over="ema_decay")["mup"].optima == found.optima
    said = "is better than every other value" if at_one < 0 else "has no place on a logarithmic"
    assert any(f"ema_decay 1 {said}" in warning for warning in found.warnings)


def test_the_best_of_a_beta_at_its_edge_is_refused() -> None:
    refusal = transfer(runs_over("beta2", BETAS, dip(0.9999)), over="beta2")["mup"]
    assert isinstance(refusal, Refusal)
    assert "the edge of the grid, 0.999, so" in refusal.reason
    assert "add values of beta2 above it" in refusal.reason


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("ema", [0.9, 0.99, 0.999], MEMORY),
        ("optimizer.beta2", [0.9, 0.999], MEMORY),
        ("beta", [0.01, 0.1, 0.5], "log2"),
        ("ema_weight", [0.01, 0.1, 0.9], "log2"),
        ("momentum_steps", [10, 20, 30], "linear"),
        ("dropout", [0.5, 0.9, 0.99], "linear"),
        ("theta", [0.9, 0.99, 0.999], "linear"),
    ],
)
def test_only_averages_have_the_scale_of_betas(
    name: str, values: list[float], scale: str, tmp_path: Path
) -> None:
    with open(tmp_path / "runs.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["width", name, "loss"])
        table.writerows([[64, value, number] for number, value in enumerate(values)])
    runs = Runs.from_table(tmp_path / "runs.csv", hyperparameters=[name])
    assert runs.header["scales"][name] == scale == scale_along(runs, name)


def test_records_that_name_a_linear_scale_have_the_new_one() -> None:
    runs = runs_over("beta2", BETAS, dip(0.985))
    before = replace(runs, header={**runs.header, "scales": {"beta2": "linear"}})
    assert transfer(before, over="beta2")["mup"] == transfer(runs, over="beta2")["mup"]


# What a reader sees


@pytest.mark.parametrize(
    ("beta", "text"), [(0.0, "0"), (0.9, "0.9"), (0.95, "0.95"), (0.9995, "0.9995")]
)
def test_a_beta_has_the_digits_that_tell_it_from_1(beta: float, text: str) -> None:
    assert decimal(place_of(beta, MEMORY), MEMORY) == text


def test_rows_and_json_name_scale_and_unit() -> None:
    found = transfer(runs_over("beta2", [*BETAS, 0.9999], dip(0.9985), noise=0), over="beta2")
    (outcome,) = found.outcomes
    assert isinstance(outcome, Transfer) and Transfer.from_json(outcome.to_json()) == outcome
    assert outcome.to_json()["scale"] == MEMORY and unit(MEMORY, "beta2") in str(outcome)
    row = optima_rows([outcome])[0]
    assert row["log2_1/(1-beta2)"] == pytest.approx(-math.log2(1 - row["beta2"]))
    assert row["beta2_low"] < row["beta2"] < row["beta2_high"] < 1
    assert summary_rows([outcome])[0]["log2_1/(1-beta2)"] == outcome.place.value
    assert f"beta2={decimal(outcome.place.value, MEMORY)}" in outcome.advice
    assert "beta2=1 " not in str(outcome) and " 1]" not in str(found)


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_a_search_finds_a_beta_beyond_its_values(tmp_path: Path) -> None:
    def formula(rule: str, width: int, point: Any) -> float:
        return dip(0.995)(point["beta2"], 64)

    wanted = landscape(formula, rules=["mup"], width=[8], seeds=1, lr=0.1, beta2=[0.5, 0.75, 0.9])
    runs = mt.sweep(wanted, tmp_path, search="refine")
    best = runs.best("mup", wanted.sizes()[0])
    assert best is not None and 1 - best["beta2"] == pytest.approx(0.005, rel=0.2)
    assert len(runs.rows) < 15 and all(0 <= row["beta2"] < 1 for row in runs.rows)
