"""Logs of scripts: what is new, and what an attempt that was stopped had written."""

import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mutransfer import MutransferError, Size
from mutransfer.studies import Trial, TrialStopped, command


@pytest.fixture
def trial(tmp_path):
    return Trial(
        rule="as it is",
        size=Size(width=16),
        hyperparameters={"lr": 0.5},
        seed=0,
        device=torch.device("cpu"),
        folder=tmp_path,
        make_model=SimpleNamespace,
        make_plan=SimpleNamespace,
    )


def script(folder: Path, text: str) -> str:
    """Write a script; return the command line that runs it."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return f"{sys.executable} {path}"


WRITE = """
    with open({path!r}, {mode!r}) as log:
        for line in {lines!r}:
            print(line, file=log)
"""


@pytest.mark.parametrize(
    ("mode", "old", "new", "steps"),
    [
        ("w", [], ["step,loss", "1,3", "2,2"], [(1, 3), (2, 2)]),
        # Goes on from step 2, and step 3 is trained again.
        ("a", ["step,loss", "1,3", "2,2", "3,9"], ["3,1", "4,0"], [(1, 3), (2, 2), (3, 1), (4, 0)]),
        # Starts again, in the same file or in a new one.
        ("a", ["step,loss", "1,9", "2,9"], ["step,loss", "1,3"], [(1, 3)]),
        ("w", ["step,loss", "1,9", "2,9"], ["step,loss", "1,3", "2,2"], [(1, 3), (2, 2)]),
        # Has nothing left to train.
        ("a", ["step,loss", "1,3", "2,2"], [], [(1, 3), (2, 2)]),
        # Was stopped twice.
        ("a", ["step,loss", "1,3", "2,9", "2,2", "3,1"], ["3,0"], [(1, 3), (2, 2), (3, 0)]),
    ],
)
def test_a_log_is_that_of_the_last_attempt(trial, mode, old, new, steps):
    path = trial.folder / "log.csv"
    if old:
        path.write_text("\n".join(old) + "\n")
    line = script(trial.folder, WRITE.format(path=str(path), mode=mode, lines=new))
    command(line, log=str(path))(trial)
    assert trial.reports == steps


def test_a_torn_line_of_an_earlier_attempt_is_dropped(trial):
    path = trial.folder / "log.jsonl"
    path.write_text('{"step": 1, "loss": 3}\n{"step": 2, "loss": 2')
    line = script(trial.folder, WRITE.format(path=str(path), mode="a", lines=[]))
    command(line, log=str(path))(trial)
    assert trial.reports == [(1, 3)]


def test_what_is_printed_goes_on_where_it_was_stopped(trial):
    (trial.folder / "stdout.txt").write_text('{"step": 1, "loss": 3}\n{"step": 2, "loss": 9}\n')
    line = script(trial.folder, """print('{"step": 2, "loss": 1, "val": 5}')""")
    command(line, columns={"validation": "val"})(trial)
    assert trial.reports == [(1, 3), (2, 1)] and trial.metrics == {"validation": 5}


def test_a_script_that_diverges_is_ended_with_what_it_started(trial):
    text = """
        import subprocess, sys, signal, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, file=open("child", "w"))
        signal.signal(signal.SIGTERM, lambda *_: (child.terminate(), child.wait(), sys.exit()))
        print('{"step": 1, "loss": 1}')
        print('{"step": 2, "loss": 1e9}')
        time.sleep(60)
    """
    with pytest.raises(TrialStopped, match="diverged"):
        command(script(trial.folder, text), cwd=trial.folder)(trial)
    pid = int((trial.folder / "child").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_the_message_of_a_failure_is_the_exception(trial):
    text = """
        import sys
        print("[rank0]: ValueError: rates are too high", file=sys.stderr)
        print("==========", file=sys.stderr)
        sys.exit(3)
    """
    with pytest.raises(MutransferError, match=r"exit code 3: ValueError: rates are too high$"):
        command(script(trial.folder, text))(trial)


def test_a_script_that_logs_nothing_is_refused(trial):
    with pytest.raises(MutransferError, match="logged no step and loss in its standard output"):
        command(script(trial.folder, "print('step 1 loss 2')"))(trial)
