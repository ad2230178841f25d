"""Coverage of predictions beyond the data, on simulated laws of an optimum across sizes.

    OMP_NUM_THREADS=1 python -m benchmarks.transfer.laws [--draws N]

Four sizes, each twice the one before. The optimum follows a law, plus a scatter of each size, plus
an error of known standard deviation. Predicted are the optima at 2, 4 and 8 times the largest size,
with a scatter of their own. Least squares with a normal interval and the errors' own size is the
comparison. "curved" is the share in which the law is found to bend (`LawAverage.curved`), "drifts"
that in which the slope is found beyond 0.1 octave per doubling (`LawAverage.within`), and "covered
or warned" that in which the interval at 8 times the size holds or one of both says to beware.
"stays" is the share in which the slope is found within 0.1 octave per doubling: a warning wherever
it is not found there is the strictest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.transfer import tables
from mutransfer.certificates import law_prior
from mutransfer.statistics import average_of_laws

Array = np.ndarray[Any, np.dtype[np.float64]]
SIZES = 4
AHEAD = (1, 2, 3)
"""Doublings beyond the largest size."""

ERRORS, SCATTERS = (0.05, 0.15), (0.0, 0.05)
DRAWS = 200

Law = Callable[[np.random.Generator, Array], Array]
"""A random law: places at doublings from the smallest size."""


def constant(random: np.random.Generator, z: Array) -> Array:
    """The same optimum everywhere."""
    return np.zeros_like(z)


def linear(random: np.random.Generator, z: Array) -> Array:
    """A power law, of exponents as between a right rule and none."""
    return random.uniform(-1, 0.3) * z


def saturating(random: np.random.Generator, z: Array) -> Array:
    """A limit, approached with a power of the size."""
    power = random.uniform(0.5, 1.5)
    return random.uniform(-1.5, 1.5) * 2.0 ** (-power * z)


def random_slopes(random: np.random.Generator, z: Array) -> Array:
    """A slope that changes by a random step each doubling."""
    steps = random.normal(0, 0.1, len(z) - 1)
    return np.concatenate([[0], np.cumsum(random.normal(0, 0.3) + np.cumsum(steps))])


def accelerating(random: np.random.Generator, z: Array) -> Array:
    """A slope that grows steadily, to half an octave per doubling at the largest size."""
    return -random.uniform(0.05, 0.12) * z**2


def late(random: np.random.Generator, z: Array) -> Array:
    """A drift that begins at the third size."""
    return -random.uniform(0.2, 0.6) * np.maximum(z - 2, 0)


LAWS: tuple[Law, ...] = (constant, linear, saturating, random_slopes, accelerating, late)


def cases(
    law: Law, error: float, scatter: float, draws: int, sizes: int = SIZES
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield sizes, measured optima, and the true optima ahead."""
    random = np.random.default_rng(0)
    z = np.arange(sizes + max(AHEAD), dtype=np.float64)
    for _ in range(draws):
        truth = law(random, z) + scatter * random.standard_normal(len(z))
        yield z[:sizes], truth[:sizes] + error * random.standard_normal(sizes), truth[sizes:]


def measure(law: Law, error: float, scatter: float, draws: int) -> list[dict[str, Any]]:
    """Return a row of coverages for the laws and for least squares."""
    ahead = SIZES - 1 + np.array(AHEAD, dtype=np.float64)
    ours, plain, curved, drifts, stays = [], [], [], [], []
    for z, places, truth in cases(law, error, scatter, draws):
        average = average_of_laws(
            z[:, None], places, np.full(len(z), error), law_prior("lr", ["width"])
        )
        found = average.predict(ahead[:, None])
        ours.append((truth >= found.low, truth <= found.high, (found.high - found.low) / 2))
        low, high = least_squares(z, places, error, ahead)
        plain.append((truth >= low, truth <= high, (high - low) / 2))
        curved.append(average.curved[0])
        drifts.append(average.within() == "beyond")
        stays.append(average.within() == "within")
    name = {"law": law.__name__.replace("_", " "), "error": error, "scatter": scatter}
    laws, lines = np.array(ours, dtype=float), np.array(plain, dtype=float)
    warned, held = np.array(curved) | np.array(drifts), laws[:, 0, -1] * laws[:, 1, -1] > 0
    signs = {
        "curved": float(np.mean(curved)),
        "drifts": float(np.mean(drifts)),
        "covered or warned": float(np.mean(warned | held)),
        "stays": float(np.mean(stays)),
        "covered or does not stay": float(np.mean(held | ~np.array(stays))),
    }
    return [
        {**name, "method": "laws", **_summary(laws), **signs},
        {**name, "method": "least squares", **_summary(lines), **dict.fromkeys(signs, "")},
    ]


def _summary(rows: Array) -> dict[str, float]:
    inside = (rows[:, 0] * rows[:, 1]).mean(0)
    widths = rows[:, 2].mean(0)
    found = {f"covered at {2**far}x": float(x) for far, x in zip(AHEAD, inside, strict=True)}
    return found | {
        f"halfwidth at {2**far}x": float(x) for far, x in zip(AHEAD, widths, strict=True)
    }


def least_squares(z: Array, places: Array, error: float, ahead: Array) -> tuple[Array, Array]:
    """Return the normal 95% interval of a line at some sizes."""
    design = np.column_stack([np.ones(len(z)), z])
    target = np.column_stack([np.ones(len(ahead)), ahead])
    inverse = np.linalg.pinv(design)
    mean = target @ (inverse @ places)
    half = 1.96 * error * np.sqrt(1 + ((target @ inverse) ** 2).sum(1))
    return mean - half, mean + half


def main() -> None:
    """Write the table of all laws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    draws = parser.parse_args().draws
    rows = [
        row
        for law in LAWS
        for error in ERRORS
        for scatter in SCATTERS
        for row in measure(law, error, scatter, draws)
    ]
    note = f"# Simulated laws: coverage beyond the data\n\nMade by `laws.py`, {draws} draws a row."
    tables.write("laws", rows, note)


if __name__ == "__main__":
    main()
