"""Surfaces over two hyperparameters, against lowest points and ridges that are known."""

import json
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Runs
from mutransfer.certificates import Surface, surface
from mutransfer.core import Size
from mutransfer.statistics._surface_fit import fit_surface

SIZE = Size(width=64, depth=2)
GRID = np.array(list(product(np.arange(-11.0, -2.0), np.arange(-8.0, 1.0))))
ANGLE = -math.pi / 4
"""A ridge along which the second falls as the first rises: lr x 2 with weight_decay / 2."""

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]
SHAPES: dict[str, Shape] = {
    "parabola": lambda u, v: 0.04 * u**2 + 0.01 * v**2,
    "ridge": lambda u, v: 0.05 * u**2 + 0.004 * v**2,
    "steep": lambda u, v: 0.04 * np.where(u > 0, 3 * u**2, u**2) + 0.01 * v**2,
    "exponential": lambda u, v: 0.2 * (np.exp(0.7 * u) - 0.7 * u - 1) + 0.01 * v**2,
    "quartic": lambda u, v: 0.02 * u**2 + 0.01 * u**4 + 0.01 * v**2,
}
"""Excess across (u) and along (v) the ridge, in octaves."""


def losses_at(places: np.ndarray, best: np.ndarray, shape: str, angle: float = ANGLE) -> np.ndarray:
    """Return the noiseless losses of a surface that is turned by an angle."""
    (x, y), c, s = (places - best).T, math.cos(angle), math.sin(angle)
    return np.asarray(2 + SHAPES[shape](c * y - s * x, c * x + s * y))


def planted(
    shape: str = "ridge",
    best: tuple[float, float] = (-6.3, -4.2),
    *,
    seeds: int = 3,
    noise: float = 0.003,
    angle: float = ANGLE,
    places: np.ndarray = GRID,
    diverges: Callable[[float, float], bool] = lambda lr, decay: False,
) -> Runs:
    """Return a record of rate and weight decay with a known lowest point."""
    random, rows = np.random.default_rng(0), []
    clean = losses_at(places, np.array(best), shape, angle)
    for seed in range(seeds):
        for (lr, decay), loss in zip(places, clean, strict=True):
            row: dict[str, Any] = {"rule": "mup", **SIZE, "seed": seed, "lr": 2.0**lr}
            value = None if diverges(lr, decay) else float(loss + noise * random.standard_normal())
            rows.append(row | {"weight_decay": 2.0**decay, "loss": value})
    return Runs(header={"hyperparameters": ["lr", "weight_decay"]}, rows=rows)


def holds(draws: np.ndarray, truth: float) -> bool:
    """True if the 95% interval of the draws holds the truth."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return bool(low <= truth <= high)


@pytest.mark.parametrize(
    ("shape", "seeds", "noise", "number"),
    [
        ("parabola", 3, 0.01, 200),
        ("ridge", 1, 0.003, 30),
        ("steep", 10, 0.003, 30),
        ("exponential", 5, 0.01, 15),
        ("quartic", 3, 0.003, 15),
    ],
)
def test_the_interval_holds_the_lowest_point(
    shape: str, seeds: int, noise: float, number: int
) -> None:
    random, hits = np.random.default_rng(1), np.zeros(2)
    for _ in range(number):
        best = GRID.mean(0) + random.uniform(-1, 1, 2)
        clean = losses_at(GRID, best, shape)
        noisy = clean + noise * random.standard_normal((seeds, len(GRID)))
        fit = fit_surface(GRID, noisy, np.array([0.2, 0.2]))
        hits += [holds(fit.places[:, i], best[i]) for i in (0, 1)]
    assert (hits >= 0.93 * number).all()


def test_intervals_are_of_use() -> None:
    found = surface(planted("parabola", noise=0.01), "mup", SIZE)
    for place, best in zip(found.optimum, (-6.3, -4.2), strict=True):
        assert place.low < best < place.high and place.high - place.low < 1.2
    assert found.status == "inside" and found.warnings == ()
    assert found.hyperparameters["lr"] == pytest.approx(2**-6.3, rel=0.2)
    assert found.level == pytest.approx(2, abs=0.01)


def test_a_ridge_is_found_with_its_direction() -> None:
    found = surface(planted(), "mup", SIZE)
    assert found.has_ridge and found.ridge.low < -1 < found.ridge.high
    assert found.ridge.value == pytest.approx(-1, abs=0.1)
    assert found.flatness.low < 12.5 < found.flatness.high
    # The inverse of the curvature: (a - b) / (a + b) for curvatures a and b at 45 degrees.
    assert found.correlation.value == pytest.approx(-(0.05 - 0.004) / 0.054, abs=0.05)
    assert "lr x 2 goes with weight_decay / " in str(found)


def test_the_best_rate_at_another_weight_decay_is_off_by_the_ridge() -> None:
    """The planted fault: a slice through the surface finds another rate, and looks as sure."""
    runs = planted(noise=0.0)
    found = surface(runs, "mup", SIZE)
    held = [row for row in runs.rows if row["weight_decay"] == 2.0**-7]
    lowest = min(held, key=lambda row: float(row["loss"]))
    alone = math.log2(lowest["lr"])
    bias = found.shifts[0].value * (-7 - -4.2)
    assert alone == pytest.approx(-6.3 + bias, abs=0.55) and bias > 2
    assert not found.optimum[0].low <= alone <= found.optimum[0].high


def test_hyperparameters_that_do_not_meet_have_no_ridge() -> None:
    found = surface(planted("parabola", angle=0.0, noise=0.01), "mup", SIZE)
    assert not found.has_ridge and "can be tuned apart" in str(found)
    assert found.correlation.low < 0 < found.correlation.high


def test_points_that_diverged_bound_the_optimum() -> None:
    """The lowest loss stands at the cliff, and the best rate below the first that diverged."""
    cliff = surface(
        planted("parabola", angle=0.0, noise=0.01, diverges=lambda lr, _: lr > -6.3), "mup", SIZE
    )
    assert cliff.status == "inside"
    assert -8 < cliff.optimum[0].low < -6.3 < cliff.optimum[0].high <= -6
    assert cliff.optimum[1].low < -4.2 < cliff.optimum[1].high < -3
    assert sum(math.isinf(p[2]) for p in cliff.points) == 36


def test_a_ridge_that_leaves_the_grid_is_open() -> None:
    near = GRID[(GRID.sum(1) > -12) & (GRID.sum(1) < -7)]
    edge = surface(planted("ridge", best=(-1.0, -9.5), places=near, noise=0.01), "mup", SIZE)
    assert edge.status == "open" and "extend it along the ridge" in str(edge)


def test_noise_alone_is_flat() -> None:
    random = np.random.default_rng(3)
    runs = planted(noise=0.0)
    rows = [row | {"loss": 2 + 0.01 * random.standard_normal()} for row in runs.rows]
    found = surface(Runs(header=runs.header, rows=rows), "mup", SIZE)
    assert found.status in ("flat", "open") and found.warnings


def test_points_drawn_at_random_do_as_well() -> None:
    places = np.random.default_rng(4).uniform([-11, -8], [-3, 0], (60, 2))
    found = surface(planted("parabola", places=places, noise=0.01), "mup", SIZE)
    for place, best in zip(found.optimum, (-6.3, -4.2), strict=True):
        assert place.low < best < place.high


def test_one_seed_is_warned_of() -> None:
    one, three = (surface(planted(seeds=n), "mup", SIZE) for n in (1, 3))
    width = [found.optimum[0].high - found.optimum[0].low for found in (one, three)]
    assert width[0] > width[1] and any("one seed" in warning for warning in one.warnings)


def test_units_of_loss_and_scale_change_nothing() -> None:
    runs = planted("parabola", noise=0.01)
    moved = [row | {"loss": 100 * row["loss"] - 7, "lr": 8 * row["lr"]} for row in runs.rows]
    one = surface(runs, "mup", SIZE)
    other = surface(Runs(header=runs.header, rows=moved), "mup", SIZE)
    assert other.optimum[0].value == pytest.approx(one.optimum[0].value + 3, abs=0.02)
    assert other.optimum[1].high == pytest.approx(one.optimum[1].high, abs=0.05)
    assert other.ridge.value == pytest.approx(one.ridge.value, rel=0.05)


def test_a_linear_scale_is_taken_in_steps() -> None:
    rows = []
    for (lr, step), seed in product(GRID, range(3)):
        loss = float(losses_at(np.array([[lr, step]]), np.array([-6.3, -4.2]), "parabola")[0])
        row = {"rule": "mup", **SIZE, "seed": seed, "lr": 2.0**lr, "loss": loss + 1e-3 * seed}
        rows.append(row | {"keep": 0.95 + 0.005 * step})
    runs = Runs(header={"hyperparameters": ["lr", "keep"]}, rows=rows)
    found = surface(runs, "mup", SIZE, ("lr", "keep"))
    assert found.scales == ("log2", "linear") and found.steps[1] == pytest.approx(0.005)
    assert found.optimum[1].value == pytest.approx(0.95 - 4.2 * 0.005, abs=0.002)
    assert found.ridge.value == pytest.approx(-0.005, rel=0.2) and "keep - 0.00" in str(found)


@pytest.mark.parametrize(
    ("keep", "over", "message"),
    [
        (lambda row: row["lr"] == 2.0**-6 or row["weight_decay"] == 2.0**-4, None, "sweep a grid"),
        (lambda row: row["lr"] < 2.0**-9.5 and row["weight_decay"] < 2.0**-5.5, None, "at least 7"),
        (lambda row: True, ("lr", "eps"), "did not sweep 'eps'"),
        (lambda row: True, ("lr", "lr"), "two hyperparameters"),
        (lambda row: row["seed"] > 5, None, "every run diverged, or there are none"),
    ],
)
def test_what_shows_no_surface_is_refused(
    keep: Callable[[dict[str, Any]], bool], over: tuple[str, str] | None, message: str
) -> None:
    runs = planted()
    part = Runs(header=runs.header, rows=[row for row in runs.rows if keep(row)])
    with pytest.raises(MutransferError, match=message):
        surface(part, "mup", SIZE, over or ("lr", "weight_decay"))


def test_missing_seeds_are_said() -> None:
    runs = planted()
    some = Runs(
        header=runs.header, rows=[r for r in runs.rows if (r["seed"], r["lr"]) != (2, 0.25)]
    )
    lacking = [r for r in runs.rows if r["seed"] != 2 or r["lr"] < 2.0**-4]
    found = surface(Runs(header=some.header, rows=lacking), "mup", SIZE)
    assert any("seeds 2 lack runs" in warning for warning in found.warnings)
    uneven = [r for i, r in enumerate(runs.rows) if (i + r["seed"]) % 3]
    found = surface(Runs(header=some.header, rows=uneven), "mup", SIZE)
    assert any("their means count as one seed" in warning for warning in found.warnings)


def test_a_surface_travels_as_data() -> None:
    found = surface(planted(diverges=lambda lr, _: lr > -3.5), "mup", SIZE)
    assert Surface.from_json(json.dumps(found.to_json(), allow_nan=False)) == found
    assert repr(found).startswith("<Surface: mup at width 64, depth 2: lr 2^-6.")
