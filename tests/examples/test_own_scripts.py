"""Scripts of one's own: one that stays as it is, and one that torchrun starts."""

import dataclasses

import pytest

from mutransfer.studies import sweep
from tests.examples.loading import EXAMPLES, load, rows_of


def test_a_script_is_read_from_its_csv_and_from_what_it_prints(monkeypatch, tmp_path):
    example = load("untouched/study.py")
    script = load("untouched/train.py")
    monkeypatch.chdir(EXAMPLES / "untouched")
    grid = {"width": [16, 32], "lr": [2**-4, 1e6], "seeds": 1, "steps": 30, "rules": ("default",)}
    for study in (example.from_csv, example.from_json):
        runs = sweep(dataclasses.replace(study, **grid), tmp_path / study.train.log.strip("{}/"))
        assert len(runs.rows) == 4
        for row in rows_of(runs, lr=2**-4):
            expected = list(script.train(row["width"], row["lr"], row["seed"], 30))
            assert row["status"] == "finished" and row["rule"] == "as it is"
            assert row["curve"] == pytest.approx(expected, rel=1e-6)
        for row in rows_of(runs, lr=1e6):
            assert row["status"] == "diverged" and row["diverged_at"] <= 2


@pytest.mark.filterwarnings("ignore")
def test_two_processes_of_torchrun_train_one_network(monkeypatch, tmp_path):
    example = load("fsdp/study.py")
    monkeypatch.chdir(EXAMPLES / "fsdp")
    grid = {"width": [16], "lr": 2**-6, "seeds": 1, "steps": 8, "rules": ("default",)}
    study = dataclasses.replace(example.study, **grid)
    # Processes that talk over sockets abort now and then in a sandboxed kernel, whatever they run.
    for attempt in range(3):
        (row,) = sweep(study, tmp_path / str(attempt)).rows
        if row["status"] == "finished":
            break
    assert row.get("message") is None
    assert (row["status"], row["reported_at"], len(row["curve"])) == ("finished", [1, 8], 8)
    assert row["final"] < row["curve"][0]
