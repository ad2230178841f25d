"""A graph network for images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE, PATCH = 4, 2
"""A digit is a graph of 4 x 4 nodes, each with the pixels of a 2 x 2 patch."""


def neighbours() -> Tensor:
    """Return the mean over a node and its neighbours on the grid, (nodes, nodes)."""
    row, column = torch.arange(SIDE**2) // SIDE, torch.arange(SIDE**2) % SIDE
    apart = (row[:, None] - row).abs() + (column[:, None] - column).abs()
    near = (apart <= 1).float()
    return near / near.sum(1, keepdim=True)


class Message(nn.Module):
    """A round of messages: an activation, the mean over neighbours, and a matrix.

    The matrix is last, so that branches have no mean that would add up over rounds.
    """

    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.register_buffer("mean", neighbours())

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.mean @ torch.relu(x))  # type: ignore[no-any-return]


class GraphNetwork(nn.Module):
    """Residual rounds of messages, and a readout of the mean over nodes."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.input = nn.Linear(PATCH**2, width)
        self.place = nn.Embedding(SIDE**2, width)
        self.rounds = nn.ModuleList(Message(width) for _ in range(depth))
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.reshape(-1, SIDE, PATCH, SIDE, PATCH).transpose(2, 3)
        x = self.input(pixels.reshape(-1, SIDE**2, PATCH**2))
        x = x + self.place(torch.arange(SIDE**2, device=x.device))
        for messages in self.rounds:
            x = x + messages(x)
        return self.readout(x.mean(1))  # type: ignore[no-any-return]


def graph_network(width: int, depth: int) -> nn.Module:
    """Return a graph network that classifies digits as grids of patches.

    Args:
        width: Features of a node.
        depth: Number of rounds of messages, each a residual branch.
    """
    return GraphNetwork(width, depth)
