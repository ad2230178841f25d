"""What the models written here share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .entry import Entry, normal, tokens
from .truth import Truth

HEAD = 8
WIDTH_ONLY: dict[str, Any] = {"depths": None}
CHAIN = {"refused": {"depth": "plain chain"}}
LOOP = {"refused": {"depth": "loops"}}


def by_hand(
    name: str,
    build: Callable[[int, int], nn.Module],
    inputs: Callable[[], Any],
    truth: Truth | Iterable[Truth],
    special: str = "",
    **fields: Any,
) -> Entry:
    """Return the entry of a model written here."""
    return Entry(
        name=name,
        package="torch",
        build=build,
        inputs=inputs,
        truths=(truth,) if isinstance(truth, Truth) else tuple(truth),
        special=special,
        **fields,
    )


def ends(truth: Truth, *choices: tuple[str, ...]) -> tuple[Truth, ...]:
    """Return the truths that differ in the tensors that carry the branches' multipliers."""
    return tuple(truth.but(ends=choice) for choice in choices)


def text() -> Tensor:
    """Return tokens."""
    return tokens(2, 12)


def features() -> Tensor:
    """Return vectors of ten numbers."""
    return normal(4, 10)


def sequence() -> Tensor:
    """Return sequences of vectors of ten numbers."""
    return normal(2, 8, 10)


def images() -> Tensor:
    """Return small images."""
    return normal(2, 3, 16, 16)


def several(count: int, make: Callable[[int], nn.Module]) -> nn.ModuleList:
    """Return this many modules."""
    return nn.ModuleList(make(index) for index in range(count))


def linear(n: int, d: int) -> nn.Module:
    """Return a linear layer of this width."""
    return nn.Linear(n, n)


class MLP(nn.Sequential):
    """Two linear layers with a nonlinearity."""

    def __init__(self, n: int, hidden: int | None = None, out: int | None = None) -> None:
        hidden = hidden or 2 * n
        super().__init__(nn.Linear(n, hidden), nn.GELU(), nn.Linear(hidden, out or n))


class Attention(nn.Module):
    """Attention of heads of constant size, to itself or to a context."""

    def __init__(self, n: int, causal: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(n, n) for _ in range(4))
        self.causal = causal

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (split(f(y)) for f, y in ((self.q, x), (self.k, context), (self.v, context)))
        return self.out(merge(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)))


def split(x: Tensor) -> Tensor:
    """Return heads of constant size, before the positions."""
    return x.unflatten(-1, (-1, HEAD)).transpose(-3, -2)


def merge(x: Tensor) -> Tensor:
    """Return the heads side by side."""
    return x.transpose(-3, -2).flatten(-2)


class Language(nn.Module):
    """A language model around a stack of blocks, with a head of its own."""

    def __init__(self, n: int, blocks: Iterable[nn.Module], vocabulary: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, n)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(n)
        self.head = nn.Linear(n, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Stream(nn.Module):
    """A residual network on sequences of vectors, from ten numbers to five."""

    def __init__(self, n: int, blocks: Iterable[nn.Module], inputs: int = 10) -> None:
        super().__init__()
        self.inp = nn.Linear(inputs, n)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(n)
        self.head = nn.Linear(n, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class PreNorm(nn.Module):
    """A residual branch after a norm."""

    def __init__(self, n: int, branch: nn.Module) -> None:
        super().__init__()
        self.norm, self.branch = nn.LayerNorm(n), branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(self.norm(x))


def stack(n: int, d: int, make: Callable[[int], nn.Module]) -> nn.Module:
    """Return a residual network whose branches are made by this function of the width."""
    return Stream(n, (PreNorm(n, make(n)) for _ in range(d)))


Kinds = Mapping[str, Any]
