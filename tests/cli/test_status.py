"""`mutransfer status`: a sweep seen from another terminal, alive and dead."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mutransfer
from mutransfer import Runs
from mutransfer.studies import Status, Store
from mutransfer.studies import _live as live

Command = Callable[..., Any]

LONG = """
import mutransfer as mt
from mutransfer.tasks import mlp
grid = {"width": [8, 16], "depth": [2], "lr": mt.log2(-8, -5), "seeds": 2}
study = mt.Study(mlp, **grid, rules=["default"], optimizer="adam", steps=300_000)
"""


def until(is_so: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_finished_sweep(command: Command, study: Path) -> None:
    assert command("sweep", f"{study}:study", "--out", "my runs", "--quiet").code == 0
    answer = command("status", "my runs")
    assert answer.code == 0 and answer.err == ""
    first, second, third, *_ = answer.out.splitlines()
    assert first == "my runs: the sweep has finished"
    assert second == "  72 of 72 runs are done"
    assert third.startswith(f"  process {os.getpid()} on ")
    assert "next: mutransfer transfer 'my runs'" in answer.out
    watched = command("status", "my runs", "--watch")
    assert (watched.code, watched.out) == (0, f"{answer.out}\n")


def test_a_sweep_that_runs_and_is_killed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text(LONG)
    words = ["sweep", "long.py:study", "--out", "runs", "--quiet"]
    # The package of this test, wherever it was started.
    env = os.environ | {"PYTHONPATH": str(Path(mutransfer.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-m", "mutransfer", *words], cwd=tmp_path, env=env)
    try:
        header = tmp_path / "runs" / "study.json"
        until(lambda: header.exists() and json.loads(header.read_text()).get("sizes"))
        running = Status.from_json(command("status", "runs", "--json").out)
        assert running.state == "running" and running.coordinator is not None
        assert running.coordinator.pid == process.pid and running.total.left == 16
        refused = command(*words)
        assert refused.code == 2 and f"process {process.pid} on" in refused.err
        assert "mutransfer status runs" in refused.err
    finally:
        process.kill()
        process.wait()
    out = command("status", "runs").out
    assert out.startswith("runs: the sweep was killed, or its machine went down\n")
    assert out.endswith(
        "to go on, with what is done kept:\n"
        "  python -m mutransfer sweep long.py:study --out runs --quiet\n"
    )


def test_watching_ends_with_the_sweep(command: Command, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    store.open({"task": "digits"}, {}, design={"runs": ["a"]})

    def work() -> None:
        with store.lock(), live.Live(store.folder):
            time.sleep(4)

    sweep = threading.Thread(target=work)
    sweep.start()
    until(lambda: (tmp_path / "runs" / "live" / "coordinator.json").exists())
    answer = command("status", "runs", "--watch", "--json")
    sweep.join()
    states = [json.loads(line)["state"] for line in answer.out.splitlines()]
    assert answer.code == 0 and len(states) > 1
    assert {*states[:-1]} == {"running"} and states[-1] == "finished"


def test_ctrl_c_ends_the_watching_alone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mutransfer.studies.status", interrupt)
    answer = command("status", "runs", "--watch")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_a_folder_without_a_record_is_refused(command: Command, tmp_path: Path) -> None:
    for folder in ("nowhere", "."):
        answer = command("status", folder)
        assert answer.code == 2 and answer.out == ""
        assert answer.err.startswith(f"mutransfer: {folder} holds no sweep")


def test_a_damaged_line_is_reported_by_status(command: Command, study: Path) -> None:
    command("sweep", f"{study}:study", "--out", "runs", "--quiet")
    (shard, *_) = sorted(study.parent.glob("runs/rows-*.jsonl"))
    first, rest = shard.read_text().split("\n", 1)
    shard.write_text(first[:-9] + "\n" + rest)
    answer = command("status", "runs")
    assert "71 of 72 runs are done" in answer.out
    assert f"{shard.name}, line 1 is damaged and left out" in answer.err
    assert command("sweep", f"{study}:study", "--out", "runs", "--quiet").code == 0
    assert len(Runs.read("runs").rows) == 72
    assert command("status", "runs").err == ""
