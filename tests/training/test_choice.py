"""The choice of a program, by measured pace."""

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mutransfer.training import (
    Candidate,
    Program,
    Recipe,
    StackingWarning,
    _choice,
    choose,
    even,
    fitting,
    measured,
    shortened,
    train,
)
from tests.training.networks import Square, planned, vectors

Paces = dict[tuple[int, bool], float]
"""Seconds of a step of a member, by slots and whether it is compiled."""


def members(count: int = 40) -> Any:
    return planned(lambda: Square(12), Square, "adamw", [0.01] * count)


def linear() -> Any:
    """Members of two tensors."""
    return planned(lambda: nn.Linear(5, 4), lambda: nn.Linear(5, 4), "adamw", [0.01] * 40)


def recipe(steps: int = 1000) -> Recipe:
    return Recipe(task=vectors(), steps=steps, batch=16)


def chosen(
    monkeypatch: pytest.MonkeyPatch,
    paces: Paces,
    *,
    start: float = 10.0,
    threads: int = 1,
    shared: float | dict[int, float] = 1.0,
    found: Any = None,
    **how: Any,
) -> tuple[Program, list[tuple[int, bool]]]:
    """Return the choice among programs of these paces, and which were measured on one thread.

    Several threads need the share `shared` of the time of one, or that of each number of slots.
    """
    tried: list[tuple[int, bool]] = []

    def pretended(few: Any, common: Recipe, program: Program) -> Candidate:
        key = (program.slots or 0, program.compiled)
        if program.threads is None:
            tried.append(key)
        begin = start if program.compiled else 0.0
        share = shared[key[0]] if isinstance(shared, dict) else shared
        pace = paces[key] * (share if program.threads else 1.0)
        return Candidate(program=program, seconds=pace, evaluation=0.0, start=begin)

    monkeypatch.setattr(_choice, "measured", pretended)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    return choose(found or members(), recipe(**how), runs=40).program, tried


def test_what_takes_seconds_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program, tried = chosen(monkeypatch, {(64, False): 1e-4})
    assert program == Program(slots=64) and tried == [(64, False)]


@pytest.mark.parametrize(("loop", "best"), [(2e-4, 1), (8e-4, 64)])
def test_short_work_is_a_stack_or_a_loop(
    monkeypatch: pytest.MonkeyPatch, loop: float, best: int
) -> None:
    program, tried = chosen(monkeypatch, {(64, False): 4e-4, (1, False): loop})
    assert program == Program(slots=best) and tried == [(64, False), (1, False)]


@pytest.mark.parametrize(
    ("pace", "shared", "threads", "taken"),
    [
        (1e-4, 0.6, 2, 2),
        (1e-4, 0.95, 2, None),
        (1e-4, 1.8, 2, None),
        (1e-4, 0.6, 1, None),
        (1e-5, 0.6, 2, None),
    ],
)
def test_threads_share_a_step_where_that_is_seen_to_be_quicker(
    monkeypatch: pytest.MonkeyPatch, pace: float, shared: float, threads: int, taken: int | None
) -> None:
    """Training takes 4 s on one thread, or 0.4 s, for which threads are not measured."""
    found, _ = chosen(monkeypatch, {(64, False): pace}, threads=threads, shared=shared)
    assert found == Program(slots=64, threads=taken)


def test_a_loop_on_all_threads_may_overtake_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = {(64, False): 4e-4, (1, False): 5e-4}
    found, _ = chosen(monkeypatch, paces, threads=2, shared={64: 1.0, 1: 0.6})
    assert found == Program(slots=1, threads=2)


def test_threads_do_not_share_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = {(64, False): 0.01, (8, False): 0.02, (1, False): 0.03, (40, True): 0.004}
    program, _ = chosen(monkeypatch, paces, start=100.0, threads=2, shared=0.5)
    assert program.compiled and program.threads is None


def test_the_quickest_eager_program_is_taken_where_compiling_takes_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paces = {(64, False): 1e-3, (8, False): 5e-4, (1, False): 2e-3}
    program, tried = chosen(monkeypatch, paces)
    assert program == Program(slots=8) and not any(compiled for _, compiled in tried)


@pytest.mark.parametrize(("kind", "compiles"), [(linear, True), (members, False)])
def test_few_tensors_are_compiled_sooner(
    monkeypatch: pytest.MonkeyPatch, kind: Any, compiles: bool
) -> None:
    """Training takes 60 s; two tensors compile in 6 s at most, eight in 24."""
    short = {(64, False): 1.5e-3, (8, False): 2e-3, (1, False): 3e-3, (40, True): 3e-4}
    short |= {(8, True): 3e-4, (1, True): 3e-4}
    _, tried = chosen(monkeypatch, short, found=kind())
    assert any(compiled for _, compiled in tried) == compiles


@pytest.mark.parametrize(("loop", "stack", "best"), [(0.9, 1.0, 1), (1.0, 0.9, 40)])
def test_long_work_is_compiled(
    monkeypatch: pytest.MonkeyPatch, loop: float, stack: float, best: int
) -> None:
    """Forty members fill one stack."""
    paces = {(64, False): 4.0, (8, False): 4.0, (1, False): 6.0}
    paces |= {(40, True): stack, (8, True): 3.0, (1, True): loop}
    program, tried = chosen(monkeypatch, {key: pace / 100 for key, pace in paces.items()})
    assert program.compiled and program.slots == best
    assert {(1, True), (8, True), (40, True)} <= set(tried)
    # A compiled stack says from when on half of it is worth another compilation.
    assert program.shrink == (None if best == 1 else round(2 * 10.0 / (0.009 * 40 / 2) + 0.5))


def test_compiling_ends_where_it_has_taken_a_quarter_of_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paces = {(64, False): 0.01, (8, False): 0.02, (1, False): 0.03, (40, True): 0.004}
    program, tried = chosen(monkeypatch, paces, start=100.0)
    assert program.compiled and [key for key in tried if key[1]] == [(40, True)]


def test_one_member_is_compiled_first_where_stacks_are_no_quicker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stack, which takes longer to compile, follows where training is long enough for it."""
    paces = {(64, False): 0.018, (8, False): 0.018, (1, False): 0.02}
    paces |= {(1, True): 0.01, (8, True): 0.009, (40, True): 0.009}
    for steps, compiled, best in ((500, [1], 1), (20_000, [1, 8, 40], 8)):
        program, tried = chosen(monkeypatch, paces, start=20.0, steps=steps)
        assert [slots for slots, is_compiled in tried if is_compiled] == compiled
        assert program.compiled and program.slots == best


@pytest.mark.parametrize(("stack", "compiles"), [(0.005, True), (0.012, False)])
def test_compiling_is_not_tried_where_products_take_the_time(
    monkeypatch: pytest.MonkeyPatch, stack: float, compiles: bool
) -> None:
    """Stacks that are no quicker than a loop show that; training takes 200 s."""
    paces = {(64, False): stack, (8, False): stack, (1, False): 0.012}
    paces |= {(slots, True): 0.004 for slots in (1, 8, 40)}
    steps = round(200 / 40 / min(stack, 0.012))
    program, tried = chosen(monkeypatch, paces, steps=steps)
    assert program.compiled == compiles == any(is_compiled for _, is_compiled in tried)


def test_a_stack_on_all_threads_shows_nothing_beside_a_loop_on_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_choice, "is_large", lambda entries: entries > 8 * 12 * 12)
    paces = {(64, False): 0.0096, (8, False): 0.0165, (1, False): 0.0138}
    paces |= {(slots, True): 0.004 for slots in (1, 8, 40)}
    program, tried = chosen(monkeypatch, paces, steps=500)
    assert program == Program(slots=64) and not any(compiled for _, compiled in tried)


def test_where_compiling_gained_little_it_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first program that is compiled needs .9 of its time."""
    paces = {(64, False): 0.01, (8, False): 0.01, (1, False): 0.02}
    paces |= {(1, True): 0.011, (8, True): 0.009, (40, True): 0.008}
    for steps, compiled in ((260, [8]), (20_000, [8, 40, 1])):
        _, tried = chosen(monkeypatch, paces, start=15.0, steps=steps)
        assert [slots for slots, is_compiled in tried if is_compiled] == compiled


def test_programs_far_behind_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = {(64, False): 0.04, (8, False): 0.04, (1, False): 0.5, (40, True): 0.05, (8, True): 0.1}
    program, tried = chosen(monkeypatch, paces)
    assert (1, True) not in tried
    # Measured and found slower, compiling is dropped again.
    assert program == Program(slots=8)


def test_a_real_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    few = shortened(members(4), recipe(100))
    state = torch.get_rng_state()
    for slots in (1, 4):
        found = measured(few, recipe(100), Program(slots=slots))
        assert 0 < found.seconds < 1 and found.evaluation >= 0 and found.start == 0
    assert torch.equal(torch.get_rng_state(), state)
    whole = found.total(8, recipe(100))
    assert whole == pytest.approx(8 * (100 * found.seconds + found.evaluation))


@pytest.mark.parametrize(("pace", "steps"), [(float("inf"), 5), (1e-3, 31), (1.0, 5), (1e-6, 201)])
def test_more_steps_are_timed_where_they_are_short(pace: float, steps: int) -> None:
    few = shortened(members(2), recipe(), 10, pace)
    assert [member.trained_by(recipe()).steps for member in few] == [steps, steps]
    assert shortened(members(1), recipe(3))[0].trained_by(recipe(3)).steps == 3


class Branching(Square):
    """Cannot be stacked."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.sum() < 1e9 else x


def test_what_cannot_be_stacked_is_said_once_and_trains_in_a_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_choice, "_SHORT", 0.0)
    monkeypatch.setattr(_choice, "_SHORTEST", 0.0)
    found = planned(lambda: Branching(12), Branching, "adamw", [0.01] * 10)
    with pytest.warns(StackingWarning, match="cannot be stacked") as caught:
        choice = choose(found, recipe(100), runs=10)
    assert choice.program == Program(slots=1) and len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(found, recipe(10), program=choice.program)


@given(st.integers(1, 500), st.integers(1, 64))
def test_even_pieces(runs: int, most: int) -> None:
    size = even(runs, most)
    assert 1 <= size <= most and -(-runs // size) == -(-runs // most)
    assert size == 1 or -(-runs // (size - 1)) > -(-runs // most)


def test_as_many_as_fit_in_memory() -> None:
    assert fitting(1 << 30) == 1 and fitting(1 << 20) == 128 and fitting(0) >= 1


def test_a_recipe_of_one_step_can_be_measured() -> None:
    one = replace(recipe(), steps=1)
    assert measured(shortened(members(2), one), one, Program()).seconds > 0
