"""A cluster of 1,000 workers whose jobs sleep: what a job costs its coordinator, and a record.

    python -m benchmarks.cluster.run [--json FILE]

The coordinator is the real one, with its record, signs of life and progress; the workers are a
thread that ends each job after its time. About 5 minutes on two cores; `--small` tries the script
in seconds.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import mutransfer as mt
from mutransfer.core import Progress, about, text
from mutransfer.studies import Store, status
from mutransfer.studies._work import Outcome

JOBS, RUNS = (2_000, 10_000, 30_000), 100_000
WORKERS, SECONDS = 1_000, 5.0


def train(trial: mt.Trial) -> None:
    """Train nothing: no job gets so far."""
    trial.report(0, 1.0)


def study(runs: int) -> mt.Study:
    """Return a study of so many runs, each a job of its own."""
    rates = [2.0 ** (-i / 10) for i in range(100, 0, -1)]
    return mt.Study(None, train=train, width=[64], lr=rates, seeds=runs // 100, steps=1000)


class Simulated:
    """An engine whose workers sleep, and send rows that were made before.

    Args:
        workers: Jobs at once.
        seconds: Time of a job.
        rows: A row of every run, by its id.
        name: A function that returns the id of a run.
    """

    name, shortest = "simulated", 0.0

    def __init__(
        self,
        workers: int,
        seconds: float,
        rows: Mapping[str, Any],
        name: Callable[[Any], str],
    ) -> None:
        self.workers: int | None = workers
        self._seconds, self._rows, self._id = seconds, rows, name
        self._due: list[tuple[float, int, Any, Any]] = []
        self._numbers, self._more = itertools.count(), threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, resources: Any, function: Any, /, *arguments: Any) -> Future[Any]:
        """Begin a job."""
        future: Future[Any] = Future()
        end = time.monotonic() + self._seconds
        with self._more:
            heapq.heappush(self._due, (end, next(self._numbers), future, arguments[-1]))
            self._more.notify()
        return future

    def discard(self, future: Any) -> None:
        """Give nothing up."""

    def close(self, *, at_once: bool = False) -> None:
        """Do nothing."""

    def _run(self) -> None:
        while True:
            with self._more:
                while not self._due:
                    self._more.wait()
                end, _, future, job = heapq.heappop(self._due)
            time.sleep(max(0.0, end - time.monotonic()))
            future.set_result(Outcome(rows=[self._rows[self._id(run)] for run in job.runs]))


def prepared(wanted: mt.Study) -> dict[str, Any]:
    """Return a row of every run, as a real one of 50 points of its curve."""
    nothing = {"final": 1.5, "diverged_at": None, "curve": [2.0 - 0.01 * i for i in range(50)]}
    return {
        wanted.run_id(run): {
            "id": wanted.run_id(run),
            **run.row(),
            "steps": 1000,
            "batch": 64,
            "status": "finished",
            "loss": 1.6 + run.lr,
            **nothing,
            "seconds": 5.0,
        }
        for run in wanted.runs()
    }


def coordinated(jobs: int, workers: int, seconds: float) -> dict[str, Any]:
    """Return what so many jobs cost the coordinator."""
    wanted = study(jobs)
    rows, seen = prepared(wanted), list[Progress]()
    engine = Simulated(workers, seconds, rows, wanted.run_id)
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.monotonic(), time.process_time()
        found = mt.sweep(wanted, folder, engine=engine, progress=lambda each: seen.append(each))
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        assert len(found.rows) == jobs and not seen[-1].done < seen[-1].total
    ideal = jobs * seconds / workers
    return {"jobs": jobs, "wall": wall, "ideal": ideal, "cpu a job": cpu / jobs}


def record(runs: int) -> dict[str, Any]:
    """Return size and reading times of a record of so many runs."""
    wanted = study(runs)
    rows = prepared(wanted)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.open(wanted.identity(), about(), design={"axes": ["width"], "runs": list(rows)})
        store.append(rows.values())
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        times = {}
        ways: dict[str, Callable[[], Any]] = {
            "mt.Runs.read": lambda: mt.Runs.read(folder),
            "a sweep with nothing to do": lambda: mt.sweep(wanted, folder),
            "mutransfer status": lambda: status(folder),
        }
        for name, way in ways.items():
            start = time.monotonic()
            way()
            times[name] = time.monotonic() - start
    return {"runs": runs, "bytes": size, "seconds": times}


def main() -> None:
    """Measure, print, and write the figures where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--small", action="store_true", help="few jobs, to try the script")
    arguments = parser.parse_args()
    sizes, runs = ((200,), 500) if arguments.small else (JOBS, RUNS)
    workers, seconds = (50, 0.2) if arguments.small else (WORKERS, SECONDS)
    print(f"{workers} workers, jobs of {seconds:g} s")
    costs = []
    for jobs in sizes:
        costs.append(coordinated(jobs, workers, seconds))
        each = costs[-1]
        print(
            f"  {jobs:7,} jobs: {each['wall']:.1f} s, ideal {each['ideal']:.1f} s; the coordinator "
            f"takes {1e3 * each['cpu a job']:.2f} ms a job",
            flush=True,
        )
    found = record(runs)
    print(f"a record of {runs:,} runs: {found['bytes'] / 1e6:.0f} MB")
    for name, time_ in found["seconds"].items():
        print(f"  {name}: {time_:.1f} s")
    print(about())
    if arguments.json:
        figures = {"about": about(), "workers": workers, "seconds": seconds}
        arguments.json.write_text(text({**figures, "jobs": costs, "record": found}) + "\n")


if __name__ == "__main__":
    main()
