"""Sweep throughput in member-steps a second, against loops as users write them.

All sides have the same models, data, members and machine, and take turns within one run:

    python -m benchmarks.sweep_throughput.run [--json FILE]

About 40 minutes on two cores; `--small` tries the script in half a minute.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mutransfer.core import about, text
from mutransfer.studies import Way

# The choice of a way is the sweep's own, and has no public name.
from mutransfer.studies._models import Models
from mutransfer.studies._shapes import shapes
from mutransfer.studies._ways import Asked, choose_ways
from mutransfer.training import Program

from .cases import CASES, Case
from .hosts import Hosts, Measured, alternating
from .sides import compiled_model, compiled_step, eager_loop, library
from .whole import cold, command

ROUNDS, COLD_ROUNDS, COLD_STEPS = 5, 3, 500
"""Rounds of the steady state and of whole runs, and the steps of those."""

LOOP = "eager loop, fused Adam"
RIVALS = {
    "compiled model and loss, fused Adam, 2 processes": compiled_model,
    "compiled whole step, 2 processes": compiled_step,
}
CHOSEN = "as chosen"


def chosen_way(case: Case) -> Way:
    """Return the way in which a long sweep would train the case."""
    study = case.study(case.long)
    (shape,) = shapes(study, study.runs())
    (way,) = choose_ways(Models(study), [Asked(shape=shape, expected=len(shape.runs))], None)
    assert way is not None
    return way


def programs(case: Case) -> dict[str, tuple[Program, int]]:
    """Return the library's programs and their processes."""
    ways: dict[str, tuple[Program, int]] = {}
    for processes in (1, 2):
        where = f"{processes} process{'es' if processes > 1 else ''}"
        stack = case.members // processes
        ways[f"stack, {where}"] = Program(slots=stack), processes
        ways[f"compiled stack, {where}"] = Program(slots=stack, compiled=True), processes
        ways[f"compiled loop, {where}"] = Program(slots=1, compiled=True), processes
    return ways


def steady(case: Case, rounds: int) -> tuple[dict[str, Measured], Way]:
    """Return the pace of every side, and the way that the library chose."""
    with Hosts(1) as one, Hosts(2, threads=1) as two:
        hosts = {1: one, 2: two}
        sides = {LOOP: (one, one.prepare(LOOP, eager_loop, case))}
        sides |= {name: (two, two.prepare(name, make, case)) for name, make in RIVALS.items()}
        way = one.call(chosen_way, case)
        ways = {**programs(case), CHOSEN: (replace(way.program, shrink=None), way.processes)}
        for name, (program, processes) in ways.items():
            host = hosts[processes]
            sides[name] = host, host.prepare(name, library, case, program)
        return alternating(sides, rounds), way


def ratios(paces: dict[str, Measured]) -> dict[str, float]:
    """Return the ratios of the chosen way to the loop and to the strongest rival."""
    rival = max(paces[name].rate for name in RIVALS)
    return {
        "loop": paces[CHOSEN].rate / paces[LOOP].rate,
        "rival": paces[CHOSEN].rate / rival,
    }


def whole_runs(name: str, steps: int, rounds: int, *, small: bool) -> dict[str, float]:
    """Return the seconds of whole runs with nothing compiled, medians of rounds."""
    times: dict[str, list[float]] = {"loop": [], "library": []}
    for _ in range(rounds):
        for side, each in times.items():
            each.append(cold(command(name, side, steps, small=small)))
    return {side: statistics.median(each) for side, each in times.items()}


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one case, print it, and return its figures."""
    case = CASES[name].small() if arguments.small else CASES[name]
    paces, way = steady(case, arguments.rounds)
    print(f"\n{name}, {case.members} members, member-steps a second (seconds before)")
    for side, pace in paces.items():
        over = pace.rate / paces[LOOP].rate
        print(f"  {side:<50} {pace.rate:9.0f}  {over:6.2f}x  ({pace.start:.1f} s)")
    found = ratios(paces)
    for against, goal in zip(("loop", "rival"), case.goals, strict=True):
        print(f"  chosen against the {against}: {found[against]:.2f} (goal {goal})")
    print(f"  chosen: {way}; {way.reason}", flush=True)
    figures = {
        "case": name,
        "members": case.members,
        "sides": {side: asdict(pace) for side, pace in paces.items()},
        "ratios": found,
        "way": way.to_json(),
    }
    if arguments.cold_rounds:
        steps = 5 if arguments.small else COLD_STEPS
        whole = whole_runs(name, steps, arguments.cold_rounds, small=arguments.small)
        print(
            f"  {steps} steps cold: loop {whole['loop']:.1f} s, library {whole['library']:.1f} s, "
            f"ratio {whole['loop'] / whole['library']:.2f}",
            flush=True,
        )
        figures |= {"cold": {"steps": steps, **whole}}
    return figures


def main() -> None:
    """Measure every case, and write the figures where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--case", action="append", choices=CASES, help="only these cases")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cold-rounds", type=int, default=COLD_ROUNDS, help="0 for no whole runs")
    parser.add_argument("--small", action="store_true", help="tiny models, to try the script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # Compile times are those of an empty cache.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        results = []
        for name in arguments.case or CASES:
            results.append(measured(name, arguments))
            if arguments.json:
                arguments.json.write_text(text({"about": about(), "results": results}) + "\n")
    print(about())


if __name__ == "__main__":
    main()
