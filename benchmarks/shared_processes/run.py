"""The demo's studies in one process, in shared one-thread processes, and as a sweep chooses.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.shared_processes.run [--json FILE]

Each side trains both studies once in a process of its own, with nothing compiled and the data read
before. About 6 minutes on two idle cores; `--small` tries the script.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutransfer as mt
from mutransfer.core import about, text
from mutransfer.experiments import studies
from mutransfer.studies import _ways

SIDES = {"one process": "here", "as chosen": "here", "two processes": "processes"}


def swept(side: str, *, small: bool) -> dict[str, float]:
    """Return the seconds of each study of the demo."""
    if side == "one process":
        _ways._SHARED = math.inf
    times = {}
    for name, study in studies(0).items():
        wanted = replace(study, steps=20, seeds=1) if small else study
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            workers = 2 if SIDES[side] == "processes" else None
            mt.sweep(wanted, folder, engine=SIDES[side], workers=workers)
            times[name] = time.perf_counter() - start
    return times


def main() -> None:
    """Measure all sides in turns, or one where it is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="few steps, to try the script")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    end = ["--small"] if arguments.small else []
    if arguments.side:
        print(json.dumps(swept(arguments.side, small=arguments.small)))
        return
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(arguments.rounds):
        for side in list(SIDES)[:: -1 if number % 2 else 1]:
            command = [sys.executable, "-m", __spec__.name, "--side", side, *end]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    alone = min(sum(each.values()) for each in found["one process"])
    for side, rounds in found.items():
        best = min(rounds, key=lambda each: sum(each.values()))
        each = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in best.items())
        print(f"{side}: {each}; {alone / sum(best.values()):.2f}x one process")
    print(about())
    if arguments.json:
        arguments.json.write_text(text({"about": about(), "rounds": found}) + "\n")


if __name__ == "__main__":
    main()
