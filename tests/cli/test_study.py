"""The verbs `sweep`, `transfer` and `report`: a study from its file to its report."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Runs, transfer

Command = Callable[..., Any]
RUNS = 2 * 2 * 9 * 2


def test_a_study_from_sweep_to_report(command: Command, study: Path, tmp_path: Path) -> None:
    swept = command("sweep", f"{study}:study", "--out", "runs", "--extend", 4)
    assert swept.code == 0 and swept.err == ""
    runs = Runs.read(tmp_path / "runs")
    assert len(runs.rows) >= RUNS
    for words in ("best rate so far", "width 16, depth 2", "sp", "default"):
        assert words in swept.out
    assert f"{len(runs.rows)} runs are in runs" in swept.out

    table = command("transfer", "runs")
    assert table.code == 0 and table.err == ""
    for moved in transfer(runs).granted:
        assert f"{moved.rule} at width 32, depth 2: rate 2^{moved.place.value:.2f}" in table.out
        assert all(f"  warning: {warning}" in table.out for warning in moved.warnings)

    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    reported = command("report", "runs", "--out", "page")
    assert reported.code == 0 and reported.err == ""
    files = {path.suffix: path for path in (tmp_path / "page").iterdir()}
    assert files.keys() >= {".html", ".png", ".svg", ".csv", ".json"}
    assert str(files[".html"].relative_to(tmp_path)) in reported.out
    assert command("report", "runs").code == 0 and list((tmp_path / "runs").glob("*.html"))
    assert Runs.read(tmp_path / "runs") == runs, "a report leaves the record as it is"


@pytest.fixture
def planted(tmp_path: Path) -> Runs:
    """A record with optima from 2^-5.5 to 2^-6.5."""
    rows = [
        {
            "id": f"{width}{power}",
            "rule": "mup",
            "width": width,
            "depth": 2,
            "lr": 2.0**power,
            "seed": 0,
            "loss": 1 + (power - best) ** 2,
        }
        for width, best in ((16, -5.5), (32, -6.0), (64, -6.5))
        for power in range(-9, -2)
    ]
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps({"identity": {}, "about": {}}))
    (folder / "rows-1-1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Runs.read(folder)


def test_a_transfer_as_json_is_the_transfer(command: Command, planted: Runs) -> None:
    answer = command("transfer", "planted", "--at", "width=128", "--json")
    (data,) = json.loads(answer.out)
    (moved,) = transfer(planted, {"width": 128}).granted
    assert answer.code == 0 and data == json.loads(json.dumps(moved.to_json()))
    assert data["place"]["low"] < -7.0 < data["place"]["high"]
    assert data["at"] == {"width": 128, "depth": 2}


def test_a_target_in_an_axis_that_was_not_swept_is_refused(command: Command, planted: Runs) -> None:
    answer = command("transfer", "planted", "--at", "depth=8")
    assert answer.code == 1 and answer.err == ""
    assert "says nothing of depth 8" in answer.out


def test_an_optimum_at_the_edge_is_code_1_with_advice(
    command: Command, planted: Runs, tmp_path: Path
) -> None:
    shard = tmp_path / "planted" / "rows-1-1.jsonl"
    lines = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join(line for line in lines if json.loads(line)["lr"] > 2**-6))
    answer = command("transfer", "planted")
    assert answer.code == 1 and answer.err == ""
    assert "add rates below it" in answer.out


INTERRUPTED = '''
"""A study that is interrupted once its record has rows, unless it is resumed."""
from dataclasses import replace
from pathlib import Path

import mutransfer as mt
from mutransfer.tasks import digits, mlp

def loss(outputs, targets):
    if list(Path("runs").glob("rows-*.jsonl")) and not Path("resumed").exists():
        raise KeyboardInterrupt
    return digits().loss(outputs, targets)

grid = {"width": [16, 32], "depth": [2], "lr": mt.log2(-8, 0), "seeds": 2}
training = {"optimizer": "adam", "steps": 25, "task": replace(digits(), loss=loss)}
study = mt.Study(mlp, **grid, rules=["sp", "default"], **training)
'''


def test_an_interrupted_sweep_keeps_its_rows_and_resumes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    sweep = ("sweep", "interrupted.py:study", "--out", "runs")
    stopped = command(*sweep)
    assert stopped.code == 130 and stopped.err.count("\n") == 1
    assert "every finished run is kept" in stopped.err
    kept = Runs.read(tmp_path / "runs").rows
    assert len(kept) == RUNS // 2
    (tmp_path / "resumed").touch()
    assert command(*sweep).code == 0
    rows = Runs.read(tmp_path / "runs").rows
    assert rows[: len(kept)] == kept
    assert len({row["id"] for row in rows}) == len(rows) == RUNS


def test_runs_of_another_study_stay_with_a_warning(
    command: Command, study: Path, planted: Runs, tmp_path: Path
) -> None:
    answer = command("sweep", f"{study}:study", "--out", "planted", "--quiet")
    assert answer.code == 0 and answer.out == ""
    assert "planted holds 21 runs of another study: its base is None" in answer.err
    assert len(Runs.read(tmp_path / "planted").rows) == RUNS


def test_the_reports_csv_has_every_run(command: Command, planted: Runs, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    assert command("report", "planted", "--out", "page").code == 0
    losses = sorted(row["loss"] for row in planted.rows)
    tables = [
        list(csv.DictReader(path.read_text().splitlines()))
        for path in (tmp_path / "page").glob("*.csv")
    ]
    assert any(
        sorted(float(row["loss"]) for row in table) == losses
        for table in tables
        if "loss" in table[0]
    )


def test_records_are_reported_side_by_side(command: Command, planted: Runs, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    shutil.copytree(tmp_path / "planted", tmp_path / "other")
    answer = command("report", "planted", "other")
    assert answer.code == 0 and answer.err == ""
    page = (tmp_path / "planted-other" / "report.html").read_text()
    assert "other against planted" in page and "neither is shown to be better" in page
    again = command("report", "planted", "planted")
    assert again.code == 2 and "named twice" in again.err


def test_a_folder_without_a_check_is_refused(
    command: Command, planted: Runs, tmp_path: Path
) -> None:
    for flags in ((), ("--watch",)):
        answer = command("report", "planted", "--check", "runs/chek", *flags)
        assert answer.code == 2 and "--check runs/chek: there is no check.json" in answer.err
    assert not (tmp_path / "planted" / "report.html").exists()


def test_the_report_of_a_sweep_at_rest_is_written_once(
    command: Command, planted: Runs, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    answer = command("report", "planted", "--watch")
    assert answer.code == 0 and answer.out.count("The report is planted/report.html") == 1
    assert "data-refresh" not in (tmp_path / "planted" / "report.html").read_text()[:200]


def test_a_sweep_goes_on_when_its_reader_has_gone(study: Path, tmp_path: Path) -> None:
    """`head -0` closes the pipe before the first line."""
    command = f"{sys.executable} -m mutransfer sweep {study}:study --out here; echo $? > code"
    script = ["bash", "-c", f"({command}) | head -0"]
    with subprocess.Popen(script, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        _, errors = process.communicate(timeout=300)
    assert (tmp_path / "code").read_text() == "0\n" and errors == b""
    assert len(Runs.read(tmp_path / "here").rows) == RUNS


def test_a_refused_rule_is_in_the_json(command: Command, study: Path, tmp_path: Path) -> None:
    text = study.read_text().replace("mt.log2(-8, 0)", "mt.log2(-14, -8)")
    (tmp_path / "low.py").write_text(text)
    command("sweep", "low.py:study", "--out", "low")
    answer = command("transfer", "low", "--json")
    outcomes = json.loads(answer.out)
    assert answer.code == 1 and [each["rule"] for each in outcomes] == ["sp", "default"]
    assert any("not bracketed" in (each["refusal"] or "") for each in outcomes)
