"""Models that cannot be stacked train one by one, with one line that says why."""

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError
from mutransfer.training import Program, Recipe, StackingWarning, train, train_one_by_one
from tests.training.networks import Square, assert_same, planned, unplanned, vectors


class Branching(Square):
    """A network whose forward pass branches on a value, which leaves it as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.abs().sum() > 0 else -x)


class Late(Square):
    """A network whose fourth pass branches on a value."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        if self.passes > 3 and x.sum() > 1e9:
            return x
        return super().forward(x)


class Drawing(Branching):
    """A branching network that draws."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.1, self.training))


class Unknown(torch.autograd.Function):
    """A function that vmap has no rule for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return 2 * gradients[0]


class Custom(Square):
    """A network with a function that vmap has no rule for."""

    def forward(self, x: Tensor) -> Tensor:
        return Unknown.apply(super().forward(x))  # type: ignore[no-any-return, no-untyped-call]


class Faulty(Square):
    """A network with a bug."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) @ torch.ones(7, 7, dtype=x.dtype)


class Slow(Square):
    """A network with an operation that vmap runs in a loop."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.histc(x.detach(), bins=4).mean()


def members(kind: Callable[[], nn.Module], optimizer: str = "adamw") -> list[Any]:
    return planned(kind, kind, optimizer, [0.01, 0.02, 0.01])


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {"task": vectors(), "steps": 8, "batch": 16, "evaluate": 3}
    return Recipe(**values | changes)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Branching, r"it branches .*, or calls \.item\(\) \(.*test_fallback\.py, line \d+\)"),
        (Late, r"it branches .*, or calls \.item\(\) \(.*test_fallback\.py, line \d+\)"),
        (Custom, "setup_context"),
    ],
)
def test_what_cannot_be_stacked_trains_one_by_one(kind: Any, reason: str) -> None:
    steps: list[int] = []
    with pytest.warns(StackingWarning) as caught:
        trained = train(members(kind), recipe(), steps.append)
    (message,) = [str(each.message) for each in caught]
    assert message.startswith(f"{kind.__name__} trains one by one, which is slower") and (
        re.search(reason, message) and len(message) < 300 and "\n" not in message
    )
    assert_same(trained, train_one_by_one(members(kind), recipe()))
    assert sum(steps) == 3 * 8 and set(steps) <= {1, 3}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_trains_as_torch_trains_it(dtype: torch.dtype) -> None:
    """In float16 an eps of 1e-8 is 0, and in bfloat16 a beta of .999 is 1."""
    halves = [replace(each, model=each.model.to(dtype)) for each in members(Square)]
    with pytest.warns(StackingWarning, match=f"its parameters are {dtype}"):
        trained = train(halves, recipe())
    assert trained.losses.isfinite().all()
    assert torch.equal(trained.losses, train_one_by_one(halves, recipe()).losses)


def test_a_metric_that_cannot_be_stacked_costs_no_training() -> None:
    def branching(output: Tensor, targets: Tensor) -> Tensor:
        return output.mean() if output.sum() > 0 else output.sum()

    steps: list[int] = []
    with pytest.warns(StackingWarning, match="one by one"):
        train(members(Square), recipe(task=vectors(metrics={"own": branching})), steps.append)
    assert steps == [1] * 24


FAILURE = r"^training fails at step 0 with RuntimeError: mat1 .* \(.*test_fallback\.py, line \d+\)$"


@pytest.mark.parametrize("how", [train, train_one_by_one])
def test_a_bug_of_the_model_is_raised_as_itself(how: Any) -> None:
    with pytest.raises(MutransferError, match=FAILURE):
        how([replace(each, model=Faulty().double()) for each in members(Square)], recipe())


@pytest.mark.parametrize("how", [train, train_one_by_one])
@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda output, targets: output, "the metric own of task vectors returns a tensor of"),
        (lambda output, targets: output.nothing, "training fails at step \\d with AttributeError"),
    ],
)
def test_a_bug_of_a_metric_is_raised_as_itself(how: Any, metric: Any, message: str) -> None:
    task = vectors(metrics={"own": metric})
    with pytest.raises(MutransferError, match=message):
        how(members(Square), recipe(task=task, evaluate=None))


def test_a_metric_may_return_a_number_one_by_one() -> None:
    task = vectors(metrics={"own": lambda output, targets: float(output.mean())})
    with pytest.warns(StackingWarning, match=re.escape(".item()")):
        trained = train(members(Square), recipe(task=task))
    assert trained.metrics["own"].isfinite().all()


def test_slow_operations_are_named() -> None:
    with pytest.warns(StackingWarning, match="Slow trains slowly .* vmap runs aten::histc in a"):
        trained = train(members(Slow), recipe())
    assert_same(trained, train_one_by_one(members(Slow), recipe()))


def test_other_warnings_of_the_model_are_passed_on() -> None:
    class Warning_(Square):
        def forward(self, x: Tensor) -> Tensor:
            warnings.warn("mine", UserWarning, stacklevel=1)
            return super().forward(x)

    with pytest.warns(UserWarning, match="mine"):
        train(members(Warning_), recipe())


def test_one_by_one_draws_as_if_nothing_had_failed() -> None:
    networks = members(Drawing)
    torch.manual_seed(0)
    with pytest.warns(StackingWarning):
        first = train(networks, recipe())
    torch.manual_seed(0)
    assert_same(first, train_one_by_one(networks, recipe()))


class Assigning(Square):
    """A network that keeps a running mean, and assigns a new tensor to it."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.register_buffer("mean", torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        return super().forward(x - 3 * self.mean)


class Alternating(Square):
    """A network whose two hidden layers train by turns."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.readout(torch.tanh(self.hidden[self.passes % 2](self.input(x))))


class Hooked(Square):
    """A network whose features change the gradients that pass them."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.input(x))
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient / (1e-3 + gradient.norm()))
        return self.readout(x)


class Checkpointing(Square):
    """A network that computes its features once more in the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.utils.checkpoint.checkpoint(self.input, x, use_reentrant=False)
        return self.readout(torch.tanh(x))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("program", [Program(), Program(slots=1), Program(slots=2)], ids=str)
@pytest.mark.parametrize("kind", [Assigning, Alternating, Hooked, Checkpointing])
def test_unusual_models_train_alike_in_every_program(
    kind: Any, program: Program, count: int
) -> None:
    """As torch trains them alone; where a stack cannot, that is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackingWarning)
        trained = train(members(kind)[:count], recipe(), program=program)
    assert_same(trained, train_one_by_one(members(kind)[:count], recipe()), rtol=1e-10)


def test_a_buffer_that_is_assigned_is_not_lost_in_a_stack() -> None:
    with pytest.warns(StackingWarning, match="assigns a tensor to the buffer mean"):
        train(members(Assigning), recipe())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_torch_does_not_fuse_trains_all_the_same(optimizer: str) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(96, 8, sparse=optimizer == "sgd")
            self.readout = nn.Linear(8, 4)
            self.phase = nn.Parameter(torch.ones(8, dtype=torch.cfloat))

        def forward(self, x: Tensor) -> Tensor:
            embedded = self.embedding((x[:, 0].abs() * 20).long())
            return self.readout(embedded * self.phase.abs())

    networks = planned(Tokens, Tokens, optimizer, [0.1, 0.2])
    losses = train(networks, recipe(optimizer=optimizer), program=Program(slots=1)).losses
    assert losses.isfinite().all() and losses[0, -1] != losses[1, -1]


@pytest.mark.parametrize("slots", [1, 2])
def test_training_needs_gradients_where_the_caller_has_none(slots: int) -> None:
    with torch.no_grad():
        found = train(members(Square), recipe(), program=Program(slots=slots))
    assert_same(found, train_one_by_one(members(Square), recipe()))


class Scripted(Square):
    """A network with a scripted layer, whose copy has parameters with a history."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.hidden[0] = torch.jit.script(self.hidden[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")
def test_a_scripted_layer_trains_in_a_loop() -> None:
    how = recipe(optimizer="sgd")
    expected = train_one_by_one(unplanned(Square, [0.1, 0.05]), how)
    scripted = unplanned(Scripted, [0.1, 0.05])
    assert_same(train_one_by_one(scripted, how), expected)
    assert_same(train(scripted, how), expected)


class Singular(Square):
    """A network that cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("there is one only")


def test_a_model_that_cannot_be_copied_trains_one_after_the_other() -> None:
    found = train(members(Singular), recipe(), program=Program(slots=1))
    assert_same(found, train(members(Square), recipe()))
    with pytest.raises(MutransferError, match=r"cannot be copied .*there is one only"):
        train_one_by_one(members(Singular), recipe())


class Detached(Square):
    """A network whose output does not depend on its parameters, as far as autograd sees."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def test_a_loss_that_no_parameter_reaches_is_said() -> None:
    with pytest.raises(MutransferError, match="no gradient reaches the model's parameters"):
        train(members(Detached), recipe(), program=Program(slots=1))
