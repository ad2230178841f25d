"""Attention in the forms in which models write it, and transformers made of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer.tasks import gpt

from .parts import Function, Net, NormWithoutGain, OnePlus, repeat, square
from .residual import Block, Residual

HEAD = 8
"""Size of a head where heads grow in number."""
VOCABULARY = 11
TOKENS = torch.zeros(2, 6, dtype=torch.long)

Mix = Callable[[Any, Tensor, Tensor, Tensor], Tensor]


def split_heads(x: Tensor, number: int = -1, size: int = -1) -> Tensor:
    """From (batch, time, width) to (batch, heads, time, size)."""
    return x.unflatten(-1, (number, size)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """From (batch, heads, time, size) to (batch, time, width)."""
    return x.transpose(1, 2).flatten(2)


def rotary(x: Tensor) -> Tensor:
    """A rotary embedding with one angle."""
    half = x.shape[-1] // 2
    return x * 0.6 + torch.cat([-x[..., half:], x[..., :half]], -1) * 0.8


class Attention(nn.Module):
    """A branch of attention whose heads grow in number and not in size.

    Args:
        width: Size of the residual stream.
        shared: Number of heads of keys and values; by default as many as of queries.
        how: How queries share them: by torch ("grouped"), by a copy ("repeat"), by a view
            ("expand"), or by torch with rotary embeddings ("rotate").
        norm: The norm of a width.
        gains: Norms of the queries and of the keys of a head.
        heat: Whether a bare scalar multiplies the queries.
        bias: Whether the matrices have biases.
        causal: Whether a place sees only those before it.
        joined: Whether the block adds the branch to the stream itself.
    """

    def __init__(
        self,
        width: int,
        shared: int | None = None,
        how: str = "grouped",
        *,
        norm: Block = nn.LayerNorm,
        gains: tuple[Block, Block] | None = None,
        heat: bool = False,
        bias: bool = False,
        causal: bool = False,
        joined: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.how, self.causal, self.joined = width // HEAD, how, causal, joined
        inner = width if shared is None else shared * HEAD
        self.norm = norm(width)
        self.query, self.out = (nn.Linear(width, width, bias) for _ in range(2))
        self.key, self.value = (nn.Linear(width, inner, bias) for _ in range(2))
        if gains:
            self.query_norm, self.key_norm = (gain(HEAD) for gain in gains)
        self.heat = nn.Parameter(torch.tensor(1.0)) if heat else None

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Attend to the stream itself, or to a memory."""
        normed = self.norm(x)
        other = normed if memory is None else memory
        layers = ((self.query, normed), (self.key, other), (self.value, other))
        q, k, v = (layer(y).unflatten(-1, (-1, HEAD)) for layer, y in layers)
        if hasattr(self, "query_norm"):
            q, k = self.query_norm(q), self.key_norm(k)
        if self.heat is not None:
            q = self.heat * q
        mixed = self.mixed(*(t.transpose(1, 2) for t in (q, k, v)))
        return x + self.out(merge_heads(mixed)) if self.joined else self.out(merge_heads(mixed))

    def mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of heads, those of keys and values shared as `how` says."""
        times = self.heads // k.shape[1]
        if self.how == "repeat":
            k, v = (t.repeat_interleave(times, dim=1) for t in (k, v))
        elif self.how == "expand":
            k, v = (t[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2) for t in (k, v))
        elif self.how == "rotate":
            q, k = rotary(q), rotary(k)
        shared = k.shape[1] < q.shape[1]
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=shared)


class EncoderDecoder(nn.Module):
    """A decoder whose layers attend to the whole encoder; it takes keywords alone."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.encoder, self.decoder, self.cross = (
            repeat(depth, lambda: Attention(width, joined=True)) for _ in range(3)
        )
        self.memory, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.dummy_inputs = {"source": TOKENS, "target": TOKENS, "mask": TOKENS}

    def forward(self, *, source: Tensor, target: Tensor) -> Tensor:
        x, y = self.embedding(source), self.embedding(target)
        for layer in self.encoder:
            x = layer(x)
        memory = self.memory(x)
        for layer, cross in zip(self.decoder, self.cross, strict=True):
            y = cross(layer(y), memory)
        return self.head(self.norm(y))


class UnfoldableBlock(nn.Module):
    """Branches that end in a gain that counts from one, and in an activation.

    The queries, of two heads that grow in size, come from a norm without a gain.

    Args:
        width: Size of the residual stream.
        branch: Multiplier of each branch, by hand.
        query: Multiplier of the queries, by hand.
    """

    def __init__(self, width: int, branch: float = 1.0, query: float = 1.0) -> None:
        super().__init__()
        self.branch, self.times = branch, query
        self.norm, self.query_norm = nn.RMSNorm(width), NormWithoutGain(width // 2)
        self.query, self.key, self.value = (square(width, bias=False) for _ in range(3))
        self.end, self.up, self.act = OnePlus(width), square(width), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (
            layer(normed).unflatten(-1, (2, -1)) for layer in (self.query, self.key, self.value)
        )
        q, k, v = (t.transpose(1, 2) for t in (self.query_norm(q) * self.times, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.end(merge_heads(mixed)) * self.branch
        return x + self.act(self.up(x)) * self.branch


class Unfoldable(nn.Module):
    """A tied transformer whose multipliers no tensor can carry.

    Args:
        width: Size of the residual stream.
        depth: Number of blocks.
        branch: Multiplier of each branch, by hand.
        query: Multiplier of the queries, by hand.
        logits: Multiplier of the logits, by hand.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        *,
        branch: float = 1.0,
        query: float = 1.0,
        logits: float = 1.0,
    ) -> None:
        super().__init__()
        self.times = logits
        self.token = nn.Embedding(VOCABULARY, width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.blocks = nn.Sequential(*(UnfoldableBlock(width, branch, query) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.token(tokens))) * self.times)


def looking_gpt(look: Function, width: int, depth: int, *, tied: bool = False) -> nn.Module:
    """A GPT whose tokens go through a function first."""
    return Net(lambda m, tokens: m.gpt(look(tokens)), gpt=gpt(width, depth, tied=tied))


def two_heads(width: int, mix: Mix, times: int = 1, **parts: nn.Module) -> nn.Module:
    """Residual attention of two heads that grow in size, applied `times` times.

    Args:
        width: Size of the residual stream.
        mix: The mixed values, from the model, the queries, the keys and the values.
        times: How often the attention is applied.
        parts: Further modules by name, for `mix`.
    """

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for _ in range(times):
            normed = m.norm(x)
            q, k, v = (split_heads(layer(normed), 2) for layer in (m.query, m.key, m.value))
            x = x + m.out(merge_heads(mix(m, q, k, v)))
        return m.readout(x)

    layers = {name: square(width, bias=False) for name in ("query", "key", "value", "out")}
    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(run, **ends, norm=nn.LayerNorm(width), **layers, **parts)


def one_query(
    query: Callable[[Any, Tensor], Tensor], width: int = HEAD, scale: float | None = None
) -> nn.Module:
    """An attention of one head; a function makes its queries from model and stream.

    The model has layers for that: `query`, `fused` of twice the width, a norm `gain`, and the bare
    parameter `latent`.
    """

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)[:, None]
        key = m.key(x)
        return F.scaled_dot_product_attention(query(m, x), key, key, scale=scale)

    return Net(
        run,
        stem=nn.Linear(5, width),
        query=square(width),
        key=square(width),
        fused=nn.Linear(width, 2 * width),
        gain=nn.LayerNorm(width),
        latent=nn.Parameter(torch.zeros(1, width)),
    )


def one_head(width: int, inner: int, scale: float) -> nn.Module:
    """Attention of one head, as wide as the stream, with this scale of its logits."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.token(x)
        x = F.scaled_dot_product_attention(m.query(x), m.key(x), m.value(x), scale=scale)
        return m.readout(torch.relu(m.up(x)))

    layers = {name: square(width, bias=False) for name in ("query", "key", "value")}
    ends = {"up": nn.Linear(width, inner), "readout": nn.Linear(inner, 10)}
    return Net(run, token=nn.Embedding(32, width), **layers, **ends)


def fused_queries(width: int) -> nn.Module:
    """Queries, keys and values of two heads from one matrix."""

    def run(m: Any, x: Tensor) -> Tensor:
        q, k, v = (split_heads(t, 2) for t in m.qkv(m.stem(x)).chunk(3, dim=-1))
        return m.readout(m.out(merge_heads(F.scaled_dot_product_attention(q, k, v))))

    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(run, **ends, qkv=nn.Linear(width, 3 * width), out=square(width))


def torch_attention(width: int) -> nn.Module:
    """Torch's own attention of two heads."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        return m.readout(x + m.attention(x, x, x, need_weights=False)[0])

    attention = nn.MultiheadAttention(width, 2, batch_first=True)
    return Net(run, stem=nn.Linear(5, width), attention=attention, readout=nn.Linear(width, 3))


def torch_encoder(
    width: int, depth: int, head: int | None = HEAD, *, norm_first: bool = True
) -> nn.Module:
    """Torch's encoder, with heads of a size or with two heads that grow in size."""
    layer = nn.TransformerEncoderLayer(
        width, width // head if head else 2, 4 * width, batch_first=True, norm_first=norm_first
    )
    body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(5, width), body, nn.Linear(width, 3))


def embedded(
    width: int,
    run: Callable[[Any, Tensor], Any],
    *,
    tied: bool = True,
    head_first: bool = False,
    **parts: nn.Module,
) -> nn.Module:
    """An embedding `token`, a `layer`, a `norm` and a `head`, tied or not.

    Args:
        width: The width.
        run: The forward pass, from the model and the tokens.
        tied: Whether the head is the embedding.
        head_first: Whether the head is registered before the embedding.
        parts: Further modules by name, or others in place of these.
    """
    token, head = nn.Embedding(VOCABULARY, width), nn.Linear(width, VOCABULARY, bias=False)
    if tied:
        token.weight = head.weight
    ends = {"head": head, "token": token} if head_first else {"token": token, "head": head}
    return Net(run, **ends | {"layer": square(width), "norm": nn.LayerNorm(width)} | parts)


def attending(width: int, depth: int = 2, **settings: Any) -> nn.Module:
    """Branches of attention with `settings` between a stem and a readout."""
    return Residual(width, depth, lambda n: Attention(n, norm=nn.RMSNorm, **settings))
