"""Small modules that networks of the zoo are put together from."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Function = Callable[[Tensor], Tensor]

NormWithoutGain = partial(nn.RMSNorm, elementwise_affine=False)
"""A normalisation that learns nothing."""


class Net(nn.Module):
    """Parts by name, and a forward pass that uses them."""

    def __init__(self, run: Callable[..., Any], /, **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


class Skip(nn.Sequential):
    """A branch of layers in a row, added to the stream."""

    def __init__(self, *layers: nn.Module, end: Function | None = None) -> None:
        super().__init__(*layers)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        branch = super().forward(x)
        return x + (self.end(branch) if self.end else branch)


def identity(x: Tensor) -> Tensor:
    return x


def square(width: int, bias: bool = True) -> nn.Linear:
    """A matrix that both grow with the width."""
    return nn.Linear(width, width, bias)


def repeat(depth: int, make: Callable[[], nn.Module]) -> nn.ModuleList:
    """A list of modules, one for each layer."""
    return nn.ModuleList(make() for _ in range(depth))


def gelu_by_hand(x: Tensor) -> Tensor:
    """GELU as GPT-2 writes it out: a sum and products that are no residual branch."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class OnePlus(nn.Module):
    """A gain that counts from one, as Gemma's: it cannot carry a multiplier."""

    def __init__(self, width: int, *, normed: bool = True) -> None:
        super().__init__()
        self.weight, self.normed = nn.Parameter(torch.zeros(width)), normed

    def forward(self, x: Tensor) -> Tensor:
        return (F.rms_norm(x, x.shape[-1:]) if self.normed else x) * (1 + self.weight)


class RootMeanSquare(nn.Module):
    """RMSNorm by hand, under a name that does not say what it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class Unit(nn.Module):
    """A normalisation to length one, without a gain."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class Standardised(nn.Linear):
    """A linear layer that subtracts the mean of its rows from its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight - self.weight.mean(1, keepdim=True), self.bias)


class Conv1D(nn.Module):
    """A linear layer with a transposed weight, as in Hugging Face's GPT-2."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) / nx**0.5)
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Raising(nn.Module):
    """A model that gives up in the middle of its forward pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(f"in the middle, after {self.inner(x).shape}")


class Caching(nn.Module):
    """A model that keeps a tensor of its first forward pass, as rotary embeddings do.

    Args:
        width: The width.
        buffer: Whether the tensor becomes a buffer, and not an attribute.
    """

    def __init__(self, width: int, *, buffer: bool) -> None:
        super().__init__()
        self.stem, self.readout = nn.Linear(5, width), nn.Linear(width, 3)
        self.buffer, self.cosines = buffer, None

    def forward(self, x: Tensor) -> Tensor:
        if self.cosines is None:
            cosines = torch.arange(x.shape[-1], device=x.device).cos()
            if self.buffer:
                del self.cosines
                self.register_buffer("cosines", cosines)
            self.cosines = cosines
        return self.readout(self.stem(x * self.cosines))
