"""Budgets: texts, prices of runs, and sweeps that keep within them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mutransfer import MutransferError, Study, sweep
from mutransfer.studies import Budget, Run, _budget_prices
from mutransfer.studies._budget_prices import Prices
from mutransfer.studies._budget_record import Decisions, Pace
from mutransfer.studies._cost import flops
from mutransfer.studies._models import Models
from mutransfer.studies._shapes import Shape
from mutransfer.studies._store import Store
from mutransfer.studies._ways import Way
from mutransfer.training import Program
from tests.studies.landscapes import landscape, valley
from tests.studies.small_study import data, double, on_disk, short, study


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("10m", 600, "seconds"),
        ("2h", 7200, "seconds"),
        ("1.5 min", 90, "seconds"),
        ("20s", 20, "seconds"),
        ("1d", 86400, "seconds"),
        ("40runs", 40, "runs"),
        ("1 run", 1, "runs"),
        ("5000steps", 5000, "steps"),
        ("1e3 Steps", 1000, "steps"),
        ("1e15", 1e15, "flops"),
        ("2.5E+14", 2.5e14, "flops"),
        ("300 FLOPs", 300, "flops"),
        ("3 petaflops", 3e15, "flops"),
    ],
)
def test_texts_are_budgets(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["10x", "", "m", "1.2.3s", "-5m", "10M", "1e15 bananas", "5 m s"])
def test_other_texts_are_refused_with_those_that_are_understood(text: str) -> None:
    with pytest.raises(MutransferError, match=r"not understood: write it as 10m, 2h, 90s, 40runs"):
        Budget.parse(text)


def test_numbers_without_a_unit_are_refused() -> None:
    with pytest.raises(MutransferError, match=r"'40' has no unit: write it as 10m"):
        Budget.parse("40")
    with pytest.raises(MutransferError, match=r"the budget is 0.0: give a positive number"):
        Budget.parse("0s")
    with pytest.raises(MutransferError, match=r"'tokens': give 'runs', 'steps', 'flops'"):
        Budget(3, "tokens")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["7runs", "61s", "12m", "1.3e+09"])
def test_a_written_budget_is_parsed_again(text: str) -> None:
    budget = Budget.parse(text)
    assert Budget.parse(budget.written(budget.amount)) == budget
    assert Budget.parse(budget.written(0.99 * budget.amount)).amount >= 0.99 * budget.amount


def test_flops_are_those_of_the_cost() -> None:
    wanted = short(seeds=1, rules=["mup"], steps=[6, 12])
    models, runs = Models(wanted), wanted.runs()
    each = Prices(Budget(1.0, "flops"), models).each(wanted, runs)
    assert each == [flops(models, run) for run in runs] and len(set(each)) == 4


def test_flops_of_a_norm_over_the_batch_are_those_without_it() -> None:
    def normed(width: int, depth: int) -> nn.Module:
        norm = nn.BatchNorm1d(3, track_running_stats=False).double()
        return nn.Sequential(double(width, depth), norm)

    plain, other = (short(seeds=1, rules=["mup"], build=build) for build in (double, normed))
    run = plain.runs()[0]
    assert flops(Models(other), run) == flops(Models(plain), run)


def test_a_budget_of_flops_ends_the_sweep(tmp_path: Path) -> None:
    wanted = short(seeds=1, rules=["mup"])
    price = flops(Models(wanted), wanted.runs()[0])
    for factor, count in ((2.0, 2), (2.999, 2), (3.0, 3)):
        assert (
            len(sweep(wanted, tmp_path / str(factor), budget=Budget(factor * price, "flops")).rows)
            == count
        )


def test_steps_and_runs_are_counted(tmp_path: Path) -> None:
    wanted = landscape(lambda rule, width, point: valley(0, point["lr"]), width=[8])
    assert len(sweep(wanted, tmp_path / "steps", budget="10steps").rows) == 5
    assert len(sweep(wanted, tmp_path / "runs", budget="4runs").rows) == 4


class Clock:
    """Measured paces: a step of all runs at once takes 2 s, and 1 s more for each run.

    Each measurement is twice as fast as the one before at that size.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.speed = 1.0

    def __call__(self, models: Models, shape: Shape, device: str | None = None) -> Way:
        count = len(shape.runs)
        self.asked.append((shape.size["width"], count))
        pace = (2.0 / count + 1.0) / self.speed
        return Way(program=Program(), seconds=pace, evaluation=3.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_budget_prices, "choose_way", clock)
    return clock


def test_seconds_are_steps_and_evaluations_at_a_measured_pace(clock: Clock) -> None:
    task = replace(data(), validation=(data().inputs, data().targets))
    for changes, evaluations in (({}, 1), ({"evaluate": 2, "task": task}, 3)):
        wanted = short(**changes)
        clock.asked.clear()
        prices, runs = Prices(Budget(1.0, "seconds"), Models(wanted)), wanted.runs()
        expected = 6 * (1 + 2 / 12) + evaluations * 3
        assert prices.each(wanted, runs) == pytest.approx([expected] * 24)
        assert clock.asked == [(8, 12), (8, 2), (16, 12), (16, 2)]
        few = prices.each(wanted, runs, together=3)
        assert few == pytest.approx([6 * (1 + 2 / 3) + evaluations * 3] * 24)
        assert len(clock.asked) == 4


def test_few_runs_are_measured_together(clock: Clock) -> None:
    wanted = short(seeds=1, rules=["mup"])
    prices = Prices(Budget(1.0, "seconds"), Models(wanted))
    assert prices.each(wanted, wanted.runs()) == pytest.approx([6 * (1 + 2 / 3) + 3] * 6)
    assert clock.asked == [(8, 3), (16, 3)]


def test_measured_paces_are_decided_once(clock: Clock, tmp_path: Path) -> None:
    wanted = short()
    first = Prices(Budget(9.0, "seconds"), Models(wanted), Store(tmp_path))
    costs = first.costs(wanted, wanted.runs())
    clock.speed = 2.0
    again = Prices(Budget(9.0, "seconds"), Models(wanted), Store(tmp_path))
    assert again.costs(wanted, wanted.runs()) == costs and len(clock.asked) == 4
    assert sorted(costs) == costs and len(set(costs)) == 24


def test_a_pace_is_that_of_one_device(clock: Clock, tmp_path: Path) -> None:
    wanted = short()
    costs = []
    for device in (None, "meta", None):
        prices = Prices(Budget(9.0, "seconds"), Models(wanted), Store(tmp_path), device)
        costs.append(prices.each(wanted, wanted.runs())[0])
        clock.speed = 2.0
    assert costs[0] == costs[2] > costs[1]
    assert len(clock.asked) == 8


def test_a_sweep_that_is_taken_up_again_decides_alike(clock: Clock, tmp_path: Path) -> None:
    """A run takes 10 s."""
    wanted = short()
    rows = sweep(wanted, tmp_path, budget="145s").rows
    assert len(rows) == 14
    (shard,) = tmp_path.glob("rows-*.jsonl")
    shard.write_text("".join(shard.read_text().splitlines(keepends=True)[:5]))
    clock.speed = 2.0
    again = sweep(wanted, tmp_path, budget="145s").rows
    assert [row["id"] for row in again] == [row["id"] for row in rows]
    assert len(clock.asked) == 4 and len(on_disk(tmp_path)) == 14
    # Measured anew the pace is another one, and with it the end.
    (tmp_path / "budget.json").unlink()
    assert len(sweep(wanted, tmp_path, budget="145s").rows) == 22


def test_times_of_functions_of_ones_own_are_not_known(tmp_path: Path) -> None:
    def train(trial: Any) -> None: ...

    wanted = Study(None, width=[8], lr=[0.1], train=train)
    for budget in ("10m", "1e12"):
        with pytest.raises(MutransferError, match=r"give the budget in runs or steps"):
            sweep(wanted, tmp_path / "new", budget=budget)
    assert not (tmp_path / "new").exists()


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "new")
    decisions.add_paces({"a": Pace(1.0)})
    decisions.add_paces({"a": Pace(2.0), "b": Pace(3.0, 4.0)})
    assert decisions.paces() == {"a": Pace(1.0), "b": Pace(3.0, 4.0)}
    decisions.path.write_text("[")
    with pytest.raises(MutransferError, match=r"budget.json cannot be read; remove it"):
        decisions.paces()


def test_a_function_is_a_unit() -> None:
    def price(study: Study, run: Run) -> float:
        return float(run.size["width"])

    wanted = study(seeds=1, rules=["mup"])
    prices = Prices(Budget(1.0, price), Models(wanted))
    assert prices.costs(wanted, wanted.runs()[:2]) == [8.0, 16.0]
    assert Budget(3.0, price).to_json() == {"amount": 3.0, "unit": "price"}
