"""Overhead of engines: jobs that sleep, two at once, against the time that they sleep.

    python -m benchmarks.engines.run [--json FILE]

About 15 minutes, most of them asleep; `--small` tries the script.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from mutransfer.core import about, text
from mutransfer.engines import Executor, Future, Resources, executor_of

ENGINES = ("processes", "ray:local", "submitit:local")
WORKERS, ROUNDS = 2, 3
JOBS = {0.0: 200, 1.0: 20, 10.0: 6, 60.0: 2}
"""Jobs of each length in seconds; empty ones show the engine's own time."""

STUDY = bytes(20_000)
"""A job brings its study along, of about this size."""

LONGEST = 10.0
"""Seconds of the longest job that is measured in several rounds."""


def job(seconds: float, study: bytes) -> float:
    """Sleep."""
    time.sleep(seconds)
    return seconds


def spent(engine: Executor, seconds: float, count: int) -> float:
    """Return the wall time of jobs, as many at once as there are workers."""
    start = time.perf_counter()
    left, running = count, list[Future]()
    while left or running:
        while left and len(running) < WORKERS:
            running.append(engine.submit(Resources(), job, seconds, STUDY))
            left -= 1
        for future in [future for future in running if future.done()]:
            assert future.result() == seconds
            running.remove(future)
        time.sleep(0.002)
    return time.perf_counter() - start


def started(name: str, folder: Path) -> tuple[Executor, float]:
    """Return an engine all of whose workers run, and the seconds until they do."""
    start = time.perf_counter()
    engine = executor_of(name, WORKERS, folder=folder / "jobs")
    spent(engine, 0.5, WORKERS)
    return engine, time.perf_counter() - start - 0.5


def measured(walls: list[float], seconds: float, count: int) -> dict[str, Any]:
    """Return the overhead of a job, from the median of rounds."""
    wall, ideal = statistics.median(walls), seconds * count / WORKERS
    return {
        "jobs": count,
        "walls": walls,
        "overhead": (wall - ideal) * WORKERS / count,
        "ratio": wall / ideal if ideal else None,
    }


def main() -> None:
    """Measure all engines in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    lengths = {0.0: 10, 0.2: 4} if arguments.small else JOBS
    results: dict[str, dict[str, Any]] = {name: {} for name in ENGINES}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        engines = {}
        for name in ENGINES:
            engines[name], results[name]["start"] = started(name, Path(folder))
        for seconds, count in lengths.items():
            walls: dict[str, list[float]] = {name: [] for name in ENGINES}
            for _ in range(ROUNDS if seconds <= LONGEST else 1):
                for name, engine in engines.items():
                    # A local job of submitit starts Python, which needs no 200 repetitions.
                    few = count if seconds or name != "submitit:local" else max(count // 20, 2)
                    walls[name].append(spent(engine, seconds, few) * count / few)
            loads.append(os.getloadavg()[0])
            for name in ENGINES:
                row = results[name][f"{seconds:g} s"] = measured(walls[name], seconds, count)
                ratio = "" if row["ratio"] is None else f", {row['ratio']:.4f} of the ideal"
                print(f"{name}, {seconds:g} s: {1e3 * row['overhead']:.1f} ms a job{ratio}")
        for name, engine in engines.items():
            engine.close()
            print(f"{name} began in {results[name]['start']:.1f} s")
    if arguments.json is not None:
        data = {"about": about(), "workers": WORKERS, "loads": loads, "results": results}
        arguments.json.write_text(text(data) + "\n")


if __name__ == "__main__":
    main()
