"""Networks whose layers have no modules of their own: one forward has all operations."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .residual import Residual


def normalised(x: Tensor) -> Tensor:
    """Return features without mean, of unit size."""
    return F.layer_norm(x, x.shape[-1:])


def drawn(*shape: int) -> nn.Parameter:
    """Return a matrix, or a stack of them, whose outputs are of unit size."""
    return nn.Parameter(torch.randn(shape) * shape[-1] ** -0.5)


class FlatResidual(Residual):
    """The network of its parent, its blocks without a forward of their own."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.stem.weight, self.stem.bias)
        for block in self.blocks:
            seen = F.layer_norm(x, x.shape[-1:], block.norm.weight, block.norm.bias)
            hidden = F.gelu(F.linear(seen, block.up.weight, block.up.bias))
            x = x + F.linear(hidden, block.down.weight, block.down.bias)
        return F.linear(self.pool(x), self.readout.weight, self.readout.bias)


class FlatStack(nn.Module):
    """Branches of two matrices, in lists of parameters.

    Args:
        width: Size of the residual stream.
        depth: Number of branches.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = drawn(width, 5)
        self.up = nn.ParameterList(drawn(2 * width, width) for _ in range(depth))
        self.down = nn.ParameterList(drawn(width, 2 * width) for _ in range(depth))
        self.head = drawn(3, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.stem.T
        for up, down in zip(self.up, self.down, strict=True):
            x = x + F.gelu(normalised(x) @ up.T) @ down.T
        return normalised(x) @ self.head.T


class FlatTensors(FlatStack):
    """The same with one tensor for all layers."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__(width, depth)
        self.up = drawn(depth, 2 * width, width)  # type: ignore[assignment]
        self.down = drawn(depth, width, 2 * width)  # type: ignore[assignment]


class FlatBranch(nn.Module):
    """A branch that adds itself to the stream, in tensors.

    Args:
        width: Size of the residual stream.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = drawn(width, width), drawn(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(normalised(x) @ self.up.T) @ self.down.T


def numbered(width: int, depth: int) -> nn.Module:
    """Build a sequence whose numbers count stem, branches, norm and head alike."""
    branches = (FlatBranch(width) for _ in range(depth))
    ends = nn.LayerNorm(width), nn.Linear(width, 3)
    return nn.Sequential(nn.Linear(5, width), *branches, *ends)
