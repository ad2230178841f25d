"""Forward passes that depend on values, or on the passes before them, in every program."""

import random
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.training import Program, Recipe, StackingWarning, _compiled, train, train_one_by_one
from tests.training.networks import assert_same, planned, vectors

COMPILED = [Program(slots=1, compiled=True), Program(slots=2, compiled=True)]
pytestmark = pytest.mark.usefixtures("traced")


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {"task": vectors(), "steps": 8, "batch": 16, "optimizer": "sgd"}
    return Recipe(**values | changes)


def unprobed() -> mt.Task:
    """Return a task without validation data: an evaluation would be the first forward pass."""
    return vectors(validation=None, metrics={})


def trained_alike(
    kind: Callable[[], nn.Module], program: Program, how: Recipe, count: int = 4
) -> Sequence[str]:
    """Assert that members train as in a loop, and return the warnings."""
    members = planned(kind, kind, how.optimizer, [0.1, 0.2, 0.15, 0.05][:count])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained = train(members, how, program=program)
    assert_same(trained, train_one_by_one(members, how), rtol=1e-10)
    return [str(each.message) for each in caught if issubclass(each.category, StackingWarning)]


class Small(nn.Module):
    """A network of two layers, which is quickly recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.readout = nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.input(x)))


class Reading(Small):
    """A network that scales its output by a number that Python reads off its inputs."""

    def __init__(self, read: Callable[[Tensor], float]) -> None:
        super().__init__()
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 0.1 * self.read(x))


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda x: len((x[:, 0] > 0).nonzero()) / 8, "aten.nonzero.default returns depends on"),
        (lambda x: len(x[:, 0].round().unique()) / 4, "aten._unique2.default returns depends on"),
        (lambda x: len(x[x[:, 0] > 0]) / 8, "aten.index.Tensor returns depends on"),
        (lambda x: sum(x[0].tolist()), "its operations depend on the values of its tensors"),
    ],
    ids=["nonzero", "unique", "mask", "tolist"],
)
def test_what_python_reads_off_a_batch_is_not_compiled(read: Any, reason: str) -> None:
    messages = trained_alike(lambda: Reading(read), COMPILED[0], recipe(), 2)
    assert len(messages) == 1 and reason in messages[0]


def test_what_python_reads_off_a_parameter_is_not_compiled() -> None:
    class Own(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + 0.1 * sum(self.readout.bias.detach().tolist()))

    assert "its operations depend on" in trained_alike(Own, COMPILED[0], recipe(), 2)[0]


def test_constant_masks_and_places_are_compiled() -> None:
    mask = torch.tensor([True, True, False, True, True])

    def chosen(x: Tensor) -> Any:
        return torch.tanh(x[:, mask].mean() + x[:, torch.tensor([0, 1])].mean())

    assert not trained_alike(lambda: Reading(chosen), COMPILED[0], recipe(), 2)


class Counting(Small):
    """A network that warms up."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += self.training
        return super().forward(x) * min(1.0, self.passes / 20)


class Averaging(Small):
    """A network that centres its features by a running mean."""

    center: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.input(x))
        if self.training:
            self.center = 0.9 * self.center + 0.1 * x.mean(0).detach()
        return self.readout(x - self.center)


class Previous(Small):
    """A network that uses the features of the pass before."""

    before: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("before", None)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.input(x))
        center = torch.zeros(8, dtype=x.dtype) if self.before is None else self.before
        if self.training:
            self.before = x.mean(0).detach()
        return self.readout(x - center)


class Queue(Small):
    """A network that keeps the last features in a queue."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = deque[Tensor](maxlen=3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.input(x))
        if self.training:
            self.queue.append(x.mean(0).detach())
        return self.readout(x - sum(self.queue, torch.zeros(8, dtype=x.dtype)))


class First(Small):
    """A network that initialises a shift by its first batch, as ActNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.done = nn.Parameter(torch.zeros(8)), False

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        if not self.done:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
            self.done = True
        return self.readout(torch.tanh(x + self.shift))


class FirstBatch(Small):
    """A network that keeps the scale of its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if not self.cache:
            self.cache["scale"] = x.std().detach()
        return super().forward(x / self.cache["scale"])


class FirstNorm(Small):
    """A network that keeps the norm of a matrix as it was at first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is None:
            self.norm = self.input.weight.norm().detach()
        return super().forward(x / self.norm)


class Warming:
    """A hook that counts."""

    passes = 0

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        self.passes += 1
        return output * min(1.0, self.passes / 20)


class Hooked(Small):
    """A network whose hook counts."""

    def __init__(self) -> None:
        super().__init__()
        self.readout.register_forward_hook(Warming())


@pytest.mark.parametrize("program", [COMPILED[0], Program(slots=2)], ids=str)
@pytest.mark.parametrize(
    "kind", [Counting, Averaging, Previous, Queue, First, FirstBatch, FirstNorm, Hooked]
)
def test_a_forward_pass_that_uses_earlier_ones_is_each_members_own(
    kind: Any, program: Program
) -> None:
    messages = trained_alike(kind, program, recipe(task=unprobed()))
    assert messages


@pytest.mark.parametrize(
    ("kind", "name"), [(Counting, "passes"), (Averaging, "center"), (First, "done")]
)
def test_the_warning_names_what_a_forward_pass_changes(kind: Any, name: str) -> None:
    messages = trained_alike(kind, COMPILED[1], recipe(task=unprobed()))
    assert len(messages) == 2 and all(f"changes {name}, which it holds" in m for m in messages)


@pytest.mark.parametrize("kind", [Counting, Averaging])
@pytest.mark.parametrize("program", [COMPILED[1], Program()], ids=str)
def test_a_stack_in_which_nobody_waits_keeps_state(kind: Any, program: Program) -> None:
    """A recording leaves nothing in it."""
    messages = trained_alike(kind, program, recipe(), 2)
    assert not any("one by one" in message for message in messages)


class Showing(Small):
    """A network that keeps its features for whoever wants to see them."""

    shown: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.shown = torch.tanh(self.input(x))
        return self.readout(self.shown)


@pytest.mark.parametrize("program", [*COMPILED, Program(slots=2)], ids=str)
def test_what_no_later_pass_reads_is_no_state(program: Program) -> None:
    assert not trained_alike(Showing, program, recipe(evaluate=3))


def test_what_only_an_evaluation_reads_is_state() -> None:
    class Evaluated(Small):
        center: Any = 0.0

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.input(x))
            if self.training:
                self.center = x.mean(0).detach()
                return self.readout(x)
            return self.readout(x - self.center)

    messages = trained_alike(Evaluated, COMPILED[0], recipe(evaluate=3), 2)
    assert len(messages) == 1 and "changes center" in messages[0]


class Random(Small):
    """A network that Python and NumPy scale at random."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + random.random() + np.random.random())


def test_a_recording_that_is_refused_draws_nothing() -> None:
    losses = []
    members = planned(Random, Random, "sgd", [0.1, 0.2])
    for program in (COMPILED[0], Program(slots=1)):
        random.seed(0)
        np.random.seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StackingWarning)
            losses.append(train(members, recipe(), program=program).losses)
    assert torch.equal(*losses)


def test_trials_of_a_step_leave_buffers_as_they_were() -> None:
    class Keeping(Showing):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.passes += 1
            return super().forward(x) * self.passes / 20

    assert not trained_alike(Keeping, COMPILED[1], recipe(evaluate=3), 2)


def test_a_step_is_recorded_once_where_it_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = []
    make_fx = _compiled.Recorder._recorded

    def counted(recorder: Any, arguments: Any) -> Any:
        recordings.append(arguments)
        return make_fx(recorder, arguments)

    monkeypatch.setattr(_compiled.Recorder, "_recorded", counted)
    assert not trained_alike(Small, COMPILED[1], recipe())
    assert len(recordings) == 1
