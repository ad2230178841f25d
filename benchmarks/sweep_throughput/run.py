"""Sweep throughput in member-steps per second, against an ordinary Python loop over torch.optim.Adam.

Same model, data, members and machine, interleaved in one process: python benchmarks/sweep_throughput/run.py [--json FILE]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

import mutransfer as mt
from mutransfer.ensemble import Member, Recipe, train
from mutransfer.sweep import about
from mutransfer.tasks import digits, mlp, resmlp

MEMBERS, STEPS, BATCH, ROUNDS = 32, 30, 64, 5


def ordinary_loop(models: Sequence[nn.Module], rates: Sequence[float]) -> None:
    """What a user would write: one model after the other, each with its own torch.optim.Adam."""
    task = digits()
    for seed, (model, lr) in enumerate(zip(models, rates, strict=True)):
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for rows in task.batches(seed, STEPS, BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(task.inputs[rows]), task.targets[rows])
            loss.backward()
            optimizer.step()


def ensemble(models: Sequence[nn.Module], rates: Sequence[float]) -> None:
    """The same runs as one ensemble."""
    plan = mt.plan(models[0], models[0], rule="sp", optimizer="adam")
    members = [Member(model=m, groups=plan.param_groups(m, lr), seed=seed) for seed, (m, lr) in enumerate(zip(models, rates, strict=True))]
    train(members, Recipe(task=digits(), steps=STEPS, batch=BATCH, optimizer="adam"))


def seconds(run: Callable[[Sequence[nn.Module], Sequence[float]], None], build: Callable[[], nn.Module]) -> float:
    models, rates = [build() for _ in range(MEMBERS)], [2.0 ** -(6 + i % 8) for i in range(MEMBERS)]
    start = time.perf_counter()
    run(models, rates)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="file to write the figures to")
    arguments = parser.parse_args()
    cases = {
        "MLP, width 64": lambda: mlp(64, 3),
        "MLP, width 256": lambda: mlp(256, 3),
        "residual MLP, width 32, depth 16": lambda: resmlp(32, 16),
    }
    results = []
    for name, build in cases.items():
        seconds(ordinary_loop, build), seconds(ensemble, build)
        times = [(seconds(ordinary_loop, build), seconds(ensemble, build)) for _ in range(ROUNDS)]
        loop, own = (statistics.median(column) for column in zip(*times, strict=True))
        work = MEMBERS * STEPS
        results.append({"model": name, "loop": work / loop, "ensemble": work / own, "ratio": loop / own})
        print(
            f"{name}, {MEMBERS} members: loop {work / loop:.0f}, ensemble {work / own:.0f} member-steps/s, ratio {loop / own:.1f}",
            flush=True,
        )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"about": about(), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
