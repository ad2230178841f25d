"""The comparison of certificates with networks that were trained afterwards."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.transfer.networks import (
    DATA,
    Case,
    by_rule,
    cases,
    compared,
    page,
    sweep_below,
    targets,
    truth_at,
)
from benchmarks.transfer.networks_truth import Truth, interpolated
from mutransfer import Runs, Size

PLACES = np.arange(-9.0, -3.0, 0.5)


def bowl(best: float, steep: float = 1.0) -> Truth:
    """Curves of four seeds around an optimum, steeper on the right."""
    distances = PLACES - best - np.array([[-0.1], [0.1], [-0.05], [0.05]])
    return Truth(places=PLACES, losses=1 + 0.1 * distances**2 * np.where(distances > 0, steep, 1))


def certificate(rate: float, low: float, high: float, bound: float) -> Any:
    """A certificate in powers of two."""
    return SimpleNamespace(
        hyperparameters={"lr": 2.0**rate},
        intervals={"lr": (2.0**low, 2.0**high)},
        regret=SimpleNamespace(value=0.0, low=0.0, high=bound),
        warnings=[],
        refusal=None,
    )


def case(*ends: float) -> Case:
    """A certificate beside a bowl with the optimum at -6.2."""
    return compared("bowl", "default", Size(width=256, depth=2), bowl(-6.2), certificate(*ends))


def test_interpolation_is_exact_at_its_places_and_for_a_parabola() -> None:
    x = np.array([-9.0, -8.5, -7.5, -7.0, -6.5])
    assert interpolated(x, x**3, x) == pytest.approx(x**3)
    fine = np.linspace(-9, -6.5, 50)
    assert interpolated(x, 2 * x + 1, fine) == pytest.approx(2 * fine + 1)


@pytest.mark.parametrize("best", [-6.0, -6.2, -6.4])
@pytest.mark.parametrize("steep", [1, 5])
def test_truth_finds_a_known_optimum(best: float, steep: float) -> None:
    found = bowl(best, steep)
    assert found.optimum[0] == pytest.approx(best, abs=0.2)
    assert found.regret(best) == pytest.approx(0, abs=0.02)
    assert found.regret(best - 1) == pytest.approx(0.1, abs=0.02)


def test_a_cliff_beside_the_optimum_does_not_move_it() -> None:
    losses = np.where(PLACES > -5.9, np.inf, 1 + 0.1 * (PLACES + 6.2) ** 2)[None]
    assert Truth(places=PLACES, losses=losses).optimum[0] == pytest.approx(-6.2, abs=0.25)
    high = np.where(PLACES > -5.9, 5, losses[0])[None].clip(max=5)
    assert Truth(places=PLACES, losses=high).optimum[0] == pytest.approx(-6.2, abs=0.25)
    assert math.isinf(Truth(places=PLACES, losses=losses).regret(-5.5))


def test_the_error_of_the_truth_is_that_of_its_seeds() -> None:
    # The seeds' own optima have a standard deviation of 0.091, and their mean half of it.
    assert bowl(-6.2).error == pytest.approx(0.091 / 2, rel=0.5)


def test_a_good_certificate_counts_and_faulty_ones_do_not() -> None:
    good = case(-6.3, -6.6, -5.9, 0.01)
    aside, proud = case(-6.3, -6.6, -6.25, 0.01), case(-7.2, -7.6, -5.9, 0.01)
    assert (good.covered, good.holds) == (True, True)
    assert (aside.covered, aside.holds) == (False, True)
    assert (proud.covered, proud.holds) == (True, False)
    sums = by_rule([good, aside, proud])["all rules"]
    assert (sums["covered"], sums["bound holds"], sums["covered and bound holds"]) == (2, 2, 1)


def test_a_refusal_is_no_hit() -> None:
    refused = SimpleNamespace(refusal="the gap is too wide", warnings=[])
    found = compared("bowl", "sp", Size(width=256, depth=2), bowl(-6.2), refused)
    assert not found.covered and not found.holds
    text = page([found], {"date": "today", "device": "this", "mutransfer": "0.1.0"})
    assert "the gap is too wide" in text
    assert by_rule([found])["sp"]["answered"] == 0


def tables() -> list[Path]:
    return sorted(DATA.glob("*.csv"))


@pytest.mark.parametrize("path", tables(), ids=lambda path: path.stem)
def test_targets_are_hidden_far_and_bracketed(path: Path) -> None:
    every = Runs.from_table(path, axes=["width", "depth"])
    found = targets(every)
    assert found
    for target in found:
        sweep = sweep_below(every, target)
        for rule in every.rules:
            sizes = sweep.sizes(rule)
            assert len(sizes) >= 3
            assert not set(sizes) & set(found)
            growth = math.prod(target[axis] / sizes[-1][axis] for axis in target)
            assert growth >= 4
            assert truth_at(every, rule, target).bracketed


def test_a_small_table_is_certified_and_compared() -> None:
    found = list(cases(DATA / "digits-resmlp-sgd-width.csv"))
    default = next(case for case in found if case.rule == "default")
    assert default.refusal is None
    assert default.covered and default.holds
    assert default.width < 4
