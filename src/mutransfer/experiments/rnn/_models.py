"""A plain recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core import MutransferError

INPUTS = 64
"""Pixels of a digit, which are read a few at a time."""


class Recurrent(nn.Module):
    """A plain recurrence h = tanh(U x + W h), read out at the end."""

    def __init__(self, width: int, time: int) -> None:
        super().__init__()
        self.time = time
        self.input = nn.Linear(INPUTS // time, width)
        self.hidden = nn.Linear(width, width, bias=False)
        self.readout = nn.Linear(width, 10)
        nn.init.orthogonal_(self.hidden.weight)

    def forward(self, x: Tensor) -> Tensor:
        inputs = self.input(x.reshape(-1, self.time, INPUTS // self.time))
        state = torch.tanh(inputs[:, 0])
        for step in range(1, self.time):
            state = torch.tanh(inputs[:, step] + self.hidden(state))
        return self.readout(state)  # type: ignore[no-any-return]


def recurrent(width: int, time: int) -> nn.Module:
    """Return a plain recurrent network that reads a digit in equal pieces.

    Args:
        width: Size of the state.
        time: Number of pieces, a divisor of 64.

    Raises:
        MutransferError: the pieces are not equal.
    """
    if INPUTS % time:
        raise MutransferError(f"{INPUTS} pixels cannot be read in {time} equal pieces")
    return Recurrent(width, time)
