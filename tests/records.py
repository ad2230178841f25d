"""Records of studies that were never run, with the shapes that real ones have."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from mutransfer.certificates import Transfers, transfer
from mutransfer.core import MEMORY
from mutransfer.figures import Section
from mutransfer.studies import Runs

ABOUT = {
    "mutransfer": "0.1.0",
    "torch": "2.13.0",
    "device": "x86_64, 2 threads",
    "command": "mutransfer sweep a.py:b --out <runs>",
}
IDENTITY = {
    "build": "a:mlp",
    "base": {"width": 32, "depth": 4},
    "task": "digits",
    "optimizer": "adamw",
    "options": {},
    "steps": 200,
}


def drifting_runs(
    drift: Mapping[str, float],
    axis: str = "width",
    sizes: Sequence[int] = (32, 64, 128, 256, 512),
    powers: range = range(-13, -1),
    seeds: int = 3,
    noise: float = 0.01,
) -> Runs:
    """Return a record whose best rates move by `drift[rule]` octaves per doubling.

    Runs diverge about two octaves above their best rate.
    """
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    grid = product(drift.items(), enumerate(sizes), powers, range(seeds))
    for (rule, slope), (rank, size), power, seed in grid:
        away = power - (-5.3 + slope * rank)
        diverged = away > 2.2 + 0.25 * random.standard_normal()
        valley = 1.7 * (1 - math.exp(-0.035 * away**2))
        loss = 0.55 - 0.03 * rank + valley + noise * random.standard_normal()
        rows.append(
            {
                "id": f"{rule}-{axis}-{size}-{power}-{seed}",
                "rule": rule,
                **{"width": 64, "depth": 4, axis: size},
                "lr": 2.0**power,
                "seed": seed,
                "loss": None if diverged else loss,
                "final": None if diverged else loss - 0.1,
                "diverged_at": 17 if diverged else None,
                "curve": [2.3, 1.5, loss],
            }
        )
    return Runs(header={"identity": IDENTITY, "about": ABOUT}, rows=rows)


def section_of(
    runs: Runs, at: Mapping[str, int] | None = None, *, title: str | None = None
) -> Section:
    """Return the section of a record."""
    return Section.of(transfer(runs, at), title=title)


def bare_section(runs: Runs, axis: str = "width") -> Section:
    """Return a section without any transfers."""
    return Section(title="x", transfers=Transfers(runs=runs, outcomes=()), axis=axis)


@pytest.fixture(scope="session")
def widths() -> Runs:
    """Five widths, with a drift under sp and none under default."""
    return drifting_runs({"sp": -0.8, "default": 0.0})


@pytest.fixture(scope="session")
def depths() -> Runs:
    """Three depths."""
    return drifting_runs({"sp": -1.0, "default": 0.0}, axis="depth", sizes=(2, 4, 8))


@pytest.fixture(scope="session")
def unbracketed() -> Runs:
    """Five widths; under sp the best rate of the widest lies below the grid."""
    return drifting_runs({"sp": -0.8, "default": 0.0}, powers=range(-8, -1))


@pytest.fixture(scope="session")
def several() -> Runs:
    """Four hyperparameters of two rules, each swept alone about the centre, without noise.

    Under sp the best rate and the best readout move by -0.6 octaves per doubling; under default
    nothing moves. The rates diverge 3.5 octaves above the best.
    """
    centre = {"lr": 2.0**-6, "readout": 1.0, "beta2": 0.95, "schedule": "cosine"}
    values: dict[str, list[Any]] = {
        "lr": [2.0**power for power in range(-10, -1)],
        "readout": [2.0**power for power in range(-4, 5)],
        "beta2": [0.8, 0.85, 0.9, 0.95, 0.99],
        "schedule": ["constant", "cosine", "linear"],
    }
    points = {
        tuple({**centre, name: value}.values()) for name, each in values.items() for value in each
    }
    excess = {"constant": 0.05, "linear": 0.02, "cosine": 0.0}
    rows: list[dict[str, Any]] = []
    grid = product(("sp", "default"), enumerate((32, 64, 128)), sorted(points, key=str), range(3))
    for rule, (rank, width), values_of_point, seed in grid:
        point: dict[str, Any] = dict(zip(centre, values_of_point, strict=True))
        moved = rank if rule == "sp" else 0
        away = math.log2(point["lr"]) - (-6 - 0.6 * moved)
        readout = math.log2(point["readout"]) - (1 - 0.6 * moved)
        loss = 2 - 0.1 * rank + 0.02 * away**2 + 0.005 * readout**2 + 0.01 * seed
        memory = math.log2((1 - 0.93) / (1 - point["beta2"]))
        loss += 0.005 * memory**2 + excess[point["schedule"]]
        row = {"rule": rule, "width": width, "depth": 2, **point, "seed": seed}
        rows.append({**row, "loss": None if away > 3.5 else loss})
    scales = {"lr": "log2", "readout": "log2", "beta2": MEMORY, "schedule": "choice"}
    header = {"hyperparameters": list(centre), "centre": centre, "scales": scales}
    return Runs(header=header, rows=rows)
