"""Transformers and recurrent networks written by hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .hand import (
    CHAIN,
    HEAD,
    MLP,
    Attention,
    Language,
    PreNorm,
    Stream,
    by_hand,
    merge,
    sequence,
    split,
    stack,
    text,
)
from .truth import (
    BOTTLENECK,
    CARRIES,
    EMBEDDING,
    EXPERT,
    HIDDEN,
    POSITION,
    READOUT,
    ROUTER,
    TIED,
    VECTOR,
    Truth,
)

WORDS = {"embed.weight": EMBEDDING, "head.weight": READOUT}
HEADED = {"head.weight": READOUT}


class Block(nn.Module):
    """Attention, then an MLP, each after a norm."""

    def __init__(self, n: int, causal: bool = True) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(n), Attention(n, causal)
        self.norm2, self.mlp = nn.LayerNorm(n), MLP(n)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class NanoGPT(Language):
    """nanoGPT: learned positions, tied head."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__(n, (Block(n) for _ in range(d)))
        self.position = nn.Embedding(16, n)
        self.head = nn.Linear(n, 64, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.position(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Lambdas(nn.Module):
    """nanochat: the stream and its start, mixed by learned numbers before each block."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(64, n), nn.Linear(n, 64, bias=False)
        self.fc = nn.ModuleList(nn.Linear(n, 2 * n) for _ in range(d))
        self.proj = nn.ModuleList(nn.Linear(2 * n, n) for _ in range(d))
        self.a, self.b = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

    def forward(self, ids: Tensor) -> Tensor:
        x = start = F.rms_norm(self.embed(ids), (self.fc[0].in_features,))
        for index, (fc, proj) in enumerate(zip(self.fc, self.proj, strict=True)):
            x = self.a[index] * x + self.b[index] * start
            x = x + proj(F.relu(fc(F.rms_norm(x, x.shape[-1:]))).square())
        return self.head(F.rms_norm(x, x.shape[-1:]))


class Parallel(nn.Module):
    """Attention and MLP side by side, one norm for both."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm, self.attention, self.mlp = nn.LayerNorm(n), Attention(n, True), MLP(n)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.attention(y) + self.mlp(y)


class Checkpointed(nn.Module):
    """A block whose forward pass is done again in the backward pass."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.inner = Block(n)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = checkpoint(self.inner, x, use_reentrant=False)
        return result


class GrowingHead(nn.Module):
    """Attention with a fixed number of heads, so that 1/sqrt(d) is the wrong factor."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(n, n) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return self.out(merge(scores.softmax(-1) @ v))


class ALiBi(Attention):
    """Attention with a bias that falls with the distance."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = (split(f(x)) for f in (self.q, self.k, self.v))
        steps = torch.arange(x.shape[1])
        slopes = 2.0 ** -torch.arange(1, q.shape[1] + 1)
        bias = -(steps[:, None] - steps).abs() * slopes[:, None, None]
        scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(HEAD) + bias
        return self.out(merge(scores.softmax(-1) @ v))


class RelativePositions(Attention):
    """Transformer-XL: learned biases of content and position, projected distances."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.position = nn.Linear(n, n, bias=False)
        self.table = nn.Parameter(torch.randn(15, n))
        self.u = nn.Parameter(torch.zeros(n // HEAD, HEAD))
        self.w = nn.Parameter(torch.zeros(n // HEAD, HEAD))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = (split(f(x)) for f in (self.q, self.k, self.v))
        steps = torch.arange(x.shape[1])
        r = split(self.position(self.table[steps[:, None] - steps + 7]))
        content = torch.einsum("bhid,bhjd->bhij", q + self.u[:, None], k)
        distance = torch.einsum("bhid,ihjd->bhij", q + self.w[:, None], r)
        scores = (content + distance) / math.sqrt(HEAD)
        return self.out(merge(scores.softmax(-1) @ v))


class LinearAttention(Attention):
    """Attention by positive features of queries and keys, without a softmax."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = (split(f(x)) for f in (self.q, self.k, self.v))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        state = torch.einsum("bhid,bhie->bhde", k, v)
        norm = 1 / (torch.einsum("bhid,bhd->bhi", q, k.sum(2)) + 1e-6)
        return self.out(merge(torch.einsum("bhid,bhde,bhi->bhie", q, state, norm)))


class Performer(Attention):
    """Attention by random features of the softmax."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.register_buffer("random", torch.randn(HEAD, 16))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = (split(f(x)) for f in (self.q, self.k, self.v))
        q, k = (self.map(y / HEAD**0.25) for y in (q, k))
        norm = q @ k.sum(2).unsqueeze(-1)
        return self.out(merge(q @ (k.transpose(-2, -1) @ v) / norm))

    def map(self, x: Tensor) -> Tensor:
        """Return positive random features."""
        return torch.exp(x @ self.random - x.square().sum(-1, keepdim=True) / 2) / 4


class Fourier(nn.Module):
    """FNet: a Fourier transform over positions and features, and a linear layer."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.out = nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.fft.fft(torch.fft.fft(x, dim=-1, norm="ortho"), dim=-2).real)


class GatedMLP(nn.Module):
    """gMLP: gates over positions."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(n, 4 * n), nn.Linear(2 * n, n)
        self.norm, self.space = nn.LayerNorm(2 * n), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        u, v = F.gelu(self.up(x)).chunk(2, -1)
        return self.down(u * self.space(self.norm(v).transpose(1, 2)).transpose(1, 2))


class LongConvolution(nn.Module):
    """Hyena: long convolutions by FFT, their kernels from a small MLP over positions."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(n, 3 * n), nn.Linear(n, n)
        self.filter = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, n))
        self.bias = nn.Parameter(torch.zeros(n))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        t = torch.linspace(0, 1, length)[:, None]
        kernel = self.filter(torch.cat([t, torch.sin(6 * t), torch.cos(6 * t)], -1)).T
        a, b, v = self.inp(x).transpose(1, 2).chunk(3, 1)
        signal = b * v
        spectrum = torch.fft.rfft(signal, 2 * length) * torch.fft.rfft(kernel, 2 * length)
        y = torch.fft.irfft(spectrum, 2 * length)[..., :length] + signal * self.bias[:, None]
        return self.out((a * y).transpose(1, 2))


class S4D(nn.Module):
    """A diagonal state space: its kernel is a sum of complex exponentials."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.log_dt = nn.Parameter(torch.rand(n) - 3)
        self.log_real = nn.Parameter(torch.zeros(n, 4))
        self.imaginary = nn.Parameter(torch.arange(4.0).repeat(n, 1))
        self.c = nn.Parameter(torch.randn(n, 4, 2))
        self.d = nn.Parameter(torch.ones(n))
        self.out = nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        dt = self.log_dt.exp()[:, None]
        a = torch.complex(-self.log_real.exp(), self.imaginary) * dt
        steps = torch.exp(a[..., None] * torch.arange(length))
        kernel = 2 * torch.einsum("nk,nkl->nl", torch.view_as_complex(self.c) * dt, steps).real
        u = x.transpose(1, 2)
        spectrum = torch.fft.rfft(u, 2 * length) * torch.fft.rfft(kernel, 2 * length)
        y = torch.fft.irfft(spectrum, 2 * length)[..., :length] + u * self.d[:, None]
        return self.out(F.gelu(y.transpose(1, 2)))


class Mixture(nn.Module):
    """Experts as stacks of matrices, mixed by the scores of a router."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.router = nn.Linear(n, 4, bias=False)
        self.up = nn.Parameter(torch.randn(4, n, 2 * n) / math.sqrt(n))
        self.down = nn.Parameter(torch.randn(4, 2 * n, n) / math.sqrt(2 * n))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.router(x).softmax(-1)
        hidden = F.gelu(torch.einsum("bti,eih->bteh", x, self.up))
        return torch.einsum("bteh,ehi,bte->bti", hidden, self.down, scores)


class Scanned(nn.Module):
    """Layers stacked in one tensor, as scans over layers keep them."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(64, n), nn.Linear(n, 64)
        self.up = nn.Parameter(torch.randn(d, 2 * n, n) / math.sqrt(n))
        self.down = nn.Parameter(torch.randn(d, n, 2 * n) / math.sqrt(2 * n))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + F.linear(F.relu(F.linear(F.layer_norm(x, x.shape[-1:]), up)), down)
        return self.head(F.layer_norm(x, x.shape[-1:]))


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter of rank four."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.full = nn.Linear(n, n)
        self.a, self.b = nn.Linear(n, 4, bias=False), nn.Linear(4, n, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.full(x) + 2 * self.b(self.a(F.gelu(x)))


class ProductKeys(nn.Module):
    """A product-key memory: queries of fixed size pick rows of a table of values."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.query = nn.Linear(n, 16)
        self.keys = nn.Parameter(torch.randn(2, 6, 8))
        self.values = nn.EmbeddingBag(36, n, mode="sum")

    def forward(self, x: Tensor) -> Tensor:
        halves = self.query(x).unflatten(-1, (2, 8))
        a, b = torch.einsum("bthd,hkd->hbtk", halves, self.keys).unbind(0)
        scores, picked = (a[..., :, None] + b[..., None, :]).flatten(-2).topk(4, -1)
        weights = scores.softmax(-1)
        rows = self.values(picked.flatten(0, 1), per_sample_weights=weights.flatten(0, 1))
        return rows.unflatten(0, x.shape[:2])


class MixtureOfDepths(nn.Module):
    """A block for the tokens that a router picks; the others pass by."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.router, self.norm, self.mlp = nn.Linear(n, 1), nn.LayerNorm(n), MLP(n)

    def forward(self, x: Tensor) -> Tensor:
        score, picked = self.router(x).squeeze(-1).topk(4, dim=1)
        index = picked[..., None].expand(-1, -1, x.shape[-1])
        y = self.mlp(self.norm(x.gather(1, index))) * score.sigmoid()[..., None]
        return x.scatter_add(1, index, y)


class HyperConnections(nn.Module):
    """Two streams, mixed by learned numbers before and after each branch."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.inp, self.head, self.norm = nn.Linear(10, n), nn.Linear(n, 5), nn.LayerNorm(n)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(d))
        self.branches = nn.ModuleList(MLP(n) for _ in range(d))
        self.read = nn.Parameter(torch.full((d, 2), 0.5))
        self.write = nn.Parameter(torch.ones(d, 2))
        self.mix = nn.Parameter(torch.eye(2).repeat(d, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        streams = self.inp(x).unsqueeze(2).repeat(1, 1, 2, 1)
        for index, (norm, branch) in enumerate(zip(self.norms, self.branches, strict=True)):
            y = branch(norm(torch.einsum("btsn,s->btn", streams, self.read[index])))
            streams = torch.einsum("btsn,sr->btrn", streams, self.mix[index])
            streams = streams + y.unsqueeze(2) * self.write[index][:, None]
        return self.head(self.norm(streams.sum(2)))


class Reversible(nn.Module):
    """RevNet: two streams that each add a function of the other."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.f, self.g = (nn.Sequential(nn.LayerNorm(n // 2), *MLP(n // 2, n)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        a = a + self.f(b)
        return torch.cat([a, b + self.g(a)], -1)


class Gated(nn.Module):
    """A branch with a gate per feature, and a learned number on it (ReZero)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm, self.gate, self.up, self.down = (
            nn.LayerNorm(n),
            nn.Linear(n, n),
            nn.Linear(n, n),
            nn.Linear(n, n),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.down(F.relu(self.up(y))) * self.gate(y).sigmoid()


class PostNorm(nn.Module):
    """A norm after the residual add."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.mlp, self.norm = MLP(n), nn.LayerNorm(n)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.mlp(x))


class Highway(nn.Module):
    """A gate between the stream and a layer."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.layer, self.gate = nn.Linear(n, n), nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x).sigmoid()
        return gate * F.relu(self.layer(x)) + (1 - gate) * x


class Recurrent(nn.Module):
    """A recurrent language model."""

    def __init__(self, kind: type[nn.Module], n: int, d: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, n)
        self.cells = kind(n, n, num_layers=d, batch_first=True)
        self.head = nn.Linear(n, 64)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.cells(self.embed(ids))[0])


class Encoder(nn.Module):
    """torch's own encoder, with a mask of padding."""

    def __init__(self, n: int, d: int, norm_first: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, n)
        layer = nn.TransformerEncoderLayer(
            n, n // HEAD, 2 * n, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(
            layer, d, norm=nn.LayerNorm(n), enable_nested_tensor=False
        )
        self.head = nn.Linear(n, 5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(ids), src_key_padding_mask=ids == 2))


BLOCKS = ("blocks.*.attention.out.*", "blocks.*.mlp.2.*")
BRANCH = ("blocks.*.branch.2.*",)
OUT = ("blocks.*.out.*",)
INNER = ("blocks.*.branch.out.*",)
GPT = Truth(kinds=WORDS, ends=BLOCKS)
PRE = Truth(kinds=HEADED, ends=INNER)
QUERY = {"*.q.weight": HIDDEN.times(-0.5), "*.q.bias": VECTOR.times(-0.5)}
KEY = {"*.k.weight": HIDDEN.times(-0.5), "*.k.bias": VECTOR.times(-0.5)}

ENTRIES = (
    by_hand(
        "nanoGPT",
        NanoGPT,
        text,
        Truth(
            kinds={"embed.weight": TIED, "position.weight": EMBEDDING, "norm.*": CARRIES},
            ends=BLOCKS,
        ),
        "tied",
    ),
    by_hand("GPT", lambda n, d: Language(n, (Block(n) for _ in range(d))), text, GPT),
    by_hand(
        "nanochat's lambdas",
        Lambdas,
        text,
        Truth(kinds=WORDS, ends=("proj.*",)),
        "the stream mixed with its start before each block",
    ),
    by_hand(
        "Parallel blocks",
        lambda n, d: Language(n, (Parallel(n) for _ in range(d))),
        text,
        GPT,
        "two branches from one norm",
    ),
    by_hand(
        "Checkpointed blocks",
        lambda n, d: Language(n, (Checkpointed(n) for _ in range(d))),
        text,
        Truth(kinds=WORDS, ends=("blocks.*.attention.out.*", "blocks.*.mlp.2.*")),
        "activations recomputed",
    ),
    by_hand(
        "Heads that grow",
        lambda n, d: stack(n, d, GrowingHead),
        sequence,
        (
            Truth(kinds={**QUERY, **HEADED}, ends=INNER),
            Truth(kinds={**KEY, **HEADED}, ends=INNER),
        ),
        "1/sqrt(d) on the scores of heads whose size grows",
    ),
    by_hand("ALiBi", lambda n, d: stack(n, d, ALiBi), sequence, PRE, "einsum and a bias"),
    by_hand(
        "Transformer-XL positions",
        lambda n, d: stack(n, d, RelativePositions),
        sequence,
        PRE.but({"*.table": POSITION, "*.branch.u": VECTOR, "*.branch.w": VECTOR}),
        "projected distances, learned biases of content and position",
    ),
    by_hand(
        "Linear attention", lambda n, d: stack(n, d, LinearAttention), sequence, PRE, "no softmax"
    ),
    by_hand("Performer", lambda n, d: stack(n, d, Performer), sequence, PRE, "random features"),
    by_hand(
        "FNet, orthonormal",
        lambda n, d: stack(n, d, Fourier),
        sequence,
        Truth(kinds=HEADED, ends=INNER, inside=("blocks.*.norm.*",), alpha=0.5),
        "a Fourier transform over features; one matrix a branch",
    ),
    by_hand(
        "gMLP",
        lambda n, d: stack(n, d, GatedMLP),
        sequence,
        PRE.but(ends=("blocks.*.branch.down.*",)),
        "gates over positions",
    ),
    by_hand(
        "Hyena",
        lambda n, d: stack(n, d, LongConvolution),
        sequence,
        PRE,
        "long convolutions by FFT; kernels from a small network",
    ),
    by_hand(
        "S4D",
        lambda n, d: stack(n, d, S4D),
        sequence,
        Truth(
            kinds={"*.c": VECTOR, **HEADED},
            ends=INNER,
        ),
        "a diagonal state space by FFT, complex numbers",
        depths=None,
    ),
    by_hand(
        "Mixture of experts",
        lambda n, d: stack(n, d, Mixture),
        sequence,
        PRE.but(
            {"*.router.weight": ROUTER, "*.up": EXPERT, "*.down": EXPERT},
            ("blocks.*.branch.down",),
        ),
        "stacks of matrices (in, out), all experts at once",
    ),
    by_hand(
        "Layers in one tensor",
        Scanned,
        text,
        Truth(kinds={**WORDS, "up": HIDDEN, "down": HIDDEN}, ends=("down",)),
        "the depth is a dimension",
        hints={"axes": {"up": ("layer", "out", "in"), "down": ("layer", "out", "in")}},
    ),
    by_hand(
        "Low-rank adapters",
        lambda n, d: Stream(
            n, (PreNorm(n, nn.Sequential(nn.Linear(n, n), Adapted(n))) for _ in range(d))
        ),
        sequence,
        Truth(
            kinds={**HEADED, "*.a.weight": BOTTLENECK},
            ends=("blocks.*.branch.1.full.*", "blocks.*.branch.1.b.*"),
        ),
        "rank four at all widths, beside a trained layer",
    ),
    by_hand(
        "Product-key memory",
        lambda n, d: stack(n, d, ProductKeys),
        sequence,
        Truth(
            kinds={**HEADED, "*.query.weight": BOTTLENECK, "*.values.weight": EMBEDDING},
            ends=("blocks.*.branch.values.*",),
        ),
        "values looked up by keys of fixed size",
        depths=None,
    ),
    by_hand(
        "Mixture of depths",
        lambda n, d: Stream(n, (MixtureOfDepths(n) for _ in range(d))),
        sequence,
        Truth(kinds={**HEADED, "*.router.weight": ROUTER}, ends=("blocks.*.mlp.2.*",)),
        "a router picks the tokens that a block works on",
    ),
    by_hand(
        "Hyper-connections",
        HyperConnections,
        sequence,
        Truth(kinds=HEADED, ends=("branches.*.2.*",)),
        "two streams, mixed by learned numbers",
    ),
    by_hand(
        "Reversible blocks",
        lambda n, d: Stream(n, (Reversible(n) for _ in range(d))),
        sequence,
        Truth(kinds=HEADED, ends=("blocks.*.f.3.*", "blocks.*.g.3.*")),
        "two half streams",
    ),
    by_hand(
        "Gated branches",
        lambda n, d: Stream(n, (Gated(n) for _ in range(d))),
        sequence,
        Truth(kinds=HEADED, ends=("blocks.*.down.*",)),
        "a sigmoid gate on the branch's end",
    ),
    by_hand(
        "Post-norm",
        lambda n, d: Stream(n, (PostNorm(n) for _ in range(d))),
        sequence,
        Truth(kinds=HEADED),
        "",
        refused={"depth": "post-norm"},
    ),
    by_hand(
        "Highway network",
        lambda n, d: Stream(n, (Highway(n) for _ in range(d))),
        sequence,
        Truth(kinds=HEADED),
        "a gate between stream and layer",
        **CHAIN,
    ),
    by_hand(
        "LSTM",
        lambda n, d: Recurrent(nn.LSTM, n, d),
        text,
        Truth(kinds=WORDS),
        "",
        **CHAIN,
    ),
    by_hand(
        "GRU",
        lambda n, d: Recurrent(nn.GRU, n, d),
        text,
        Truth(kinds=WORDS),
        "",
        **CHAIN,
    ),
    by_hand(
        "torch encoder, pre-norm",
        lambda n, d: Encoder(n, d, True),
        text,
        Truth(kinds=WORDS, ends=("*.self_attn.out_proj.*", "*.linear2.*")),
        "nn.TransformerEncoder, a mask of padding",
    ),
    by_hand(
        "torch encoder, post-norm",
        lambda n, d: Encoder(n, d, False),
        text,
        Truth(kinds=WORDS),
        "nn.TransformerEncoder",
        refused={"depth": "post-norm"},
    ),
)
