"""The smallest proxy whose error is within a tolerance."""

import math
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.core import Estimate
from mutransfer.limits import FiniteSize, Law, Limit, finite_size, how_small, simulate, solve
from tests.limits.finite_problems import problem


def laws_with(one: float, mean: float, deep: float | None = None) -> FiniteSize:
    """Laws with these upper ends of their constants."""

    def law(name: str, high: float) -> Law:
        axis: Any = "depth" if name == "depth" else "width"
        power = 0.5 if name == "one network" else 1.0
        return Law(
            name=name,
            axis=axis,
            power=power,
            sizes=(16, 64),
            errors=(0.1, 0.1),
            slope=None,
            constant=Estimate(value=high / 2, low=0.0, high=high),
        )

    constants = {"one network": one, "mean over networks": mean} | (
        {} if deep is None else {"depth": deep}
    )
    laws = {name: law(name, high) for name, high in constants.items()}
    return FiniteSize(
        of="outputs",
        limit="theory",
        width=(16, 64),
        depth=(2, 8),
        seeds=4,
        laws=laws,
        scale=1.0,
    )


@pytest.mark.parametrize(
    ("one", "mean", "deep", "networks"),
    [
        (1.0, 1.5, 0.3, 1),
        (1.0, 1.5, 0.3, 9),
        (0.0, 4.0, 0.8, 1),
        (1.0, 0.0, 1.0, 1),
        (0.7, 10.0, 0.1, 2),
        (1.0, 2.0, None, 1),
    ],
    ids=["all", "nine networks", "bias alone", "no bias", "shallow", "one depth"],
)
@pytest.mark.parametrize("tolerance", [0.5, 0.3, 0.17])
def test_no_cheaper_proxy_reaches_the_tolerance(
    one: float, mean: float, deep: float | None, networks: int, tolerance: float
) -> None:
    proxy = how_small(laws_with(one, mean, deep), tolerance, networks=networks)
    widths, depths = np.arange(1, 401), (np.arange(1, 81) if deep else np.array([8]))[:, None]
    errors = one / np.sqrt(networks * widths) + mean / widths + (deep or 0.0) / depths
    cheapest = np.where(errors <= tolerance * (1 + 1e-12), widths**2 * depths, 1 << 40).min()
    assert proxy.error <= tolerance * (1 + 1e-12)
    assert proxy.width**2 * proxy.depth == cheapest
    assert errors[int(np.argmax(depths[:, 0] == proxy.depth)), proxy.width - 1] == pytest.approx(
        proxy.error
    )


def test_parts_add_up_and_networks_help() -> None:
    found = laws_with(1.0, 1.5, 0.3)
    alone, averaged = (how_small(found, 0.2, networks=networks) for networks in (1, 16))
    for proxy in (alone, averaged):
        assert list(proxy.parts) == ["one network", "mean over networks", "depth"]
        assert sum(proxy.parts.values()) == pytest.approx(proxy.error)
    assert averaged.width < alone.width
    assert averaged.parts["one network"] == pytest.approx(1 / math.sqrt(16 * averaged.width))
    assert how_small(found, 0.1).width > alone.width


@pytest.mark.parametrize(
    ("found", "tolerance", "outside"),
    [
        (laws_with(1.0, 0.0), 0.2, False),
        (laws_with(1.0, 0.0), 0.3, True),
        (laws_with(1.0, 0.0), 0.1, True),
        (laws_with(1.0, 0.0, 0.3), 0.25, False),
        (laws_with(0.2, 0.0, 3.0), 0.3, True),
    ],
    ids=["inside", "narrower", "wider", "depth inside", "deeper"],
)
def test_sizes_beyond_the_measured_ones_are_marked(
    found: FiniteSize, tolerance: float, outside: bool
) -> None:
    assert how_small(found, tolerance).extrapolated is outside


@pytest.mark.parametrize(
    ("tolerance", "networks"),
    [(0.0, 1), (-1.0, 1), (math.nan, 1), (0.1, 0)],
    ids=["zero", "negative", "nan", "none"],
)
def test_a_proxy_needs_a_tolerance_and_networks(tolerance: float, networks: int) -> None:
    with pytest.raises(MutransferError, match="give a positive tolerance and at least one network"):
        how_small(laws_with(1.0, 1.0, 0.3), tolerance, networks=networks)


@pytest.fixture(scope="module")
def three_depths() -> FiniteSize:
    return finite_size(problem(), width=[16, 32, 64], depth=[2, 4, 8], seeds=24)


@pytest.fixture(scope="module")
def endless() -> Limit:
    return solve(problem(), math.inf)


@pytest.mark.parametrize(("tolerance", "networks"), [(0.25, 1), (0.15, 4)], ids=["alone", "four"])
def test_a_proxy_has_the_error_that_it_promises(
    three_depths: FiniteSize, endless: Limit, tolerance: float, networks: int
) -> None:
    """Other networks of the proxy's size against the limit of infinite width and depth."""
    proxy = how_small(three_depths, tolerance, networks=networks)
    outputs = simulate(problem(), proxy.width, proxy.depth, range(1000, 1000 + 16 * networks))
    means = outputs.reshape(16, networks, *outputs.shape[1:]).mean(1)
    squares = np.mean((means - endless.outputs) ** 2, axis=(1, 2))
    rms = np.sqrt(squares.mean())
    error = squares.std(ddof=1) / math.sqrt(len(squares)) / (2 * rms)
    assert rms - 2 * error < tolerance
    assert rms > tolerance / 4
