"""Tensor Programs VI, Figures 4 to 6: branches of two matrices."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...checks import coordinate_check
from ...core import Estimate
from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import depth_sweep
from .._models_residual import residual
from .._plots import Plot, Series, plot
from .._quantities import exponent, mean

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "matrices": [4, 8],
        "sweep": {"width": [16], "lr": log2(-9, -7), "seeds": 1, "steps": 5},
        "check": {"depth": [2, 8], "seeds": 1, "steps": 1},
    },
    "small": {
        "matrices": [16, 32, 64],
        "sweep": {
            "width": [32],
            "lr": log2(-9, -6),
            "branch": log2(-2, 0),
            "seeds": 4,
            "steps": 150,
            "batch": 32,
        },
        "check": {"depth": [8, 16, 32, 64], "seeds": 2, "steps": 8},
    },
    "full": {
        "matrices": [16, 32, 64, 128, 256, 512, 1024],
        "sweep": {
            "width": [256],
            "lr": log2(-14, -6),
            "branch": log2(-4, 0),
            "seeds": 5,
            "steps": 10000,
        },
        "check": {"depth": [8, 16, 32, 64, 128, 256], "seeds": 3, "steps": 16},
    },
}

RATE = 2.0**-10
"""Adam's rate at base, at which the changes of matrices are small."""

TOGETHER = "exponent in depth of what two matrices learn together"
RATIO = "lowest loss over that of single matrices, as many in all"

BLOCKS = {"block depth 1": 1, "block depth 2": 2, "block depth 1, other seeds": 1}
"""Matrices of a branch; other seeds of the same network say what the ratio is by chance."""

RULES = ("depth-mup", "completep")
"""Branches times depth^-1/2 and times 1/depth."""


def _together(bench: Bench, rule: str) -> dict[int, float]:
    """Return the share of a branch's change that is not linear in its matrices'."""
    chosen = bench.pick(SETTINGS)
    build = partial(residual, width=chosen["sweep"]["width"][0], matrices=2)
    check = coordinate_check(
        build,
        rule=rule,
        optimizer="adam",
        lr=RATE,
        task=bench.digits(),
        control=False,
        **chosen["check"],
    )
    *_, (_, shares) = check.series("branches.*", "nonlinearity", "depth")
    return dict(shares)


def _losses(bench: Bench, name: str) -> dict[int, np.ndarray]:
    """Return every seed's loss at the best point, for each number of matrices in all."""
    chosen, matrices = bench.pick(SETTINGS), BLOCKS[name]
    count = chosen["sweep"]["seeds"]
    seeds = range(count, 2 * count) if name.endswith("other seeds") else range(count)
    depths = [count // matrices for count in chosen["matrices"]]
    runs = depth_sweep(
        bench,
        chosen["sweep"] | {"seeds": seeds},
        name.replace(", ", "-").replace(" ", "-"),
        depth=depths,
        hyperparameters={"matrices": matrices},
        rules=["depth-mup"],
    )
    found = {}
    for size in runs.sizes("depth-mup"):
        _, losses = runs.losses("depth-mup", size)
        found[matrices * size["depth"]] = losses[:, losses.mean(0).argmin()]
    return found


def _ratio(losses: np.ndarray, others: np.ndarray) -> Estimate:
    """Return the ratio of the mean losses, with the interval of the seeds' ratios."""
    value, spread = float(losses.mean() / others.mean()), mean(list(losses / others))
    half = spread.high - spread.value
    return Estimate(value=value, low=value - half, high=value + half)


def _measure(bench: Bench) -> Measured:
    shares = {rule: _together(bench, rule) for rule in RULES}
    values: dict[str, dict[str, Estimate]] = {
        rule: {TOGETHER: exponent(list(each), list(each.values()))} for rule, each in shares.items()
    }
    losses = {name: _losses(bench, name) for name in BLOCKS}
    most = bench.pick(SETTINGS)["matrices"][-1]
    for name, each in losses.items():
        values[name] = {RATIO: _ratio(each[most], losses["block depth 1"][most])}
    means = {
        name: {count: float(own.mean()) for count, own in each.items()}
        for name, each in losses.items()
    }
    panels = [
        Plot(
            title="block depth 2",
            x="depth",
            y="share learned together",
            lines=_lines(shares),
            log="xy",
        ),
        Plot(title="depth-mup", x="matrices in all", y="lowest loss", lines=_lines(means), log="x"),
    ]
    return Measured(values=values, figure=plot(panels))


def _lines(values: dict[str, dict[int, float]]) -> list[Series]:
    return [Series(name=n, x=list(each), y=list(each.values())) for n, each in values.items()]


EXPERIMENT = Experiment(
    title="Branches of two matrices: what fails as depth grows",
    source="Tensor Programs VI, Figures 4 to 6",
    shows=(
        "With two matrices in a branch, 1/sqrt(depth) makes each of them learn as if the other "
        "stood still: the part of a branch's change that both make together falls with depth, and "
        "with it the gain of having two. With 1/depth it stays. At an equal number of matrices, "
        "networks with one matrix a branch reach lower losses."
    ),
    claims=(
        Claim(
            says="With 1/sqrt(depth), branches become linear in the change of their matrices.",
            quantity=TOGETHER,
            rule="depth-mup",
            wrong="completep",
            expected=-0.5,
            tolerance=0.15,
        ),
        Claim(
            says="At an equal number of matrices, two in a branch are worse than one.",
            quantity=RATIO,
            rule="block depth 2",
            wrong="block depth 1, other seeds",
            expected=1.02,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=2.0,
    remark=(
        "The paper trains 39,000 steps on CIFAR-10 to depth 1024, where the best rate of two "
        "matrices moves late in training; that is out of reach here. What two matrices learn "
        "together falls with depth, but more slowly than 1/sqrt(depth). Two matrices are worse "
        "than one by no more than chance: with two seeds both ratios were 1.06, with four they are "
        "1.00."
    ),
)
