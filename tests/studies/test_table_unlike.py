"""Runs of a table that are compared as equals, and were trained unlike."""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Runs, Transfer, transfer

BEST = -8.0
WIDTHS = (64, 128, 256)
POWERS = range(-12, -3)

Row = dict[str, Any]
Read = Callable[..., Runs]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes rows as a table and reads it."""

    def from_rows(rows: list[Row], **options: Any) -> Runs:
        path = tmp_path / "runs.csv"
        lines = [",".join(map(str, row.values())) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]))
        return Runs.from_table(path, **options)

    return from_rows


def loss_at(power: float, seed: int, steps: float = math.inf, best: float = BEST) -> float:
    """The loss of a run, lowest at one rate for any equal number of steps."""
    wiggle = 0.003 * math.sin(37 * power + 11 * seed)
    return 3 + 0.02 * (power - best) ** 2 + wiggle + 0.8 * math.exp(-steps / 500)


def table(**beside: Callable[[int, int], Any]) -> list[Row]:
    """Rows of runs, with columns that depend on width and power."""
    return [
        {"width": width, "lr": 2.0**power, "seed": seed}
        | {name: value(width, power) for name, value in beside.items()}
        | {"loss": loss_at(power, seed)}
        for width, power, seed in product(WIDTHS, POWERS, range(2))
    ]


def curves(last: Callable[[int], int]) -> list[Row]:
    """Rows of steps, up to the last one of each power."""
    return [
        {"width": width, "lr": 2.0**power, "seed": seed, "step": step}
        | {"loss": loss_at(power, seed, step)}
        for width, power, seed in product(WIDTHS, POWERS, range(2))
        for step in range(100, last(power) + 1, 100)
    ]


def certified(runs: Runs) -> Transfer:
    found = transfer(runs, at={"width": 512})["default"]
    assert isinstance(found, Transfer)
    return found


def contains_the_best(found: Transfer) -> bool:
    return found.place.low < BEST < found.place.high


def shorter(power: int) -> int:
    """High rates end at fewer steps."""
    return 100 * (-2 - power)


def test_curves_of_unequal_length_are_warned_of(read: Read) -> None:
    rows = curves(shorter)
    found = certified(read(rows))
    (warning,) = [each for each in found.warnings if "unequal values of step" in each]
    assert "such as 200 to 1000 at width 64 and 2 more" in warning
    assert "keep the rows up to step 200" in warning and not contains_the_best(found)
    cut = read([row for row in rows if row["step"] <= 200])
    assert not cut.warnings and contains_the_best(certified(cut))


def test_curves_of_about_equal_length_have_no_warning(read: Read) -> None:
    assert not read(curves(lambda power: 2000 + 100 * (power % 2))).warnings


@pytest.mark.parametrize("end", ["nan", "7.5"])
def test_runs_that_diverge_may_end_early(read: Read, end: str) -> None:
    """A number at the end is above the loss that training began with."""
    rows = curves(lambda power: 1000 if power < -5 else 300)
    for row in rows:
        if row["lr"] > 2**-5.5 and row["step"] == 300:
            row["loss"] = end
    assert not read(rows).warnings


def test_numbers_of_steps_that_differ_within_a_size_are_warned_of(read: Read) -> None:
    rows = table(max_steps=lambda _, power: shorter(power))
    for row in rows:
        row["loss"] += 0.8 * math.exp(-row["max_steps"] / 500)
    found = certified(read(rows))
    (warning,) = [each for each in found.warnings if "runs of one size differ" in each]
    assert "differ in max_steps, such as 200 to 1000 at width 64 and 2 more" in warning
    assert "--axes width,steps" in warning and not contains_the_best(found)
    assert not read(rows, axes=["width", "steps"]).warnings


def test_the_last_step_of_a_summary_is_compared(read: Read) -> None:
    """Weights & Biases has it in a table with a row a run."""
    (warning,) = read(table(_step=lambda _, power: shorter(power))).warnings
    assert "unequal values of _step, such as 200 to 1000" in warning
    assert not read(table(_step=lambda *_: 1000)).warnings


def test_batches_that_differ_within_a_size_are_warned_of(read: Read) -> None:
    (warning,) = read(table(batch_size=lambda _, power: 32 if power < -8 else 256)).warnings
    assert "differ in batch_size, such as 32 to 256 at width 64" in warning


def test_a_drift_of_steps_is_not_taken_for_one_of_width(read: Read) -> None:
    """The optimum depends on the steps alone, which grow with the width."""
    rows = table(max_steps=lambda width, _: 100 * width, batch_size=lambda width, _: width // 2)
    for row in rows:
        best = BEST - 0.5 * math.log2(row["max_steps"] / 6400)
        row["loss"] = loss_at(math.log2(row["lr"]), row["seed"], best=best)
    found = certified(read(rows))
    assert found.drift["width"].value == pytest.approx(-0.5, abs=0.15)
    (warning,) = [each for each in found.warnings if "a drift may come from them" in each]
    assert warning.startswith("batch_size and max_steps change with the size and no axis says so")
    assert "--axes width,batch,steps" in warning


@pytest.mark.parametrize(
    "beside",
    [
        {"batch_size": lambda *_: 32, "tokens": lambda *_: 10**9},
        {"tokens": lambda width, power: 10**9 + width + power},
        {"batch_size": lambda width, _: f"{width} rows"},
        {"n_params": lambda width, _: 12 * width**2},
    ],
)
def test_equal_runs_have_no_warning(
    read: Read, beside: dict[str, Callable[[int, int], Any]]
) -> None:
    """Nor does the number of parameters, which is another name of the width."""
    assert not read(table(**beside)).warnings


def test_steps_that_follow_from_tokens_and_batch_are_no_third_cause(read: Read) -> None:
    rows = [
        {"params": params, "tokens": tokens, "batch": batch, "max_steps": tokens // batch}
        | {"lr": 2.0**power, "loss": loss_at(power, 0)}
        for params, tokens, batch in product((10**6, 10**7), (10**8, 10**9), (64, 256))
        for power in POWERS
    ]
    assert not read(rows, axes=["params", "tokens", "batch"]).warnings
    compute_optimal = [row for row in rows if row["tokens"] == 100 * row["params"]]
    alone = [row for row in compute_optimal if row["batch"] == 64]
    (warning,) = read(alone, axes=["params"]).warnings
    assert warning.startswith("tokens changes with the size") and "max_steps" not in warning
