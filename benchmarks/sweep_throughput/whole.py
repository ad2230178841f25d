"""A whole run in a process of its own, from the start of Python to the last loss.

python -m benchmarks.sweep_throughput.whole CASE library|loop STEPS [--small]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import mutransfer as mt

from .cases import CASES, Case
from .sides import eager_loop

ROOT = Path(__file__).parents[2]


def cold(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Return the seconds of a command that finds nothing compiled.

    Args:
        command: The command, which runs in the root of the repository.
        environment: Further variables.
    """
    with tempfile.TemporaryDirectory() as folder:
        caches = {
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
            "TRITON_CACHE_DIR": f"{folder}/triton",
        }
        start = time.perf_counter()
        subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **caches, **(environment or {})},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def command(name: str, side: str, steps: int, *, small: bool) -> list[str]:
    """Return the command of a whole run."""
    end = ["--small"] if small else []
    return [sys.executable, "-m", __spec__.name, name, side, str(steps), *end]


def run(case: Case, side: str) -> None:
    """Train all members of a case once."""
    if side == "loop":
        eager_loop(case)(lambda: None)
        return
    with tempfile.TemporaryDirectory() as folder:
        mt.sweep(case.study(case.steps), folder)


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("side", choices=("library", "loop"))
    parser.add_argument("steps", type=int)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    case = CASES[arguments.case]
    case = case.small() if arguments.small else case
    run(replace(case, steps=arguments.steps), arguments.side)


if __name__ == "__main__":
    main()
