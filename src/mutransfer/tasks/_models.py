"""Small networks of several kinds, with width, depth and activation as arguments.

Records of studies name their builder by module and name, so that these stay in this file.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core import MutransferError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "abs": torch.abs,
}


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation of this name.

    Raises:
        MutransferError: there is no such activation.
    """
    if name not in ACTIVATIONS:
        raise MutransferError(
            f"unknown activation {name!r}; choose one of {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


class MLP(nn.Module):
    """A multilayer perceptron: (batch, inputs) to (batch, outputs)."""

    def __init__(self, width: int, depth: int, activation: str, inputs: int, outputs: int) -> None:
        super().__init__()
        self.activation = activation_function(activation)
        self.input = nn.Linear(inputs, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.readout = nn.Linear(width, outputs)
        for layer in (self.input, *self.hidden, self.readout):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.input(x))
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.readout(x)  # type: ignore[no-any-return]


def mlp(
    width: int = 64,
    depth: int = 3,
    *,
    activation: str = "relu",
    inputs: int = 64,
    outputs: int = 10,
) -> nn.Module:
    """Return a multilayer perceptron; its defaults fit the task `digits`.

    Weights start with variance 2 / fan_in (He et al., 1502.01852), biases at zero.

    Args:
        width: Units of a hidden layer.
        depth: Number of hidden layers.
        activation: Activation of the hidden layers.
        inputs: Number of inputs.
        outputs: Number of outputs.

    Raises:
        MutransferError: the activation is unknown.
    """
    return MLP(width, depth, activation, inputs, outputs)


class ResidualMLP(nn.Module):
    """A residual perceptron without norms: (batch, inputs) to (batch, outputs)."""

    def __init__(self, width: int, depth: int, activation: str, inputs: int, outputs: int) -> None:
        super().__init__()
        self.activation = activation_function(activation)
        self.input = nn.Linear(inputs, width)
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.readout = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(self.activation(up(x)))
        return self.readout(x)  # type: ignore[no-any-return]


def resmlp(
    width: int = 32,
    depth: int = 4,
    *,
    activation: str = "relu",
    inputs: int = 64,
    outputs: int = 10,
) -> nn.Module:
    """Return a residual perceptron without norms; its defaults fit the task `digits`.

    A branch is x + W2 f(W1 x). Weights and biases start as PyTorch draws them.

    Args:
        width: Size of the residual stream, and of the hidden layer of each branch.
        depth: Number of residual branches.
        activation: Activation of the hidden layers.
        inputs: Number of inputs.
        outputs: Number of outputs.

    Raises:
        MutransferError: the activation is unknown.
    """
    return ResidualMLP(width, depth, activation, inputs, outputs)


class Block(nn.Module):
    """A pre-norm transformer block: (batch, time, width) to the same."""

    def __init__(self, width: int, heads: int, activation: str) -> None:
        super().__init__()
        self.heads = heads
        self.activation = activation_function(activation)
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        query, key, value = (
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(-3, -2).flatten(-2))
        changed = self.down(self.activation(self.up(self.mlp_norm(x))))
        return x + changed  # type: ignore[no-any-return]


class GPT(nn.Module):
    """A decoder-only transformer.

    Tokens (batch, time) to logits (batch, time, vocabulary).
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        activation: str,
        vocabulary: int,
        context: int,
        tied: bool,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.token.weight, std=0.02 if tied else 1.0)
        nn.init.normal_(self.position.weight, std=0.02)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[-1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def gpt(
    width: int = 64,
    depth: int = 2,
    *,
    heads: int | None = None,
    activation: str = "gelu",
    vocabulary: int = 256,
    context: int = 64,
    tied: bool = False,
) -> nn.Module:
    """Return a pre-norm GPT; its defaults fit the task `pydocs`.

    Query, key and value have a matrix each.

    Args:
        width: Size of the residual stream.
        depth: Number of blocks, each of two residual branches.
        heads: Number of attention heads; by default one for every 16 units, so that heads grow in
            number and not in size.
        activation: Activation of the MLP.
        vocabulary: Number of tokens.
        context: Longest sequence.
        tied: True if the head is the token embedding.

    Raises:
        MutransferError: the width is not a multiple of the number of heads, or the activation is
            unknown.
    """
    heads = heads or max(1, width // 16)
    if width % heads:
        raise MutransferError(
            f"width {width} is not a multiple of {heads} heads; choose one that is"
        )
    return GPT(width, depth, heads, activation, vocabulary, context, tied)
