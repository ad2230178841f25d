"""Logits of attention whose heads grow in size or in number, in the spellings of many models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from tests.cases.families import (
    HIDDEN,
    INPUT,
    READOUT,
    SCALAR,
    SEQUENCES,
    VECTOR,
    Factors,
    Family,
    cases,
    wrong,
)
from tests.models import Net, merge_heads, split_heads, square

Mix = Callable[[Any, Tensor, Tensor, Tensor], Tensor]

CARRIES: Factors = (1 / 4, 1 / 8)
"""A hidden matrix at four times the width whose logits lack head_dim^-1/2."""
CARRIES_ALL: Factors = (1 / 8, 1 / 16)
"""A hidden matrix whose logits lack 1/head_dim."""


def attends(
    mix: Mix,
    right: dict[str, str | Factors] | None,
    *,
    heads: int | None = 2,
    refuse: bool = False,
    **parts: Callable[[int], Any],
) -> Family:
    """Attention of so many heads that grow in size, or of heads of size 8 that grow in number."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.inp(x)
        number, size = (heads, -1) if heads else (-1, 8)
        q, k, v = (split_heads(f(x), number, size) for f in (m.q, m.k, m.v))
        return m.head(m.out(merge_heads(mix(m, q, k, v))))

    def make(width: int) -> nn.Module:
        layers = {name: square(width) for name in ("q", "k", "v", "out")}
        ends = {"inp": nn.Linear(10, width), "head": nn.Linear(width, 3)}
        return Net(run, **ends, **layers, **{n: part(width) for n, part in parts.items()})

    rest = {"k.weight": HIDDEN, "v.weight": HIDDEN, "out.weight": HIDDEN, "head.weight": READOUT}
    merged = None if right is None else rest | {"q.weight": HIDDEN} | right
    return Family(make=make, right=merged, inputs=SEQUENCES, refuse=refuse)


def root(x: Tensor) -> float:
    return x.shape[-1] ** -0.5


def flat_baddbmm(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """BLOOM's attention, its scale inside the product."""
    a, b, c = (t.flatten(0, 1) for t in (q, k, v))
    start = a.new_zeros(len(a), a.shape[1], a.shape[1])
    logits = torch.baddbmm(start, a, b.mT, beta=0.0, alpha=root(q))
    return (logits.softmax(-1) @ c).unflatten(0, q.shape[:2])


def edges(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention along edges, as graph layers write it."""
    to, start = (i.flatten() for i in torch.meshgrid(*[torch.arange(6)] * 2, indexing="ij"))
    logits = (q[:, :, to] * k[:, :, start]).sum(-1) * root(q)
    return (logits.unflatten(-1, (6, 6)).softmax(-1)) @ v


def by_heads(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    each = zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True)
    heads = [(a @ b.mT * root(a)).softmax(-1) @ c for a, b, c in each]
    return torch.stack(heads, 1)


def soft(logits: Callable[[Any, Tensor, Tensor], Tensor]) -> Mix:
    """Attention with these logits."""
    return lambda m, q, k, v: logits(m, q, k).softmax(-1) @ v


def rotated(x: Tensor) -> Tensor:
    angles = torch.arange(x.shape[-2])[:, None] / 100.0 ** (torch.arange(x.shape[-1] // 2))
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


def rotated_complex(x: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    angles = torch.arange(x.shape[-2])[:, None] / 100.0 ** torch.arange(pairs.shape[-1])
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def scalar(width: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(()))


def head_norm(width: int) -> nn.Module:
    return nn.RMSNorm(width // 2)


ROOTS = {
    "library": lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v),
    "library, causal": lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "bmm": soft(lambda m, q, k: q @ k.mT * root(q)),
    "scaled queries": soft(lambda m, q, k: (q * root(q)) @ k.mT),
    "scaled keys": soft(lambda m, q, k: q @ (k / k.shape[-1] ** 0.5).mT),
    "fourth roots": soft(
        lambda m, q, k: (q * q.shape[-1] ** -0.25) @ (k * k.shape[-1] ** -0.25).mT
    ),
    "einsum": soft(lambda m, q, k: torch.einsum("bhid,bhjd->bhij", q, k) * root(q)),
    "broadcast": soft(lambda m, q, k: (q[..., None, :] * k[..., None, :, :]).sum(-1) * root(q)),
    "baddbmm": flat_baddbmm,
    "edges": edges,
    "heads one by one": by_heads,
    "flex": lambda m, q, k, v: flex_attention(q, k, v),
    "masked": soft(lambda m, q, k: (q @ k.mT * root(q)).masked_fill(torch.eye(6) > 0, -1e9)),
    "masked by where": soft(
        lambda m, q, k: torch.where(torch.eye(6) > 0, -1e9, q @ k.mT * root(q))
    ),
    "biased": soft(lambda m, q, k: q @ k.mT * root(q) - torch.arange(6.0)),
    "capped": soft(lambda m, q, k: 20 * torch.tanh(q @ k.mT * root(q) / 20)),
    "rotary": lambda m, q, k, v: F.scaled_dot_product_attention(rotated(q), rotated(k), v),
    "rotary, complex": lambda m, q, k, v: F.scaled_dot_product_attention(
        rotated_complex(q), rotated_complex(k), v
    ),
    "without softmax": lambda m, q, k, v: (q @ k.mT * root(q)).relu() @ v,
    "sigmoid": lambda m, q, k, v: (q @ k.mT * root(q)).sigmoid() @ v,
}
RIGHT = {
    "1/d": soft(lambda m, q, k: q @ k.mT / q.shape[-1]),
    "1/d, library": lambda m, q, k, v: F.scaled_dot_product_attention(
        q, k, v, scale=1 / q.shape[-1]
    ),
    "mean": soft(lambda m, q, k: (q[..., None, :] * k[..., None, :, :]).mean(-1)),
    "cosines": soft(lambda m, q, k: unit(q) @ unit(k).mT * 10),
    "flex, 1/d": lambda m, q, k, v: flex_attention(q, k, v, scale=1 / q.shape[-1]),
    "root twice": soft(lambda m, q, k: (q * root(q)) @ (k * root(k)).mT),
}
SIZES = {
    **{f"root, {k}": attends(mix, {"q.weight": CARRIES}) for k, mix in ROOTS.items()},
    **{f"right, {k}": attends(mix, {}) for k, mix in RIGHT.items()},
    "no scale": attends(soft(lambda m, q, k: q @ k.mT), {"q.weight": CARRIES_ALL}),
    "constant scale": attends(soft(lambda m, q, k: q @ k.mT * 0.1), {"q.weight": CARRIES_ALL}),
    "a wrong scale": attends(soft(lambda m, q, k: q @ k.mT * q.shape[-1]), None),
    "learned temperature": attends(
        soft(lambda m, q, k: unit(q) @ unit(k).mT * m.t.exp()), {"t": SCALAR}, t=scalar
    ),
    "normed queries and keys": attends(
        lambda m, q, k, v: F.scaled_dot_product_attention(m.qn(q), m.kn(k), v),
        {"qn.weight": (1 / 2, 1 / 2), "kn.weight": VECTOR, "q.weight": HIDDEN},
        qn=head_norm,
        kn=head_norm,
    ),
    "additive": attends(
        lambda m, q, k, v: (
            torch.tanh(q[..., None, :] + k[..., None, :, :]).matmul(m.e).softmax(-1) @ v
        ),
        {"e": READOUT},
        e=lambda w: nn.Parameter(torch.randn(w // 2)),
    ),
    "bilinear": attends(
        soft(lambda m, q, k: q @ m.w @ k.mT * root(q)),
        {"w": CARRIES},
        refuse=True,
        w=lambda w: nn.Parameter(torch.randn(w // 2, w // 2)),
    ),
    "linear attention": attends(
        lambda m, q, k, v: q.softmax(-1) @ (k.softmax(-2).mT @ v), {}, refuse=False
    ),
    "linear attention with features": attends(
        lambda m, q, k, v: (F.elu(q) + 1) @ ((F.elu(k) + 1).mT @ v) / q.shape[-1], {}, refuse=True
    ),
    "linear attention, normalised": attends(
        lambda m, q, k, v: (
            ((F.elu(q) + 1) @ ((F.elu(k) + 1).mT @ v))
            / ((F.elu(q) + 1) @ (F.elu(k) + 1).sum(-2)[..., None])
        ),
        {},
    ),
    "distances": attends(
        soft(lambda m, q, k: -torch.cdist(q, k).square() / q.shape[-1]), {}, refuse=True
    ),
    "relative keys": attends(
        soft(lambda m, q, k: (q @ k.mT + torch.einsum("bhid,ijd->bhij", q, m.r)) * root(q)),
        {"q.weight": CARRIES, "r": VECTOR},
        refuse=True,
        r=lambda w: nn.Parameter(torch.randn(6, 6, w // 2)),
    ),
    "content biases": attends(
        soft(lambda m, q, k: (q + m.u) @ k.mT / q.shape[-1]),
        {"u": VECTOR},
        u=lambda w: nn.Parameter(torch.zeros(w // 2)),
    ),
    "content biases, root": attends(
        soft(lambda m, q, k: (q + m.u) @ k.mT * root(q)),
        {"q.weight": CARRIES, "u": (1 / 2, 1 / 2)},
        refuse=True,
        u=lambda w: nn.Parameter(torch.zeros(w // 2)),
    ),
    "a sink logit": attends(
        lambda m, q, k, v: (
            torch.cat([q @ k.mT * root(q), m.s.expand(2, 2, 6, 1)], -1).softmax(-1)[..., :-1] @ v
        ),
        {"q.weight": CARRIES, "s": SCALAR},
        s=scalar,
    ),
    "keys and values learned": attends(
        lambda m, q, k, v: F.scaled_dot_product_attention(
            q,
            torch.cat([k, m.mk.expand(2, 2, -1, -1)], -2),
            torch.cat([v, m.mk.expand(2, 2, -1, -1)], -2),
        ),
        {"q.weight": CARRIES, "mk": VECTOR},
        mk=lambda w: nn.Parameter(torch.randn(3, w // 2)),
    ),
}
NUMBERS = {
    f"more heads, {name}": attends(mix, {}, heads=None) for name, mix in (ROOTS | RIGHT).items()
} | {
    "talking heads": attends(
        soft(lambda m, q, k: torch.einsum("bhij,hg->bgij", q @ k.mT, m.w)),
        {"w": HIDDEN},
        heads=None,
        w=lambda w: nn.Parameter(torch.randn(w // 8, w // 8)),
    ),
    "a bias for each head": attends(
        soft(lambda m, q, k: q @ k.mT + m.b),
        {"b": VECTOR},
        heads=None,
        b=lambda w: nn.Parameter(torch.zeros(w // 8, 6, 6)),
    ),
    "a slope for each head": attends(
        soft(lambda m, q, k: q @ k.mT - m.b[:, None, None] * torch.arange(6.0)),
        {"b": VECTOR},
        heads=None,
        b=lambda w: nn.Parameter(torch.ones(w // 8)),
    ),
    "buckets of relative positions": attends(
        soft(lambda m, q, k: q @ k.mT + m.e(torch.zeros(6, 6, dtype=torch.long)).permute(2, 0, 1)),
        {"e.weight": INPUT},
        heads=None,
        e=lambda w: nn.Embedding(32, w // 8),
    ),
    "a temperature for each head": attends(
        soft(lambda m, q, k: q @ k.mT * m.t[:, None, None].exp()),
        {"t": VECTOR},
        heads=None,
        t=lambda w: nn.Parameter(torch.ones(w // 8)),
    ),
    "gates of heads": attends(
        lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v) * m.g[:, None, None],
        {"g": VECTOR},
        heads=None,
        g=lambda w: nn.Parameter(torch.ones(w // 8)),
    ),
}
QUERIES = {
    "pooling by a learned query": Family(
        make=lambda w: Net(
            lambda m, x: m.head(
                F.scaled_dot_product_attention(
                    m.q(m.latent).expand(2, -1, -1),
                    m.k(m.inp(x)),
                    m.inp(x),
                    scale=1 / m.k.out_features,
                )[:, 0]
            ),
            inp=nn.Linear(10, w),
            q=square(w),
            k=square(w),
            head=nn.Linear(w, 3),
            latent=nn.Parameter(torch.randn(1, 1, w)),
        ),
        right={"latent": VECTOR, "q.weight": HIDDEN, "k.weight": HIDDEN},
        inputs=SEQUENCES,
    ),
    "pooling by a bare query": Family(
        make=lambda w: Net(
            lambda m, x: m.head(((m.inp(x) @ m.latent).softmax(1) * m.inp(x)).sum(1)),
            inp=nn.Linear(10, w),
            head=nn.Linear(w, 3),
            latent=nn.Parameter(torch.randn(w, 1)),
        ),
        right={"latent": READOUT, "inp.weight": INPUT},
        inputs=SEQUENCES,
    ),
    "slots": Family(
        make=lambda w: Net(
            lambda m, x: m.head(
                (m.q(m.slots) @ m.k(m.inp(x)).mT / m.k.out_features).softmax(-2) @ m.v(m.inp(x))
            ),
            inp=nn.Linear(10, w),
            q=square(w),
            k=square(w),
            v=square(w),
            head=nn.Linear(w, 3),
            slots=nn.Parameter(torch.randn(4, w)),
        ),
        right={"slots": VECTOR, "q.weight": HIDDEN, "v.weight": HIDDEN},
        inputs=SEQUENCES,
    ),
    "a class token": Family(
        make=lambda w: Net(
            lambda m, x: m.head(
                m.enc(torch.cat([m.cls.expand(2, -1, -1), m.inp(x)], 1) + m.pos)[:, 0]
            ),
            inp=nn.Linear(10, w),
            head=nn.Linear(w, 3),
            enc=nn.TransformerEncoderLayer(
                w, w // 8, 2 * w, 0.0, batch_first=True, norm_first=True
            ),
            cls=nn.Parameter(torch.zeros(1, 1, w)),
            pos=nn.Parameter(torch.zeros(1, 7, w)),
        ),
        right={
            "cls": VECTOR,
            "pos": VECTOR,
            "enc.self_attn.in_proj_weight": HIDDEN,
            "enc.linear2.weight": HIDDEN,
        },
        inputs=SEQUENCES,
    ),
    "multi-query": Family(
        make=lambda w: Net(
            lambda m, x: m.head(
                m.o(
                    merge_heads(
                        F.scaled_dot_product_attention(
                            split_heads(m.q(m.inp(x)), -1, 8),
                            m.k(m.inp(x))[:, None],
                            m.v(m.inp(x))[:, None],
                        )
                    )
                )
            ),
            inp=nn.Linear(10, w),
            q=square(w),
            k=nn.Linear(w, 8),
            v=nn.Linear(w, 8),
            o=square(w),
            head=nn.Linear(w, 3),
        ),
        right={
            "q.weight": HIDDEN,
            "k.weight": (1 / 2, 1 / 4),
            "v.weight": (1 / 2, 1 / 4),
            "o.weight": HIDDEN,
        },
        inputs=SEQUENCES,
    ),
    "latent queries and keys": Family(
        make=lambda w: Net(
            lambda m, x: m.head(
                F.scaled_dot_product_attention(m.q(m.dq(m.inp(x))), m.k(m.dk(m.inp(x))), m.inp(x))
            ),
            inp=nn.Linear(10, w),
            dq=nn.Linear(w, 4),
            dk=nn.Linear(w, 4),
            q=nn.Linear(4, 8),
            k=nn.Linear(4, 8),
            head=nn.Linear(w, 3),
        ),
        right={"dq.weight": READOUT, "dk.weight": READOUT, "q.weight": SCALAR},
        inputs=SEQUENCES,
    ),
}
FAMILIES = SIZES | NUMBERS | QUERIES


FAULTS: dict[str, str] = {}


@pytest.mark.parametrize(("name", "optimizer"), cases(FAMILIES, FAULTS))
def test_logits_get_what_they_lack_to_one_over_head_dim(name: str, optimizer: str) -> None:
    assert wrong(FAMILIES[name], optimizer) == {}
