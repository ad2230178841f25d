"""A small study that trains in an instant, and one whose best rates are known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from mutransfer import Runs, Study, Task, log2
from mutransfer.tasks import cross_entropy, mlp
from tests.models import Net

STEPS = 25
FIRST = 3
"""Losses at the beginning of every sweep: does the task fit, and is the model the record's?"""


def double(width: int, depth: int) -> nn.Module:
    return mlp(width, depth, inputs=5, outputs=3).double()


def data() -> Task:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 5, dtype=torch.float64, generator=draw)
    return Task(name="rows", inputs=inputs, targets=inputs[:, :3].argmax(1), loss=cross_entropy)


def study(**changes: Any) -> Study:
    """Two widths, four rates, two seeds and two rules, but for changes."""
    grid: dict[str, Any] = {"width": [8, 16], "depth": [2], "lr": log2(-6, -3), "seeds": 2}
    training: dict[str, Any] = {"task": data(), "steps": STEPS, "batch": 16, "optimizer": "adam"}
    build = changes.pop("build", double)
    return Study(build, **grid | {"rules": ["sp", "default"]} | training | changes)


def short(**changes: Any) -> Study:
    """24 runs of six steps: two widths, two rules, three rates and two seeds."""
    grid = {"depth": [3], "lr": log2(-6, -4), "rules": ["sp", "mup"]}
    return study(**grid | {"optimizer": "adamw", "steps": 6} | changes)


class _Count:
    """A number that copies of a loss share, and that is no state of it."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = 0

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class Counted:
    """Counts the steps of training on a task.

    Attributes:
        steps: Steps so far; those of runs that train together count once.
        task: The same task, counted.
    """

    def __init__(self, task: Task) -> None:
        self._count, self._inner = _Count(), task.loss
        self.task = replace(task, loss=self._loss)

    @property
    def steps(self) -> int:
        return self._count.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._count.steps = steps

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.steps += 1
        return self._inner(outputs, targets)


def planted(best: Callable[[int], float], **changes: Any) -> Study:
    """A study whose losses are a parabola about a known best rate of each width, 2^best.

    One parameter starts at 0. The first step has the gradient -1 and takes it to the learning rate,
    where the second finds the parabola in octaves.
    """

    def build(width: int, depth: int) -> nn.Module:
        return Net(
            lambda model, x: torch.stack([model.rate, model.best]).expand(len(x), 2),
            rate=nn.Parameter(torch.zeros((), dtype=torch.float64)),
            best=torch.tensor(best(width), dtype=torch.float64),
            width=nn.Parameter(torch.zeros(width), requires_grad=False),
        )

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        rate, centre = outputs.unbind(-1)
        started = rate > 0
        parabola = (torch.where(started, rate, 1.0).log2() - centre) ** 2
        return torch.where(started, 1 + parabola, 1 - rate).mean()

    task = replace(data(), name="planted", loss=loss)
    one_rule = {"rules": ["sp"], "optimizer": "sgd", "steps": 2, "lr": log2(-5, -3)}
    return study(build=build, task=task, **one_rule | changes)


def on_disk(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of all shards."""
    texts = [path.read_text() for path in sorted(folder.glob("rows-*.jsonl"))]
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def untimed(runs: Runs) -> list[dict[str, Any]]:
    """Rows without the seconds that they took."""
    return [{name: v for name, v in row.items() if name != "seconds"} for row in runs.rows]
