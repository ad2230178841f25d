"""2512.22768: the best rate converges faster than the loss."""

from __future__ import annotations

from typing import Any

from ...certificates import Transfer, transfer
from ...core import Estimate
from ...studies import Runs, Study, log2
from ...tasks import mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps

RULES = ("mup", "sp")

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16, 32], "lr": log2(-9, -5), "seeds": 2, "steps": 10},
    "small": {"width": [32, 64, 128, 256], "lr": log2(-10, -4), "seeds": 3, "steps": 120},
    "full": {
        "width": [64, 128, 256, 512, 1024, 2048],
        "lr": log2(-14, -4),
        "seeds": 8,
        "steps": 3000,
    },
}

SHARE = "what the smallest width's rate costs at the largest, as a share of what width gains"
PROBABILITY = "probability that 2a > b, optimum as width^-a and loss as width^-b"

_UNKNOWN = Estimate(value=float("nan"), low=float("nan"), high=float("nan"))


def _values(runs: Runs, rule: str) -> dict[str, Estimate]:
    found = transfer(runs)[rule]
    if not isinstance(found, Transfer) or not found.fast:
        return {SHARE: _UNKNOWN, PROBABILITY: _UNKNOWN}
    fast = found.fast[0]
    chance = fast.probability
    return {SHARE: fast.share, PROBABILITY: Estimate(value=chance, low=chance, high=chance)}


def _measure(bench: Bench) -> Measured:
    study = Study(mlp, **bench.pick(SETTINGS), rules=RULES, optimizer="adam", task=bench.digits())
    runs = bench.sweep(study)
    found = transfer(runs)
    said = tuple(
        f"{rule}: {fast.verdict}, as {fast.reason}."
        for rule in RULES
        if isinstance(each := found[rule], Transfer)
        for fast in each.fast
    )
    values = {rule: _values(runs, rule) for rule in RULES}
    return Measured(values=values, figure=sweeps({"Adam": runs}), remarks=said)


EXPERIMENT = Experiment(
    title="Fast transfer: the best rate converges before the loss",
    source="2512.22768, Definition of fast transfer",
    shows=(
        "Transfer pays where the optimum's distance from its limit, width^-a, costs a loss of "
        "width^-2a that vanishes faster than the width^-b that a finite width costs. MLPs of four "
        "widths are swept, and both rates of convergence are fitted. Under muP the best rate of "
        "the smallest width costs little of what width gains; under SP it costs all of it."
    ),
    claims=(
        Claim(
            says="Under muP the smallest width's rate costs at most a tenth of what width gains.",
            quantity=SHARE,
            rule="mup",
            wrong="sp",
            expected=0.1,
            sense="at most",
        ),
        Claim(
            says="Under muP the optimum probably converges faster than the loss.",
            quantity=PROBABILITY,
            rule="mup",
            wrong="sp",
            expected=0.5,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark=(
        "Four widths and three seeds leave both exponents uncertain: the probabilities differ too "
        "little to tell the rules apart. What the smallest width's rate costs does tell them apart."
    ),
)
