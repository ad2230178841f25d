"""Training of 32 networks at once: the library as it chooses, against JAX.

Both train the same models on the same batches, in turns. JAX is no dependency: give an interpreter
that has it.

    python -m venv /tmp/jax && /tmp/jax/bin/pip install jax==0.10.2
    python -m benchmarks.jax_peer.run --python /tmp/jax/bin/python [--json FILE]

About 15 minutes on two cores; `--small` tries the script in a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mutransfer.core import about, text
from mutransfer.studies import members, recipe
from mutransfer.training import Program, train

from ..sweep_throughput.cases import CASES, Case
from ..sweep_throughput.hosts import Hosts
from ..sweep_throughput.run import COLD_STEPS, chosen_way
from ..sweep_throughput.sides import library
from ..sweep_throughput.whole import cold, command

PEER = Path(__file__).with_name("peer.py")
NAMES = ("MLP, width 64", "GPT, width 64, depth 2")
ROUNDS, COLD_ROUNDS = 5, 3
COMPARED = 20
"""First steps whose mean losses are compared; later ones differ by rounding that grows."""


def write(case: Case, path: Path) -> None:
    """Write models, batches and rates of a case for JAX."""
    study = case.study(case.steps)
    runs, data = study.runs(), case.data()
    states = [member.model.state_dict() for member in members(study, runs)]
    rows = [data.batches(run.seed, case.steps, case.batch) for run in runs]
    arrays: dict[str, Any] = {
        f"p/{name}": torch.stack([state[name] for state in states]).numpy() for name in states[0]
    }
    arrays["rows"] = torch.stack(rows, 1).numpy().astype(np.int32)
    arrays["rates"] = np.array([run.point["lr"] for run in runs], np.float32)
    if data.inputs.is_floating_point():
        arrays |= {"inputs": data.inputs.numpy(), "targets": data.targets.numpy()}
    else:
        # Windows overlap: the text itself is their first tokens and the rest of the last one.
        tokens = torch.cat([data.inputs[:, 0], data.inputs[-1, 1:], data.targets[-1, -1:]])
        arrays |= {"tokens": tokens.numpy().astype(np.uint8), "context": data.inputs.shape[1]}
    np.savez(path, **arrays)


class Peer:
    """A process of JAX that trains a round when asked.

    Args:
        python: Its interpreter.
        path: The data.
    """

    def __init__(self, python: str, path: Path) -> None:
        self._process = subprocess.Popen(
            [python, str(PEER), str(path), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def round(self, way: str) -> dict[str, Any]:
        """Return seconds and mean losses of a round by a scan or a loop."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(way, file=self._process.stdin, flush=True)
        return dict(json.loads(self._process.stdout.readline()))


def difference(case: Case, losses: list[float]) -> float:
    """Return the largest relative distance of the first mean losses of both sides."""
    study = case.study(case.steps)
    runs = study.runs()
    ours = train(members(study, runs), recipe(study, runs[0]), program=Program()).losses.mean(0)
    theirs = torch.tensor(losses, dtype=torch.float64)
    return float((theirs / ours - 1)[:COMPARED].abs().max())


def steady(case: Case, python: str, path: Path, rounds: int) -> dict[str, Any]:
    """Return the member-steps a second of both sides, medians of rounds in turns."""
    work = case.members * case.steps
    rates: dict[str, list[float]] = {"JAX, scan": [], "JAX, loop": [], "library": []}
    with Hosts(1) as one, Hosts(2, threads=1) as two, Peer(python, path) as peer:
        way = one.call(chosen_way, case)
        host, program = {1: one, 2: two}[way.processes], replace(way.program, shrink=None)
        host.prepare("library", library, case, program)
        # The first call of either program compiles it.
        starts = {each: peer.round(each) for each in ("scan", "loop")}
        for _ in range(rounds):
            for each in ("scan", "loop"):
                rates[f"JAX, {each}"].append(work / peer.round(each)["seconds"])
            rates["library"].append(host.rate("library"))
    return {
        "rates": {side: statistics.median(each) for side, each in rates.items()},
        "rounds": rates,
        "JAX compiles": {each: start["seconds"] for each, start in starts.items()},
        "losses differ by": difference(case, starts["scan"]["losses"]),
        "way": way.to_json(),
    }


def whole_runs(name: str, python: str, path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of whole runs in new processes, with nothing compiled."""
    steps = 5 if arguments.small else COLD_STEPS
    case = CASES[name].small() if arguments.small else CASES[name]
    write(replace(case, steps=steps), path)
    times: dict[str, list[float]] = {"JAX": [], "library": []}
    for _ in range(arguments.cold_rounds):
        times["JAX"].append(cold([python, str(PEER), str(path), "whole"]))
        times["library"].append(cold(command(name, "library", steps, small=arguments.small)))
    return {"steps": steps, **{side: statistics.median(each) for side, each in times.items()}}


def measured(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure one case, print it, and return its figures."""
    case, path = CASES[name].small() if arguments.small else CASES[name], folder / "case.npz"
    write(case, path)
    figures = steady(case, arguments.python, path, arguments.rounds)
    rates = figures["rates"]
    jax = max(rates["JAX, scan"], rates["JAX, loop"])
    print(f"\n{name}, {case.members} members, member-steps a second")
    for side, rate in rates.items():
        print(f"  {side:<12} {rate:9.0f}")
    print(f"  library against JAX: {rates['library'] / jax:.2f} (goal 1)")
    print(f"  losses of the first {COMPARED} steps differ by {figures['losses differ by']:.1e}")
    print(
        f"  way: {figures['way']['program']}, {figures['way']['processes']} processes", flush=True
    )
    if arguments.cold_rounds:
        whole = whole_runs(name, arguments.python, path, arguments)
        ratio = whole["library"] / whole["JAX"]
        print(
            f"  {whole['steps']} steps cold: JAX {whole['JAX']:.1f} s, library "
            f"{whole['library']:.1f} s: {ratio:.2f} of JAX's time (goal at most 2)",
            flush=True,
        )
        figures |= {"cold": whole}
    return {"case": name, "members": case.members, **figures}


def main() -> None:
    """Measure every case, and write the figures where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has jax")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--case", action="append", choices=NAMES, help="only these cases")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cold-rounds", type=int, default=COLD_ROUNDS, help="0 for no whole runs")
    parser.add_argument("--small", action="store_true", help="tiny models, to try the script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
        results = [measured(name, arguments, Path(folder)) for name in arguments.case or NAMES]
    printed = subprocess.run(
        [arguments.python, "-c", "import jax; print(jax.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    machine = {**about(), "jax": printed.stdout.strip()}
    print(machine)
    if arguments.json:
        arguments.json.write_text(text({"about": machine, "results": results}) + "\n")


if __name__ == "__main__":
    main()
