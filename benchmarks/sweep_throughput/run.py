"""Sweep throughput in member-steps a second, against a loop over torch.optim.Adam.

Both sides have the same models, data, members and machine, and take turns within one process:

    python benchmarks/sweep_throughput/run.py [--json FILE]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

import mutransfer as mt
from mutransfer.core import about, text
from mutransfer.tasks import digits, mlp, resmlp
from mutransfer.training import Member, Recipe, train

MEMBERS, STEPS, BATCH, ROUNDS = 32, 30, 64, 5
CASES: dict[str, Callable[[], nn.Module]] = {
    "MLP, width 64": lambda: mlp(64, 3),
    "MLP, width 256": lambda: mlp(256, 3),
    "residual MLP, width 32, depth 16": lambda: resmlp(32, 16),
}

Side = Callable[[Sequence[nn.Module], Sequence[float]], None]


def ordinary_loop(models: Sequence[nn.Module], rates: Sequence[float]) -> None:
    """Train the models one by one, each with its own torch.optim.Adam, as a user would."""
    task = digits()
    for seed, (model, lr) in enumerate(zip(models, rates, strict=True)):
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for rows in task.batches(seed, STEPS, BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(task.inputs[rows]), task.targets[rows])
            loss.backward()
            optimizer.step()


def stacked(models: Sequence[nn.Module], rates: Sequence[float]) -> None:
    """Train the same runs as one stacked program."""
    plan = mt.plan(models[0], models[0], rule="sp", optimizer="adam")
    members = [
        Member(model=model, table=plan.table(model, lr), seed=seed)
        for seed, (model, lr) in enumerate(zip(models, rates, strict=True))
    ]
    train(members, Recipe(task=digits(), steps=STEPS, batch=BATCH, optimizer="adam"))


def seconds(side: Side, build: Callable[[], nn.Module]) -> float:
    """Return the seconds of one side for all members, without their construction."""
    models, rates = [build() for _ in range(MEMBERS)], [2.0 ** -(6 + i % 8) for i in range(MEMBERS)]
    start = time.perf_counter()
    side(models, rates)
    return time.perf_counter() - start


def measured(build: Callable[[], nn.Module]) -> dict[str, float]:
    """Return the member-steps a second of both sides, medians over rounds, and their ratio."""
    # The first calls warm up allocators and caches, and are not counted.
    seconds(ordinary_loop, build), seconds(stacked, build)
    times = [(seconds(ordinary_loop, build), seconds(stacked, build)) for _ in range(ROUNDS)]
    loop, ensemble = (statistics.median(column) for column in zip(*times, strict=True))
    work = MEMBERS * STEPS
    return {"loop": work / loop, "ensemble": work / ensemble, "ratio": loop / ensemble}


def main() -> None:
    """Measure every case, print it, and write the figures where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    results = []
    for name, build in CASES.items():
        figures = measured(build)
        results.append({"model": name, **figures})
        print(
            f"{name}, {MEMBERS} members: loop {figures['loop']:.0f}, ensemble "
            f"{figures['ensemble']:.0f} member-steps/s, ratio {figures['ratio']:.1f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(text({"about": about(), "results": results}) + "\n")


if __name__ == "__main__":
    main()
