"""Programs: slots that are filled again, steps that are compiled, members with own recipes."""

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer import MutransferError
from mutransfer.rules import family
from mutransfer.training import (
    UPDATES,
    Member,
    Program,
    Recipe,
    StackingWarning,
    Trained,
    _compiled,
    _stack,
    train,
    train_one_by_one,
)
from mutransfer.training._held import held
from tests.training.networks import Square, assert_same, drawn, planned, vectors

SLOTS = [1, 2, 3, 8]
QUICK = [name for name in UPDATES if not UPDATES[name].in_step]
OWN: list[dict[str, Any]] = [
    {"options": {"betas": (0.9, 0.999)}, "schedule": "linear"},
    {"options": {"betas": (0.8, 0.9)}, "clip": 0.3},
    {"options": {"betas": (0.0, 0.5)}, "schedule": "cosine", "warmup": 4},
    {"clip": 1e6},
    {"warmup": 0.5},
]


def recipe(optimizer: str = "adamw", **changes: Any) -> Recipe:
    return Recipe(task=vectors(), steps=24, batch=16, optimizer=optimizer, evaluate=9, **changes)


def squares(count: int = 5, optimizer: str = "adamw", lr: float = 0.01) -> list[Member]:
    rates = [lr * 2.0 ** (-number / 2) for number in range(count)]
    return planned(lambda: Square(12), Square, optimizer, rates)


@pytest.mark.parametrize("slots", SLOTS)
def test_any_number_of_slots_trains_alike(slots: int) -> None:
    members = squares()
    assert_same(
        train(members, recipe(), program=Program(slots=slots)), train_one_by_one(members, recipe())
    )


@pytest.mark.usefixtures("traced", "exact_muon")
@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("optimizer", QUICK)
def test_a_recorded_step_trains_alike(optimizer: str, slots: int) -> None:
    name = f"{optimizer}+adamw" if family(optimizer).matrices else optimizer
    members = squares(3, name)
    how = recipe(name, schedule="cosine", warmup=3, clip=0.5)
    program = Program(slots=slots, compiled=True)
    assert_same(train(members, how, program=program), train_one_by_one(members, how))


def test_a_compiled_step_trains_alike() -> None:
    """The last of three members leaves a slot of two empty."""
    members, how = squares(3), recipe(schedule="linear")
    trained = train(members, how, program=Program(slots=2, compiled=True))
    assert_same(trained, train_one_by_one(members, how), rtol=1e-10)


@pytest.mark.parametrize("slots", [1, 5])
def test_every_member_has_its_own_recipe(slots: int) -> None:
    members = [
        replace(member, recipe=recipe(**own)) for member, own in zip(squares(), OWN, strict=True)
    ]
    together = train(members, recipe(), program=Program(slots=slots))
    for number, member in enumerate(members):
        alone = train_one_by_one([replace(member, recipe=None)], member.trained_by(recipe()))
        torch.testing.assert_close(together.losses[number], alone.losses[0], rtol=1e-12, atol=0)
    assert together.losses[:, -1].unique().numel() == len(members)


@pytest.mark.parametrize("momenta", [(0.0, 0.5, 0.9), (0.9, 0.9, 0.9)])
def test_every_member_has_its_own_momentum(momenta: Sequence[float]) -> None:
    members = [
        replace(member, recipe=recipe("sgd", options={"momentum": momentum}))
        for member, momentum in zip(squares(3, "sgd", 0.1), momenta, strict=True)
    ]
    first = recipe("sgd")
    assert_same(train(members, first), train_one_by_one(members, first))


@pytest.mark.parametrize(
    "changes", [{"steps": 5}, {"batch": 8}, {"label_smoothing": 0.1}, {"optimizer": "nadam"}]
)
def test_what_all_share_cannot_be_a_members_own(changes: dict[str, Any]) -> None:
    first, *others = squares(2)
    own = replace(first, recipe=replace(recipe(), **changes))
    with pytest.raises(MutransferError, match="recipe of member 0 differs"):
        train([own, *others], recipe())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.usefixtures("traced")
def test_a_member_that_diverges_leaves_its_slot_to_the_next(compiled: bool) -> None:
    members = squares(4, "sgd", 0.1)
    wild = [replace(m, table={n: replace(r, lr=1e9) for n, r in m.table.items()}) for m in members]
    queue, how = [wild[0], members[1], wild[2], members[3]], replace(recipe("sgd"), steps=60)
    trained = train(queue, how, program=Program(slots=2, compiled=compiled))
    alone = train_one_by_one(queue, how)
    assert_same(trained, alone)
    # It was not trained to the end.
    assert trained.losses[0].isnan().any() and trained.losses[1].isfinite().all()


def test_a_judge_stops_members_and_others_follow() -> None:
    members, seen = squares(4), []

    def judge(losses: Tensor, done: Tensor) -> list[int]:
        seen.append(done.tolist())
        return [0] if done[0] >= 20 else []

    how = replace(recipe(), steps=40)
    trained = train(members, how, program=Program(slots=2), judge=judge)
    whole = train_one_by_one(members, how)
    assert trained.stopped == [20, None, None, None]
    assert torch.equal(trained.losses[0, :20].isnan(), torch.zeros(20, dtype=torch.bool))
    assert trained.losses[0, 20:].isnan().all()
    torch.testing.assert_close(trained.losses[1:], whole.losses[1:], rtol=1e-12, atol=0)
    # The third begins when the first is stopped, at step 20 of the second.
    assert seen == [[20, 20, 0, 0], [20, 40, 20, 0], [20, 40, 40, 20]]


def test_a_judge_stops_members_of_a_loop() -> None:
    how = replace(recipe(), steps=40)

    class Looking(Square):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() < 1e9 else x

    members = planned(lambda: Looking(12), Looking, "adamw", [0.01, 0.02])
    with pytest.warns(StackingWarning, match="one by one"):
        trained = train(members, how, judge=lambda losses, done: [1] if done[1] else [])
    assert trained.stopped == [None, 20] and trained.losses[1, 20:].isnan().all()


class Tied(nn.Module):
    """A head that is the embedding, attention by torch's fused function, dropout."""

    def __init__(self, width: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, width)
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        q, k, v = self.mix(self.norm(x))[:, None].chunk(3, -1)
        x = x + nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]
        return self.head(self.last(self.drop(x)))


def sentences() -> mt.Task:
    tokens = torch.randint(7, (64, 6), generator=torch.Generator().manual_seed(1))
    return mt.Task(
        name="sentences",
        inputs=tokens[:, :-1],
        targets=tokens[:, 1:],
        loss=mt.tasks.cross_entropy,
    )


def tied(dropout: float = 0.0) -> tuple[list[Member], Recipe]:
    members = planned(
        lambda: Tied(8, dropout), lambda: Tied(8, dropout), "adamw", [0.01, 0.02, 0.03]
    )
    return members, Recipe(task=sentences(), steps=12, batch=8, optimizer="adamw")


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("slots", [1, 3])
def test_tied_weights_and_attention_train_alike(slots: int) -> None:
    members, how = tied()
    trained = train(members, how, program=Program(slots=slots, compiled=True))
    assert_same(trained, train_one_by_one(members, how), rtol=1e-9)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("slots", [1, 3])
def test_dropout_differs_between_members_steps_and_not_between_two_runs(slots: int) -> None:
    members, how = tied(0.5)
    members = [members[0]] * 3

    def once() -> Trained:
        torch.manual_seed(5)
        return train(members, how, program=Program(slots=slots, compiled=True))

    first, second = once(), once()
    assert torch.equal(first.losses, second.losses)
    assert first.losses[:, 0].unique().numel() == 3


class Layerdrop(Square):
    """Python's generator leaves layers out."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.input(x))
        for layer in self.hidden:
            if random.random() > 0.3:
                x = torch.tanh(layer(x))
        return self.readout(x)


class Numpy(Square):
    """So does NumPy's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + np.random.random())


class Counting(Square):
    """A factor grows from step to step."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + self.calls)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Layerdrop, "Python's or NumPy's"), (Numpy, "Python's or NumPy's"), (Counting, "calls")],
)
def test_a_forward_pass_that_changes_is_not_frozen(kind: type[nn.Module], reason: str) -> None:
    members = planned(lambda: kind(12), lambda: kind(8), "adamw", [0.01])
    with pytest.warns(StackingWarning, match=reason):
        trained = train(members, recipe(), program=Program(slots=1, compiled=True))
    assert trained.losses.isfinite().all()


class Caching(Square):
    """The first forward pass keeps a factor that the others use."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.cache: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if not self.cache:
            self.cache["factor"] = torch.full((), 2.0, dtype=torch.float64)
        return super().forward(x * self.cache["factor"])


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("slots", [1, 3])
def test_what_the_first_forward_pass_keeps_is_part_of_the_program(slots: int) -> None:
    members = planned(lambda: Caching(12), lambda: Caching(8), "adamw", [0.01, 0.02, 0.03])
    for member in members:
        member.model.cache.clear()
    # An evaluation before the training would be the first forward pass.
    how = Recipe(task=vectors(validation=None, metrics={}), steps=24, batch=16, optimizer="adamw")
    with warnings.catch_warnings():
        warnings.simplefilter("error", StackingWarning)
        trained = train(members, how, program=Program(slots=slots, compiled=True))
    assert_same(trained, train_one_by_one(members, how))


@pytest.mark.usefixtures("traced")
def test_pieces_of_any_length_use_one_program() -> None:
    program = Program(slots=3, compiled=True)
    for count in (3, 1, 5):
        train(squares(count), recipe(), program=program)
    assert len(_compiled._PROGRAMS) == 1
    train(squares(3), replace(recipe(), batch=8), program=program)
    assert len(_compiled._PROGRAMS) == 2


@pytest.mark.usefixtures("traced")
def test_a_program_that_empties_is_compiled_again_for_half_of_it() -> None:
    members = squares(8)
    how = replace(recipe(), steps=100)
    leaving = {0: 20, 1: 20, 2: 20, 3: 20, 4: 40, 5: 40, 6: 60}

    def judge(losses: Tensor, done: Tensor) -> list[int]:
        return [m for m, step in leaving.items() if done[m] >= step]

    for shrink, programs in ((None, 1), (1, 4), (70, 2)):
        _compiled._PROGRAMS.clear()
        program = Program(slots=8, compiled=True, shrink=shrink)
        trained = train(members, how, program=program, judge=judge)
        assert len(_compiled._PROGRAMS) == programs
        assert trained.stopped == [20, 20, 20, 20, 40, 40, 60, None]
        alone = train_one_by_one(members[-1:], how)
        torch.testing.assert_close(trained.losses[-1:], alone.losses, rtol=1e-12, atol=0)


@pytest.mark.usefixtures("traced")
def test_constants_of_another_model_are_not_used() -> None:
    """A tensor in a plain attribute is part of the program."""

    class Fixed(Square):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * self.scales)

    losses = []
    for factor in (1.0, 3.0):
        members = squares(1)
        model = drawn(lambda: Fixed(12))
        model.scales = torch.full((5,), factor, dtype=torch.float64)  # type: ignore[assignment]
        found = [replace(member, model=model) for member in members]
        trained = train(found, recipe(), program=Program(slots=1, compiled=True))
        assert_same(trained, train_one_by_one(found, recipe()))
        losses.append(trained.losses)
    assert not torch.equal(*losses)


def test_where_memory_is_short_half_of_the_slots_train(monkeypatch: pytest.MonkeyPatch) -> None:
    full: list[int] = []

    class Large(Square):
        def forward(self, x: Tensor) -> Tensor:
            if full:
                raise torch.OutOfMemoryError("too many")
            return super().forward(x)

    members = planned(lambda: Large(12), Large, "adamw", [0.01] * 4)
    plain = _stack.Stack.step

    def step(stack: Any) -> None:
        full[:] = [1] if len(stack.slots) > 2 else []
        try:
            plain(stack)
        finally:
            full.clear()

    monkeypatch.setattr(_stack.Stack, "step", step)
    counts: list[int] = []
    with pytest.warns(StackingWarning, match="memory is too small for 4 members at once: 2 train"):
        trained = train(members, recipe(), counts.append)
    assert sum(counts) == 4 * recipe().steps and trained.losses.isfinite().all()


def test_what_cannot_be_compiled_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(_compiled.torch, "compile", fails)
    _compiled._PROGRAMS.clear()
    members, steps = squares(2), list[int]()
    for slots in (2, 1):
        steps.clear()
        if slots == 1:
            # A loop, not a stack of one.
            monkeypatch.delattr(_stack.Stack, "step")
        with pytest.warns(StackingWarning, match="without being compiled.*no compiler here"):
            program = Program(slots=slots, compiled=True)
            trained = train(members, recipe(), steps.append, program=program)
        assert_same(trained, train_one_by_one(members, recipe()))
        assert steps == [slots] * (2 * recipe().steps // slots)


@pytest.mark.parametrize("optimizer", [name for name in UPDATES if UPDATES[name].in_step])
def test_optimizers_that_need_all_in_step_train_together(optimizer: str) -> None:
    name = f"{optimizer}+adamw"
    members = planned(lambda: Square(5), lambda: Square(4), name, [0.003, 0.002, 0.001])
    how = recipe(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = train(members, how, program=Program(slots=1, compiled=True))
    assert torch.equal(trained.losses, train(members, how).losses)


@pytest.mark.parametrize("changes", [{"slots": 0}, {"slots": -1}, {"shrink": 0}])
def test_impossible_programs_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(MutransferError, match="give at least 1"):
        Program(**changes)


def test_a_program_is_data() -> None:
    for program in (Program(), Program(slots=8, compiled=True, shrink=40)):
        assert Program.from_json(program.to_json()) == program
    assert str(Program(slots=8, compiled=True)) == "8 at once, compiled"
    assert str(Program(slots=1)) == "one after the other, not compiled"
    assert str(Program(threads=2)) == "all at once, not compiled, on 2 threads"
    with pytest.raises(MutransferError, match="not a program"):
        Program.from_json({"places": 3})


@pytest.mark.parametrize("value", [2.0, torch.full((5,), 2.0, dtype=torch.float64)], ids=type)
def test_models_that_hold_different_numbers_do_not_share_one_forward_pass(value: Any) -> None:
    class Holding(Square):
        factor: Any = 1.0

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * self.factor)

    members = planned(lambda: Holding(12), lambda: Holding(8), "adamw", [0.01, 0.01])
    members[1].model.factor = value
    with pytest.warns(StackingWarning, match="hold different values of factor"):
        trained = train(members, recipe())
    assert_same(trained, train_one_by_one(members, recipe()))


@pytest.mark.parametrize(
    ("hold", "look"),
    [
        (lambda factor: [factor], lambda value: value[0]),
        (lambda factor: {"all": {"of": (factor,)}}, lambda value: value["all"]["of"][0]),
        (lambda factor: np.array([factor]), lambda value: float(value[0])),
        (lambda factor: SimpleNamespace(factor=factor), lambda value: value.factor),
    ],
    ids=["list", "nested", "array", "namespace"],
)
def test_what_models_hold_in_containers_counts_too(
    hold: Callable[[float], Any], look: Callable[[Any], float]
) -> None:
    class Holding(Square):
        factor: Any = hold(1.0)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * look(self.factor))

    members = planned(lambda: Holding(12), lambda: Holding(8), "adamw", [0.01, 0.01])
    members[1].model.factor = hold(2.0)
    with pytest.warns(StackingWarning, match="hold different values of factor"):
        trained = train(members, recipe())
    assert_same(trained, train_one_by_one(members, recipe()))


def test_a_list_that_contains_itself_ends() -> None:
    model, ring = Square(12), [1.0]
    ring.append(ring)  # type: ignore[arg-type]
    model.ring = ring  # type: ignore[assignment]
    assert held(model)["ring[0]"] == held(model)["ring[1][0]"] == 1.0


@pytest.mark.usefixtures("traced")
def test_streams_are_read_at_each_members_own_step() -> None:
    """The fourth member begins when the first is through, two steps before the others."""

    def batch(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(1000 * seed + step)
        inputs = torch.randn(size, 5, generator=draw, dtype=torch.float64)
        return inputs, inputs[:, :4].argmax(1)

    stream = mt.tasks.Stream(name="drawn", batch=batch, loss=mt.tasks.cross_entropy)
    how = Recipe(task=stream, steps=42, batch=16, optimizer="adamw")
    members = squares(4)
    expected = train_one_by_one(members, how)
    for program in (Program(slots=3), Program(slots=2, compiled=True), Program(slots=1)):
        assert_same(train(members, how, program=program), expected)

    # Stopped after 20 steps: the next one is 20 steps behind the others.
    def judge(losses: Tensor, done: Tensor) -> list[int]:
        return [0] if done[0] >= 20 else []

    late = train(members, how, program=Program(slots=2), judge=judge)
    torch.testing.assert_close(late.losses[1:], expected.losses[1:], rtol=1e-12, atol=0)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("slots", [1, 2])
def test_a_recorded_step_has_the_recipes_precision(slots: int) -> None:
    members = squares(2, "sgd", 0.1)
    how, exact = recipe("sgd", precision="bfloat16"), recipe("sgd")
    recorded = train(members, how, program=Program(slots=slots, compiled=True))
    assert_same(recorded, train_one_by_one(members, how), rtol=2**-4)
    difference = (recorded.losses - train(members, exact).losses).abs().max()
    assert 1e-5 < difference < 0.1
