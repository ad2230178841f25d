"""The verb `limit`: its tables, its JSON, its files and what it refuses."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import limits

FAST = ("--steps", 3, "--examples", 2)
PROBLEM = """
import numpy as np
from mutransfer.limits import Problem
mine = Problem(inputs=np.eye(2), targets=[1.0, -1.0], lr=0.1, steps=3, beta0=0.5)
number = 3
"""


def tables(out: str) -> dict[str, list[list[str]]]:
    """The rows below each table's title."""
    found: dict[str, list[list[str]]] = {}
    for block in out.strip().split("\n\n"):
        title, header, *rows = block.splitlines()
        assert header.split() == ["width", "depth", "optimum", "lowest", "loss"]
        found[title] = [re.split("  +", row.strip()) for row in rows]
    return found


def test_an_optimum_is_printed_for_every_depth_with_scaling_and_without(command: Any) -> None:
    answer = command("limit", *FAST, "--depth", 2, 4, "inf")
    assert answer.code == 0 and answer.err == ""
    scaled, plain = tables(answer.out).items()
    assert scaled[0] == "branches × 1/√depth: best lr by mean loss" and plain[0] == "no depth scaling: best lr by mean loss"
    assert [row[:2] for row in scaled[1]] == [["inf", "2"], ["inf", "4"], ["inf", "inf"]]
    assert [row[:2] for row in plain[1]] == [["inf", "2"], ["inf", "4"]]
    at = [float(row[2].removeprefix("2^")) for row in (*scaled[1], *plain[1])]
    assert all(-11 < each < 0 for each in at)
    # At the smallest depth both are the same network; without scaling the optimum then leaves faster.
    assert at[0] == at[3] and at[4] < at[1] - 0.5
    inputs, targets = limits.two_classes("digits", 2)
    problem = limits.Problem(inputs=inputs, targets=targets, lr=0.05, steps=3)
    own = limits.landscape(problem, values=[2.0**power for power in range(-11, 1)], depths=[4]).curves[0]
    assert own.optimum is not None and at[1] == pytest.approx(math.log2(own.optimum), abs=0.006)
    assert float(scaled[1][1][3]) == pytest.approx(own.losses.min(), rel=1e-3)


@pytest.mark.parametrize("more", [("--depth", "inf"), ("--depth", 2, 4, "--alpha", 1), ("--depth", 2, "--alpha", 0)])
def test_infinite_depth_or_a_chosen_scaling_stands_alone(command: Any, more: tuple[object, ...]) -> None:
    answer = command("limit", *FAST, *more)
    assert answer.code == 0 and len(tables(answer.out)) == 1
    title = {"inf": "branches × 1/√depth", 1: "branches × 1/depth", 0: "no depth scaling"}[more[-1]]  # type: ignore[index]
    assert answer.out.startswith(title)


def test_without_depth_scaling_infinite_depth_is_refused(command: Any) -> None:
    answer = command("limit", *FAST, "--alpha", 0, "--depth", "inf")
    assert answer.code == 2 and "there is no limit of infinite depth" in answer.err and answer.out == ""


def test_json_is_all_that_is_printed(command: Any) -> None:
    answer = command("limit", *FAST, "--depth", 1, "inf", "--values", 0.25, 0.5, 1, 1024, "--json")
    assert answer.code == 0 and answer.err == ""
    scaled, plain = json.loads(answer.out, parse_constant=pytest.fail)
    assert (scaled["over"], scaled["metric"], scaled["values"]) == ("lr", "mean", [0.25, 0.5, 1, 1024])
    assert [(curve["width"], curve["depth"]) for curve in scaled["curves"]] == [("inf", 1), ("inf", "inf")]
    assert [curve["losses"][-1] for curve in scaled["curves"]] == ["inf", "inf"]
    assert scaled["problem"]["alpha"] == 0.5 and scaled["problem"]["steps"] == 3 and len(scaled["problem"]["targets"]) == 2
    assert plain["problem"]["alpha"] == 0 and [curve["depth"] for curve in plain["curves"]] == [1]
    assert scaled["about"]["command"].startswith("mutransfer limit")


def test_files_are_written_and_json_stays_alone(command: Any, tmp_path: Path) -> None:
    answer = command("limit", *FAST, "--depth", 1, 2, "--width", 8, "--seeds", 2, "--out", tmp_path / "a" / "b", "--json")
    assert answer.code == 0 and answer.err == f"Figure, JSON and CSV are in {tmp_path / 'a' / 'b'}\n"
    folder = tmp_path / "a" / "b"
    assert sorted(path.name for path in folder.iterdir()) == [f"limit.{kind}" for kind in ("csv", "json", "png", "svg")]
    written = json.loads((folder / "limit.json").read_text())
    assert [each["curves"] for each in written] == [each["curves"] for each in json.loads(answer.out)]
    assert {(curve["width"], curve["depth"]) for curve in written[0]["curves"]} == {("inf", 1), ("inf", 2), (8, 1), (8, 2)}
    assert len((folder / "limit.csv").read_text().splitlines()) == 1 + 2 * 4 * 12


def test_files_are_named_where_tables_are_printed(command: Any, tmp_path: Path) -> None:
    answer = command("limit", *FAST, "--depth", 1, "--out", "here")
    assert answer.code == 0 and answer.err == "" and answer.out.endswith("Figure, JSON and CSV are in here\n")
    assert (tmp_path / "here" / "limit.svg").stat().st_size > 1000


def test_another_hyperparameter_is_varied_at_the_given_rate(command: Any) -> None:
    answer = command(
        "limit", *FAST, "--depth", 2, "--over", "momentum", "--values", 0, 0.4, 0.8, "--lr", 0.2, "--metric", "final", "--json"
    )
    found = json.loads(answer.out)[0]
    inputs, targets = limits.two_classes("digits", 2)
    problems = [limits.Problem(inputs=inputs, targets=targets, lr=0.2, steps=3, momentum=value) for value in (0.0, 0.4, 0.8)]
    expected = [limits.solve(each, 2).losses[-1] for each in problems]
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
    arguments = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    answer = command("limit", *arguments, "--examples", 2, "--depth", 1, "--values", 0.125, "--accuracy", 0.2, "--json")
    problem = json.loads(answer.out)[0]["problem"]
    assert {name: problem[name] for name in options} == options


def test_a_problem_of_ones_own_is_taken_as_it_is(command: Any, tmp_path: Path) -> None:
    (tmp_path / "my_problem.py").write_text(PROBLEM)
    answer = command("limit", "--task", "my_problem.py:mine", "--depth", 2, 1, "--json")
    (found,) = json.loads(answer.out)
    assert found["problem"]["inputs"] == [[1, 0], [0, 1]] and found["problem"]["steps"] == 3 and found["problem"]["beta0"] == 0.5


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_problem.py:number", "my_problem.py:number is a int, not a mutransfer.limits.Problem"),
        ("my_problem.py:none", "my_problem.py has no 'none'"),
        ("missing.py:mine", "there is no file missing.py"),
    ],
)
def test_what_is_no_problem_is_refused(command: Any, tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "my_problem.py").write_text(PROBLEM)
    answer = command("limit", "--task", name)
    assert answer.code == 2 and answer.err == f"mutransfer: {answer.err.removeprefix('mutransfer: ').strip()}\n" and says in answer.err


BAD = [
    pytest.param(
        ("--depth", -1),
        "depth is -1",
        id="negative depth",
    ),
    pytest.param(("--depth", 2.5), "depth is 2.5: give a whole number of branches", id="half a depth"),
    pytest.param(("--values", 0.5, 0.25), "values are [0.5, 0.25]: give at least one, ascending", id="values descend"),
    pytest.param(("--values", -1, 1), "lr is -1.0: it must be finite and not negative", id="negative rate"),
    pytest.param(("--over", "momentum"), "give the values of momentum: --values, ascending", id="no values"),
    pytest.param(("--momentum", -0.5), "momentum is -0.5: it must be finite and not negative", id="negative momentum"),
    pytest.param(("--activation", "swish"), "unknown activation 'swish'; choose one of linear, relu", id="activation"),
    pytest.param(("--task", "imagenet"), "unknown task 'imagenet'; choose one of digits", id="task"),
    pytest.param(("--task", "pydocs"), "has no vectors of numbers with classes", id="text"),
    pytest.param(("--alpha", 0.2), "alpha is 0.2: give it from 1/2 to 1, or 0", id="alpha"),
    pytest.param(("--examples", 3), "examples is 3: give an even number", id="odd examples"),
    pytest.param(("--examples", 1000), "fewer than 500 examples of class 0 or 1", id="too many examples"),
    pytest.param(("--steps", -1), "steps is -1: give a whole number", id="steps"),
    pytest.param(("--width", 0), "give a positive width", id="width of zero"),
    pytest.param(("--width", 4, "--seeds", 0), "0 seeds: give a positive width", id="no seeds"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD)
def test_bad_values_are_one_sentence(command: Any, arguments: tuple[object, ...], says: str) -> None:
    answer = command("limit", *((*FAST, "--depth", 2) if arguments[0] != "--depth" else FAST), *arguments)
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith("mutransfer: ") and says in answer.err and answer.err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = command("limit", *FAST, "--depth", 1, "--out", "file/a", "--json")
    assert answer.code == 2 and answer.err.startswith("mutransfer: cannot write to file/a") and answer.err.count("\n") == 1


def test_options_beside_a_problem_are_refused(command: Any, tmp_path: Path) -> None:
    (tmp_path / "my_problem.py").write_text(PROBLEM)
    answer = command("limit", "--task", "my_problem.py:mine", "--steps", 50, "--alpha", 1)
    assert answer.code == 2 and answer.out == ""
    assert "brings its own network and training: leave out steps, alpha" in answer.err


def test_scales_of_branches_are_not_compared_with_themselves(command: Any) -> None:
    answer = command("limit", *FAST, "--depth", 2, 4, "--over", "beta0", "--values", 0.5, 1, 2)
    assert answer.code == 0 and list(tables(answer.out)) == ["branches × 1/√depth: best beta0 by mean loss"]
