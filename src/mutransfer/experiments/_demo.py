"""The demo: on real data, the best learning rate of a small network is right for a large one, in width and in depth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from torch import Tensor

from ._live import LiveSweep
from .ensemble import diverged_at, train_one_by_one
from .report import Curve, Section, check_extras, transfer_table, write_report
from .rules import DEFAULT
from .sweep import Run, Size, Study, about, estimate, log2, members, missing, recipe, sweep
from .tasks import mlp, resmlp
from .transfer import Transfer

RULES = ("sp", DEFAULT)

EXTEND = 4
"""Rates that are added beyond either end of a grid at whose edge an optimum lies."""


def studies(seed: int) -> dict[str, Study]:
    """The two sweeps of the demo, by the axis that each varies."""
    seeds = range(seed, seed + 3)
    return {
        "width": Study(
            mlp,
            width=[32, 64, 128, 256, 512],
            depth=[3],
            lr=log2(-9, -4),
            seeds=seeds,
            rules=RULES,
            optimizer="adam",
        ),
        "depth": Study(
            resmlp,
            width=[32],
            depth=[4, 8, 16, 32, 64],
            lr=log2(-9, -5),
            seeds=seeds,
            rules=RULES,
            optimizer="adam",
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One large network trained at the rate of the smallest one."""

    rule: str
    size: Size
    log2_lr: float
    losses: Tensor


def demo(out: Path, seed: int, console: Console) -> list[Section]:
    """Run both sweeps, show what they found, prove it on a larger network, and write the report.

    Args:
        out: Folder of records and report; a demo that was interrupted is taken up where it stands.
        seed: First of the three seeds.
        console: Where to show it.

    Raises:
        MutransferError: the folder cannot be written or holds another sweep.
    """
    check_extras()
    made = studies(seed)
    large = Size(width=4 * max(made["depth"].width), depth=2 * max(made["depth"].depth))
    left = {axis: missing(study, out / axis) for axis, study in made.items()}
    wait = sum(estimate(study, left[axis]) for axis, study in made.items()) + _proof_seconds(
        made["depth"], large
    )
    count = sum(map(len, left.values()))
    console.print(
        f"Training {count} networks on handwritten digits; about {wait:.0f} s on this machine.\n",
        soft_wrap=True,
    )
    start = time.monotonic()
    sections = []
    for axis, study in made.items():
        with LiveSweep(console, axis) as live:
            runs = sweep(study, out / axis, extend=EXTEND, report=live)
        sections.append(Section.of(runs))
        console.print(transfer_table(sections[-1]))
        for refusal in sections[-1].refusals():
            console.print(f"  {refusal}", soft_wrap=True)
    proofs = [prove(made["depth"], found, large, console) for found in sections[1].transfers]
    page = write_report(
        out,
        sections,
        title="Learning-rate transfer on handwritten digits",
        about=about(),
        curves=[_curve(proof) for proof in proofs],
    )
    console.print(f"\n{page.headline}\n", soft_wrap=True)
    for proof in proofs:
        console.print(f"  {_curve(proof).name}: {_outcome(proof)}", soft_wrap=True)
    console.print(
        f"\nFinished in {time.monotonic() - start:.0f} s. The report is {page.path}; beside it are its figures, CSV and JSON.",
        soft_wrap=True,
    )
    return sections


def prove(study: Study, found: Transfer, size: Size, console: Console) -> Proof:
    """Train one network of this size at the rate that was best for the smallest one of the study."""
    log2_lr = found.optima[0].log2_lr
    console.print(
        f"Training {size} under {found.rule} at 2^{log2_lr:.2f}, the rate found at {found.optima[0].size} ...",
        soft_wrap=True,
    )
    losses = _train(study, found.rule, size, 2.0**log2_lr, study.steps)
    return Proof(rule=found.rule, size=size, log2_lr=log2_lr, losses=losses)


def _train(study: Study, rule: str, size: Size, lr: float, steps: int) -> Tensor:
    run = Run(rule=rule, width=size.width, depth=size.depth, lr=lr, seed=study.seeds[0])
    return train_one_by_one(members(study, rule, size, [run]), recipe(study, steps))[0]


def _proof_seconds(study: Study, size: Size) -> float:
    """How long the proof will take, by a few steps under one rule."""
    _train(study, "sp", size, 2.0**-20, 1)
    start = time.monotonic()
    _train(study, "sp", size, 2.0**-20, 4)
    return (time.monotonic() - start) / 4 * study.steps * len(RULES)


def _curve(proof: Proof) -> Curve:
    return Curve(
        name=f"{proof.rule}, {proof.size}, rate 2^{proof.log2_lr:.2f}",
        losses=[float(loss) for loss in proof.losses],
    )


def _outcome(proof: Proof) -> str:
    if (end := diverged_at(proof.losses[None])[0]) is not None:
        return f"diverged at step {end}"
    return f"mean loss {float(proof.losses.mean()):.3f}, {float(proof.losses[-20:].mean()):.3f} over the last 20 steps"
