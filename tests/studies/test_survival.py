"""A sweep survives the death of its coordinator and of its workers at random moments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("victim", ["coordinator", "worker"])
def test_nothing_is_lost_or_repeated_when_it_is_killed(tmp_path: Path, victim: str) -> None:
    """Real processes, which are forked in a process without threads; this one may have some."""
    path = tmp_path / "figures.json"
    options = ["--case", f"{victim}, processes", "--times", "3", "--small", "--json", str(path)]
    command = [sys.executable, "-m", "benchmarks.survival.run", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(path.read_text())["cases"]
    assert case["times"] == 3 and case["after"] == case["runs"] > 0
    assert case["lost"] == case["repeated"] == case["differ"] == 0 and not case["faults"]
