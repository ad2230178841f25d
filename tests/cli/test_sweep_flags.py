"""Flags of `mutransfer sweep`: search, budget, explanation, device."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Runs

Command = Callable[..., Any]

STUDY = '''
"""Studies whose losses are a formula, and one that is trained."""
import math
from dataclasses import dataclass
import mutransfer as mt
from mutransfer.tasks import mlp

def train(trial):
    trial.report(1, 0.5 + 0.05 * (math.log2(trial.lr) + 5) ** 2)

valley = mt.Study(None, train=train, width=[8, 16, 32, 64], lr=mt.log2(-10, -1), steps=1, seeds=3)
trained = mt.Study(mlp, width=[8, 16, 32, 64], depth=[2], lr=mt.log2(-8, -1), steps=4, seeds=2)

@dataclass(frozen=True)
class First:
    """The first runs of a study."""
    number: int
    def propose(self, study, runs):
        return study.runs()[: self.number]

first, no_search = First(5), 3
'''


@pytest.fixture
def sweep(command: Command, tmp_path: Path) -> Command:
    """Runs a sweep of one of the studies into the folder runs."""
    (tmp_path / "my.py").write_text(STUDY)

    def run(study: str, *flags: object, code: int = 0) -> Any:
        answer = command("sweep", f"my.py:{study}", "--out", "runs", *flags)
        assert answer.code == code, answer.err
        return answer

    return run


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return Runs.read(tmp_path / "runs").rows


def test_refinement_by_a_flag(sweep: Command, tmp_path: Path) -> None:
    sweep("valley", "--search", "refine", "--within", 2)
    coarse = len(rows(tmp_path))
    assert 0 < coarse < 120
    assert Runs.read(tmp_path / "runs").header["search"] == "Refine"
    # The width of the interval is of one search alone, which it names.
    sweep("valley", "--within", 0.5)
    assert len(rows(tmp_path)) > coarse


def test_a_search_of_ones_own_by_its_name(sweep: Command, tmp_path: Path) -> None:
    sweep("valley", "--search", "my.py:first")
    assert len(rows(tmp_path)) == 5
    answer = sweep("valley", "--search", "my.py:first", "--budget", "3runs")
    assert "the budget ends the search" in answer.out and len(rows(tmp_path)) == 5


def test_what_is_no_tracker_is_refused(sweep: Command, tmp_path: Path) -> None:
    for tracker, reason in (("First", "the class First"), ("no_search", "the tracker is 3")):
        answer = sweep("trained", "--tracker", f"my.py:{tracker}", code=2)
        assert reason in answer.err and not (tmp_path / "runs").exists()


def test_a_budget_is_shown_and_kept(sweep: Command, tmp_path: Path) -> None:
    answer = sweep("valley", "--budget", "30runs", "--estimate")
    assert answer.out.splitlines()[:2] == ["asked:    120 runs", "budget:   30 runs"]
    for line in ("width:    8, 16, 32, 64 -> 8, 16, 32", "proposal: about 30 runs"):
        assert line in answer.out
    assert "refine is expected to make about 48 runs" in answer.out
    assert not (tmp_path / "runs").exists(), "an estimate leaves nothing behind"
    begun = sweep("valley", "--budget", "30runs")
    done = rows(tmp_path)
    assert begun.out.startswith("asked:    120 runs") and 9 <= len(done) <= 30
    assert {row["width"] for row in done} == {8, 16, 32}
    sweep("valley", "--budget", "30runs")
    assert rows(tmp_path) == done


def test_a_budget_of_flops_cuts_the_grid(sweep: Command, tmp_path: Path) -> None:
    lines = sweep("trained", "--search", "grid", "--budget", "1.6e8", "--json-lines").out
    proposal, *_, last = map(json.loads, lines.splitlines())
    assert proposal["changes"].keys() == {"width"} and proposal["search"] == "grid"
    assert proposal["cost"] <= 1.6e8 < proposal["asked_cost"]
    assert last["runs"] == proposal["runs"] == len(rows(tmp_path)) == 48


def test_what_is_chosen_is_explained(sweep: Command, tmp_path: Path) -> None:
    sweep("trained", "--quiet")
    done = rows(tmp_path)
    answer = sweep("trained", "--explain")
    assert [line.split()[:2] for line in answer.out.splitlines()[1:5]] == [
        ["width", f"{width},"] for width in (8, 16, 32, 64)
    ]
    assert answer.out.count("too few steps to measure") == 4
    lines = sweep("trained", "--explain", "--estimate", "--json-lines").out.splitlines()
    costs, explained = map(json.loads, lines)
    assert costs["runs"] == 0 and [each["runs"] for each in explained["shapes"]] == [16] * 4
    assert rows(tmp_path) == done


def test_a_device_reaches_training(sweep: Command) -> None:
    answer = sweep("trained", "--device", "nowhere", code=2)
    assert "the device 'nowhere' cannot be used: " in answer.err and "there is cpu" in answer.err
    assert answer.err.count("\n") == 1
    assert sweep("trained", "--device", "cpu").err == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--budget", "10x"), "the budget '10x' is not understood: write it as 10m, 2h, 90s"),
        (("--budget", "40"), "the budget '40' has no unit"),
        (("--budget", "10runs"), "give at least 24runs"),
        (("--budget", "1h"), "give the budget in runs or steps"),
        (("--search", "tpe"), "unknown search 'tpe'; give grid, refine, or a search of your own"),
        (("--search", "my.py:no_search"), "search is 3: give 'grid', 'refine', or an object"),
        (("--search", "grid", "--within", 0.5), "within=0.5 is for search='refine'"),
        (("--search", "refine", "--extend", 2), "extend=2 is for search='grid'"),
        (("--explain",), "there is no program to choose"),
        (("--within", -1, "--estimate"), "Refine(within=-1.0): give a positive number"),
        (("--search", "refine", "--within", "nan", "--estimate"), "Refine(within=nan): give"),
        (("--extend", 2, "--within", 1, "--estimate"), "extend=2 is for search='grid'"),
    ],
)
def test_flags_that_make_no_sense(sweep: Command, flags: tuple[object, ...], message: str) -> None:
    answer = sweep("valley", *flags, code=2)
    assert message in answer.err and answer.err.count("\n") == 1 and answer.out == ""
