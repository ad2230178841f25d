"""Loss curves of a table of runs, on whole grids of rates."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.transfer.language_models import Curve
from mutransfer import Runs

FEWEST = 6
"""Fewest rates of a curve that is replayed."""

AXES = {"params": "params", "tokens": "tokens", "batch_sequences": "batch", "batch": "batch"}
"""Columns of a law of language models, and its axes."""

SHAPES = ("hidden", "layers", "ffn", "heads", "width", "depth", "context", "steps")
"""Columns that tell models apart, beside those of the law."""


@dataclass(frozen=True)
class Table:
    """Curves in the order of their sizes, and the axes of these."""

    curves: tuple[Curve, ...]
    axes: tuple[str, ...]


def read(path: Path) -> Table:
    """Return the curves of six rates or more.

    A table with the columns params, tokens, batch_sequences (or batch), learning_rate and loss has
    a curve for every model, number of tokens and batch. Any other is read by `Runs.from_table`.
    """
    with path.open(newline="") as file:
        header = next(csv.reader(file), [])
    columns = [name for name in AXES if name in header]
    if {"learning_rate", "loss"} <= set(header) and len(columns) == 3:
        return _language_models(path, columns, [name for name in SHAPES if name in header])
    return _any(path)


def _language_models(path: Path, columns: list[str], shapes: list[str]) -> Table:
    losses: dict[tuple[float, ...], dict[float, float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(float(row[name]) for name in [*columns, *shapes])
            place = round(float(np.log2(float(row["learning_rate"]))), 2)
            curve = losses.setdefault(key, {})
            # A rate that was run twice has its lower loss, as in the benchmark of laws.
            curve[place] = min(curve.get(place, np.inf), float(row["loss"]))
    sizes = {key: np.log2(key[: len(columns)]) for key in losses}
    return _table([(sizes[key], losses[key]) for key in sorted(losses)], [AXES[c] for c in columns])


def _any(path: Path) -> Table:
    runs = Runs.from_table(path)
    losses: dict[tuple[float, ...], dict[float, list[float]]] = {}
    for row in runs.rows:
        size = tuple(float(row[axis]) for axis in runs.axes)
        place = round(float(np.log2(row["lr"])), 2)
        losses.setdefault(size, {}).setdefault(place, []).append(runs.loss_of(row))
    means = {
        size: {place: float(np.mean(values)) for place, values in curve.items()}
        for size, curve in losses.items()
    }
    return _table([(np.log2(size), means[size]) for size in sorted(means)], list(runs.axes))


def _table(curves: list[tuple[np.ndarray, dict[float, float]]], axes: list[str]) -> Table:
    found = [
        Curve(np.array(size), np.array(sorted(curve)), np.array([curve[x] for x in sorted(curve)]))
        for size, curve in curves
        if len(curve) >= FEWEST
    ]
    return Table(tuple(found), tuple(axes))
