"""Residual networks of perceptrons, and the branches that they are made of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import Function, Net, NormWithoutGain, Skip, identity, repeat

Block = Callable[[int], nn.Module]
Join = Callable[[Any, nn.Module, Tensor], Tensor]


def plus(model: nn.Module, block: nn.Module, x: Tensor) -> Tensor:
    """The stream plus the branch."""
    return x + block(x)


def inside(model: nn.Module, block: nn.Module, x: Tensor) -> Tensor:
    """The block's own output: it adds its branch to the stream itself."""
    return block(x)


class TwoMatrices(nn.Module):
    """A branch of two matrices behind a norm, `down(activation(up(norm(x))))`.

    Args:
        width: Size of the residual stream.
        inner: Size between the matrices over the width.
        norm: The norm of a width; None for no norm.
        activation: The function between the matrices.
        bias: Whether the matrices have biases.
        last: Makes the last layer of a width; by default a linear layer.
        joined: Whether the block adds the branch to the stream itself.
        names: Names of the two matrices.
    """

    def __init__(
        self,
        width: int,
        inner: int = 1,
        *,
        norm: Block | None = nn.LayerNorm,
        activation: Function = F.gelu,
        bias: bool = True,
        last: Block | None = None,
        joined: bool = False,
        names: tuple[str, str] = ("up", "down"),
    ) -> None:
        super().__init__()
        self.activation, self.joined, self.names = activation, joined, names
        self.norm = norm(width) if norm else nn.Identity()
        setattr(self, names[0], nn.Linear(width, inner * width, bias))
        setattr(self, names[1], last(width) if last else nn.Linear(inner * width, width, bias))

    def forward(self, x: Tensor) -> Tensor:
        up, down = (getattr(self, name) for name in self.names)
        branch = down(self.activation(up(self.norm(x))))
        return x + branch if self.joined else branch


class OneMatrix(nn.Module):
    """A branch of one matrix behind an activation, and behind a norm if one is given."""

    def __init__(
        self,
        width: int,
        *,
        norm: Block | None = None,
        activation: Function = torch.relu,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.activation, self.norm = activation, norm(width) if norm else nn.Identity()
        self.only = nn.Linear(width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.only(self.activation(self.norm(x)))


class Centred(nn.Module):
    """A branch of one matrix, an even activation and mean subtraction.

    It is that of Depth-muP (2310.02244, Setup 6.3).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.down = NormWithoutGain(width), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(self.norm(x)).abs()
        return y - y.mean(-1, keepdim=True)


class Residual(nn.Module):
    """Blocks on a stream between a stem and a readout.

    Args:
        width: Size of the stream.
        depth: Number of blocks.
        block: A block of a width.
        join: The stream after a block, from the model, the block and the stream before it.
        stem: The first layer; by default a linear one over 5 features.
        readout: The last layer; by default a linear one onto 3 outputs.
        look: What becomes of the data before the stem.
        pool: What becomes of the stream before the readout.
        parts: Further modules by name, for `join`.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        block: Block = TwoMatrices,
        *,
        join: Join = plus,
        stem: nn.Module | None = None,
        readout: nn.Module | None = None,
        look: Function = identity,
        pool: Function = identity,
        **parts: nn.Module,
    ) -> None:
        super().__init__()
        self.join, self.look, self.pool = join, look, pool
        self.stem = nn.Linear(5, width) if stem is None else stem
        self.blocks = repeat(depth, lambda: block(width))
        self.readout = nn.Linear(width, 3) if readout is None else readout
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.look(x))
        for block in self.blocks:
            x = self.join(self, block, x)
        return self.readout(self.pool(x))


class Staged(nn.Module):
    """Blocks numbered within two stages: their names have two numbers."""

    def __init__(self, width: int, depth: int, block: Block, look: Function = identity) -> None:
        super().__init__()
        self.look, self.stem, self.readout = look, nn.Linear(5, width), nn.Linear(width, 3)
        self.stages = repeat(
            2, lambda: nn.ModuleDict({"blocks": repeat(depth, lambda: block(width))})
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.look(x))
        for stage in self.stages:
            for block in stage["blocks"]:
                x = block(x)
        return self.readout(x)


def skips(
    width: int, depth: int, *end: Callable[[], nn.Module], function: Function | None = None
) -> nn.Module:
    """Stem, branches of one matrix and their ends, readout, numbered in one row."""

    def block() -> nn.Module:
        return Skip(nn.Linear(width, width), *(make() for make in end), end=function)

    blocks = (block() for _ in range(depth))
    return nn.Sequential(nn.Linear(5, width), *blocks, nn.Linear(width, 3))


def additive_skips(width: int, depth: int, block: Block) -> nn.Module:
    """Decoder blocks to which the encoder's features are added in turn."""

    def run(m: Any, x: Tensor) -> Tensor:
        x, kept = m.stem(x), []
        for encoder in m.blocks:
            x = x + encoder(x)
            kept.append(x)
        for decoder in m.decoder:
            x = x + kept.pop()
            x = x + decoder(x)
        return m.readout(x)

    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    blocks, decoder = (repeat(depth, lambda: block(width)) for _ in range(2))
    return Net(run, **ends, blocks=blocks, decoder=decoder)
