"""Laws of the best rate on sweeps of language models, hidden parts predicted.

    OMP_NUM_THREADS=1 python -m benchmarks.transfer.language_models RUNS.csv [--splits NAME ...]
        [--transfer | --shapes]

RUNS.csv has the columns params, tokens, batch_sequences, learning_rate and loss. Sizes are held out
by a rule, the law is fitted to the rest, and its predictions are compared with the optimum of each
hidden curve: the vertex of the parabola in log loss through the five points around its lowest one.
`--shapes` takes the optima to fit from `statistics.posterior` in place of the five lowest points,
`--transfer` predicts with `mutransfer.transfer` on a table of the training rows instead.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mutransfer as mt
from benchmarks.transfer import tables
from benchmarks.transfer.vertex_posterior import vertex_posterior
from mutransfer.certificates import law_prior
from mutransfer.statistics import average_of_laws, posterior

Array = np.ndarray[Any, np.dtype[np.float64]]
AXES = ("params", "tokens", "batch")
COLUMNS = ("params", "tokens", "batch_sequences")
LARGE, LONG, FEW = 4e8, 4.9e10, 10
MISS = 40.0
"""Weight of a miss in the interval score: 2 / 0.05."""


@dataclass(frozen=True)
class Curve:
    """Losses of one size: its log2 axes, log2 rates, losses."""

    size: Array
    places: Array
    losses: Array

    def near(self) -> tuple[Array, Array]:
        """The five points around the lowest loss, in log loss."""
        best = int(np.argmin(self.losses))
        first = int(np.clip(best - 2, 0, max(len(self.places) - 5, 0)))
        near = slice(first, first + 5)
        return self.places[near], np.log(self.losses[near])

    def truth(self) -> tuple[float, float]:
        """Place and log loss of the vertex."""
        x, y = self.near()
        parabola = np.polyfit(x, y, 2)
        if parabola[0] <= 0:
            return float(x[np.argmin(y)]), float(y.min())
        place = float(np.clip(-parabola[1] / 2 / parabola[0], x[0], x[-1]))
        return place, float(np.polyval(parabola, place))

    def regret(self, place: float) -> float:
        """Relative loss above the lowest, in percent, by the parabola of the nearest points."""
        nearest = np.sort(np.argsort(np.abs(self.places - place))[:3])
        parabola = np.polyfit(self.places[nearest], np.log(self.losses[nearest]), 2)
        return max(0.0, 100 * float(np.expm1(np.polyval(parabola, place) - self.truth()[1])))


def read(path: Path) -> list[Curve]:
    """Return the curves of a table, sizes in the order of their axes."""
    losses: dict[tuple[float, ...], dict[float, float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            size = tuple(float(np.log2(float(row[name]))) for name in COLUMNS)
            place = round(float(np.log2(float(row["learning_rate"]))), 2)
            curve = losses.setdefault(size, {})
            curve[place] = min(curve.get(place, np.inf), float(row["loss"]))
    return [
        Curve(np.array(size), np.array(sorted(curve)), np.array([curve[x] for x in sorted(curve)]))
        for size, curve in sorted(losses.items())
        if len(curve) >= 5
    ]


def splits(curves: Sequence[Curve]) -> Iterator[tuple[str, Array, Array]]:
    """Yield names and masks of the curves to fit and to predict."""
    sizes = 2 ** np.array([curve.size for curve in curves])
    params, tokens = sizes[:, 0], sizes[:, 1]
    large = params > LARGE
    yield "params to the largest", ~large, large
    yield "tokens >= 50 billion", tokens < LONG, tokens >= LONG
    names = {value: f"{value / 1e6:.0f}M" for value in np.unique(params)}
    for one, name in names.items():
        for other, target in names.items():
            if one != other:
                yield f"{name} -> {target}", params == one, params == other
    random = np.random.default_rng(5)
    for draw in range(5):
        yield f"ten curves -> the largest, {draw}", _few(random, ~large), large
    for draw in range(3):
        few = _few(random, np.ones(len(curves), dtype=bool))
        yield f"ten curves -> all others, {draw}", few, ~few


def _few(random: np.random.Generator, among: Array) -> Array:
    few = np.zeros(len(among), dtype=bool)
    few[random.choice(np.flatnonzero(among), FEW, replace=False)] = True
    return few


Prediction = tuple[Array, Array, Array]
"""Means, lower and upper ends of the log2 rate."""


def by_law(known: Sequence[Curve], sizes: Array) -> Prediction:
    """Predict with the average of laws, from an optimum and error of each curve."""
    return _predicted(known, [vertex_posterior(c.places, c.losses) for c in known], sizes)


def by_shapes(known: Sequence[Curve], sizes: Array) -> Prediction:
    """Predict as `by_law`, with the posterior over all shapes of a curve."""
    found = [posterior(curve.places, curve.losses[None]) for curve in known]
    return _predicted(known, [(one.position, one.sd) for one in found], sizes)


def _predicted(
    known: Sequence[Curve], optima: Sequence[tuple[float, float]], sizes: Array
) -> Prediction:
    places, errors = zip(*optima, strict=True)
    law = average_of_laws(
        np.array([c.size for c in known]), np.array(places), np.array(errors), law_prior("lr", AXES)
    )
    found = law.predict(sizes)
    return found.mean, found.low, found.high


def by_least_squares(known: Sequence[Curve], sizes: Array) -> Prediction:
    """Predict with the log-linear law by least squares and its normal interval."""
    z = np.array([c.size for c in known])
    y = np.array([c.truth()[0] for c in known])
    centre = z.mean(0)
    design = np.column_stack([np.ones(len(z)), z - centre])
    target = np.column_stack([np.ones(len(sizes)), sizes - centre])
    inverse = np.linalg.pinv(design, rcond=1e-9)
    freedom = max(len(z) - np.linalg.matrix_rank(design), 1)
    variance = float(((y - design @ (inverse @ y)) ** 2).sum()) / freedom
    half = 1.96 * np.sqrt(variance * (1 + ((target @ inverse) ** 2).sum(1)))
    mean = target @ (inverse @ y)
    return mean, mean - half, mean + half


def by_transfer(known: Sequence[Curve], sizes: Array) -> Prediction:
    """Predict with `mutransfer.transfer`, on a table of the known curves."""
    lines = [",".join([*COLUMNS, "learning_rate", "loss"])]
    for curve in known:
        size = ",".join(f"{2.0**x:.6g}" for x in curve.size)
        pairs = zip(curve.places, curve.losses, strict=True)
        lines += [f"{size},{2.0**x!r},{loss!r}" for x, loss in pairs]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        path.write_text("\n".join(lines).replace("np.float64(", "").replace(")", ""))
        runs = mt.Runs.from_table(path, axes=list(AXES))
    found = []
    for size in sizes:
        at = dict(zip(AXES, (2.0**x for x in size), strict=True))
        (outcome,) = mt.transfer(runs, at=at).outcomes
        rate = outcome.hyperparameters["lr"]
        found.append(np.log2([rate, *outcome.intervals["lr"]]))
    mean, low, high = np.array(found).T
    return mean, low, high


def scores(hidden: Sequence[Curve], predicted: Prediction) -> dict[str, float]:
    """Return coverage, widths, errors and regrets of predictions of hidden curves."""
    mean, low, high = predicted
    truth = np.array([curve.truth()[0] for curve in hidden])
    miss = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    regrets = [curve.regret(float(x)) for curve, x in zip(hidden, mean, strict=True)]
    return {
        "coverage": float((miss <= 0).mean()),
        "halfwidth": float((high - low).mean() / 2),
        "median error": float(np.median(np.abs(mean - truth))),
        "regret %, median": float(np.median(regrets)),
        "regret %, p90": float(np.percentile(regrets, 90)),
        "interval score": float((high - low + MISS * miss).mean()),
    }


def measure(
    curves: Sequence[Curve],
    names: Sequence[str] = (),
    predict: Callable[[Sequence[Curve], Array], Prediction] = by_law,
) -> list[dict[str, Any]]:
    """Return a row of scores for every split and method."""
    rows = []
    for name, fit, hide in splits(curves):
        if names and not any(part in name for part in names):
            continue
        known = [curve for curve, used in zip(curves, fit, strict=True) if used]
        hidden = [curve for curve, used in zip(curves, hide, strict=True) if used]
        sizes = np.array([curve.size for curve in hidden])
        for method, call in (("laws", predict), ("least squares", by_least_squares)):
            found = scores(hidden, call(known, sizes))
            counts = {"known": len(known), "hidden": len(hidden)}
            rows.append({"split": name, "method": method, **counts, **found})
    return rows


def together(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean over the splits, coverage by the number of hidden curves."""
    found = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        weights = [row["hidden"] for row in own]
        means = {name: float(np.mean([row[name] for row in own])) for name in list(own[0])[4:]} | {
            "coverage": float(np.average([row["coverage"] for row in own], weights=weights))
        }
        counts = {"known": "", "hidden": sum(weights)}
        found.append({"split": "all", "method": method, **counts, **means})
    return found


def main() -> None:
    """Print the table of all splits, and write it where all were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--splits", nargs="*", default=[])
    parser.add_argument("--transfer", action="store_true")
    parser.add_argument("--shapes", action="store_true")
    arguments = parser.parse_args()
    path = "_transfer" if arguments.transfer else "_shapes" if arguments.shapes else ""
    predict = {"_transfer": by_transfer, "_shapes": by_shapes, "": by_law}[path]
    rows = measure(read(arguments.runs), arguments.splits, predict)
    rows += together(rows)
    if arguments.splits:
        print(tables.markdown(rows))
        return
    note = "# Language models of others, hidden parts predicted\n\nMade by `language_models.py`."
    tables.write(f"language_models{path}", rows, note)


if __name__ == "__main__":
    main()
