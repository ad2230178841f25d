"""Small studies to be disturbed, and a diary of all that was trained.

Models are in double precision, so that programs of several runs agree with others to rounding.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mutransfer as mt
from mutransfer.studies._chunks import Chunk
from mutransfer.studies._own_loop import OwnRun
from mutransfer.tasks import cross_entropy, mlp

DIARY = "SURVIVAL_DIARY"
"""Environment variable with the file that notes what is trained."""

MEMORY = "SURVIVAL_MEMORY"
"""Environment variable with the bytes that a worker may allocate after it has begun."""

WIDTHS = (8, 16, 32)
HUNGRY, HOPELESS = 16, 64
"""Widths whose runs fit one by one, and not even so."""

_MEGABYTES = {8: 1, HUNGRY: 30, HOPELESS: 400}


def build(width: int, depth: int) -> nn.Module:
    """Return a small network in double precision."""
    return mlp(width, depth, inputs=5, outputs=3).double()


def data() -> mt.Task:
    """Return a small task."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 5, dtype=torch.float64, generator=draw)
    return mt.Task(name="rows", inputs=inputs, targets=inputs[:, :3].argmax(1), loss=cross_entropy)


def stacked(*, small: bool = False) -> mt.Study:
    """Return a study in the library's loop: several runs a job."""
    return mt.Study(
        build,
        width=list(WIDTHS[:2] if small else WIDTHS),
        depth=[2],
        lr=mt.log2(-6, -4 if small else -3),
        seeds=2,
        rules=["sp", "mup"],
        task=data(),
        steps=100 if small else 300,
        batch=16,
        optimizer="adam",
    )


def single(*, small: bool = False) -> mt.Study:
    """Return a study in a training function of one's own: one run a job, of a third of a second."""
    return mt.Study(
        None,
        width=[8, 16],
        lr=mt.log2(-6, -5 if small else -4),
        seeds=2 if small else 3,
        steps=10 if small else 30,
        train=train,
    )


def train(trial: Any) -> None:
    """Train a run with pauses: moments matter here, not work."""
    task = data()
    model = build(trial.size["width"], 2)
    parameters = list(model.parameters())
    for step in range(trial.hyperparameters["steps"]):
        loss = cross_entropy(model(task.inputs), task.targets).mean()
        # By hand, as optimizers of torch take seconds to import in each new worker.
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for each, slope in zip(parameters, slopes, strict=True):
                each -= trial.lr * slope
        time.sleep(0.01)
        trial.report(step, loss)


class Hungry(nn.Module):
    """A network with a large tensor that every run of a stack has."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.inner = build(width, depth)
        self.ballast = nn.Parameter(torch.zeros(_MEGABYTES[width] << 17, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.inner(inputs) + self.ballast.sum()


def hungry(*, small: bool = False) -> mt.Study:
    """Return a study of which one width does not fit into a job, and one not at all."""
    return mt.Study(
        Hungry,
        width=[8, HUNGRY, HOPELESS],
        depth=[2],
        lr=mt.log2(-6, -5),
        seeds=2,
        rules=["sp"],
        task=data(),
        steps=5,
        batch=16,
        optimizer="sgd",
    )


STUDIES: dict[str, Callable[..., mt.Study]] = {
    "stacked": stacked,
    "single": single,
    "hungry": hungry,
}


def note(runs: list[str]) -> None:
    """Write into the diary, in one write that a kill cannot tear."""
    if DIARY in os.environ:
        descriptor = os.open(os.environ[DIARY], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(descriptor, " ".join(runs).encode() + b"\n")
        os.close(descriptor)


def keep_diary() -> None:
    """Note in this process what is trained."""
    rows, row = Chunk.rows, OwnRun.row

    def noted_rows(self: Chunk, *arguments: Any, **more: Any) -> Any:
        note([self.study.run_id(run) for run in self.runs])
        return rows(self, *arguments, **more)

    def noted_row(self: OwnRun) -> Any:
        note([self.study.run_id(self.run)])
        return row(self)

    Chunk.rows, OwnRun.row = noted_rows, noted_row  # type: ignore[method-assign]


def limit_memory() -> None:
    """Limit the address space of this process, as a job of a cluster is limited."""
    if MEMORY in os.environ:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + int(os.environ[MEMORY])
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


# Every worker imports this file with the pickle of a study.
keep_diary()
limit_memory()
