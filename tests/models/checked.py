"""Models for coordinate checks: clean ones, and ones into which faults are planted."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer.tasks import mlp

from .attention import merge_heads, split_heads
from .parts import Net, repeat, square

WORDS = 64


def attention_branch(
    width: int, heads: int = 2, key_heads: int = 2, *, scale: float | None = None
) -> nn.Module:
    """One branch of causal attention between an embedding and a readout.

    Args:
        width: Size of the residual stream.
        heads: Number of heads of queries.
        key_heads: Number of heads of keys and values.
        scale: Scale of the logits times the size of a head; by default that of torch.
    """
    size = width // heads

    def run(m: Any, tokens: Tensor) -> Tensor:
        x = m.token(tokens)
        normed = m.branch_norm(x)
        mixed = F.scaled_dot_product_attention(
            *(split_heads(layer(normed), size=size) for layer in (m.query, m.key, m.value)),
            is_causal=True,
            scale=None if scale is None else scale / size,
            enable_gqa=key_heads != heads,
        )
        return m.head(m.norm(x + m.out(merge_heads(mixed))))

    return Net(
        run,
        token=nn.Embedding(WORDS, width),
        branch_norm=nn.LayerNorm(width),
        query=square(width, bias=False),
        key=nn.Linear(width, size * key_heads, bias=False),
        value=nn.Linear(width, size * key_heads, bias=False),
        out=square(width, bias=False),
        norm=nn.LayerNorm(width),
        head=nn.Linear(width, WORDS, bias=False),
    )


def scaled_branches(
    depth: int, *, post_norm: bool = False, power: float = 0.0, width: int = 32
) -> nn.Module:
    """Branches of two matrices, multiplied by `factor` in the forward pass.

    Args:
        depth: Number of branches.
        post_norm: Whether the norm comes after the residual add, and not before the branch.
        power: The factor is this power of the depth.
        width: Size of the residual stream.
    """

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.input(x)
        for norm, up, down in zip(m.norms, m.up, m.down, strict=True):
            branch = m.factor * down(F.relu(up(x if post_norm else norm(x))))
            x = norm(x + branch) if post_norm else x + branch
        return m.readout(x)

    return Net(
        run,
        input=nn.Linear(64, width),
        norms=repeat(depth, lambda: nn.LayerNorm(width)),
        up=repeat(depth, lambda: square(width)),
        down=repeat(depth, lambda: square(width)),
        readout=nn.Linear(width, 10),
        factor=depth**power,
    )


def tied_words(width: int) -> nn.Module:
    """An embedding, a hidden layer, a norm, and the embedding again as readout."""
    token, head = nn.Embedding(WORDS, width), nn.Linear(width, WORDS, bias=False)
    head.weight = token.weight
    return Net(
        lambda m, tokens: m.head(m.norm(F.relu(m.hidden(m.token(tokens))))),
        token=token,
        hidden=square(width),
        norm=nn.LayerNorm(width),
        head=head,
    )


class LowRank(nn.Module):
    """A perceptron with a matrix of fixed rank, whose two factors are bare tensors."""

    def __init__(self, width: int, rank: int = 4) -> None:
        super().__init__()
        self.input = nn.Linear(8, width)
        self.up = nn.Parameter(torch.randn(width, rank) / rank**0.5)
        self.down = nn.Parameter(torch.randn(rank, width) / width**0.5)
        self.readout = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.input(x))
        x = x + x @ self.down.T @ self.up.T
        return self.readout(torch.relu(x))  # type: ignore[no-any-return]


def dropped(width: int, depth: int = 2, *, rate: float = 0.5) -> nn.Module:
    """A perceptron with dropout on its inputs, by a module and by a function."""
    return Net(
        lambda m, x: m.inner(F.dropout(m.drop(x), rate, m.training)),
        drop=nn.Dropout(rate),
        inner=mlp(width, depth),
    )


def tuples_and_words(width: int, depth: int = 2, *, head: int = 8) -> nn.Module:
    """Attention modules that return tuples, and one module that returns no tensor."""

    def run(m: Any, x: Tensor) -> Tensor:
        m.words(x)
        x = m.token(x)
        for norm, attention in zip(m.norms, m.attention, strict=True):
            y = norm(x)
            x = x + attention(y, y, y)[0]
        return m.head(x)

    def attention() -> nn.Module:
        return nn.MultiheadAttention(width, width // head, 0.1, batch_first=True)

    return Net(
        run,
        token=nn.Embedding(32, width),
        words=Net(lambda m, x: str(x.shape)),
        head=nn.Linear(width, 32),
        norms=repeat(depth, lambda: nn.LayerNorm(width)),
        attention=repeat(depth, attention),
    )


def normed_convolution(channels: int = 6) -> nn.Module:
    """A convolution and a BatchNorm with running statistics, over images of two channels."""
    return Net(
        lambda m, x: m.head(torch.relu(m.norm(m.conv(x))).mean((-2, -1))),
        conv=nn.Conv2d(2, channels, 3, bias=False),
        norm=nn.BatchNorm2d(channels),
        head=nn.Linear(channels, 4),
    )
