"""Everything that may die in a sweep dies, and what becomes of the record.

    python -m benchmarks.survival.run [--case NAME] [--times N] [--small] [--json FILE] [--docs]

Each case disturbs real sweeps at random moments until they are through, and compares their records
with that of a sweep that was left alone. README.md says what is counted.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mutransfer as mt
from mutransfer.core import about, text

from .cases import CASES
from .judge import Row, Verdict
from .scene import Case, Scene
from .sweeps import Coordinator, Place

SEED = 17
SMALL = 2


def undisturbed(folder: Path, study: str, *, small: bool) -> list[Row]:
    """Return the rows of a sweep that was left alone."""
    place = Place(folder=folder / study, diary=folder / f"{study}.diary")
    sweep = Coordinator(place, study, small=small)
    sweep.wait()
    assert not sweep.outcome["error"], sweep.outcome["error"]
    return list(mt.Runs.read(place.folder).rows)


def perform(
    case: Case, times: int, folder: Path, whole: Mapping[str, list[Row]], *, small: bool
) -> dict[str, Any]:
    """Disturb sweeps so many times in all, and return what was found."""
    draw, start = random.Random(f"{SEED} {case.name}"), time.monotonic()
    verdicts, faults, notes = list[Verdict](), list[str](), Counter[str]()
    done = sweeps = 0
    with case.scenery(folder, case.engine) as scenery:
        while done < times:
            study = case.studies[sweeps % len(case.studies)]
            place = Place(
                folder=scenery.folder / f"runs-{sweeps}", diary=folder / f"{sweeps}.diary"
            )
            scene = Scene(case, scenery, place, study, draw, small)
            scene.play(min(case.most, times - done))
            verdicts.append(scene.verdict(whole[study]))
            faults += scene.faults
            notes += scene.notes
            done, sweeps = done + len(scene.moments), sweeps + 1
            shutil.rmtree(place.folder, ignore_errors=True)
    return {
        **summary(case, verdicts),
        "sweeps": sweeps,
        "faults": faults,
        "notes": dict(notes),
        "seconds": round(time.monotonic() - start, 1),
        "verdicts": [asdict(each) for each in verdicts],
    }


def summary(case: Case, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the row of a case in the table."""
    before = [count for each in verdicts for count in each.before]
    return {
        "name": case.name,
        "done": case.done,
        "engine": case.engine,
        "times": len(before),
        "before": [min(before, default=0), max(before, default=0)],
        "runs": sum(each.runs for each in verdicts),
        "after": sum(each.after for each in verdicts),
        "exact": sum(each.exact for each in verdicts),
        **{
            name: sum(len(getattr(each, name)) for each in verdicts)
            for name in ("lost", "repeated", "differ")
        },
    }


def main() -> None:
    """Perform the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", help="part of the names of cases")
    parser.add_argument("--times", type=int, help="disturbances of each case")
    parser.add_argument("--small", action="store_true", help="tiny sweeps, to try the script")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    parts = arguments.case or [""]
    cases = [case for case in CASES if any(part in case.name for part in parts)]
    os.environ["OMP_NUM_THREADS"] = "1"
    results = []
    with tempfile.TemporaryDirectory(prefix="survival-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        studies = sorted({study for case in cases for study in case.studies})
        whole = {study: undisturbed(folder, study, small=arguments.small) for study in studies}
        for number, case in enumerate(cases):
            times = arguments.times or (min(SMALL, case.times) if arguments.small else case.times)
            place = folder / f"case-{number}"
            place.mkdir()
            result = perform(case, times, place, whole, small=arguments.small)
            results.append(result)
            print({k: v for k, v in result.items() if k != "verdicts"}, flush=True)
    if arguments.json:
        arguments.json.write_text(text({"about": about(), "cases": results}) + "\n")


if __name__ == "__main__":
    main()
