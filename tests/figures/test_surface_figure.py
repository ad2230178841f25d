"""The figure of a surface: contours, runs, ellipse and ridge."""

import math
from itertools import product
from typing import Any

import numpy as np

from mutransfer import Runs
from mutransfer.certificates import Surface, surface
from mutransfer.core import Size


def planted(turn: float) -> Surface:
    """Return a surface with a ridge, or with none where `turn` is 0; large rates diverge."""
    rows: list[dict[str, Any]] = []
    random = np.random.default_rng(0)
    for x, y, seed in product(range(-9, -2), range(-7, 0), range(3)):
        loss = 2 + 0.05 * (x + 6 + turn * (y + 4)) ** 2 + 0.01 * (y + 4) ** 2
        loss += 0.003 * random.standard_normal()
        row = {"rule": "mup", "width": 64, "seed": seed, "lr": 2.0**x, "weight_decay": 2.0**y}
        rows.append(row | {"loss": None if x > -4 else loss})
    header = {"axes": ["width"], "hyperparameters": ["lr", "weight_decay"]}
    return surface(Runs(header=header, rows=rows), "mup", Size(width=64))


def test_runs_ellipse_and_ridge_are_drawn() -> None:
    found = planted(0.8)
    (axes,) = found.figure().axes
    contours, runs, diverged = axes.collections
    assert len(runs.get_offsets()) == 42 and len(diverged.get_offsets()) == 7
    assert len(contours.get_paths()) > 3
    ellipse, ridge, optimum = axes.lines
    (x,), (y,) = optimum.get_data()
    assert (x, y) == tuple(place.value for place in found.optimum)
    assert np.ptp(ellipse.get_xdata()) > 0
    rise = np.diff(ridge.get_ydata()) / np.diff(ridge.get_xdata())
    assert math.isclose(rise[0], found.ridge.value, rel_tol=1e-6)
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "log2 of learning rate",
        "log2 of weight decay",
    )


def test_without_a_ridge_there_is_no_line() -> None:
    (axes,) = planted(0.0).figure().axes
    assert len(axes.lines) == 2
    assert any("no ridge is seen" in text.get_text() for text in axes.texts)
