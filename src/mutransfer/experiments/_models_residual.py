"""The residual networks of Tensor Programs VI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from .. import rules
from ..limits import model_stream
from ..statistics import Array
from ..tasks import Task, take

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "linear": nn.Identity(),
    "relu": torch.relu,
}
"""Activations by name; all are homogeneous, so that a branch's factor may stand in its matrix."""

Place = Literal["post", "pre"]
"""The place of the activation: behind the last matrix of a branch, or before the first."""


class Branch(nn.Module):
    """A residual branch: MS(phi(W x)), MS(phi(W2 phi(W1 x))) or W phi(x).

    MS subtracts the mean over coordinates (Tensor Programs VI, 2310.02244, Section 6.3).
    """

    def __init__(
        self, width: int, matrices: int, activation: str, place: Place, norm: bool
    ) -> None:
        super().__init__()
        self.phi = ACTIVATIONS[activation]
        self.place = place
        self.norm = nn.LayerNorm(width, elementwise_affine=False) if norm else nn.Identity()
        self.inner = nn.Linear(width, width, bias=False) if matrices == 2 else None
        self.outer = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        for matrix in filter(None, (self.inner, self.outer)):
            x = matrix(self.phi(x)) if self.place == "pre" else self.phi(matrix(x))
        return x if self.place == "pre" else x - x.mean(-1, keepdim=True)


class Residual(nn.Module):
    """A matrix, residual branches, and a readout: (batch, inputs) to (batch, outputs)."""

    def __init__(
        self,
        branches: list[Branch],
        width: int,
        inputs: int,
        outputs: int,
        scheme: rules.Residual | None,
    ) -> None:
        super().__init__()
        self.scheme = scheme
        self.input = nn.Linear(inputs, width, bias=False)
        self.branches = nn.ModuleList(branches)
        self.readout = nn.Linear(width, outputs, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.normal_(self.readout.weight, std=1 / width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x.flatten(1))
        for number, branch in enumerate(self.branches):
            if self.scheme is None:
                x = x + branch(x)
            else:
                x = self.scheme.skip[number] * x + self.scheme.branch[number] * branch(x)
        return self.readout(x)  # type: ignore[no-any-return]


def residual(
    width: int = 32,
    depth: int = 8,
    *,
    activation: str = "relu",
    place: Place = "post",
    matrices: int = 1,
    norm: bool = False,
    frozen: bool = True,
    scheme: rules.Residual | None = None,
    inputs: int = 64,
    outputs: int = 10,
) -> Residual:
    """Return a network of Tensor Programs VI; its defaults fit the task `digits`.

    Args:
        width: Size of the stream.
        depth: Number of branches.
        activation: Activation of the branches.
        place: "post" for phi(W x), the paper's, "pre" for W phi(x).
        matrices: Matrices of a branch, the paper's block depth: 1 or 2.
        norm: True for a normalisation at the start of each branch.
        frozen: True to keep input and readout as they are drawn, as the paper's theory does; False
            to train them, the readout from zero.
        scheme: Weights of stream and branches; all 1 by default, for a plan to scale.
        inputs: Number of inputs.
        outputs: Number of outputs.
    """
    branches = [Branch(width, matrices, activation, place, norm) for _ in range(depth)]
    model = Residual(branches, width, inputs, outputs, scheme)
    if frozen:
        model.input.requires_grad_(False)
        model.readout.requires_grad_(False)
    else:
        nn.init.zeros_(model.readout.weight)
    return model


def stream(model: Residual, task: Task, examples: int = 256) -> Array:
    """Return the stream before the first branch and after every one.

    Args:
        model: The network.
        task: Data; the first examples are used.
        examples: How many.

    Returns:
        Features (1 + depth, examples, width).
    """
    inputs = take(task.inputs, slice(0, examples))
    assert isinstance(inputs, Tensor), "the networks take one tensor"
    return model_stream(model, ["branches.*", "readout"], inputs)


def train_branches(
    model: Residual, task: Task, lr: float, *, steps: int, seed: int, batch: int = 64
) -> None:
    """Train the branches alone, by Adam with one rate."""
    optimizer = torch.optim.Adam(model.branches.parameters(), lr=lr, eps=1e-12)
    feed = task.feed(seed, steps, batch)
    for step in range(steps):
        inputs, targets = feed[step]
        optimizer.zero_grad()
        task.loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
