"""The verb `limit`: tables, JSON, files and refusals."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import limits

FAST = "digits, steps=3, examples=2"
PROBLEM = """
import numpy as np
from mutransfer.limits import Problem
mine = Problem(inputs=np.eye(2), targets=[1.0, -1.0], lr=0.1, steps=3, beta0=0.5)
number = 3
"""


@pytest.fixture(autouse=True)
def fast_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of progress, however slow the machine is."""
    monkeypatch.setattr("mutransfer.cli._live._PAUSE", math.inf)


def tables(out: str) -> dict[str, list[list[str]]]:
    """The rows below the title of each table."""
    titled: dict[str, list[list[str]]] = {}
    for block in out.strip().split("\n\n"):
        title, header, *rows = block.splitlines()
        assert header.split() == ["width", "depth", "optimum", "lowest", "loss"]
        titled[title] = [re.split("  +", row.strip()) for row in rows]
    return titled


def test_optima_of_every_depth_are_printed_with_scaling_and_without(command: Any) -> None:
    answer = command("limit", FAST, "--depth", 2, 4, "inf")
    assert answer.code == 0 and answer.err == ""
    (title, scaled), (other_title, plain) = tables(answer.out).items()
    assert title == "branches × 1/√depth: best lr by mean loss"
    assert other_title == "no depth scaling: best lr by mean loss"
    assert [row[:2] for row in scaled] == [["inf", "2"], ["inf", "4"], ["inf", "inf"]]
    assert [row[:2] for row in plain] == [["inf", "2"], ["inf", "4"]]
    at = [float(row[2].removeprefix("2^")) for row in (*scaled, *plain)]
    assert all(-11 < octave < 0 for octave in at)
    # At the smallest depth both are the same network; without scaling the optimum falls faster.
    assert at[0] == at[3] and at[4] < at[1] - 0.5
    inputs, targets = limits.two_classes("digits", 2)
    problem = limits.Problem(inputs=inputs, targets=targets, lr=0.05, steps=3)
    rates = [2.0**power for power in range(-11, 1)]
    (curve,) = limits.landscape(problem, values=rates, depth=[4]).curves
    assert curve.optimum is not None
    assert at[1] == pytest.approx(math.log2(curve.optimum), abs=0.006)
    lowest = min(curve.losses.min(), curve.further.losses.min())
    assert float(scaled[1][3]) == pytest.approx(lowest, rel=1e-3)


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ((FAST, "--depth", "inf"), "branches × 1/√depth"),
        ((f"{FAST}, alpha=1", "--depth", 2, 4), "branches × 1/depth"),
        ((f"{FAST}, alpha=0", "--depth", 2), "no depth scaling"),
    ],
)
def test_infinite_depth_or_a_chosen_scaling_has_one_table(
    command: Any, more: tuple[object, ...], title: str
) -> None:
    answer = command("limit", *more)
    assert answer.code == 0 and len(tables(answer.out)) == 1
    assert answer.out.startswith(title)


def test_without_depth_scaling_infinite_depth_is_refused(command: Any) -> None:
    answer = command("limit", f"{FAST}, alpha=0", "--depth", "inf")
    assert answer.code == 2 and answer.out == ""
    assert "there is no limit of infinite depth" in answer.err


def test_json_is_all_that_is_printed(command: Any) -> None:
    answer = command("limit", FAST, "--depth", 1, "inf", "--values", 0.25, 0.5, 1, 1024, "--json")
    assert answer.code == 0 and answer.err == ""
    scaled, plain = json.loads(answer.out, parse_constant=pytest.fail)["landscapes"]
    assert (scaled["over"], scaled["metric"], scaled["values"]) == (
        "lr",
        "mean",
        [0.25, 0.5, 1, 1024],
    )
    sizes = [(curve["width"], curve["depth"]) for curve in scaled["curves"]]
    assert sizes == [("inf", 1), ("inf", "inf")]
    assert [curve["losses"][-1] for curve in scaled["curves"]] == ["inf", "inf"]
    assert (scaled["problem"]["alpha"], scaled["problem"]["steps"]) == (0.5, 3)
    assert len(scaled["problem"]["targets"]) == 2
    assert plain["problem"]["alpha"] == 0
    assert [curve["depth"] for curve in plain["curves"]] == [1]
    assert scaled["about"]["command"].startswith("mutransfer limit")


def test_files_are_written_and_only_json_is_printed(command: Any, tmp_path: Path) -> None:
    folder, sizes = tmp_path / "a" / "b", ("--depth", 1, 2, "--width", 8, "--seeds", 2)
    answer = command("limit", FAST, *sizes, "--out", folder, "--json")
    assert answer.code == 0 and answer.err == f"Figure, JSON and CSV are in {folder}\n"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"limit.{kind}" for kind in ("csv", "json", "png", "svg", "txt")]
    written = json.loads((folder / "limit.json").read_text())["landscapes"]
    printed = json.loads(answer.out)["landscapes"]
    assert [found["curves"] for found in written] == [found["curves"] for found in printed]
    drawn = {(curve["width"], curve["depth"]) for curve in written[0]["curves"]}
    assert drawn == {("inf", 1), ("inf", 2), (8, 1), (8, 2)}
    further = [len(curve["further"]["values"]) for found in written for curve in found["curves"]]
    rows = (folder / "limit.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 4 * 12 + sum(further)


def test_files_are_named_where_tables_are_printed(command: Any, tmp_path: Path) -> None:
    answer = command("limit", FAST, "--depth", 1, "--out", "here")
    assert answer.code == 0 and answer.err == ""
    assert answer.out.endswith("Figure, JSON and CSV are in here\n")
    assert (tmp_path / "here" / "limit.svg").stat().st_size > 1000


def test_another_hyperparameter_is_varied_at_the_given_rate(command: Any) -> None:
    varied = ("--over", "momentum", "--values", 0, 0.4, 0.8, "--metric", "final")
    answer = command("limit", f"{FAST}, lr=0.2", "--depth", 2, *varied, "--json")
    found = json.loads(answer.out)["landscapes"][0]
    inputs, targets = limits.two_classes("digits", 2)
    problem = limits.Problem(inputs=inputs, targets=targets, lr=0.2, steps=3)
    expected = [
        limits.solve(replace(problem, momentum=value), 2).losses[-1] for value in (0.0, 0.4, 0.8)
    ]
    np.testing.assert_allclose(found["curves"][0]["losses"], expected, rtol=1e-12)
    assert (found["over"], found["metric"]) == ("momentum", "final")


def test_every_option_of_the_problem_is_taken(command: Any) -> None:
    options = {
        "activation": "relu",
        "block": "post",
        "block_depth": 2,
        "loss": "logistic",
        "momentum": 0.5,
        "weight_decay": 0.25,
        "gamma0": 2.0,
        "beta0": 0.75,
        "alpha": 1.0,
        "steps": 2,
    }
    settings = ", ".join(f"{name}={value}" for name, value in options.items())
    size = ("--depth", 1, "--values", 0.125, "--accuracy", 0.2)
    answer = command("limit", f"digits, examples=2, {settings}", *size, "--json")
    problem = json.loads(answer.out)["landscapes"][0]["problem"]
    assert {name: problem[name] for name in options} == options


def test_a_problem_of_ones_own_is_taken_as_it_is(command: Any, tmp_path: Path) -> None:
    (tmp_path / "my_problem.py").write_text(PROBLEM)
    answer = command("limit", "my_problem.py:mine", "--depth", 2, 1, "--json")
    (found,) = json.loads(answer.out)["landscapes"]
    problem = found["problem"]
    assert problem["inputs"] == [[1, 0], [0, 1]]
    assert (problem["steps"], problem["beta0"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_problem.py:number", "my_problem.py:number is an int, not a mutransfer.limits.Problem"),
        ("my_problem.py:none", "my_problem.py has no 'none'"),
        ("missing.py:mine", "there is no file missing.py"),
    ],
)
def test_other_objects_than_problems_are_refused(
    command: Any, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "my_problem.py").write_text(PROBLEM)
    answer = command("limit", name)
    assert answer.code == 2 and message in answer.err
    assert re.fullmatch(r"mutransfer: \S.*\S\n", answer.err)


SAMPLED = "digits, activation=tanh, steps=3, examples=2"


def test_a_short_budget_ends_and_names_what_is_not_reached(command: Any) -> None:
    sizes = ("--depth", 1, 2, "--values", 0.25, 0.5, 1, 2, "--seconds", 0.01)
    answer = command("limit", SAMPLED, *sizes)
    assert answer.code == 0 and answer.err == ""
    assert "95% interval" in answer.out.splitlines()[1]
    assert "depth 2: accuracy 0.02 not reached at lr 2^-2, 2^-1, 2^0, 2^1" in answer.out


def test_json_has_intervals_and_what_is_not_reached(command: Any) -> None:
    sizes = ("--depth", 2, "--values", 0.25, 0.5, 1, 2, "--accuracy", 1e-7, "--seconds", 1)
    answer = command("limit", SAMPLED, *sizes, "--json")
    found = json.loads(answer.out, parse_constant=pytest.fail)["landscapes"][0]
    (curve,) = found["curves"]
    assert found["accuracy"] == 1e-7 and 0.25 in curve["unsettled"]
    assert curve["interval"] is None or len(curve["interval"]) == 2
    assert max(curve["standard_errors"]) > 0


def test_progress_is_lines_where_there_is_no_terminal(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ("--depth", 1, "--values", 0.25, 0.5, 1)
    assert command("limit", SAMPLED, *sizes).err == ""
    monkeypatch.setattr("mutransfer.cli._live._PAUSE", 0.0)
    answer = command("limit", SAMPLED, *sizes)
    lines = answer.err.splitlines()
    assert lines and answer.out.startswith("branches")
    pattern = r"  depth 1: \d+% done, [\d.]+ (s|min) left"
    assert all(re.fullmatch(pattern, line) for line in lines)


BAD = [
    pytest.param(
        ("--depth", -1),
        "depth is -1",
        id="negative depth",
    ),
    pytest.param(
        ("--depth", 2.5), "depth is 2.5: give a whole number of branches", id="half a depth"
    ),
    pytest.param(
        ("--values", 0.5, 0.25),
        "values are [0.5, 0.25]: give at least one, ascending",
        id="values descend",
    ),
    pytest.param(
        ("--values", -1, 1), "lr is -1.0: it must be finite and not negative", id="negative rate"
    ),
    pytest.param(("--over", "momentum"), "give the values of momentum, ascending", id="no values"),
    pytest.param(
        (f"{FAST}, momentum=-0.5",),
        "momentum is -0.5: it must be finite and not negative",
        id="negative momentum",
    ),
    pytest.param(
        (f"{FAST}, activation=swish",),
        "unknown activation 'swish'; choose one of linear, relu",
        id="activation",
    ),
    pytest.param(("imagenet",), "unknown task 'imagenet'; choose one of digits", id="task"),
    pytest.param(("pydocs",), "has no vectors of numbers with classes", id="text"),
    pytest.param((f"{FAST}, alpha=0.2",), "alpha is 0.2: give it from 1/2 to 1, or 0", id="alpha"),
    pytest.param(("digits, examples=3",), "examples is 3: give an even number", id="odd examples"),
    pytest.param(
        ("digits, examples=1000",), "fewer than 500 examples of class 0 or 1", id="many examples"
    ),
    pytest.param(("digits, steps=-1",), "steps is -1: give a whole number", id="steps"),
    pytest.param(("digits, speed=2",), "a problem has no setting 'speed'", id="setting"),
    pytest.param(("digits, steps",), "'steps' is no setting: write name=value", id="no value"),
    pytest.param((SAMPLED, "--seconds", 0), "seconds is 0.0: give a positive", id="no time"),
    pytest.param((SAMPLED, "--accuracy", -1), "accuracy is -1.0", id="negative accuracy"),
    pytest.param(("--width", 0), "give a positive width", id="width of zero"),
    pytest.param(("--width", 4, "--seeds", 0), "0 seeds: give a positive width", id="no seeds"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_values_are_one_sentence(
    command: Any, arguments: tuple[object, ...], message: str
) -> None:
    depth = () if arguments[0] == "--depth" else ("--depth", 2)
    problem = (FAST,) if str(arguments[0]).startswith("--") else ()
    answer = command("limit", *problem, *arguments, *depth)
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith("mutransfer: ") and answer.err.count("\n") == 1
    assert message in answer.err


def test_a_folder_that_cannot_be_written_is_one_sentence(command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = command("limit", FAST, "--depth", 1, "--out", "file/a", "--json")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert answer.err.startswith("mutransfer: cannot write the limit to file/a")


def test_settings_after_a_problem_of_ones_own_are_refused(command: Any, tmp_path: Path) -> None:
    (tmp_path / "my_problem.py").write_text(PROBLEM)
    answer = command("limit", "my_problem.py:mine, steps=50")
    assert answer.code == 2 and answer.out == ""
    assert "my_problem.py has no 'mine, steps=50'" in answer.err


def test_scales_of_branches_are_not_compared_with_themselves(command: Any) -> None:
    answer = command("limit", FAST, "--depth", 2, 4, "--over", "beta0", "--values", 0.5, 1, 2)
    assert answer.code == 0
    assert list(tables(answer.out)) == ["branches × 1/√depth: best beta0 by mean loss"]
