"""Sums over a growing dimension, in the spellings of bare parameters and of two signals."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.cases.families import (
    HIDDEN,
    INPUT,
    NARROW,
    READOUT,
    ROWS,
    SCALAR,
    SEQUENCES,
    VECTOR,
    WORDS,
    Factors,
    Family,
    cases,
    wrong,
)
from tests.models import Net, square


def features(m: Any, x: Tensor) -> Tensor:
    """Two layers of learned features."""
    return torch.relu(m.b(torch.relu(m.a(x))))


def featured(
    run: Callable[..., Any],
    right: Mapping[str, str | Factors] | None,
    inputs: Any = ROWS,
    refuse: bool = False,
    **parts: Callable[[int], Any],
) -> Family:
    """Features of the width, and what is done with them by further parts."""

    def make(width: int) -> nn.Module:
        made = {name: part(width) for name, part in parts.items()}
        ends = {"a": nn.Linear(10, width), "b": square(width)}
        return Net(lambda m, x: run(m, features(m, x)), **ends, **made)

    layers = {"a.weight": INPUT, "b.weight": HIDDEN}
    return Family(
        make=make,
        right=None if right is None else layers | dict(right),
        inputs=inputs,
        refuse=refuse,
    )


def bare(*shape: int | str) -> Callable[[int], nn.Parameter]:
    """A bare parameter of a shape, in which "w" is the width."""
    return lambda w: nn.Parameter(torch.randn([w if n == "w" else n for n in shape]) * w**-0.5)


def linear(inputs: int, outputs: int, bias: bool = False) -> Callable[[int], nn.Linear]:
    """A linear layer; 0 stands for the width."""
    return lambda w: nn.Linear(inputs or w, outputs or w, bias)


V, M = {"v": READOUT}, {"m5": READOUT}
VECTORS = {
    "matmul": lambda m, h: h @ m.v,
    "mul and sum": lambda m, h: (h * m.v).sum(-1),
    "einsum": lambda m, h: torch.einsum("bi,i->b", h, m.v),
    "linear": lambda m, h: F.linear(h, m.v[None]),
    "mv": lambda m, h: torch.mv(h, m.v),
    "inner": lambda m, h: torch.inner(h, m.v),
    "tensordot": lambda m, h: torch.tensordot(h, m.v, dims=([1], [0])),
    "vecdot": lambda m, h: torch.linalg.vecdot(h, m.v),
    "dot by rows": lambda m, h: torch.stack([torch.dot(row, m.v) for row in h]),
    "vmap of dot": lambda m, h: torch.func.vmap(torch.dot, (0, None))(h, m.v),
    "mul, transposed, sum": lambda m, h: (m.v * h).t().sum(0),
    "addcmul": lambda m, h: torch.addcmul(torch.zeros_like(h), h, m.v).sum(-1),
    "halves": lambda m, h: sum(
        (x * y).sum(-1) for x, y in zip(h.chunk(2, -1), m.v.chunk(2), strict=True)
    ),
    "addmv": lambda m, h: torch.addmv(h.new_zeros(4), h, m.v),
    "cumsum": lambda m, h: (h * m.v).cumsum(-1)[:, -1],
    "in place": lambda m, h: h.clone().mul_(m.v).sum(-1),
    "exponents": lambda m, h: (h * m.v.abs().log().exp()).sum(-1),
    "conv1d": lambda m, h: F.conv1d(h[..., None], m.v[None, :, None]),
    "softmax of scores": lambda m, h: (h @ m.v).softmax(0) @ h[:, :1],
}
MATRICES = {
    "matmul": lambda m, h: h @ m.m5.t(),
    "broadcast": lambda m, h: (h[:, None] * m.m5).sum(-1),
    "einsum": lambda m, h: torch.einsum("bi,oi->bo", h, m.m5),
    "bmm": lambda m, h: torch.bmm(h[:, None], m.m5.t().expand(4, -1, -1)),
    "addmm": lambda m, h: torch.addmm(h.new_zeros(4, 5), h, m.m5.t()),
    "multi_dot": lambda m, h: torch.linalg.multi_dot([h, m.m5.t()]),
    "rows": lambda m, h: torch.stack([h @ row for row in m.m5], -1),
    "unbind": lambda m, h: torch.stack([(h * row).sum(-1) for row in m.m5.unbind()], -1),
    "baddbmm": lambda m, h: torch.baddbmm(
        h.new_zeros(4, 1, 5), h[:, None], m.m5.t().expand(4, -1, -1)
    ),
    "mul, mean times width": lambda m, h: (h[:, None] * m.m5).mean(-1) * h.shape[-1],
}
SPELLINGS = {
    **{f"vector, {k}": featured(run, V, v=bare("w")) for k, run in VECTORS.items()},
    **{f"matrix, {k}": featured(run, M, m5=bare(5, "w")) for k, run in MATRICES.items()},
}

OTHERS = {
    "mean of products": featured(
        lambda m, h: (h * m.v).mean(-1), {"v": (1.0, 1.0)}, v=lambda w: nn.Parameter(torch.ones(w))
    ),
    "attention pooling": featured(
        lambda m, h: m.c(((h @ m.v).softmax(-1)[..., None] * h).sum(1)),
        {"v": READOUT, "c.weight": READOUT},
        SEQUENCES,
        v=bare("w"),
        c=linear(0, 3),
    ),
    "gated attention pooling": featured(
        lambda m, h: m.c(torch.softmax(m.s(m.p(h).tanh() * m.g(h).sigmoid()), 1).mT @ h),
        {"p.weight": HIDDEN, "g.weight": HIDDEN, "s.weight": READOUT, "c.weight": READOUT},
        SEQUENCES,
        p=linear(0, 0),
        g=linear(0, 0),
        s=linear(0, 1),
        c=linear(0, 3),
    ),
    "bilinear with data": featured(
        lambda m, h: m.c(h, torch.ones(4, 7)),
        {"c.weight": READOUT},
        c=lambda w: nn.Bilinear(w, 7, 3),
    ),
    "bilinear to the width": featured(
        lambda m, h: m.o(torch.relu(m.c(h, torch.ones(4, 7)))),
        {"c.weight": HIDDEN, "o.weight": READOUT},
        c=lambda w: nn.Bilinear(w, 7, w),
        o=linear(0, 3),
    ),
    "outer product": featured(
        lambda m, h: m.c((h[:, :, None] * h[:, None, :4]).flatten(1)),
        {"c.weight": READOUT},
        c=lambda w: nn.Linear(4 * w, 3),
    ),
    "outer product of features": featured(
        lambda m, h: m.c((h[:, :, None] * h[:, None]).flatten(1)),
        {"c.weight": (1 / 16, 1 / 16)},
        c=lambda w: nn.Linear(w * w, 3),
    ),
    "cosine of towers": featured(
        lambda m, h: F.cosine_similarity(m.p(h), m.q(h), -1) * m.t,
        {"p.weight": HIDDEN, "q.weight": HIDDEN, "t": SCALAR},
        p=linear(0, 0),
        q=linear(0, 0),
        t=lambda w: nn.Parameter(torch.ones(())),
    ),
    "cosine by normalize": featured(
        lambda m, h: F.normalize(m.p(h), dim=-1) @ F.normalize(m.q(h), dim=-1).t() * m.t.exp(),
        {"p.weight": HIDDEN, "q.weight": HIDDEN, "t": SCALAR},
        p=linear(0, 0),
        q=linear(0, 0),
        t=lambda w: nn.Parameter(torch.ones(())),
    ),
    "cosine by norm": featured(
        lambda m, h: (
            (m.p(h) * m.q(h)).sum(-1) / (m.p(h).norm(dim=-1) * m.q(h).norm(dim=-1)).clamp(min=1e-6)
        ),
        {"p.weight": HIDDEN, "q.weight": HIDDEN},
        p=linear(0, 0),
        q=linear(0, 0),
    ),
    "cosine to prototypes": featured(
        lambda m, h: F.normalize(h, dim=-1) @ F.normalize(m.p5, dim=-1).t(),
        {"p5": READOUT},  # Its length is free: only lr over init matters.
        p5=bare(5, "w"),
    ),
    "mean squared distance": featured(
        lambda m, h: (h[:, None] - m.p5).square().mean(-1), {"p5": VECTOR}, p5=bare(5, "w")
    ),
    "centre and scale": featured(
        lambda m, h: m.c((h - m.mean) / m.std.exp()),
        {"mean": VECTOR, "std": VECTOR, "c.weight": READOUT},
        mean=bare("w"),
        std=bare("w"),
        c=linear(0, 3),
    ),
    "low rank, finite": featured(
        lambda m, h: m.c(torch.relu(m.u(m.d(h)))),
        {"d.weight": READOUT, "u.weight": INPUT, "c.weight": READOUT},
        d=linear(0, 4),
        u=linear(4, 0),
        c=linear(0, 3),
    ),
    "low rank, finite, multiplied": featured(
        lambda m, h: m.c(torch.relu(h @ (m.u @ m.d).t())),
        {"d": READOUT, "u": INPUT, "c.weight": READOUT},
        d=bare(4, "w"),
        u=bare("w", 4),
        c=linear(0, 3),
    ),
    "low rank, growing": featured(
        lambda m, h: m.c(torch.relu(m.u(m.d(h)))),
        {"d.weight": HIDDEN, "u.weight": HIDDEN, "c.weight": READOUT},
        d=lambda w: nn.Linear(w, w // 4),
        u=lambda w: nn.Linear(w // 4, w),
        c=linear(0, 3),
    ),
    "low rank, growing, multiplied": featured(
        lambda m, h: m.c(torch.relu(h @ (m.u @ m.d).t())),
        {"d": HIDDEN, "u": HIDDEN, "c.weight": READOUT},
        d=bare("w", "w"),
        u=bare("w", "w"),
        c=linear(0, 3),
    ),
    "low rank, by einsum of three": featured(
        lambda m, h: m.c(torch.relu(torch.einsum("bi,ri,or->bo", h, m.d, m.u))),
        {"d": READOUT, "u": INPUT, "c.weight": READOUT},
        d=bare(4, "w"),
        u=bare("w", 4),
        c=linear(0, 3),
    ),
    "centred weight": featured(
        lambda m, h: m.c(torch.relu(F.linear(h, m.w - m.w.mean(1, keepdim=True)))),
        {"w": HIDDEN, "c.weight": READOUT},
        w=bare("w", "w"),
        c=linear(0, 3),
    ),
    "symmetric weight": featured(
        lambda m, h: m.c(torch.relu(h @ (m.w + m.w.t()))),
        {"w": HIDDEN, "c.weight": READOUT},
        w=bare("w", "w"),
        c=linear(0, 3),
    ),
    "masked weight": featured(
        lambda m, h: m.c(torch.relu(h @ m.w.tril())),
        {"w": HIDDEN, "c.weight": READOUT},
        w=bare("w", "w"),
        c=linear(0, 3),
    ),
    "identity plus weight": featured(
        lambda m, h: m.c(torch.relu(h @ (torch.eye(h.shape[-1]) + m.w))),
        {"w": HIDDEN, "c.weight": READOUT},
        w=bare("w", "w"),
        c=linear(0, 3),
    ),
    "squeeze and excitation, fixed squeeze": featured(
        lambda m, h: m.c(h * m.u(torch.relu(m.d(h))).sigmoid()),
        {"d.weight": READOUT, "u.weight": INPUT, "c.weight": READOUT},
        d=linear(0, 4),
        u=linear(4, 0),
        c=linear(0, 3),
    ),
    "squeeze and excitation, growing squeeze": featured(
        lambda m, h: m.c(h * m.u(torch.relu(m.d(h))).sigmoid()),
        {"d.weight": HIDDEN, "u.weight": HIDDEN, "c.weight": READOUT},
        d=lambda w: nn.Linear(w, w // 4),
        u=lambda w: nn.Linear(w // 4, w),
        c=linear(0, 3),
    ),
    "gated linear unit": featured(
        lambda m, h: m.c(m.d(F.glu(m.u(h), -1))),
        {"u.weight": HIDDEN, "d.weight": HIDDEN, "c.weight": READOUT},
        u=lambda w: nn.Linear(w, 2 * w),
        d=linear(0, 0),
        c=linear(0, 3),
    ),
    "gated unit of three matrices": featured(
        lambda m, h: m.c(m.d(F.silu(m.g(h)) * m.u(h))),
        {"u.weight": HIDDEN, "g.weight": HIDDEN, "d.weight": HIDDEN, "c.weight": READOUT},
        u=linear(0, 0),
        g=linear(0, 0),
        d=linear(0, 0),
        c=linear(0, 3),
    ),
    "modulation by fixed features": featured(
        lambda m, h: m.c(h * (1 + m.s(torch.ones(4, 3))) + m.t(torch.ones(4, 3))),
        {"s.weight": INPUT, "t.weight": INPUT, "c.weight": READOUT},
        s=linear(3, 0),
        t=linear(3, 0),
        c=linear(0, 3),
    ),
    "modulation by features": featured(
        lambda m, h: m.c(h * (1 + m.s(h))),
        {"s.weight": HIDDEN, "c.weight": READOUT},
        s=linear(0, 0),
        c=linear(0, 3),
    ),
    "a scalar gate": featured(
        lambda m, h: m.c(h * m.g(h).sigmoid()),
        {"g.weight": NARROW, "c.weight": READOUT},
        g=linear(0, 1),
        c=linear(0, 3),
    ),
    "a head for each output": featured(
        lambda m, h: torch.stack([h @ v for v in m.list], -1),
        {"list.0": READOUT, "list.2": READOUT},
        list=lambda w: nn.ParameterList(nn.Parameter(torch.randn(w)) for _ in range(3)),
    ),
    "heads by name": featured(
        lambda m, h: {k: (h * v).sum(-1) for k, v in m.dict.items()},
        {"dict.p": READOUT},
        dict=lambda w: nn.ParameterDict({"p": torch.randn(w), "q": torch.randn(w)}),
    ),
    "convolution onto maps": featured(
        lambda m, h: m.c(h.mT),
        {"c.weight": READOUT},
        SEQUENCES,
        c=lambda w: nn.Conv1d(w, 3, 3),
    ),
    "a mix of heads that grow in number": featured(
        lambda m, h: m.c(torch.einsum("bhd,h->bd", h.unflatten(-1, (-1, 4)), m.v)),
        {"v": READOUT, "c.weight": SCALAR},
        v=lambda w: nn.Parameter(torch.randn(w // 4)),
        c=linear(4, 3),
    ),
    "talking heads": featured(
        lambda m, h: m.c(torch.einsum("bhd,hg->bgd", h.unflatten(-1, (-1, 4)), m.w).flatten(1)),
        {"w": HIDDEN, "c.weight": READOUT},
        w=lambda w: nn.Parameter(torch.randn(w // 4, w // 4)),
        c=linear(0, 3),
    ),
    "a matrix for each head": featured(
        lambda m, h: m.c(torch.einsum("bhd,hde->bhe", h.unflatten(-1, (-1, 4)), m.w).flatten(1)),
        {"w": VECTOR, "c.weight": READOUT},
        w=lambda w: nn.Parameter(torch.randn(w // 4, 4, 4)),
        c=linear(0, 3),
    ),
    "output matrix by heads": featured(
        lambda m, h: m.c(torch.einsum("bhd,hde->be", h.unflatten(-1, (-1, 4)), m.w)),
        {"w": HIDDEN, "c.weight": READOUT},
        w=lambda w: nn.Parameter(torch.randn(w // 4, 4, w)),
        c=linear(0, 3),
    ),
    "sum of all features": featured(
        lambda m, h: h.sum(-1), {"b.weight": (1 / 8, 1 / 16), "b.bias": (0.25, 0.25)}, refuse=True
    ),
    "quadratic form": featured(
        lambda m, h: ((h @ m.w) * h).sum(-1), {"w": (1 / 8, 1 / 16)}, refuse=True, w=bare("w", "w")
    ),
    "bilinear of features": featured(
        lambda m, h: m.c(h, h),
        {"c.weight": (1 / 16, 1 / 16)},  # A readout of all pairs, as of an outer product.
        refuse=True,
        c=lambda w: nn.Bilinear(w, w, 3, bias=False),
    ),
    "tied autoencoder": featured(
        lambda m, h: F.linear(h, m.a.weight.t()),
        {"a.weight": (1.0, 1.0), "b.weight": (1 / 8, 1 / 16)},  # b carries 1/n for the tied a.
        refuse=True,
    ),
    "norm of features": featured(
        lambda m, h: m.p(h).norm(dim=-1), {"p.weight": (1 / 4, 1 / 8)}, refuse=True, p=linear(0, 0)
    ),
    "squared distance to prototypes": featured(
        lambda m, h: -torch.cdist(m.p(h), m.p5).square(),
        {"p.weight": (1 / 4, 1 / 8), "p5": (1 / 2, 1 / 2)},
        refuse=True,
        p=linear(0, 0),
        p5=bare(5, "w"),
    ),
    "squared distance by a sum": featured(
        lambda m, h: (m.p(h)[:, None] - m.p5).square().sum(-1),
        {"p.weight": (1 / 4, 1 / 8), "p5": (1 / 2, 1 / 2)},
        refuse=True,
        p=linear(0, 0),
        p5=bare(5, "w"),
    ),
    "gaussian kernel of prototypes": featured(
        lambda m, h: (-(m.p(h)[:, None] - m.p5).square().sum(-1)).exp(),
        {"p.weight": (1 / 4, 1 / 8), "p5": (1 / 2, 1 / 2)},
        refuse=True,
        p=linear(0, 0),
        p5=bare(5, "w"),
    ),
    "weights made by a network": featured(
        lambda m, h: m.c(
            torch.relu(
                torch.einsum(
                    "bi,bij->bj", h, m.z(torch.ones(4, 3)).unflatten(-1, (h.shape[-1], -1))
                )
            )
        ),
        {"z.weight": (1 / 2, 1 / 4), "c.weight": READOUT},
        refuse=True,
        z=lambda w: nn.Linear(3, w * w, bias=False),
        c=linear(0, 3),
    ),
    "readout made by a network": featured(
        lambda m, h: (h * m.z(torch.ones(4, 3))).sum(-1),
        {"z.weight": (1 / 4, 1 / 4)},
        refuse=True,
        z=linear(3, 0),
    ),
    "maximum over features": featured(lambda m, h: h.amax(-1), {}, refuse=True),
    "one-hot lookup by a product, tied": Family(
        make=lambda w: Net(
            lambda m, ids: torch.relu(m.b(F.one_hot(ids, 12).float() @ m.e)) @ m.e.t(),
            b=square(w),
            e=nn.Parameter(torch.randn(12, w)),
        ),
        right={"e": (1.0, 1.0)},
        inputs=WORDS,
        refuse=True,
    ),
    "factorisation machine": Family(
        make=lambda w: Net(
            lambda m, ids: (m.u(ids[:, 0]) * m.i(ids[:, 1])).sum(-1),
            u=nn.Embedding(12, w),
            i=nn.Embedding(12, w),
        ),
        right={"u.weight": (1 / 4, 1 / 4), "i.weight": (1.0, 1.0)},
        inputs=WORDS,
        refuse=True,
    ),
    "factorisation machine with biases": Family(
        make=lambda w: Net(
            lambda m, ids: (
                torch.einsum("bd,bd->b", m.u(ids[:, 0]), m.i(ids[:, 1]))
                + m.p(ids[:, 0])[:, 0]
                + m.q(ids[:, 1])[:, 0]
            ),
            u=nn.Embedding(12, w),
            i=nn.Embedding(12, w),
            p=nn.Embedding(12, 1),
            q=nn.Embedding(12, 1),
        ),
        right={"u.weight": (1 / 4, 1 / 4), "p.weight": SCALAR},
        inputs=WORDS,
        refuse=True,
    ),
    "square of sum less sum of squares": Family(
        make=lambda w: Net(
            lambda m, ids: (m.e(ids).sum(1) ** 2 - (m.e(ids) ** 2).sum(1)).sum(-1),
            e=nn.Embedding(12, w),
        ),
        right={"e.weight": (1 / 2, 1 / 2)},
        inputs=WORDS,
        refuse=True,
    ),
    "average of embeddings": Family(
        make=lambda w: Net(
            lambda m, ids: m.c(m.e(ids)), e=nn.EmbeddingBag(12, w), c=nn.Linear(w, 3)
        ),
        right={"e.weight": INPUT, "c.weight": READOUT},
        inputs=WORDS,
    ),
}
FAMILIES = SPELLINGS | OTHERS


FAULTS = {
    "vector, addcmul": "addcmul is no product",
    "low rank, finite, multiplied": "a product of weights hides the bottleneck",
}


@pytest.mark.parametrize(("name", "optimizer"), cases(FAMILIES, FAULTS))
def test_sums_over_the_width_are_accounted_for(name: str, optimizer: str) -> None:
    assert wrong(FAMILIES[name], optimizer) == {}
