"""Stacked training: every member trains as torch trains it alone."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mutransfer import MutransferError, plan
from mutransfer.plans import Row
from mutransfer.statistics import HOPELESS, diverged_at
from mutransfer.tasks import Task, cross_entropy, digits, gpt, mlp, resmlp
from mutransfer.training import Member, Program, Recipe, placed, train, train_one_by_one
from tests.models import normed_convolution

VECTORS = torch.randn(96, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = (VECTORS[:, :4].argmax(1) + (VECTORS[:, 4] > 0)) % 4
TOKENS = torch.randint(11, (64, 7), generator=torch.Generator().manual_seed(0))
DRAW = torch.Generator().manual_seed(0)
IMAGES = torch.randn(48, 2, 4, 4, generator=DRAW, dtype=torch.float64)


def task(inputs: Tensor, targets: Tensor) -> Task:
    return Task(name="small", inputs=inputs, targets=targets, loss=cross_entropy)


VECTOR_TASK, TOKEN_TASK = task(VECTORS, CLASSES), task(TOKENS[:, :-1], TOKENS[:, 1:])
Case = tuple[Callable[[], nn.Module], Task]
MODELS: dict[str, Case] = {
    "mlp": (lambda: mlp(12, 3, inputs=5, outputs=4), VECTOR_TASK),
    "mlp with large tensors": (lambda: mlp(160, 2, inputs=5, outputs=4), VECTOR_TASK),
    "resmlp": (lambda: resmlp(8, 3, inputs=5, outputs=4), VECTOR_TASK),
    "gpt": (lambda: gpt(16, 2, heads=2, vocabulary=11, context=6), TOKEN_TASK),
    "gpt, tied": (lambda: gpt(16, 1, heads=2, vocabulary=11, context=6, tied=True), TOKEN_TASK),
    "batch norm": (normed_convolution, task(IMAGES, CLASSES[:48])),
}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], float]] = {
    "sgd": ("sgd", {}, 0.05),
    "sgd, momentum": ("sgd", {"momentum": 0.9}, 0.01),
    "sgd, nesterov": ("sgd", {"momentum": 0.8, "nesterov": True}, 0.01),
    "adam": ("adam", {"betas": (0.8, 0.95)}, 0.01),
    "adamw": ("adamw", {}, 0.01),
}


def model(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build().double()


def row(lr: float, factor: float = 1.0, **changes: Any) -> Row:
    """The hyperparameters of a tensor whose rate has this factor."""
    values = {"optimizer": "sgd", "eps": 1e-8, "weight_decay": 0.0} | changes
    return Row(init=1.0, lr=factor * lr, lr_factor=factor, rho=None, multiplier=1.0, **values)


def member(network: nn.Module, lr: float, seed: int = 0, **shared: Any) -> Member:
    """A member with another rate and eps for the first tensor than for the others."""
    first, *others = [name for name, _ in network.named_parameters()]
    table = {first: row(lr, 1 / 2, eps=1e-6, **shared)}
    table |= dict.fromkeys(others, row(lr, **shared))
    return Member(model=network, table=table, seed=seed)


def recipe(
    data: Task = VECTOR_TASK, optimizer: str = "sgd", steps: int = 12, **options: Any
) -> Recipe:
    return Recipe(task=data, steps=steps, batch=16, optimizer=optimizer, options=options)


def mlps(
    rates: Sequence[float], seeds: Sequence[int] | None = None, optimizer: str = "sgd"
) -> list[Member]:
    network = model(MODELS["mlp"][0])
    return [
        member(network, rate, seed, weight_decay=0.01, optimizer=optimizer)
        for rate, seed in zip(rates, seeds or count(), strict=False)
    ]


def assert_same(losses: Tensor, expected: Tensor) -> None:
    """Assert that losses are equal up to rounding, and end at the same steps."""
    assert diverged_at(losses) == diverged_at(expected)
    for a, b, end in zip(losses, expected, diverged_at(expected), strict=True):
        torch.testing.assert_close(a[:end], b[:end], rtol=1e-12, atol=0)


CASES = [(case, optimizer, 0.1) for case in MODELS for optimizer in OPTIMIZERS]
CASES += [("mlp", optimizer, 0.0) for optimizer in OPTIMIZERS]


@pytest.mark.parametrize(("case", "optimizer", "decay"), CASES)
def test_members_train_as_each_alone(case: str, optimizer: str, decay: float) -> None:
    (build, data), (name, options, lr) = MODELS[case], OPTIMIZERS[optimizer]
    shared = model(build)
    members = [
        member(shared, lr * 2**i, seed, weight_decay=decay * i, optimizer=name)
        for i, seed in enumerate([3, 4, 3])
    ]
    members += [
        member(model(build, seed=i), lr, seed=3, weight_decay=decay, optimizer=name)
        for i in range(1, 4)
    ]
    how = recipe(data, name, steps=6 if "large" in case else 12, **options)
    together = train(members, how).losses
    assert together.dtype == torch.float64 and together.isfinite().all()
    assert len({tuple(row.tolist()) for row in together}) == len(members)
    assert_same(together, train_one_by_one(members, how).losses)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_diverged_member_leaves_without_effect_on_others(optimizer: str) -> None:
    members = mlps([0.01, 1e6, 0.02], optimizer=optimizer)
    how = recipe(optimizer=optimizer, steps=45)
    ended = []
    together = train(members, how, ended.append).losses
    assert_same(together, train_one_by_one(members, how).losses)
    end = diverged_at(together)[1]
    assert diverged_at(together) == [None, end, None] and end is not None and end < 20
    assert ended == [3] * 20 + [2] * 25
    assert together[1, 20:].isnan().all()
    assert_same(together[[0, 2]], train([members[0], members[2]], how).losses)


def test_all_may_diverge() -> None:
    steps: list[int] = []
    losses = train(mlps([1e6, 1e7]), recipe(steps=100), steps.append).losses
    assert None not in diverged_at(losses) and len(steps) == 20


@pytest.mark.parametrize(
    ("losses", "end"),
    [
        ([1, 2, 3], None),
        ([1, HOPELESS, 1], None),
        ([1, HOPELESS + 1, 1], 1),
        ([1, 2, float("nan")], 2),
        ([1, float("inf"), float("nan")], 1),
        ([float("nan"), 1, 1], 0),
        ([float("inf"), 1, 1], 0),
    ],
)
def test_diverged_is_not_finite_or_hopeless(losses: list[float], end: int | None) -> None:
    assert diverged_at(torch.tensor([[1.0, 1.0, 1.0], losses])) == [None, end]


@pytest.mark.parametrize("how", [train, train_one_by_one])
@pytest.mark.parametrize("case", MODELS)
def test_models_are_not_modified(case: str, how: Callable[..., Tensor]) -> None:
    build, data = MODELS[case]
    network = model(build)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    how([member(network, 0.1), member(network, 0.2)], recipe(data, steps=3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-12, 4), min_size=1, max_size=4), st.sampled_from(["sgd", "adam", "adamw"])
)
def test_any_rates_train_as_each_alone(powers: list[float], optimizer: str) -> None:
    members = mlps([2.0**power for power in powers], optimizer=optimizer)
    how = recipe(optimizer=optimizer, steps=4)
    assert_same(train(members, how).losses, train_one_by_one(members, how).losses)


def test_the_seed_alone_orders_the_batches() -> None:
    losses = train(mlps([0.01] * 3, seeds=[0, 1, 0]), recipe()).losses
    assert torch.equal(losses[0], losses[2]) and not torch.equal(losses[0], losses[1])


def test_single_precision_is_trained_in_single_precision() -> None:
    network = model(MODELS["mlp"][0]).float()
    members = [member(network, 0.01), member(network, 0.1)]
    losses, expected = train(members, recipe()).losses, train_one_by_one(members, recipe()).losses
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)
    assert torch.equal(losses, losses.float().double())


@pytest.mark.parametrize("how", [train, train_one_by_one])
def test_the_number_of_threads_is_restored(how: Callable[..., Tensor]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        how(mlps([0.01]), recipe(steps=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


class Threads(nn.Module):
    """A network that notes the threads of its forward passes."""

    seen: ClassVar[set[int]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(torch.get_num_threads())
        return self.layer(x)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize(("asked", "used"), [(None, 1), (1, 1), (2, 2), (64, 2)])
def test_a_program_says_how_many_threads_share_a_step(
    slots: int, asked: int | None, used: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    Threads.seen.clear()
    members = [member(Threads(), 0.01) for _ in range(2)]
    try:
        train(members, recipe(steps=2), program=Program(slots=slots, threads=asked))
    finally:
        torch.set_num_threads(before)
    assert Threads.seen == {used}


def without(network: nn.Module, left_out: str) -> Member:
    names = [name for name, _ in network.named_parameters() if name != left_out]
    return Member(model=network, table=dict.fromkeys(names, row(0.1)), seed=0)


@pytest.mark.parametrize(
    ("members", "how", "message"),
    [
        (lambda: [], recipe(), "at least one member"),
        (
            lambda: [*mlps([0.1]), member(model(lambda: mlp(16, 3, inputs=5, outputs=4)), 0.1)],
            recipe(),
            "input.weight has different shapes in different members",
        ),
        (
            lambda: [*mlps([0.1]), without(model(MODELS["mlp"][0]), "readout.bias")],
            recipe(),
            "readout.bias is not in the table of member 1",
        ),
        (
            lambda: mlps([0.1]),
            Recipe(task=VECTOR_TASK, steps=1, batch=97, optimizer="sgd"),
            "a batch cannot have 97",
        ),
    ],
    ids=["no members", "shapes", "no row", "batch"],
)
def test_members_that_do_not_fit_are_refused(
    members: Callable[[], list[Member]], how: Recipe, message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        train(members(), how)


def test_a_recipe_of_an_unknown_optimizer_is_refused() -> None:
    message = "unknown optimizer 'sophia' for a recipe; choose one of sgd, adam, adamw"
    with pytest.raises(MutransferError, match=message):
        recipe(optimizer="sophia")


def test_frozen_parameters_stay_as_they_are() -> None:
    model = mlp(16, 2).double()
    model.input.weight.requires_grad_(False)
    member = Member(model=model, table=plan(model, model).table(model, 0.1), seed=0)
    recipe = Recipe(task=digits(), steps=5, batch=16)
    assert torch.allclose(
        train([member], recipe).losses, train_one_by_one([member], recipe).losses, rtol=1e-12
    )


def test_windows_of_one_text_travel_as_the_text() -> None:
    windows = torch.arange(100).unfold(0, 9, 1)
    moved = placed(windows, torch.empty((), device="meta"))
    assert moved.shape == windows.shape and moved.stride() == windows.stride()
    assert moved.untyped_storage().nbytes() == 100 * 8
    apart = placed(windows.contiguous(), torch.empty((), device="meta"))
    assert apart.untyped_storage().nbytes() == windows.numel() * 8
    assert placed(windows, torch.empty(())) is windows
