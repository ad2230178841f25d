"""Runs a study: all members of one shape together, what is finished never again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, product
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import MutransferError, Size, about
from ..pytorch import Plan, plan
from ..statistics import diverged_at, edge
from ..training import Member, Recipe, Watch, train
from ._runs import Runs
from ._store import Row, Store
from ._study import Run, Study

_LARGEST_STACK = 1 << 27
"""Entries of all stacked parameters of one chunk; gradients and optimizer state take three times as many again."""

_CURVE_POINTS = 50
_FINAL_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a sweep has come.

    Attributes:
        done: Finished share of all work, in seconds as estimated beforehand.
        total: All work of this call, in the same seconds.
        elapsed: Seconds since training began.
        size: Size of the runs in training.
        runs: The record so far.
    """

    done: float
    total: float
    elapsed: float
    size: Size
    runs: Runs


Report = Callable[[Progress], None]


def sweep(study: Study, out: str | Path, *, extend: int = 0, report: Report | None = None) -> Runs:
    """Train every run of the study that the record has not, and return them all.

    The runs of one size are one vectorised program and enter the record together, so a killed sweep that is started again
    finishes with the rows of an undisturbed one and repeats no finished work.

    Args:
        study: What to run.
        out: Folder of the record; made, or taken up where it stands.
        extend: How many rates to add beyond either end of the grid, where an optimum lies at its edge.
        report: Told of progress, several times a second.

    Raises:
        MutransferError: the folder was written by another study or cannot be written; base and sizes do not fit the rule; extend is
            negative.
    """
    if extend < 0:
        raise MutransferError(f"extend is {extend}: it cannot be negative")
    store = Store(out)
    store.open(study.identity(), about())
    wanted = study.runs()
    while wanted:
        _finish(study, store, wanted, report)
        wanted = _beyond(study, _record(study, store), extend)
    return _record(study, store)


def missing(study: Study, out: str | Path) -> list[Run]:
    """The runs of the study that the record in this folder has not."""
    store = Store(out)
    done = {row["id"] for row in store.rows()} if (store.folder / "study.json").exists() else set()
    return [run for run in study.runs() if study.run_id(run) not in done]


def estimate(study: Study, runs: Sequence[Run]) -> float:
    """Seconds that training these runs will take on this machine, from a few timed steps of each shape."""
    return sum(_Chunk(study, chunk).seconds() for chunk in _chunks(study, runs))


def _record(study: Study, store: Store) -> Runs:
    """The study's finished runs, without those of a rate whose other seeds were lost to a crash."""
    sizes = study.sizes()
    rows = [
        row
        for row in store.rows()
        if row["rule"] in study.rules
        and row["seed"] in study.seeds
        and Size(width=row["width"], depth=row["depth"]) in sizes
    ]
    seeds = Counter((row["rule"], row["width"], row["depth"], row["lr"]) for row in rows)
    whole = [
        row
        for row in rows
        if seeds[row["rule"], row["width"], row["depth"], row["lr"]] >= len(study.seeds)
    ]
    return Runs(header=store.header(), rows=whole)


def _finish(study: Study, store: Store, wanted: list[Run], report: Report | None) -> None:
    done = {row["id"] for row in store.rows()}
    chunks = [
        _Chunk(study, runs)
        for runs in _chunks(study, wanted)
        if any(study.run_id(run) not in done for run in runs)
    ]
    costs = [chunk.seconds() if report is not None else 0.0 for chunk in chunks]
    start = time.monotonic()
    for number, chunk in enumerate(chunks):
        watch = (
            None
            if report is None
            else _watch(chunk, costs, number, start, _record(study, store), report)
        )
        rows = chunk.run(watch)
        store.append(row for row in rows if row["id"] not in done)


def _watch(
    chunk: _Chunk, costs: Sequence[float], number: int, start: float, runs: Runs, report: Report
) -> Watch:
    """Turns the steps of one chunk into the progress of the whole sweep, a few times a second."""
    steps, last = 0, 0.0

    def watch(_: int) -> None:
        nonlocal steps, last
        steps, now = steps + 1, time.monotonic()
        if now - last > 0.2:
            last = now
            done = sum(costs[:number]) + costs[number] * steps / chunk.study.steps
            report(
                Progress(
                    done=done, total=sum(costs), elapsed=now - start, size=chunk.size, runs=runs
                )
            )

    return watch


def _chunks(study: Study, runs: Iterable[Run]) -> list[list[Run]]:
    """Runs of one size, in pieces that fit in memory; how they are cut depends on the study alone."""
    pieces: list[list[Run]] = []
    for size, group in groupby(runs, lambda run: run.size):
        with torch.device("meta"):
            entries = sum(p.numel() for p in study.model(size).parameters())
        members, most = list(group), max(1, _LARGEST_STACK // max(1, entries))
        pieces += [members[start : start + most] for start in range(0, len(members), most)]
    return pieces


def _beyond(study: Study, runs: Runs, extend: int) -> list[Run]:
    """More rates for every rule and size whose best rate is the first or last of its grid: two, or as many as `extend` allows."""
    step = study.lr[1] / study.lr[0] if len(study.lr) > 1 else 2.0
    ladders = {
        "low": [study.lr[0] / step**i for i in range(extend + 1)],
        "high": [study.lr[-1] * step**i for i in range(extend + 1)],
    }
    added = []
    for size, rule in product(study.sizes(), study.rules):
        rates, losses = runs.losses(rule, size)
        reached = {side: _reached(ladder, rates) for side, ladder in ladders.items()}
        low, high = (ladders[side][reached[side]] for side in ("low", "high"))
        side = edge(losses.mean(0)[[low <= rate <= high for rate in rates]])
        if side is not None:
            new = ladders[side][reached[side] + 1 : reached[side] + 3]
            added += [
                Run(rule=rule, width=size["width"], depth=size["depth"], lr=rate, seed=seed)
                for rate in new
                for seed in study.seeds
            ]
    return added


def _reached(ladder: Sequence[float], rates: Sequence[float]) -> int:
    """How many rates beyond the grid were run, without one whose partner was lost to a crash: the two train again together."""
    count = next((i for i, rate in enumerate(ladder) if rate not in rates), len(ladder)) - 1
    return count if count == len(ladder) - 1 else count // 2 * 2


def planned(study: Study, rule: str, size: Size) -> Plan:
    """The plan of a rule at one size of the study, relative to the study's base."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = study.model(study.base)
    with torch.device("meta"):
        model = study.model(size)
    return plan(
        model, base, rule=rule, optimizer=study.optimizer, example_inputs=study.task.inputs[:2]
    )


def members(study: Study, rule: str, size: Size, runs: Sequence[Run]) -> list[Member]:
    """The runs' members: models drawn from their seeds, initialised and grouped by the rule's plan."""
    made = planned(study, rule, size)
    models = {}
    for seed in {run.seed for run in runs}:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            models[seed] = study.model(size)
        made.initialize(models[seed])
    return [
        Member(
            model=models[r.seed],
            groups=made.param_groups(models[r.seed], r.lr, weight_decay=study.weight_decay),
            seed=r.seed,
        )
        for r in runs
    ]


def recipe(study: Study, steps: int) -> Recipe:
    """What all runs of a study share in training."""
    return Recipe(
        task=study.task,
        steps=steps,
        batch=study.batch,
        optimizer=study.optimizer,
        options=study.options,
    )


class _Chunk:
    """Runs of one size that train as one program."""

    def __init__(self, study: Study, runs: Sequence[Run]) -> None:
        self.study, self.runs = study, runs
        self.size = runs[0].size

    def _train(self, steps: int, watch: Watch | None) -> Float[Tensor, "member steps"]:
        """Train all members; what a model itself draws, such as dropout, is drawn alike every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.study.run_id(self.runs[0])[:15], 16))
            return train(self._members(), recipe(self.study, steps), watch)

    def seconds(self) -> float:
        """How long it will take, from three steps after a first one."""
        ticks: list[float] = []
        self._train(min(4, self.study.steps), lambda _: ticks.append(time.monotonic()))
        return (ticks[-1] - ticks[0]) / max(1, len(ticks) - 1) * self.study.steps

    def run(self, watch: Watch | None) -> list[Row]:
        losses = self._train(self.study.steps, watch)
        return [
            _row(self.study, run, curve, end)
            for run, curve, end in zip(self.runs, losses, diverged_at(losses.numpy()), strict=True)
        ]

    def _members(self) -> list[Member]:
        by_rule = groupby(self.runs, lambda run: run.rule)
        return [
            member
            for rule, runs in by_rule
            for member in members(self.study, rule, self.size, list(runs))
        ]


def _row(study: Study, run: Run, losses: Float[Tensor, " steps"], end: int | None) -> Row:
    """A finished run: mean loss over all steps, mean of the last ones, the curve; no losses for one that diverged."""
    stride = max(1, len(losses) // _CURVE_POINTS)
    seen = losses[:end] if end is not None else losses
    curve = [float(part.mean()) for part in torch.split(seen, stride) if len(part)]
    return {
        "id": study.run_id(run),
        **asdict(run),
        "loss": None if end is not None else float(losses.mean()),
        "final": None if end is not None else float(losses[-_FINAL_STEPS:].mean()),
        "diverged_at": end,
        "curve": curve,
    }
