"""Losses that keep state or parameters: each run has a loss of its own."""

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from mutransfer.tasks import check_fit
from mutransfer.training import Program, Recipe, StackingWarning, train, train_one_by_one
from tests.training.networks import PROGRAMS, Square, by_hand, drawn, unplanned, vectors

RATES = (0.1, 0.2, 0.05, 0.15)
Loss = Callable[[Tensor, Tensor], Tensor]
pytestmark = pytest.mark.usefixtures("traced")


def recipe(loss: Loss, **changes: Any) -> Recipe:
    task = vectors(loss=loss, validation=None, metrics={})
    return Recipe(**{"task": task, "steps": 6, "batch": 16, "optimizer": "sgd", **changes})


class Counting:
    """A loss whose label smoothing falls with its calls."""

    calls = 0

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(output, targets, label_smoothing=0.5 / self.calls)


class Centering(nn.Module):
    """A loss that centres outputs by a running mean, which it assigns."""

    center: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(4, dtype=torch.float64))

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(output - self.center, targets)
        self.center = 0.5 * self.center + output.detach().mean(0)
        return loss


class Averaging(Centering):
    """A loss that is divided by its own moving average, which is changed in place."""

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(output, targets)
        self.center.mul_(0.5).add_(loss.detach())
        return loss / self.center.mean()


class Normalising(nn.Module):
    """A loss with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False, momentum=0.5, dtype=torch.float64)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        self.norm(output.detach())
        return F.cross_entropy(output - self.norm.running_mean, targets)


class First:
    """A loss in units of its first value."""

    unit: Tensor | None = None

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(output, targets)
        if self.unit is None:
            self.unit = loss.detach()
        return loss / self.unit


def of_method() -> Loss:
    return Counting().__call__


def of_partial() -> Loss:
    def called(loss: Loss, output: Tensor, targets: Tensor) -> Tensor:
        return loss(output, targets)

    return functools.partial(called, Centering())


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize(
    "kind", [Counting, Centering, Averaging, Normalising, First, of_method, of_partial]
)
def test_each_run_has_a_loss_of_its_own(kind: Callable[[], Loss], program: Program) -> None:
    members, loss = unplanned(Square, RATES), kind()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackingWarning)
        found = train(members, recipe(loss), program=program).losses
    expected = torch.cat([by_hand([each], recipe(kind()))[0] for each in members])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        train_one_by_one(members, recipe(loss)).losses, expected, rtol=1e-10, atol=0
    )


def test_the_warning_names_the_state_of_the_loss() -> None:
    with pytest.warns(StackingWarning, match="each run needs its own calls of the loss"):
        train(unplanned(Square, RATES), recipe(Counting()))


class Caching:
    """A loss that keeps a constant, and its last value for whoever wants to see it."""

    table: Tensor | None = None
    shown: Tensor | None = None

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.eye(4, dtype=output.dtype)
        self.shown = F.mse_loss(output, self.table[targets])
        return self.shown


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_what_no_later_loss_reads_is_no_state(program: Program) -> None:
    members = unplanned(Square, RATES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StackingWarning)
        found = train(members, recipe(Caching()), program=program).losses
    expected, _ = by_hand(members, recipe(Caching()))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_sweeps_and_checks_leave_the_loss_as_it_was() -> None:
    loss = Counting()
    check_fit(drawn(Square), vectors(loss=loss))
    for how in (train, train_one_by_one):
        how(unplanned(Square, RATES[:1]), recipe(loss))
    assert loss.calls == 0


def test_state_of_one_size_does_not_reach_another(tmp_path: Any) -> None:
    def build(width: int) -> nn.Module:
        return Square(width).double()

    task = vectors(loss=Counting(), validation=None, metrics={})
    common: dict[str, Any] = {
        "base": {"width": 8},
        "lr": [0.1],
        "task": task,
        "steps": 4,
        "batch": 16,
    }
    study = mt.Study(build, width=[8, 16, 32], seeds=1, optimizer="sgd", **common)
    rows = mt.sweep(study, tmp_path / "all").rows
    alone = mt.Study(build, width=[32], seeds=1, optimizer="sgd", **common)
    (row,) = mt.sweep(alone, tmp_path / "one").rows
    assert row["loss"] == next(each["loss"] for each in rows if each["width"] == 32)


def closing() -> Loss:
    first: list[Tensor] = []

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        value = F.cross_entropy(output, targets)
        if not first:
            first.append(value.detach())
        return value / first[0]

    return loss


class Singular(Counting):
    """A loss that cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("there is one only")


class Holding(nn.Module):
    """A loss whose copies share a function's state."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = closing()

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        return self.loss(output, targets)


COUNTED = Counting()


def of_file(output: Tensor, targets: Tensor) -> Tensor:
    return COUNTED(output, targets)


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (closing, r"first\[0\]"),
        (Singular, "calls"),
        (Holding, r"loss\.first\[0\]"),
        (lambda: of_file, r"COUNTED\.calls"),
    ],
)
def test_state_that_no_copy_has_is_refused(
    kind: Any, name: str, program: Program, validation: bool
) -> None:
    task = vectors(loss=kind(), **{} if validation else {"validation": None, "metrics": {}})
    message = f"the loss of task vectors changes {name}, which all runs would share: write it as"
    with pytest.raises(MutransferError, match=message):
        train(unplanned(Square, RATES), recipe(kind(), task=task), program=program)


def test_a_sweep_refuses_state_before_anything_is_trained(tmp_path: Any) -> None:
    """The check of the task is the first call, after which a first value is known."""
    task = vectors(loss=closing())
    study = mt.Study(Square, width=[8, 16], lr=[0.1], task=task, steps=4, batch=16, seeds=1)
    with pytest.raises(MutransferError, match=r"changes first\[0\], which all runs would share"):
        mt.sweep(study, tmp_path)


class Tempered(nn.Module):
    """A loss with a temperature that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(output * self.scale, targets)


LEARNED = Tempered()


def of_learned(output: Tensor, targets: Tensor) -> Tensor:
    return LEARNED(output, targets)


def learning() -> Loss:
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    return lambda output, targets: F.cross_entropy(output * scale, targets)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize(
    ("kind", "name"),
    [(Tempered, "scale"), (lambda: of_learned, r"LEARNED\.scale"), (learning, "scale")],
)
def test_a_loss_that_would_be_trained_is_refused(kind: Any, name: str, program: Program) -> None:
    loss = kind()
    with pytest.raises(MutransferError, match=f"would have to train {name}, which no plan has"):
        train(unplanned(Square, RATES), recipe(loss), program=program)
    assert LEARNED.scale.grad is None


class Teaching(Tempered):
    """A loss whose parameter no gradient reaches."""

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            scale = self.scale.exp()
        return F.cross_entropy(output * scale, targets)


@pytest.mark.parametrize("kind", [Teaching, lambda: Tempered().requires_grad_(False)])
def test_parameters_of_a_loss_may_be_fixed(kind: Any) -> None:
    members, loss = unplanned(Square, RATES), kind()
    before = copy.deepcopy(loss.state_dict())
    expected, _ = by_hand(members, recipe(kind()))
    for program in PROGRAMS[:2]:
        found = train(members, recipe(loss), program=program).losses
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    assert loss.state_dict() == before and loss.scale.grad is None
