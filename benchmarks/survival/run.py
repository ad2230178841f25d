"""Everything that may die in a sweep dies, and what becomes of the record.

    python -m benchmarks.survival.run [--case NAME] [--times N] [--small] [--json FILE] [--docs]

Each case disturbs real sweeps at random moments until they are through, and compares their records
with that of a sweep that was left alone. README.md says what is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import mutransfer as mt
from mutransfer.core import about, text

from .cases import CASES
from .judge import Row, Verdict
from .scene import Case, Scene
from .settings import LeftOut
from .studies import STUDIES
from .sweeps import Place
from .table import faults, table, write

SEED = 17
SMALL = 2
ORDER = [case.name for case in CASES]


def undisturbed(folder: Path, study: str, *, small: bool) -> list[Row]:
    """Return the rows of a sweep that was left alone."""
    # Here, so that processes that are forked later have imported everything.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(mt.sweep(STUDIES[study](small=small), folder / study).rows)


def perform(
    case: Case, times: int, folder: Path, whole: Mapping[str, list[Row]], *, small: bool
) -> dict[str, Any]:
    """Disturb sweeps so many times in all, and return what was found."""
    draw, start = random.Random(f"{SEED} {case.name}"), time.monotonic()
    verdicts, found, notes = list[Verdict](), list[str](), Counter[str]()
    done = sweeps = 0
    with case.scenery(folder, case.engine) as scenery:
        while done < times:
            study = case.studies[sweeps % len(case.studies)]
            diary = scenery.diary or folder / f"{sweeps}.diary"
            place = Place(folder=scenery.folder / f"runs-{sweeps}", diary=diary)
            scene = Scene(case, scenery, place, study, draw, small)
            scene.play(min(case.most, times - done))
            verdicts.append(scene.verdict(whole[study]))
            found += scene.faults
            notes += scene.notes
            done, sweeps = done + len(scene.moments), sweeps + 1
            shutil.rmtree(place.folder, ignore_errors=True)
    if case.says and not any(case.says in note for note in notes):
        found.append(f"nothing said {case.says!r}")
    found += [f"sweep {number}: {each}" for number, each in enumerate(verdicts) if each.is_bad()]
    return {
        **summary(verdicts),
        "sweeps": sweeps,
        "faults": found,
        "notes": dict(notes),
        "seconds": round(time.monotonic() - start, 1),
        "verdicts": [asdict(each) for each in verdicts],
    }


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the row of a case in the table."""
    before = [count for each in verdicts for count in each.before]
    return {
        "times": len(before),
        "before": [min(before, default=0), max(before, default=0)],
        "runs": sum(each.runs for each in verdicts),
        "after": sum(each.after for each in verdicts),
        "exact": sum(each.exact for each in verdicts),
        **{
            name: sum(len(getattr(each, name)) for each in verdicts)
            for name in ("lost", "repeated", "along", "differ")
        },
    }


def performed(cases: Sequence[Case], times: int | None, *, small: bool) -> Iterator[dict[str, Any]]:
    """Perform cases, and yield what was found in each."""
    with tempfile.TemporaryDirectory(prefix="survival-") as name:
        folder = Path(name)
        # One case is of another user.
        folder.chmod(0o755)
        studies = sorted({study for case in cases for study in case.studies})
        whole = {study: undisturbed(folder, study, small=small) for study in studies}
        for number, case in enumerate(cases):
            count = times or (min(SMALL, case.times) if small else case.times)
            place = folder / f"case-{number}"
            place.mkdir()
            engine = case.name.partition(", ")[2] or case.engine
            result = {"name": case.name, "done": case.done, "engine": engine}
            try:
                result |= perform(case, count, place, whole, small=small)
            except LeftOut as reason:
                result["left out"] = str(reason)
            yield result


def main() -> None:
    """Perform the cases and print the table; exit code 1 where something must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", help="part of the names of cases")
    parser.add_argument("--times", type=int, help="disturbances of each case")
    parser.add_argument("--small", action="store_true", help="tiny sweeps, to try the script")
    parser.add_argument("--json", type=Path, help="file for the figures; others in it stay")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/clusters.md")
    arguments = parser.parse_args()
    parts = arguments.case or [""]
    cases = [case for case in CASES if any(part in case.name for part in parts)]
    if not cases:
        parser.error(f"no such case; there are: {'; '.join(ORDER)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    if arguments.json and arguments.json.exists():
        results = {each["name"]: each for each in json.loads(arguments.json.read_text())["cases"]}
    for result in performed(cases, arguments.times, small=arguments.small):
        results[result["name"]] = result
        record = {"about": about(), "cases": [results[n] for n in ORDER if n in results]}
        print(f"{result['name']}, {result.get('seconds', 0):.0f} s", flush=True)
        print("\n".join(faults([result]) or ["  nothing was lost"]), flush=True)
        if arguments.json:
            arguments.json.write_text(text(record) + "\n")
    print(f"\n{table(record['cases'])}")
    if arguments.docs:
        write(record)
    raise SystemExit(1 if faults(record["cases"]) else 0)


if __name__ == "__main__":
    main()
