"""Proposals that fit a budget: what is given up, in which order, and what never is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError, OneAtATime, Study, log2, sweep
from mutransfer.studies import Budget, Fit, _budget_prices, fit
from mutransfer.studies._cost import flops
from mutransfer.studies._models import Models
from mutransfer.studies._shapes import Shape
from mutransfer.studies._ways import Way
from mutransfer.training import Program
from tests.studies.landscapes import landscape, valley
from tests.studies.small_study import study


def asked(**changes: Any) -> Study:
    """Five widths, 12 rates, three seeds, one rule: 180 runs of 200 steps."""
    grid: dict[str, Any] = {
        "width": [8, 16, 32, 64, 128],
        "lr": log2(-12, -1),
        "seeds": 3,
        "rules": ["mup"],
        "steps": 200,
    }
    return landscape(lambda rule, width, point: valley(0, point["lr"]), **grid | changes)


def half(**changes: Any) -> Study:
    """Half octaves: 23 rates, 345 runs."""
    return asked(lr=[2 ** (power / 2) for power in range(-24, -1)], **changes)


def changes(found: Fit) -> dict[str, Any]:
    return {name: after for name, (_, after) in found.changes.items()}


def test_what_fits_is_not_changed() -> None:
    wanted = asked()
    found = fit(wanted, "180runs")
    assert (found.search, changes(found)) == ("grid", {})
    assert found.runs == found.asked_runs == 180 and found.study(wanted) == wanted
    assert "nothing is changed" in str(found)


@pytest.mark.parametrize(
    ("budget", "given_up", "runs"),
    [
        ("179runs", {}, 80),
        ("80runs", {}, 80),
        ("50runs", {}, 50),
        ("49runs", {"seeds": (0, 1)}, 49),
        ("40runs", {"seeds": (0, 1)}, 40),
        ("39runs", {"seeds": (0, 1), "width": (8, 16, 32, 64)}, 39),
        # Three sizes leave room for the third seed again.
        ("31runs", {"width": (8, 16, 32)}, 31),
        ("24runs", {"seeds": (0, 1), "width": (8, 16, 32)}, 24),
    ],
)
def test_the_order_of_sacrifice(budget: str, given_up: dict[str, Any], runs: int) -> None:
    found = fit(asked(), budget)
    assert (found.search, changes(found), found.runs) == ("refine", given_up, runs)
    assert found.cost == runs and f"about {runs} runs" in str(found)


def test_a_grid_that_is_wanted_gets_coarser_before_sizes_go() -> None:
    study = half()
    assert fit(study, "344runs", search="grid").changes.keys() == {"seeds"}
    found = fit(study, "229runs", search="grid")
    # The third seed comes back, as twelve rates leave room for it.
    assert changes(found) == {"lr": tuple(log2(-12, -1))} and found.runs == 180
    found = fit(study, "130runs", search="grid")
    assert changes(found) == {"lr": tuple(log2(-12, -1)), "seeds": (0, 1)} and found.runs == 120
    found = fit(study, "110runs", search="grid")
    assert changes(found)["width"] == (8, 16, 32, 64) and changes(found)["lr"] == tuple(
        log2(-12, -1)
    )


def test_what_was_given_up_comes_back_where_it_still_fits() -> None:
    """The largest size is most of the cost: without it there is room for all seeds."""
    found = fit(study(width=[8, 16, 32, 512], lr=log2(-6, -1), seeds=4), "1.4e10", search="grid")
    assert changes(found) == {"width": (8, 16, 32)}


def test_steps_go_last_and_never_below_half() -> None:
    found = fit(asked(), "3500steps")
    assert changes(found) == {"seeds": (0, 1), "width": (8, 16, 32), "steps": 140}
    # 33 runs would be more; the budget ends the search before.
    assert (found.runs, found.cost) == (25, 3500) and "best rates move with it" in str(found)
    with pytest.raises(MutransferError, match=r"steps 100 and search='refine' still 2,400 steps"):
        fit(asked(), "2399steps")
    assert changes(fit(asked(), "2400steps"))["steps"] == 100
    assert "steps" not in fit(asked(steps=60), "1440steps").changes
    with pytest.raises(MutransferError, match=r"give at least 1296steps"):
        fit(asked(steps=60), "1200steps")
    with pytest.raises(MutransferError, match=r"width 8, 16, 32 and search='refine' still 24 runs"):
        fit(asked(), "23runs")


def test_the_smallest_budget_that_is_named_is_enough() -> None:
    for text, start in (("runs", "1runs"), ("steps", "1steps")):
        with pytest.raises(MutransferError) as refused:
            fit(asked(), start)
        named = str(refused.value).split("give at least ")[1].split(",")[0]
        amount = Budget.parse(named).amount
        assert fit(asked(), named).cost <= amount
        with pytest.raises(MutransferError, match=r"too small"):
            fit(asked(), f"{amount - 1:.0f}{text}")


def test_axes_of_every_kind_lose_their_largest() -> None:
    grid = asked(width=[8, 16], axes={"heads": [1, 2, 4, 8]})
    assert changes(fit(grid, "50runs")) == {"axes": {"heads": (1, 2, 4)}, "seeds": (0, 1)}
    listed = replace(
        asked(), width=None, base=None, axes=[{"width": w, "depth": 2} for w in (8, 16, 32, 64)]
    )
    found = fit(listed, "26runs")
    assert [size["width"] for size in found.study(listed).sizes()] == [8, 16, 32]
    assert fit(listed, "26runs") == Fit.from_json(found.to_json())
    assert Fit.from_json(found.to_json()).study(listed) == found.study(listed)


def test_designs_that_are_no_grid_keep_their_points() -> None:
    centred = half(design=OneAtATime({"lr": 2.0**-6.5}), seeds=1)
    assert fit(centred, "75runs", search="grid").changes.keys() == {"width"}


def test_a_search_of_ones_own_is_not_changed() -> None:
    class Own:
        def propose(self, study: Study, runs: Any) -> list[Any]:
            return []

    found = fit(asked(), "3runs", search=Own())
    assert found.search is None and not found.changes
    assert "the budget ends the search" in str(found)


def test_a_study_without_anything_to_refine_keeps_its_grid() -> None:
    found = fit(asked(lr=[0.1], seeds=5), "14runs")
    assert (found.search, changes(found)) == ("grid", {"seeds": (0, 1)})


def pace(shared: float, own: float) -> Callable[..., Way]:
    """Measures a time that all runs of a stack share, and one of each."""

    def way(models: Models, shape: Shape, *_: Any, **__: Any) -> Way:
        return Way(program=Program(), seconds=own + shared / len(shape.runs))

    return way


def test_refinement_is_left_where_the_grid_is_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of a stack takes its time, however few the runs."""
    wanted = study(width=[8, 16], lr=log2(-9, -2), rules=["mup"], seeds=4)
    monkeypatch.setattr(_budget_prices, "choose_way", pace(0.0, 1.0))
    assert fit(wanted, Budget(0.99 * 25 * 64, "seconds")).search == "refine"
    monkeypatch.setattr(_budget_prices, "choose_way", pace(1.0, 0.01))
    found = fit(wanted, Budget(0.99 * 25 * (2 + 0.01 * 64), "seconds"))
    assert (found.search, changes(found)) == ("grid", {"seeds": (0, 1, 2)})


def test_flops_of_a_proposal_are_those_of_its_runs() -> None:
    wanted = study(width=[8, 16, 32, 64], seeds=3, rules=["mup"], steps=100)
    found = fit(wanted, "1.2e8", search="grid")
    proposed = found.study(wanted)
    models = Models(proposed)
    assert found.cost == sum(flops(models, run) for run in proposed.runs()) <= 1.2e8
    assert found.changes.keys() >= {"width", "steps"}


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_a_proposal_is_kept_and_made_again(tmp_path: Path) -> None:
    wanted = asked(steps=2, seeds=3, width=[8, 16, 32, 64])
    first = fit(wanted, "30runs", tmp_path)
    assert list(tmp_path.iterdir()) == []
    runs = sweep(wanted, tmp_path, budget=first)
    assert runs.header["search"] == "Refine" and len(runs.rows) <= 30
    assert {row["seed"] for row in runs.rows} <= {0, 1}
    # The record has the decision, whatever would be decided today.
    kept = (tmp_path / "budget.json").read_text()
    (tmp_path / "budget.json").write_text(kept.replace('"cost": 30.0', '"cost": 29.0'))
    again = fit(wanted, "30runs", tmp_path)
    assert again.cost == 29.0 and replace(again, cost=30.0) == first
    assert sweep(wanted, tmp_path, budget=again).rows == runs.rows
    assert fit(wanted, "31runs", tmp_path).cost == 31.0


def test_paces_of_a_proposal_are_those_of_its_sweep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_budget_prices, "choose_way", pace(0.1, 0.01))
    wanted = study(width=[8, 16], rules=["mup"], steps=100, seeds=2)
    whole = fit(wanted, "1d", search="grid")
    found = fit(wanted, Budget(0.65 * whole.cost, "seconds"), tmp_path, search="grid")
    assert changes(found) == {"steps": 60}
    assert found.cost == pytest.approx(0.6 * whole.cost) == 2 * 60 * (0.1 + 8 * 0.01)
    # The sweep has the same paces, also where the machine is slower now.
    monkeypatch.setattr(_budget_prices, "choose_way", pace(1.0, 1.0))
    assert len(sweep(wanted, tmp_path, budget=found).rows) == 16


def test_a_budget_by_a_function_is_refused() -> None:
    with pytest.raises(MutransferError, match=r"fit takes a budget in runs, steps, flops, seconds"):
        fit(asked(), Budget(3.0, lambda study, run: 1.0))
    with pytest.raises(MutransferError, match=r"Fit.to_json"):
        Fit.from_json({"runs": 3})
