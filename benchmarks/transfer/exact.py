"""Intervals of the optimum on models whose expected loss is known by mathematics.

python -m benchmarks.transfer.exact [--draws 200] [--json exact.json]

One step of a deep linear network: its loss is a polynomial of degree 2 x depth in the learning rate
(arXiv 2511.01734), so 2 x depth + 1 rates give it exactly for every seed. The limit of infinite
width: `limits.landscape` is the truth, finite networks are the data.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transfer.optimum import measured
from mutransfer import limits
from mutransfer.core import about
from mutransfer.statistics import Array, hopeless

WIDTHS, DEPTH, EXAMPLES = (12, 48), 3, 64
POPULATION = 1000
"""Networks whose mean polynomial is the truth."""

FINITE_WIDTH, NETWORKS = 256, 60
"""Width and number of the finite networks that stand beside the limit."""

SEEDS = (3, 5, 10)


def products(weights: Array, gradients: Array, rate: float) -> Array:
    """Return the product of all layers after a step, (networks, width, width)."""
    stepped = weights - rate * gradients
    product = stepped[:, 0]
    for layer in range(1, stepped.shape[1]):
        product = stepped[:, layer] @ product
    return np.asarray(product)


def one_step(width: int, count: int, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Return weights and gradients of networks at initialisation, with the inputs and targets."""
    inputs = rng.standard_normal((width, EXAMPLES))
    targets = rng.standard_normal((width, width)) @ inputs / width**0.5
    weights = rng.standard_normal((count, DEPTH, width, width)) / width**0.5
    before = [np.broadcast_to(np.eye(width), (count, width, width))]
    for layer in range(DEPTH):
        before.append(weights[:, layer] @ before[-1])
    error = before[-1] @ inputs - targets
    gradients = np.empty_like(weights)
    after = error @ inputs.T / EXAMPLES
    for layer in reversed(range(DEPTH)):
        gradients[:, layer] = after @ np.swapaxes(before[layer], 1, 2)
        after = np.swapaxes(weights[:, layer], 1, 2) @ after
    return weights, gradients, inputs, targets


def polynomials(width: int, largest: float) -> Array:
    """Return the loss after a step as a polynomial in rate / largest, (networks, powers)."""
    weights, gradients, inputs, targets = one_step(width, POPULATION, np.random.default_rng(0))
    # Chebyshev nodes keep the interpolation exact to rounding.
    nodes = np.polynomial.chebyshev.chebpts1(2 * DEPTH + 1) / 2 + 0.5
    errors = (products(weights, gradients, largest * node) @ inputs - targets for node in nodes)
    losses = np.stack([(error**2).sum(1).mean(1) / 2 for error in errors], 1)
    powers = np.vander(nodes, increasing=True)
    return np.asarray(np.linalg.solve(powers, losses.T).T)


def linear_networks(width: int, draws: int) -> list[dict[str, Any]]:
    """Return rows for seeds and steps; the truth minimises the mean polynomial."""
    largest = 0.5
    coefficients = polynomials(width, largest)
    places = np.linspace(np.log2(largest) - 8, np.log2(largest), 4001)
    fine = np.vander(2.0**places / largest, coefficients.shape[1], increasing=True)
    mean = coefficients.mean(0) @ fine.T
    best = int(mean.argmin())
    rows = []
    for step in (0.5, 1.0):
        for seeds in SEEDS:
            rng = np.random.default_rng([seeds, int(4 * step)])

            def samples(step: float = step, seeds: int = seeds, rng: Any = rng) -> Any:
                for _ in range(draws):
                    # The grid holds the optimum at a random offset, with a few values below it.
                    start = places[best] - rng.uniform(2.5, 3.5)
                    x = np.arange(start, places[best] + 2.5, step)
                    powers = np.vander(2.0**x / largest, coefficients.shape[1], increasing=True)
                    chosen = coefficients[rng.choice(POPULATION, seeds, replace=False)]
                    yield x, chosen @ powers.T, float(places[best])

            cell = {
                "model": f"one step of a deep linear network of width {width}",
                "step": step,
                "seeds": seeds,
            }
            rows.append(cell | measured(samples(), step) | {"truth": float(places[best])})
    return rows


def infinite_width(draws: int) -> list[dict[str, Any]]:
    """Return rows for seeds; the truth is the limit's rate of lowest mean loss in time."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, 8))
    problem = limits.Problem(
        inputs=inputs, targets=rng.standard_normal(4), lr=0.1, steps=8, activation="linear"
    )
    places = np.arange(-4.25, 1, 0.5)
    fine = np.arange(-2.0, -0.4, 0.05)
    curve = limits.landscape(problem, values=2.0**fine, depth=[4], metric="mean").curves[0]
    near = np.argmin(curve.losses) + np.arange(-2, 3)
    fit = np.polyfit(fine[near], curve.losses[near], 2)
    truth = float(-fit[1] / (2 * fit[0]))
    losses = np.empty((NETWORKS, len(places)))
    for column, place in enumerate(places):
        given = replace(problem, lr=float(2.0**place))
        trained = given.losses(limits.simulate(given, FINITE_WIDTH, 4, NETWORKS))
        gone = hopeless(trained[:, :1], trained).any(1)
        losses[:, column] = np.where(gone, np.inf, trained.mean(1))
    rows = []
    for seeds in SEEDS:
        draw = np.random.default_rng(seeds)
        chosen = (draw.choice(NETWORKS, seeds, replace=False) for _ in range(draws))
        samples = ((places, losses[rows], truth) for rows in chosen)
        cell = {"model": f"infinite width, data of width {FINITE_WIDTH}", "seeds": seeds}
        rows.append(cell | {"step": 0.5} | measured(samples, 0.5) | {"truth": truth})
    return rows


def main() -> None:
    """Measure both models, print and record the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_name("exact.json"))
    given = parser.parse_args()
    rows = [row for width in WIDTHS for row in linear_networks(width, given.draws)]
    rows += infinite_width(given.draws)
    for row in rows:
        shown = ("coverage", "width", "bias", "bootstrap_coverage")
        numbers = ", ".join(f"{name} {row[name]:.3f}" for name in shown)
        print(f"{row['model']}, step {row['step']}, {row['seeds']} seeds: {numbers}", flush=True)
    record = {"about": {**about(), "numpy": np.__version__}, "rows": rows}
    given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
