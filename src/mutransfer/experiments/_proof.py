"""One large network, trained at the rate that was best for a small one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..certificates import Refusal, Transfer
from ..core import Size
from ..figures import Curve
from ..statistics import diverged_at
from ..studies import Run, Study, members, recipe
from ..training import train_one_by_one

_LAST_STEPS = 20
_TIMED_STEPS = 4

_HARMLESS_RATE = 2.0**-20
"""A rate at which nothing diverges, so that all timed steps are taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Proof:
    """One large network trained at the rate of the smallest one.

    Attributes:
        rule: The rule.
        size: Its size.
        log2_lr: Log2 of the rate.
        losses: The loss of every step; NaN after it diverged.
    """

    rule: str
    size: Size
    log2_lr: float
    losses: Float[Tensor, " steps"]

    @property
    def curve(self) -> Curve:
        """The losses as a curve of a figure."""
        name = f"{self.rule}, {self.size}, rate 2^{self.log2_lr:.2f}"
        return Curve(name=name, losses=self.losses.tolist())

    @property
    def diverged_at(self) -> int | None:
        """The step at which training diverged, if it did."""
        return diverged_at(self.losses[None].numpy())[0]

    def __str__(self) -> str:
        if (end := self.diverged_at) is not None:
            return f"{self.curve.name}: diverged at step {end}"
        mean, last = float(self.losses.mean()), float(self.losses[-_LAST_STEPS:].mean())
        outcome = f"mean loss {mean:.3f}, {last:.3f} over the last {_LAST_STEPS} steps"
        return f"{self.curve.name}: {outcome}"


def prove(study: Study, transfer: Transfer | Refusal, size: Size) -> Proof:
    """Train one network at the rate that was best for the smallest one of a study.

    Args:
        study: The study.
        transfer: The certificate or refusal of one of its rules, with optima.
        size: The network's size.
    """
    log2_lr = transfer.optima[0].log2_lr
    losses = _losses(study, _run(study, transfer.rule, size, 2.0**log2_lr))
    return Proof(rule=transfer.rule, size=size, log2_lr=log2_lr, losses=losses)


def proof_seconds(study: Study, size: Size) -> float:
    """Return the seconds that proofs of all rules will take, from a few timed steps."""
    rules = list(dict.fromkeys(run.rule for run in study.runs()))
    run = _run(study, rules[0], size, _HARMLESS_RATE)
    # What is only done once, such as the choice of a kernel, is not timed.
    _losses(study, run, 1)
    start = time.monotonic()
    _losses(study, run, _TIMED_STEPS)
    return (time.monotonic() - start) / _TIMED_STEPS * study.length(run) * len(rules)


def _run(study: Study, rule: str, size: Size, lr: float) -> Run:
    return Run(rule=rule, size=size, point={"lr": lr}, seed=study.seeds[0])


def _losses(study: Study, run: Run, steps: int | None = None) -> Float[Tensor, " steps"]:
    return train_one_by_one(members(study, [run]), recipe(study, run, steps)).losses[0]
