"""Records of sweeps that were never run, with parabolas of known optima."""

import math
from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import pytest

from mutransfer.studies import Runs

Record = Callable[..., Runs]


def planted(
    best: Callable[[float, float], float],
    widths: Iterable[int] = (32, 64, 128, 256),
    depths: Iterable[int] = (2,),
    powers: Iterable[float] = range(-12, 1),
    seeds: int = 3,
    noise: float = 0.0,
    diverges: Callable[[float, int], bool] = lambda power, width: False,
    rule: str = "mup",
) -> Runs:
    """Return a record with losses 1 + (x - best)^2 in x = log2(rate).

    `best` is a function of the doublings of width and depth. With noise, every seed has an optimum
    of its own about the planted one.
    """
    random, rows = np.random.default_rng(5), []
    for width, depth, seed in product(widths, depths, range(seeds)):
        centre = best(math.log2(width / 32), math.log2(depth / 2))
        centre += noise * random.standard_normal()
        shared = {"rule": rule, "width": width, "depth": depth, "seed": seed}
        for power in powers:
            loss = None if diverges(power, width) else 1 + (power - centre) ** 2
            rows.append({**shared, "lr": 2.0**power, "loss": loss})
    return Runs(header={}, rows=rows)


@pytest.fixture(scope="session")
def record() -> Record:
    """Makes a record with planted optima."""
    return planted
