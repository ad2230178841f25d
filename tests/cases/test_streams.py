"""Joins and parameters on the stream that a count of residual branches may miss."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.cases.families import ENDS, INSIDE, READOUT, ROWS, Factors, Family, cases, wrong
from tests.cases.test_depth import (
    BRANCH,
    ROWS_OF,
    branch,
    each,
    scalar,
    stack,
)
from tests.cases.test_stacks import growing
from tests.models import Net, repeat, square

QUARTER: Factors = (1 / 4, 1 / 4)
RATE: Factors = (1.0, 1 / 4)


def kept(m: Any, x: Tensor) -> Tensor:
    m.kept = torch.relu(m.inp(x))
    return m.inp(x)


def numbered(m: Any, x: Tensor) -> Tensor:
    m.numbers = (x[:, 0] > 0).long()
    return m.inp(x)


def joined_by(join: Callable[[Any, Tensor, Tensor, int], Tensor], **parts: Any) -> Family:
    """A family that is refused, as its stream decays or turns nonlinear in depth."""
    return stack(lambda m, x, i: join(m, x, branch(m, x, i), i), None, **parts)


def learned(width: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(()))


DECAYED = {
    "lerp with a number": joined_by(lambda m, x, y, i: torch.lerp(x, y, 0.5)),
    "lerp from the branch": joined_by(lambda m, x, y, i: torch.lerp(y, x, 0.9)),
    "lerp with a gate": joined_by(
        lambda m, x, y, i: torch.lerp(x, y, m.g[i](x).sigmoid()), g=each(square)
    ),
    "lerp with a learned number": joined_by(
        lambda m, x, y, i: torch.lerp(x, y, m.a[i].sigmoid()), a=each(scalar)
    ),
    "a learned convex sum": joined_by(
        lambda m, x, y, i: m.a[i].sigmoid() * x + (1 - m.a[i].sigmoid()) * y, a=each(scalar)
    ),
    "over the root of two": joined_by(lambda m, x, y, i: (x + y) / 2**0.5),
    "halved": joined_by(lambda m, x, y, i: (x + y).div(2)),
    "tanh": joined_by(lambda m, x, y, i: torch.tanh(x + y)),
    "gelu": joined_by(lambda m, x, y, i: F.gelu(x + y)),
    "unit length": joined_by(lambda m, x, y, i: F.normalize(x + y, dim=-1)),
    "batch norm": joined_by(lambda m, x, y, i: m.b[i](x + y), b=each(nn.BatchNorm1d)),
    "group norm": joined_by(lambda m, x, y, i: m.b[i](x + y), b=each(lambda w: nn.GroupNorm(4, w))),
    "on the sphere": joined_by(
        lambda m, x, y, i: F.normalize(x + m.a[i] * (F.normalize(y, dim=-1) - x), dim=-1),
        a=each(lambda w: nn.Parameter(torch.ones(w))),
    ),
}
ADDED = {
    "a scalar on the stream": stack(
        lambda m, x, i: m.a[i] * x + branch(m, x, i), BRANCH | {"a.1": RATE}, a=each(learned)
    ),
    "a gain on the stream": stack(
        lambda m, x, i: m.a[i] * x + branch(m, x, i),
        BRANCH | {"a.1": RATE},
        refuse=True,
        a=each(lambda w: nn.Parameter(torch.ones(w))),
    ),
    "a scalar on the first stream": stack(
        lambda m, x, i: x + m.a[i] * m.kept + branch(m, x, i),
        BRANCH | {"a.1": QUARTER},
        branches=None,
        refuse=True,
        before=kept,
        a=each(scalar),
    ),
    "a vector": stack(
        lambda m, x, i: x + branch(m, x, i) + m.a[i],
        {"a.1": QUARTER},
        branches=None,
        refuse=True,
        a=each(lambda w: nn.Parameter(torch.zeros(w))),
    ),
    "an embedding": stack(
        lambda m, x, i: x + branch(m, x, i) + m.a[i](ROWS_OF),
        {"a.1.weight": QUARTER},
        branches=None,
        refuse=True,
        a=each(lambda w: nn.Embedding(4, w)),
    ),
    "an embedding of the data": stack(
        lambda m, x, i: x + branch(m, x, i) + m.a[i](m.numbers),
        {"a.1.weight": QUARTER},
        branches=None,
        refuse=True,
        before=numbered,
        a=each(lambda w: nn.Embedding(4, w)),
    ),
    "a layer of fixed conditions": stack(
        lambda m, x, i: x + m.a[i](torch.ones(4, 3)) + branch(m, x, i),
        {"a.1.weight": QUARTER},
        branches=None,
        refuse=True,
        a=each(lambda w: nn.Linear(3, w)),
    ),
    "a layer of learned conditions": stack(
        lambda m, x, i: x + m.a[i](m.kept) + branch(m, x, i),
        {"a.1.weight": ENDS},
        branches=None,
        refuse=True,
        before=kept,
        a=each(square),
    ),
    "the norm of the end in every block": stack(
        lambda m, x, i: x + m.down[i](torch.relu(m.up[i](m.last(x)))),
        {"up.1.weight": INSIDE, "down.1.weight": ENDS},
    ),
    "one matrix in every block": stack(
        lambda m, x, i: x + m.down[i](torch.relu(m.u(m.norm[i](x)))),
        None,
        u=lambda w, d: nn.Linear(w, 2 * w),
    ),
}


def net(
    run: Callable[[Any, Tensor], Tensor],
    right: Mapping[str, str | Factors] | None,
    *,
    refuse: bool = False,
    branches: tuple[int, int] | None = None,
    **parts: Callable[[int, int], Any],
) -> Family:
    """Blocks `f` between a stem and a head."""

    def make(width: int, depth: int) -> nn.Module:
        ends = {"inp": nn.Linear(10, width), "head": nn.Linear(width, 3)}
        made = {"f": growing(width, depth)}
        return Net(run, **ends | made | {n: part(width, depth) for n, part in parts.items()})

    return Family(
        make=make, right=right, inputs=ROWS, grow=(4, 4), branches=branches, refuse=refuse
    )


def streams(m: Any, x: Tensor) -> list[Tensor]:
    """The stream after every block."""
    found = [m.inp(x)]
    for layer in m.f:
        found.append(found[-1] + layer(found[-1]))
    return found[1:]


def in_turn(m: Any, x: Tensor) -> Tensor:
    a = b = m.inp(x)
    for f, g in zip(m.f, m.g, strict=True):
        a = a + f(b)
        b = b + g(a)
    return m.head(a + b)


def in_turn_halves(m: Any, x: Tensor) -> Tensor:
    x = torch.cat([m.inp(x), m.inp(-x)], -1)
    for f, g in zip(m.f, m.g, strict=True):
        a, b = x.chunk(2, -1)
        a = a + f(b)
        x = torch.cat([a, b + g(a)], -1)
    return m.head(x.unflatten(-1, (2, -1)).sum(1))


def hyper(m: Any, x: Tensor) -> Tensor:
    """Two streams that every block mixes."""
    x = torch.stack([m.inp(x)] * 2)
    for f, mix, gains in zip(m.f, m.mix, m.gains, strict=True):
        x = torch.einsum("nm,mbd->nbd", mix, x) + gains[:, None, None] * f(x.mean(0))
    return m.head(x.sum(0))


SEVERAL = {
    "two streams in turn": net(
        in_turn, {"f.1.3.weight": ENDS, "g.1.3.weight": ENDS}, refuse=True, g=growing
    ),
    "two halves of the stream in turn": net(
        in_turn_halves, {"f.1.3.weight": ENDS, "g.1.3.weight": ENDS}, refuse=True, g=growing
    ),
    "mixed streams": net(
        hyper,
        {"f.1.3.weight": ENDS},
        refuse=True,
        mix=each(lambda w: nn.Parameter(torch.eye(2))),
        gains=each(lambda w: nn.Parameter(torch.ones(2))),
    ),
    "the mean of all streams": net(
        lambda m, x: m.head(torch.stack(streams(m, x)).mean(0)), {"f.1.3.weight": ENDS}, refuse=True
    ),
    "the sum of all streams": net(lambda m, x: m.head(sum(streams(m, x))), None),
    "a sum of skips": net(
        lambda m, x: sum(h(y) for h, y in zip(m.heads, streams(m, x), strict=True)),
        {"heads.1.weight": (1 / 16, 1 / 16)},
        refuse=True,
        heads=lambda w, d: repeat(d, lambda: nn.Linear(w, 3)),
    ),
    "a list of skips": net(
        lambda m, x: [h(y) for h, y in zip(m.heads, streams(m, x), strict=True)],
        {"heads.1.weight": READOUT, "f.1.3.weight": ENDS},
        refuse=True,
        heads=lambda w, d: repeat(d, lambda: nn.Linear(w, 3)),
    ),
    "all streams side by side": net(
        lambda m, x: m.all(torch.cat(streams(m, x), -1)),
        {"all.weight": (1 / 16, 1 / 16), "f.1.3.weight": ENDS},
        refuse=True,
        all=lambda w, d: nn.Linear(w * d, 3),
    ),
    "a learned mean of all streams": net(
        lambda m, x: m.head(torch.einsum("l,lbd->bd", m.s.softmax(0), torch.stack(streams(m, x)))),
        {"f.1.3.weight": ENDS},
        refuse=True,
        s=lambda w, d: nn.Parameter(torch.zeros(d)),
    ),
}


class Block(nn.Module):
    """A block of one of two kinds, with other names."""

    def __init__(self, width: int, second: bool) -> None:
        super().__init__()
        names = ("up", "down") if second else ("fc", "proj")
        self.names = names
        for name in names:
            setattr(self, name, square(width))

    def forward(self, x: Tensor) -> Tensor:
        first, last = (getattr(self, name) for name in self.names)
        return x + last(torch.relu(first(x)))


def along(layers: Any, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def named(layers: Callable[[int, int], dict[str, nn.Module]], refuse: bool = False) -> Family:
    """Blocks under names of their own."""

    def make(width: int, depth: int) -> nn.Module:
        ends = {"inp": nn.Linear(10, width), "head": nn.Linear(width, 3)}
        made = layers(width, depth)
        return Net(
            lambda m, x: m.head(along([getattr(m, n) for n in made], m.inp(x))), **ends, **made
        )

    first = next(iter(layers(16, 2)))
    right = {f"{first}.down.weight": ENDS}
    return Family(make=make, right=right, inputs=ROWS, grow=(4, 4), branches=(2, 8), refuse=refuse)


NAMES = {
    "attributes with a number": named(lambda w, d: {f"block{i}": Block(w, True) for i in range(d)}),
    "attributes with an underscore": named(
        lambda w, d: {f"layer_{i}": Block(w, True) for i in range(d)}
    ),
    "letters": named(lambda w, d: {"abcdefgh"[i]: Block(w, True) for i in range(d)}, refuse=True),
    "a first block of another kind": net(
        lambda m, x: m.head(along(m.layers, m.inp(x))),
        {"layers.1.down.weight": ENDS, "layers.0.proj.weight": ENDS},
        branches=(2, 8),
        f=lambda w, d: nn.ModuleList(),
        layers=lambda w, d: nn.ModuleList(Block(w, i > 0) for i in range(d)),
    ),
    "blocks of two kinds in turn": net(
        lambda m, x: m.head(along(m.layers, m.inp(x))),
        {"layers.1.down.weight": ENDS, "layers.6.proj.weight": ENDS},
        branches=(2, 8),
        f=lambda w, d: nn.ModuleList(),
        layers=lambda w, d: nn.ModuleList(Block(w, i % 2 == 1) for i in range(d)),
    ),
}
FAMILIES = DECAYED | ADDED | SEVERAL | NAMES
FAULTS = {
    "a scalar on the stream [adamw]": "factors in series on the stream keep their rate",
    "a scalar on the first stream [adamw]": "what every block adds is no branch",
    "the sum of all streams": "a sum of a growing number of terms",
}


@pytest.mark.parametrize(("name", "optimizer"), cases(FAMILIES, FAULTS))
def test_what_acts_on_the_stream_in_every_block_is_seen(name: str, optimizer: str) -> None:
    assert wrong(FAMILIES[name], optimizer) == {}
