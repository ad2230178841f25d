"""Tensor Programs VI, Figure 10: the best rate over depth."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import GAIN, depth_sweep, early_and_late, gain
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = ("depth-mup", "sqrt-depth", "sp")
"""Branches and Adam's rate times depth^-1/2; the branches alone; neither."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16], "depth": [2, 4], "lr": log2(-9, -7), "seeds": 1, "steps": 5},
    "small": {
        "width": [32],
        "depth": [8, 16, 32, 64],
        "lr": log2(-12, -3),
        "seeds": 4,
        "steps": 160,
        "batch": 32,
    },
    "full": {
        "width": [256],
        "depth": [8, 16, 32, 64, 128, 256, 512, 1024],
        "lr": log2(-15, -5),
        "seeds": 5,
        "steps": 1000,
    },
}

DEPTH = DRIFT.format(axis="depth")


def _measure(bench: Bench) -> Measured:
    runs = depth_sweep(bench, bench.pick(SETTINGS), rules=RULES)
    parts = early_and_late(runs)
    values = {
        rule: {DEPTH: drift(runs, rule, "depth"), GAIN: gain(runs, rule)}
        | {_during(name): drift(part, rule, "depth") for name, part in parts.items()}
        for rule in RULES
    }
    return Measured(values=values, figure=sweeps({"whole run": runs, **parts}, axis="depth"))


def _during(part: str) -> str:
    return f"{part} in training, {DEPTH}"


EXPERIMENT = Experiment(
    title="The best rate of a residual network over depth",
    source="Tensor Programs VI, Figure 10",
    shows=(
        "Residual networks of several depths are trained by Adam at a grid of learning rates. With "
        "branches and rate times 1/sqrt(depth) (Depth-muP) the best rate stays, and deeper is no "
        "worse. With the branches alone scaled it falls with depth, and under standard "
        "parametrization it falls faster, until deep networks do not train."
    ),
    claims=(
        Claim(
            says="Under Depth-muP the best rate stays over depth.",
            quantity=DEPTH,
            rule="depth-mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.1,
        ),
        *(
            Claim(
                says=f"It stays {part} in training, too.",
                quantity=_during(part),
                rule="depth-mup",
                wrong="sp",
                expected=0.0,
                tolerance=0.1,
            )
            for part in ("early", "late")
        ),
        Claim(
            says="With the branches alone scaled, the best rate falls with depth.",
            quantity=DEPTH,
            rule="sqrt-depth",
            wrong="depth-mup",
            expected=-0.5,
            tolerance=0.25,
        ),
        Claim(
            says="Under Depth-muP deeper networks are no worse.",
            quantity=GAIN,
            rule="depth-mup",
            wrong="sp",
            expected=0.0,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=1.5,
    remark=(
        "The paper has width 256, depth 8 to 1024 and CIFAR-10. Input and readout stay as they are "
        "drawn, as in its theory; all factors are 1 at depth 8. The loss under Depth-muP hardly "
        "depends on depth here; in the paper deeper is better, most so late in training."
    ),
)
