"""Few runs on one curve: the optimum is found, places are allowed ones, ends are stated."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mutransfer.core import MutransferError
from mutransfer.statistics import (
    LANGUAGE_MODELS,
    Array,
    Refined,
    Refinement,
    SmoothCurve,
    Start,
    refinement,
)

CENTRE = -8.1
START = Start(mean=-7.0, sd=1.0)
Loss = Callable[[float, int], float]


def parabola(place: float, seed: int = 0) -> float:
    return 2.5 * (1 + 0.005 * (place - CENTRE) ** 2)


def noisy(place: float, seed: int) -> float:
    """A curve whose runs differ by an offset, a shift and noise of their own."""
    own = np.random.default_rng(seed).standard_normal(2)
    each = np.random.default_rng([seed, int(8 * place) + 1000]).standard_normal()
    loss = 2 + 0.05 * (place - CENTRE - 0.16 * own[0]) ** 2 + 0.02 * own[1] + 0.004 * each
    return float(loss)


def search(
    loss: Loss, seeds: int = 1, start: Start = START, **options: Any
) -> tuple[Refined, dict[float, list[float]], list[Refined]]:
    """Measure what is proposed until nothing is."""
    measured: dict[float, list[float]] = {}
    states: list[Refined] = []
    while True:
        places = sorted(measured)
        losses = np.array([measured[place] for place in places]).reshape(-1, seeds).T
        found = refinement(np.array(places), losses, start=start, **options)
        states.append(found)
        if not found.proposals:
            return found, measured, states
        assert len(states) < 30
        for place in found.proposals:
            measured[place] = [loss(place, seed) for seed in range(seeds)]


@pytest.mark.parametrize("start", [-8.1, -7.6, -7.0, -5.0, -12.0])
def test_the_optimum_of_a_parabola_is_found_in_few_runs(start: float) -> None:
    found, measured, _ = search(parabola, start=Start(mean=start), prior=LANGUAGE_MODELS)
    assert found.status == "inside"
    assert found.place == pytest.approx(CENTRE, abs=0.1)
    assert found.low <= CENTRE <= found.high
    assert found.high - found.low <= 0.5
    assert len(measured) <= 5 + abs(start - CENTRE) / 2


def test_the_first_round_fills_a_batch_of_three() -> None:
    found, _, _ = search(parabola, prior=LANGUAGE_MODELS)
    first = refinement(np.array([]), np.empty((1, 0)), start=START)
    assert first.proposals == (-8.0, -7.0, -6.0)
    assert first.status == "open"
    assert np.isnan(first.place)
    assert found.finished


def test_several_seeds_find_the_optimum_of_a_noisy_curve() -> None:
    found, measured, _ = search(noisy, seeds=5)
    assert found.status == "inside"
    assert found.low <= CENTRE <= found.high
    assert abs(found.place - CENTRE) < 0.3
    assert len(measured) <= 8


def test_a_narrower_interval_costs_more_places() -> None:
    start = Start(mean=-8.0)
    counts = [
        len(search(parabola, start=start, prior=LANGUAGE_MODELS, within=within)[1])
        for within in (1.0, 0.25, 0.1)
    ]
    assert counts == sorted(counts)
    assert counts[0] == 3
    assert counts[-1] > counts[0]


@pytest.mark.parametrize("prior", [None, LANGUAGE_MODELS])
def test_a_cliff_is_approached_from_its_left(prior: SmoothCurve | None) -> None:
    def cliff(place: float, seed: int) -> float:
        if place > -6.7:
            return 10.0 + place
        return 2.5 * (1 + 0.002 * (place + 6.7) ** 2) + 1e-4 * seed

    found, measured, _ = search(cliff, seeds=3, prior=prior)
    assert found.status == "inside"
    assert found.low - 0.25 <= -6.7 <= found.high + 0.25
    assert -7.6 <= found.place <= -6.3
    assert len(measured) <= 8


@pytest.mark.parametrize("prior", [None, LANGUAGE_MODELS])
def test_a_side_that_diverges_bounds_the_optimum(prior: SmoothCurve | None) -> None:
    def diverging(place: float, seed: int) -> float:
        return np.inf if place > -7.5 else noisy(place, seed)

    found, measured, _ = search(diverging, seeds=3, prior=prior)
    assert found.status == "inside"
    lowest = min(place for place, losses in measured.items() if np.isinf(losses).any())
    assert found.high <= lowest
    assert abs(found.place - CENTRE) < 0.5


def test_all_places_diverged_leads_to_lower_ones() -> None:
    found, _, states = search(
        lambda place, seed: np.inf if place > -11 else parabola(place), prior=LANGUAGE_MODELS
    )
    assert states[1].status == "open"
    assert max(states[1].proposals) < -8
    assert found.place < -10.5


def test_all_allowed_places_diverged_ends() -> None:
    grid = np.arange(-8.0, -4.9)
    found, measured, _ = search(lambda place, seed: np.inf, allowed=grid)
    assert found.status == "diverged"
    assert found.high == -8
    assert set(measured) <= set(grid)


@pytest.mark.parametrize("prior", [None, LANGUAGE_MODELS])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_loss_that_falls_to_the_end_is_at_the_edge(prior: SmoothCurve | None, side: int) -> None:
    def falling(place: float, seed: int) -> float:
        return float(3 * np.exp(-0.05 * side * place)) + 0.001 * seed

    found, measured, states = search(falling, seeds=2, prior=prior, low=-10.0, high=-4.0)
    end = -4.0 if side > 0 else -10.0
    assert [state.status for state in states[1:-1]].count("open") >= 1
    assert found.status == "edge"
    assert end in measured
    assert found.place == pytest.approx(end, abs=0.6)
    assert all(-10 <= place <= -4 for place in measured)


def test_without_bounds_a_falling_loss_is_followed_and_given_up() -> None:
    found, measured, _ = search(
        lambda place, seed: float(np.exp(-0.1 * place)), prior=LANGUAGE_MODELS
    )
    assert found.status == "edge"
    assert 4 < max(measured) < 16


def test_a_flat_curve_ends_as_flat() -> None:
    def flat(place: float, seed: int) -> float:
        return 2.0 + 0.01 * float(np.random.default_rng([seed, int(8 * place) + 99]).normal())

    found, measured, _ = search(flat, seeds=3)
    assert found.status == "flat"
    assert len(measured) <= 7
    found, _, _ = search(lambda place, seed: 2.0, prior=LANGUAGE_MODELS)
    assert found.status == "flat"


def test_only_allowed_places_are_proposed_each_once() -> None:
    grid = np.array([-11.0, -10.5, -9.5, -9.0, -8.5, -8.0, -7.5, -7.0, -6.49, -6.0])
    for start in (-11.0, -8.5, -6.0):
        _, _, states = search(parabola, start=Start(mean=start), allowed=grid, within=0.05)
        proposed = [place for state in states for place in state.proposals]
        assert set(proposed) <= set(grid)
        assert len(proposed) == len(set(proposed))


def test_the_same_measurements_give_the_same_proposals() -> None:
    _, _, states = search(noisy, seeds=3)
    _, _, again = search(noisy, seeds=3)
    assert states == again or str(states) == str(again)
    assert len(states) > 2


def test_places_on_a_linear_scale_are_searched_in_its_unit() -> None:
    scale = 0.02
    found, _, _ = search(
        lambda place, seed: parabola(place / scale + CENTRE - 5),
        start=Start(mean=4 * scale),
        step=scale,
        within=0.25 * scale,
        unit=scale,
        prior=LANGUAGE_MODELS,
    )
    assert found.place == pytest.approx(5 * scale, abs=0.1 * scale)


def test_another_seed_is_asked_for_where_places_no_longer_help() -> None:
    found, measured, _ = search(noisy, seeds=1)
    assert found.high - found.low > 0.5
    assert len(found.reseed) >= 3
    assert set(found.reseed) <= set(measured)
    assert "seed" in found.reason
    places = np.array(sorted(measured))
    widths = [found.high - found.low]
    for seeds in (3, 6):
        losses = np.full((seeds, len(places)), np.nan)
        losses[0] = [measured[place][0] for place in places]
        # Further seeds are run at the places that were asked for alone.
        for column, place in enumerate(places):
            if place in found.reseed:
                losses[1:, column] = [noisy(place, seed) for seed in range(1, seeds)]
        more = refinement(places, losses, start=START)
        widths.append(more.high - more.low)
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("draw", [3, 17, 24])
def test_no_search_ends_with_one_seed_and_a_wide_interval(draw: int) -> None:
    """One seed shows nothing of the noise, so that it foresees no gain of another."""

    def unlike(place: float, seed: int) -> float:
        each = np.random.default_rng([draw, int(1000 * (place + 40))]).standard_normal()
        return float(2 + 0.05 * (place + 6.3) ** 2 + 0.02 * each)

    found, measured, _ = search(unlike, seeds=1, start=Start(mean=-6.0, sd=1.5))
    assert found.status == "inside" and found.high - found.low > 0.5
    assert 3 <= len(found.reseed) <= 5 and set(found.reseed) <= set(measured)


def test_a_seed_that_was_not_run_is_no_divergence() -> None:
    places = np.arange(-10.0, -5.9)
    losses = np.array([[noisy(place, seed) for place in places] for seed in range(3)])
    losses[2, [0, -1]] = np.nan
    partly = refinement(places, losses, start=START)
    losses[2, [0, -1]] = np.inf
    diverged = refinement(places, losses, start=START)
    assert partly.status == "inside"
    assert diverged.low >= -10
    assert partly.low <= CENTRE <= partly.high
    all_run = np.array([[noisy(place, seed) for place in places] for seed in range(3)])
    assert partly.place == pytest.approx(refinement(places, all_run, start=START).place, abs=0.1)


def covered(rule: Callable[..., Refined], draws: int = 25) -> float:
    """Share of parabolas of known noise whose optimum lies in the interval, near the place."""
    hits = []
    for number in range(draws):
        rng = np.random.default_rng(number)
        optimum, skew = rng.uniform(-2, 2), rng.uniform(0, 0.6)
        places: list[float] = []
        losses: list[float] = []
        while True:
            order = np.argsort(places)
            found = rule(np.array(places)[order], np.array([losses])[:, order], start=Start(mean=0))
            if not found.proposals:
                break
            for place in found.proposals:
                d = place - optimum
                loss = 0.005 * d**2 * np.exp(skew * np.clip(d, -4, 4) / 2)
                places.append(place)
                losses.append(2.5 * np.exp(loss + 0.0007 * rng.standard_normal()))
        hits.append(abs(found.place - optimum) <= 0.25 and found.low <= optimum <= found.high)
    return float(np.mean(hits))


def smooth(places: Array, losses: Array, *, start: Start) -> Refined:
    return refinement(places, losses, start=start, prior=LANGUAGE_MODELS)


def test_the_optimum_of_simulated_curves_is_near_and_covered() -> None:
    assert covered(smooth) >= 0.88


def test_a_rule_that_stops_at_once_misses() -> None:
    def hasty(places: Array, losses: Array, *, start: Start) -> Refined:
        found = smooth(places, losses, start=start)
        if not len(places):
            return found
        best = float(places[np.argmin(losses[0])])
        return Refined(
            proposals=(), place=best, low=best - 0.25, high=best + 0.25, status="inside", reason=""
        )

    assert covered(hasty) < 0.6


def told(order: Sequence[tuple[float, int]]) -> Refinement:
    ours = Refinement(start=START)
    for place, seed in order:
        ours.tell(place, noisy(place, seed), seed)
    return ours


def test_ask_and_tell_is_refinement_in_any_order() -> None:
    pairs = [(place, seed) for place in (-9.0, -8.0, -7.0) for seed in range(3)]
    ours, reverse = told(pairs), told(pairs[::-1])
    losses = np.array([[noisy(place, seed) for place in (-9.0, -8.0, -7.0)] for seed in range(3)])
    direct = refinement(np.array([-9.0, -8.0, -7.0]), losses, start=START)
    assert ours.state == direct
    assert reverse.ask() == ours.ask() == list(direct.proposals)
    assert ours.best == direct.place
    assert ours.runs == 9


def test_ask_and_tell_takes_runs_that_diverged() -> None:
    ours = Refinement(start=-8.0, prior=LANGUAGE_MODELS)
    assert ours.ask() == [-9.0, -8.0, -7.0]
    for place in ours.ask():
        ours.tell(place, np.nan if place > -7.5 else parabola(place))
    assert ours.state.high <= -7


@pytest.mark.parametrize(
    ("places", "losses", "options", "message"),
    [
        ([1.0, 0.0], [[1.0, 2.0]], {}, "ascending"),
        ([0.0, 1.0], [[1.0, 2.0, 3.0]], {}, "shape"),
        ([0.0, 1.0], [[1.0, 2.0]], {"within": 0.0}, "positive"),
        ([0.0, 1.0, 2.0], [[1.0, -2.0, 1.0]], {"prior": LANGUAGE_MODELS}, "positive"),
    ],
)
def test_wrong_input_is_refused(
    places: list[float], losses: list[list[float]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        refinement(np.array(places), np.array(losses), start=START, **options)
