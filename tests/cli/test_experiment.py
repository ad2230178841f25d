"""The verb `experiment`: the list, runs of seconds, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from mutransfer.experiments import names


def test_the_list_names_all_with_what_they_found(command: Any) -> None:
    answer = command("experiment", "list")
    assert answer.code == 0 and answer.err == ""
    head, *rows = answer.out.splitlines()
    assert head.split() == ["name", "shows", "source", "min", "status"]
    assert [row.split()[0] for row in rows] == names()
    data = json.loads(command("experiment", "list", "--json").out)
    assert [each["name"] for each in data] == names()
    assert {each["status"] for each in data} <= {"as the paper", "in part", "differs", "not run"}


def test_names_are_whole_on_a_narrow_terminal(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what `experiment run` takes."""
    monkeypatch.setenv("COLUMNS", "80")
    rows = command("experiment", "list").out.splitlines()
    first = [row.split()[0] for row in rows[1:] if not row.startswith(" ")]
    assert first == names() and all(len(row) <= 80 for row in rows)


def test_a_run_writes_result_and_picture_and_goes_on(command: Any, tmp_path: Path) -> None:
    arguments = ("experiment", "run", "width_mlp", "--scale", "tiny")
    first = command(*arguments)
    # Networks of five steps show nothing: a claim that does not hold is exit code 1.
    assert first.code == 1 and "does NOT hold" in first.out
    folder = tmp_path / "runs" / "experiments" / "width_mlp"
    assert {path.name for path in folder.iterdir()} == {
        *("result.json", "figure.png", "figure.svg", "tiny")
    }
    again = command(*arguments, "--json")
    data = json.loads(again.out)
    assert again.code == 1 and data["name"] == "width_mlp" and data["scale"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "width_mlp"), "list takes no name: mutransfer experiment run width_mlp"),
        (("run",), "name the experiments to run"),
        (("run", "width_mpl"), "did you mean width_mlp?"),
        (("run", "width_mlp", "--data", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_bad_input_is_refused(command: Any, arguments: tuple[str, ...], message: str) -> None:
    answer = command("experiment", *arguments)
    assert answer.code == 2 and message in answer.err
