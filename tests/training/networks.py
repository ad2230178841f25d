"""Small networks, data and members of tests of training, in double precision."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.plans import Row
from mutransfer.statistics import diverged_at
from mutransfer.tasks import Task, cross_entropy, main_tensor
from mutransfer.training import Member, Program, Recipe, Trained

DRAW = torch.Generator().manual_seed(0)
VECTORS = torch.randn(96, 5, generator=DRAW, dtype=torch.float64)
CLASSES = VECTORS[:, :4].argmax(1)

PROGRAMS = [
    Program(),
    Program(slots=1),
    Program(slots=2),
    Program(slots=1, compiled=True),
    Program(slots=2, compiled=True),
]
"""One of each kind: members at once, one after the other, compiled or not."""


def accuracy(output: Any, targets: Tensor) -> Tensor:
    """Share of the examples whose class is found."""
    logits = main_tensor(output)
    assert logits is not None
    return (logits.argmax(-1) == targets).double().mean()


def confidence(output: Any, targets: Tensor) -> Tensor:
    """Mean logit of the right class, which no update leaves as it is."""
    logits = main_tensor(output)
    assert logits is not None
    return logits.gather(-1, targets[..., None]).mean()


def vectors(**changes: Any) -> Task:
    """Return a task of 96 vectors, 23 of them kept apart: three pieces and a shorter one."""
    values: dict[str, Any] = {
        "name": "vectors",
        "inputs": VECTORS[23:],
        "targets": CLASSES[23:],
        "loss": cross_entropy,
        "validation": (VECTORS[:23], CLASSES[:23]),
        "metrics": {"accuracy": accuracy, "confidence": confidence},
    }
    return Task(**values | changes)


class Square(nn.Module):
    """A network whose hidden matrices are square, so that their gradients have full rank."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.input = nn.Linear(5, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.readout = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.input(x))
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        return self.readout(x)


def drawn(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Return a model drawn from a seed, in double precision."""
    torch.manual_seed(seed)
    return build().double()


def planned(
    build: Callable[[], nn.Module],
    base: Callable[[], nn.Module],
    optimizer: str,
    rates: Sequence[float],
    **hyperparameters: Any,
) -> list[Member]:
    """Return members of two draws and two seeds, planned from a base of another size.

    The table is that of `Plan.table`, of each family with the eps that it needs.
    """
    plan = mt.plan(drawn(build), drawn(base), optimizer=optimizer)
    listed = []
    for number, rate in enumerate(rates):
        model = drawn(build, number % 2)
        plan.initialize(model)
        table = {}
        for name in plan.optimizers:
            own = {"eps": 1e-4} if name in ("soap", "shampoo") else {}
            table |= plan.table(model, rate, optimizer=name, **hyperparameters, **own)
        listed.append(Member(model=model, table=table, seed=3 + number // 2, clip=plan.clip))
    return listed


def unplanned(
    build: Callable[[], nn.Module], rates: Sequence[float], optimizer: str = "sgd"
) -> list[Member]:
    """Return members whose tensors all train at one rate, each of its own draw."""
    listed = []
    for seed, rate in enumerate(rates):
        model = drawn(build, seed)
        row = Row(
            optimizer=optimizer,
            init=1.0,
            lr=rate,
            lr_factor=1.0,
            eps=None if optimizer == "sgd" else 1e-8,
            weight_decay=0.0,
            rho=None,
            multiplier=1.0,
        )
        table = {name: row for name, _ in model.named_parameters()}
        listed.append(Member(model=model, table=table, seed=seed))
    return listed


def by_hand(members: Sequence[Member], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return losses and validation losses of `unplanned` members, as a user trains by SGD."""
    task, losses, validation = recipe.task, [], []
    assert isinstance(task, Task) and isinstance(task.inputs, Tensor)
    for member in members:
        model = copy.deepcopy(member.model)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        (rate,) = {row.lr for row in member.table.values()}
        optimizer = torch.optim.SGD(trained, lr=rate)
        for step, rows in enumerate(task.batches(member.seed, recipe.steps, recipe.batch), 1):
            optimizer.zero_grad()
            loss = task.loss(model(task.inputs[rows]), task.targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
            if step in recipe.evaluations():
                validation.append(_evaluated(model, task, recipe.batch))
    kept = torch.stack(validation) if validation else torch.empty(0, dtype=torch.float64)
    return torch.stack(losses).view(len(members), -1), kept.view(
        len(members), len(recipe.evaluations())
    )


@torch.no_grad()
def _evaluated(model: nn.Module, task: Task, batch: int) -> Tensor:
    assert task.validation is not None
    inputs, targets = task.validation
    assert isinstance(inputs, Tensor)
    cut = zip(torch.split(inputs.clone(), batch), torch.split(targets, batch), strict=True)
    model.eval()
    parts = [len(y) * task.loss(model(x), y) for x, y in cut]
    model.train()
    return torch.stack(parts).sum() / len(targets)


def assert_same(first: Trained, second: Trained, rtol: float = 1e-12) -> None:
    """Assert that two programs are equal to rounding, and end at the same steps."""
    ends = diverged_at(second.losses)
    assert diverged_at(first.losses) == ends and first.evaluations == second.evaluations
    for a, b, end in zip(first.losses, second.losses, ends, strict=True):
        torch.testing.assert_close(a[:end], b[:end], rtol=rtol, atol=0)
    assert first.metrics.keys() == second.metrics.keys()
    pairs = [(first.validation, second.validation)]
    pairs += [(first.metrics[name], second.metrics[name]) for name in first.metrics]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-13, equal_nan=True)
