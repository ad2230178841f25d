"""A study that trains in a second, with what varies as arguments."""

from typing import Any

import torch
from torch import nn

from mutransfer.studies import Study, log2
from mutransfer.tasks import Task, cross_entropy, mlp

INPUTS, CLASSES = 5, 3


def double(width: int, depth: int) -> nn.Module:
    """A perceptron in double precision."""
    return mlp(width, depth, inputs=INPUTS, outputs=CLASSES).double()


def rows(examples: int = 64) -> Task:
    """Random vectors, whose class is the largest of their first entries."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, INPUTS, dtype=torch.float64, generator=generator)
    targets = inputs[:, :CLASSES].argmax(1)
    return Task(name="rows", inputs=inputs, targets=targets, loss=cross_entropy)


def small(**changes: Any) -> Study:
    """Two widths, two rules, three rates and two seeds; other arguments replace these."""
    grid: dict[str, Any] = {
        "width": [8, 16],
        "depth": [3],
        "lr": log2(-6, -4),
        "seeds": 2,
        "rules": ["sp", "mup"],
        "task": rows(),
        "steps": 6,
        "batch": 16,
    }
    return Study(changes.pop("build", double), **grid | changes)
