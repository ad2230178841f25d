"""A GPT with its norms behind the residual adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 16
"""Size of an attention head: heads grow in number, as in `mutransfer.tasks.gpt`."""


class PostNormBlock(nn.Module):
    """A transformer block with a norm behind each residual add: (batch, time, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.attention_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (-1, HEAD)).transpose(-3, -2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = self.attention_norm(x + self.out(mixed.transpose(-3, -2).flatten(-2)))
        return self.mlp_norm(x + self.down(F.gelu(self.up(x))))  # type: ignore[no-any-return]


class PostNormGPT(nn.Module):
    """A decoder of post-norm blocks: tokens (batch, time) to logits."""

    def __init__(self, width: int, depth: int, vocabulary: int, context: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(PostNormBlock(width) for _ in range(depth))
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.token.weight, std=1.0)
        nn.init.normal_(self.position.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[-1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


def post_norm_gpt(
    width: int = 64, depth: int = 2, *, vocabulary: int = 256, context: int = 64
) -> nn.Module:
    """Return a GPT as `mutransfer.tasks.gpt`, its norms behind the residual adds.

    Args:
        width: Size of the residual stream, a multiple of 16.
        depth: Number of blocks, each of two residual branches.
        vocabulary: Number of tokens.
        context: Longest sequence.
    """
    return PostNormGPT(width, depth, vocabulary, context)
