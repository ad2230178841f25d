"""Recurrent nets and scans over time."""

import torch
from torch import Tensor, nn

from .parts import Function, identity


class Recurrent(nn.Module):
    """Recurrent layers between an embedding, if there is one, and a readout.

    Args:
        width: Size of the state.
        kind: The recurrent layer.
        embedding: The first layer; without one, the recurrent layer takes 5 features.
        layers: Number of recurrent layers.
        outputs: Number of outputs.
        end: What becomes of the outputs of all times.
    """

    def __init__(
        self,
        width: int,
        kind: type[nn.RNNBase] = nn.LSTM,
        *,
        embedding: nn.Module | None = None,
        layers: int = 1,
        outputs: int = 3,
        end: Function = identity,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.cell = kind(width if embedding else 5, width, layers, batch_first=True)
        self.readout, self.end = nn.Linear(width, outputs), end

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.embedding is None else self.embedding(x)
        return self.end(self.readout(self.cell(x)[0]))


def last(x: Tensor) -> Tensor:
    """The outputs of the last time."""
    return x[..., -1, :]


class RunningMean(nn.Module):
    """A running mean with a rate for each feature, as in a state-space layer.

    Args:
        width: Number of features.
        name: Name of the parameter that holds the rates.
    """

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.register_parameter(name, nn.Parameter(torch.zeros(width)))

    def forward(self, x: Tensor) -> Tensor:
        decay = getattr(self, self.name).sigmoid()
        state, states = torch.zeros_like(x[:, 0]), []
        for step in x.unbind(1):
            state = decay * state + step
            states.append(state)
        return torch.stack(states, 1)
