"""Tables with a row of each step: scheduled rates, resumed runs, tokens seen."""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError, Runs

WIDTHS = (64, 128, 256)
RATES = tuple(2.0**power for power in range(-10, -4))
LAST = 200

Row = dict[str, Any]
Read = Callable[..., Runs]
Schedule = Callable[[float], float]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes rows as a table and reads it."""

    def from_rows(rows: list[Row], **options: Any) -> Runs:
        path = tmp_path / "curves.csv"
        lines = [",".join(map(str, row.values())) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]))
        return Runs.from_table(path, **options)

    return from_rows


def row(width: int, rate: float, step: int) -> Row:
    loss = 2 + math.exp(-step / 60) + 0.02 * (math.log2(rate) + 7) ** 2
    return {"width": width, "lr": rate, "step": step, "loss": loss}


def curves(
    schedule: Schedule = lambda _: 1.0, rates: tuple[float, ...] = RATES, every: int = 10
) -> list[Row]:
    """Rows of runs, with the rate at each step and the one that was set."""
    return [
        row(width, rate, step) | {"lr": rate * schedule(step / LAST), "peak": rate}
        for width, rate in product(WIDTHS, rates)
        for step in range(every, LAST + 1, every)
    ]


SCHEDULES: dict[str, Schedule] = {
    "cosine": lambda t: 0.505 + 0.495 * math.cos(math.pi * t),
    "linear": lambda t: 1 - 0.99 * t,
    "warm-up": lambda t: min(1.0, 4 * t),
    "warm-up and cosine": lambda t: min(1.0, 10 * t) * (0.505 + 0.495 * math.cos(math.pi * t)),
    "steps": lambda t: 0.1 if t > 0.5 else 1.0,
    "steps by the ratio of rates": lambda t: 0.5 if t > 0.5 else 1.0,
    "decay at the end": lambda t: min(1.0, 4.01 - 4 * t),
}


@pytest.mark.parametrize("rates", [RATES, RATES[:1]], ids=["six runs a size", "one run a size"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_scheduled_rate_is_no_setting(
    read: Read, schedule: str, rates: tuple[float, ...]
) -> None:
    """Without names, rows of one run would be runs that end at unequal steps."""
    rows = curves(SCHEDULES[schedule], rates)
    with pytest.raises(MutransferError, match=r"as those of a logged schedule do.*'name': COLUMN"):
        read(rows)
    runs = read(rows, columns={"lr": "peak"})
    assert len(runs.rows) == len(WIDTHS) * len(rates)
    assert {each["lr"] for each in runs.rows} == set(rates) and not runs.warnings


def constant(rows: list[Row]) -> list[Row]:
    return rows


def resumed(rows: list[Row]) -> list[Row]:
    """Every second run starts again from step 100, whose rows stand twice."""
    again = [r for r in rows if r["lr"] in RATES[::2] and r["step"] >= 100]
    return rows + again


def gap(rows: list[Row]) -> list[Row]:
    """Some runs lost the log of their middle."""
    return [r for r in rows if r["lr"] in RATES[::2] or not 60 < r["step"] < 140]


def unequal_logging(rows: list[Row]) -> list[Row]:
    """Some runs log half, a third or a quarter as often."""
    often = {rate: 10 * (1 + i % 4) for i, rate in enumerate(RATES)}
    return [r for r in rows if r["step"] % often[r["lr"]] == 0 or r["step"] == LAST]


def early_ends(rows: list[Row]) -> list[Row]:
    """High rates diverge, while others log their first rows."""
    kept = [r for r in rows if r["lr"] < RATES[-2] or r["step"] <= 20]
    kept = [r for r in kept if r["lr"] > RATES[1] or r["step"] >= 30]
    for r in kept:
        r["loss"] = "nan" if r["lr"] >= RATES[-2] and r["step"] == 20 else r["loss"]
    return kept


def late_logs(rows: list[Row]) -> list[Row]:
    """One run is known from its middle on."""
    return [r for r in rows if r["lr"] > RATES[0] or r["step"] >= 100]


@pytest.mark.parametrize("change", [constant, resumed, gap, unequal_logging, early_ends, late_logs])
def test_curves_of_set_rates_are_read(read: Read, change: Callable[[list[Row]], list[Row]]) -> None:
    runs = read(change(curves()))
    assert len(runs.rows) == len(WIDTHS) * len(RATES)
    assert {each["lr"] for each in runs.rows} == set(RATES)


def test_runs_with_names_may_take_over_from_each_other(read: Read) -> None:
    """Half of the rates are known up to step 100, the others from there on."""
    rows = [r for r in curves() if (r["step"] <= 100) == (r["lr"] in RATES[::2])]
    with pytest.raises(MutransferError, match="if these are settings, add one that names the runs"):
        read(rows)
    rows = [r | {"id": f"{r['width']} {r['lr']}"} for r in rows]
    assert len(read(rows).rows) == len(WIDTHS) * len(RATES)


def test_last_rows_of_runs_that_diverged_are_read(read: Read) -> None:
    """High rates end at a third or half of the steps, each with some others."""
    ends = dict(zip(RATES, (LAST, LAST, LAST, 100, 100, 60), strict=True))
    rows = [row(width, rate, ends[rate]) for width, rate in product(WIDTHS, RATES)]
    assert len(read(rows).rows) == len(rows)


SEEN = ("tokens", "tokens_seen", "total_tokens", "steps", "iterations", "samples_seen", "epoch")


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("named", [True, False])
def test_what_a_run_has_seen_is_no_axis(read: Read, name: str, named: bool) -> None:
    rows = [r | {name: 4096 * r["step"]} for r in curves()]
    if named:
        rows = [r | {"run": f"{r['width']}-{r['peak']}"} for r in rows]
    runs = read(rows)
    assert runs.axes == ("width",) and runs.hyperparameters == ("lr",)
    assert len(runs.rows) == len(WIDTHS) * len(RATES)
    assert {each["loss"] for each in runs.rows} == {r["loss"] for r in rows if r["step"] == LAST}


@pytest.mark.parametrize("header", ["config.tokens", "tokens"])
def test_a_number_of_tokens_that_was_set_is_an_axis(read: Read, header: str) -> None:
    """Runs of two durations end at two steps; each has a name, or the tokens are a setting."""
    rows = [
        row(width, rate, step) | {header: 4096 * step, "run": f"{width}-{rate}-{step}"}
        for width, rate, step in product(WIDTHS, RATES, (100, 200))
    ]
    if header != "tokens":
        rows = [{k: v for k, v in r.items() if k != "run"} for r in rows]
    runs = read(rows)
    assert runs.axes == ("width", "tokens") and len(runs.rows) == len(rows)
