"""A vision transformer, with width and depth as arguments.

Records of studies name their builder by module and name, so that it stays in this file.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core import MutransferError
from ._models import activation_function

NORMS = ("pre", "post")
"""The places of a norm: before each branch, or after each residual add."""


class Attention(nn.Module):
    """Self-attention over all places: (batch, places, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(-3, -2).flatten(-2))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """The MLP of a block: (batch, places, width) to the same."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = activation_function(activation)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]


class EncoderBlock(nn.Module):
    """A transformer block with norms before its branches, or after its residual adds."""

    def __init__(self, width: int, heads: int, activation: str, norm: str) -> None:
        super().__init__()
        self.norm = norm
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.mlp = Perceptron(width, activation)
        self.mlp_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "pre":
            x = x + self.attention(self.attention_norm(x))
            return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]
        x = self.attention_norm(x + self.attention(x))
        return self.mlp_norm(x + self.mlp(x))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """A vision transformer: images (batch, channels, side, side) to (batch, outputs)."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        activation: str,
        norm: str,
        image: tuple[int, int],
        patch: int,
        outputs: int,
    ) -> None:
        super().__init__()
        channels, side = image
        self.patch = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Embedding((side // patch) ** 2, width)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, heads, activation, norm) for _ in range(depth)
        )
        # After the last residual add, a post-norm block has a norm of its own.
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.head = nn.Linear(width, outputs)
        nn.init.normal_(self.position.weight, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(-2).transpose(-2, -1)
        x = x + self.position(torch.arange(x.shape[-2], device=x.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(-2))  # type: ignore[no-any-return]


def vit(
    width: int = 64,
    depth: int = 4,
    *,
    heads: int | None = None,
    activation: str = "gelu",
    norm: str = "pre",
    patch: int = 4,
    side: int = 32,
    channels: int = 3,
    outputs: int = 10,
) -> nn.Module:
    """Return a vision transformer; its defaults fit CIFAR-10's images.

    Patches are read by a convolution, places have learned embeddings, and the readout takes the
    mean over places.

    Args:
        width: Size of the residual stream.
        depth: Number of blocks, each of two residual branches.
        heads: Number of attention heads; by default one for every 16 units, so that heads grow in
            number and not in size.
        activation: Activation of the MLP.
        norm: "pre", with norms before each branch, or "post", with norms after each residual add.
            No rule is known for the depth of "post".
        patch: Side of a patch.
        side: Side of an image.
        channels: Channels of an image.
        outputs: Number of outputs.

    Raises:
        MutransferError: the width is not a multiple of the number of heads, the side not one of
            the patch, or the activation or the norm is unknown.
    """
    heads = heads or max(1, width // 16)
    if width % heads:
        raise MutransferError(
            f"width {width} is not a multiple of {heads} heads; choose one that is"
        )
    if side % patch:
        raise MutransferError(
            f"images of side {side} cannot be cut into patches of side {patch}; choose a patch "
            "that divides it"
        )
    if norm not in NORMS:
        raise MutransferError(f"unknown norm {norm!r}; choose one of {', '.join(NORMS)}")
    image = (channels, side)
    return VisionTransformer(width, depth, heads, activation, norm, image, patch, outputs)
