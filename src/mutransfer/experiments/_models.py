"""Models of several experiments."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualPerceptron(nn.Module):
    """A residual perceptron with norms: (batch, inputs) to (batch, outputs)."""

    def __init__(
        self, width: int, depth: int, norm: str, dropout: float, inputs: int, outputs: int
    ) -> None:
        super().__init__()
        self.norm = norm
        self.input = nn.Linear(inputs, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        # After the last residual add, a post-norm block has a norm of its own.
        self.last = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            if self.norm == "pre":
                x = x + down(self.dropout(F.relu(up(norm(x)))))
            else:
                x = norm(x + down(self.dropout(F.relu(up(x)))))
        return self.readout(self.last(x))  # type: ignore[no-any-return]


def residual_perceptron(
    width: int = 32,
    depth: int = 4,
    *,
    norm: str = "pre",
    dropout: float = 0.0,
    inputs: int = 64,
    outputs: int = 10,
) -> nn.Module:
    """Return a residual perceptron with layer norms, for the task `digits`.

    Args:
        width: Size of the residual stream, and of the hidden layer of each branch.
        depth: Number of residual branches.
        norm: "pre" for a norm before each branch, "post" for one after each residual add.
        dropout: Probability with which hidden units of a branch are dropped.
        inputs: Number of inputs.
        outputs: Number of outputs.
    """
    return ResidualPerceptron(width, depth, norm, dropout, inputs, outputs)
