"""`mutransfer transfer` and `report` of anybody's table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Runs, transfer

Command = Callable[..., Any]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with optima at 2^-6 and 2^-6.5, and a name that a shell has to quote."""
    lines = ["params,tokens,learning_rate,val_loss,seed"]
    lines += [
        f"{params},{tokens},{2.0**power},{1 + (power - best) ** 2 + tokens / 1e11},{seed}"
        for params, best in ((10**6, -6.0), (2 * 10**6, -6.5))
        for tokens in (10**9, 10**10)
        for power in range(-10, -2)
        for seed in range(3)
    ]
    path = tmp_path / "my table.csv"
    path.write_text("\n".join(lines))
    return path


ARGUMENTS = ("--columns", "lr=learning_rate", "loss=val_loss", "--axes", "params,tokens")
TARGET = ("--at", "params=4e6", "tokens=1e10")


def test_a_table_gives_rates_at_a_target(command: Command, table: Path) -> None:
    answer = command("transfer", table.name, *ARGUMENTS, *TARGET)
    assert answer.code == 0 and answer.err == ""
    assert answer.out.startswith(
        "params is the column params, tokens tokens, lr learning_rate, loss val_loss, seed seed\n"
    )
    assert "default at params 4e+06, tokens 1e+10: rate 2^-" in answer.out
    assert "train at params 4e+06, tokens 1e+10 with lr=0.00" in answer.out
    (following,) = [line for line in answer.out.splitlines() if line.startswith("next: ")]
    assert following.startswith("next: mutransfer report 'my table.csv' --columns lr=learning_rate")


def test_axes_of_a_table_are_those_of_the_target(command: Command, table: Path) -> None:
    named = command("transfer", table.name, *ARGUMENTS, *TARGET, "--json")
    found = command("transfer", table.name, *TARGET, "--json")
    assert found.code == 0 and found.out == named.out
    few = command("transfer", table.name, "--at", "params=4e6")
    assert "the target names params; tokens tell runs apart" in few.out


def test_json_of_a_table_is_its_transfer(command: Command, table: Path) -> None:
    answer = command("transfer", table.name, *ARGUMENTS, *TARGET, "--json")
    columns = {"lr": "learning_rate", "loss": "val_loss"}
    runs = Runs.from_table(table, columns, axes=["params", "tokens"])
    (expected,) = transfer(runs, at={"params": 4e6, "tokens": 1e10}).granted
    (data,) = json.loads(answer.out)
    assert data == json.loads(json.dumps(expected.to_json()))
    assert data["value"] == pytest.approx(2**-7, rel=0.15)


def test_a_table_has_a_report_beside_it(command: Command, table: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    answer = command("report", table.name, *ARGUMENTS, *TARGET)
    assert answer.code == 0 and answer.err == ""
    assert (table.parent / "my table" / "report.html").is_file()
    page = (table.parent / "my table" / "report.html").read_text()
    assert "val_loss, the table&#39;s column of the loss" in page
    again = command("transfer", Path("my table") / "runs.csv", "--axes", "params,tokens")
    assert again.code == 0 and "rate 2^-6.5" in again.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--axes", "params"), "rows 2 and 26 are one run"),
        (("--columns", "lr"), "--columns lr is no pair: write it as lr=learning_rate"),
        ((*ARGUMENTS, "--at", "params=big"), "has a size that is no number"),
        ((*ARGUMENTS, "--at", "width=8"), "target has width: it takes params and tokens"),
        ((*ARGUMENTS, "--over", "wd"), "for wd: name it with --columns wd=COLUMN; the columns are"),
        ((*ARGUMENTS, "--metric", "final"), "has no column for final"),
    ],
)
def test_a_bad_table_is_one_sentence(
    command: Command, table: Path, arguments: tuple[str, ...], message: str
) -> None:
    answer = command("transfer", table.name, *arguments)
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert answer.err.startswith("mutransfer: ") and message in answer.err


def test_missing_files_and_records_with_columns_are_refused(
    command: Command, tmp_path: Path
) -> None:
    assert "there is no file missing.csv" in command("transfer", "missing.csv").err
    (tmp_path / "folder").mkdir()
    answer = command("transfer", "folder", "--axes", "width")
    assert answer.code == 2 and "leave --columns, --axes and --hyperparameters out" in answer.err
