"""Residual branches, stacks of layers, and what grows in number without being either."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.cases.families import (
    ENDS,
    GAIN,
    HIDDEN,
    INPUT,
    INSIDE,
    READOUT,
    ROWS,
    SCALAR,
    VECTOR,
    Factors,
    Family,
    cases,
    wrong,
)
from tests.models import Net, repeat, square

BRANCH = {
    "up.1.weight": INSIDE,
    "down.1.weight": ENDS,
    "down.0.weight": ENDS,
    "norm.0.weight": GAIN,
}
ENDS_OUTER = {"inp.weight": INPUT, "last.weight": VECTOR, "head.weight": READOUT}
BRANCHES = (2, 8)

Right = Mapping[str, str | Factors]


def stack(
    run: Callable[[Any, Tensor, int], Tensor],
    right: Right | None = BRANCH,
    *,
    grow: tuple[int, int] = (4, 4),
    branches: tuple[int, int] | None = BRANCHES,
    refuse: bool = False,
    before: Callable[[Any, Tensor], Tensor] = lambda m, x: m.inp(x),
    after: Callable[[Any, Tensor], Tensor] = lambda m, x: m.head(m.last(x)),
    inputs: Any = ROWS,
    **parts: Callable[[int, int], Any],
) -> Family:
    """Blocks with a norm and two matrices each, and a step from the stream to the next."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = before(m, x)
        for i in range(len(m.up)):
            x = run(m, x, i)
        return after(m, x)

    def make(width: int, depth: int) -> nn.Module:
        layers = {
            "inp": nn.Linear(10, width),
            "last": nn.LayerNorm(width),
            "head": nn.Linear(width, 3),
            "norm": repeat(depth, lambda: nn.LayerNorm(width)),
            "up": repeat(depth, lambda: nn.Linear(width, 2 * width)),
            "down": repeat(depth, lambda: nn.Linear(2 * width, width)),
        }
        return Net(forward, **layers | {n: part(width, depth) for n, part in parts.items()})

    merged = None if right is None else ENDS_OUTER | dict(right)
    return Family(
        make=make, right=merged, inputs=inputs, grow=grow, branches=branches, refuse=refuse
    )


def branch(m: Any, x: Tensor, i: int) -> Tensor:
    return m.down[i](torch.relu(m.up[i](m.norm[i](x))))


def joined(join: Callable[[Tensor, Tensor], Tensor]) -> Family:
    """A stack whose branches are added in some other spelling."""
    return stack(lambda m, x, i: join(x, branch(m, x, i)))


def each(make: Callable[[int], Any]) -> Callable[[int, int], Any]:
    """A list of parameters or modules, one for each layer, each of a width."""

    def parts(width: int, depth: int) -> Any:
        made = [make(width) for _ in range(depth)]
        modules = isinstance(made[0], nn.Module)
        return nn.ModuleList(made) if modules else nn.ParameterList(made)

    return parts


class Doubled(torch.autograd.Function):
    """Doubles forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


def by_addmm(m: Any, x: Tensor, i: int) -> Tensor:
    return torch.addmm(x, torch.relu(m.up[i](m.norm[i](x))), m.down[i].weight.t())


def scalar(width: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(()))


def drop_path(x: Tensor) -> Tensor:
    return x * x.new_empty(len(x), 1).bernoulli_(0.9) / 0.9


ROWS_OF = torch.arange(4)
JOINS = {
    "plus": lambda x, y: x + y,
    "the branch first": lambda x, y: y + x,
    "torch.add": lambda x, y: torch.add(x, y),
    "in place": lambda x, y: x.clone().add_(y),
    "difference": lambda x, y: x - y,
    "sum of a list": lambda x, y: sum([x, y]),
    "sum of a stack": lambda x, y: torch.stack([x, y]).sum(0),
    "index_add": lambda x, y: x.index_add(0, ROWS_OF, y),
    "scatter_add": lambda x, y: x.scatter_add(0, ROWS_OF[:, None].expand_as(y), y),
    "index_put": lambda x, y: x.index_put((ROWS_OF,), y, accumulate=True),
    "einsum of a stack": lambda x, y: torch.einsum("nbd->bd", torch.stack([x, y])),
    "addcmul": lambda x, y: torch.addcmul(x, y, torch.ones_like(y)),
    "written to a slice": lambda x, y: _written(x, y),
    "casts": lambda x, y: (x.double() + y.double()).float(),
    "dropout": lambda x, y: x + F.dropout(y, 0.1, training=False),
    "drop path": lambda x, y: x + drop_path(y),
    "branch times one": lambda x, y: x + 1.0 * y,
    "alpha": lambda x, y: torch.add(x, y, alpha=0.5),
    "logaddexp free": lambda x, y: x + y.contiguous().view_as(x),
    "padded": lambda x, y: x + F.pad(y[:, :-1], (0, 1)),
}


def _written(x: Tensor, y: Tensor) -> Tensor:
    out = x.clone()
    out[:, :] += y
    return out


def reversible(m: Any, x: Tensor, i: int) -> Tensor:
    a, b = x.chunk(2)
    a = a + branch(m, b, i)
    return torch.cat([a, b + m.two[i](m.norm[i](a))])


NARROW_END = (1 / 4, 1 / 4)
SCALED = BRANCH | {"down.1.weight": INSIDE, "down.0.weight": INSIDE}
BLOCKS = {
    "deeper alone": stack(lambda m, x, i: x + branch(m, x, i), grow=(1, 4)),
    "wider alone": stack(
        lambda m, x, i: x + branch(m, x, i),
        BRANCH | {"up.1.weight": HIDDEN, "down.1.weight": HIDDEN, "down.0.weight": HIDDEN},
        grow=(4, 1),
        branches=(2, 2),
    ),
    "addmm": stack(by_addmm, {"up.1.weight": INSIDE, "down.1.weight": ENDS}),
    "one scalar on each branch": stack(
        lambda m, x, i: x + m.a[i] * branch(m, x, i), SCALED | {"a.1": NARROW_END}, a=each(scalar)
    ),
    "all scalars in one parameter": stack(
        lambda m, x, i: x + m.a[i] * branch(m, x, i),
        SCALED | {"a": NARROW_END},
        a=lambda w, d: nn.Parameter(torch.zeros(d)),
    ),
    "scales of channels": stack(
        lambda m, x, i: x + branch(m, x, i) * m.a[i],
        SCALED | {"a.1": NARROW_END},
        a=each(lambda w: nn.Parameter(torch.full((w,), 1e-4))),
    ),
    "a scalar and biases": stack(
        lambda m, x, i: x + m.a[i] * branch(m, x + m.p[i], i) + m.q[i],
        SCALED | {"a.1": NARROW_END, "q.1": NARROW_END},
        refuse=True,
        a=each(scalar),
        p=each(scalar),
        q=each(scalar),
    ),
    "a gate of a sigmoid": stack(
        lambda m, x, i: x + m.a[i].sigmoid() * branch(m, x, i), BRANCH, a=each(scalar)
    ),
    "a gate made from the stream": stack(
        lambda m, x, i: x + m.g[i](m.norm[i](x)).sigmoid() * branch(m, x, i),
        BRANCH | {"g.1.weight": INSIDE},
        a=each(scalar),
        g=each(square),
    ),
    "a norm at the end": stack(
        lambda m, x, i: x + m.n2[i](branch(m, x, i)),
        SCALED | {"n2.1.weight": NARROW_END, "n2.1.bias": NARROW_END},
        n2=each(nn.LayerNorm),
    ),
    "two branches in parallel": stack(
        lambda m, x, i: x + branch(m, x, i) + m.two[i](torch.tanh(m.one[i](m.norm[i](x)))),
        BRANCH | {"one.0.weight": INSIDE, "two.1.weight": ENDS},
        branches=None,
        one=each(square),
        two=each(square),
    ),
    "two branches one after the other": stack(
        lambda m, x, i: (lambda y: y + m.two[i](torch.tanh(m.one[i](y))))(x + branch(m, x, i)),
        BRANCH | {"one.0.weight": INSIDE, "two.1.weight": ENDS},
        branches=(4, 16),
        one=each(square),
        two=each(square),
    ),
    "two streams in turn": stack(
        reversible,
        BRANCH | {"two.1.weight": ENDS},
        branches=None,
        refuse=True,
        two=each(square),
    ),
    "each block twice": stack(
        lambda m, x, i: (lambda y: y + branch(m, y, i))(x + branch(m, x, i)),
        branches=(4, 16),
        refuse=True,
    ),
    "own 1/sqrt(L)": stack(
        lambda m, x, i: x + branch(m, x, i) / (2 * len(m.up)) ** 0.5,
        BRANCH | {"down.1.weight": (1 / 4, 1 / 8), "down.0.weight": (1 / 4, 1 / 8)},
    ),
    "own 1/L": stack(
        lambda m, x, i: x + branch(m, x, i) / len(m.up),
        BRANCH | {"down.1.weight": INSIDE, "down.0.weight": INSIDE},
    ),
    "own number, the same": stack(lambda m, x, i: x + 0.3 * branch(m, x, i)),
    "own number before the branch's last matrix": stack(
        lambda m, x, i: x + m.down[i](torch.relu(m.up[i](m.norm[i](x))) / len(m.up)),
        {"up.1.weight": (2.0, 1.0), "down.1.weight": ENDS},
    ),
    "checkpointed": stack(lambda m, x, i: x + checkpoint(branch, m, x, i, use_reentrant=False)),
    "checkpointed, reentrant": stack(
        lambda m, x, i: x + checkpoint(branch, m, x, i, use_reentrant=True)
    ),
    "a function of autograd": stack(lambda m, x, i: x + Doubled.apply(branch(m, x, i))),
    "values of the first block": stack(
        lambda m, x, i: x + m.down[i](torch.relu(m.up[i](m.norm[i](x))) + m.l[i] * m.up[0].kept),
        BRANCH | {"l.1": (1.0, 1.0)},
        l=each(scalar),
        before=lambda m, x: _first(m, m.inp(x)),
    ),
    "a stream mixed with the first": stack(
        lambda m, x, i: (m.p[i] * x + m.q[i] * m.inp.kept) + branch(m, x, i),
        BRANCH | {"p.1": SCALAR},
        refuse=True,
        before=lambda m, x: _kept(m, x),
        p=each(lambda w: nn.Parameter(torch.ones(()))),
        q=each(scalar),
    ),
    "relu on the stream": stack(lambda m, x, i: torch.relu(x + branch(m, x, i)), refuse=True),
    "mixture of experts": stack(
        lambda m, x, i: x + _mixture(m, m.norm[i](x), i),
        {"e1.1.weight": ENDS, "e2.1.weight": ENDS, "r.1.weight": (1 / 4, 1 / 4)},
        e1=each(square),
        e2=each(square),
        r=each(lambda w: nn.Linear(w, 2)),
    ),
    "no norm": stack(
        lambda m, x, i: x + m.down[i](torch.relu(m.up[i](x))),
        {"up.1.weight": INSIDE, "down.1.weight": ENDS},
    ),
    "one scalar for all layers": stack(
        lambda m, x, i: x + m.a * branch(m, x, i),
        SCALED | {"a": NARROW_END},
        a=lambda w, d: scalar(w),
    ),
    "a bias for all layers": stack(
        lambda m, x, i: x + branch(m, x + m.a, i),
        BRANCH | {"a": VECTOR},
        a=lambda w, d: nn.Parameter(torch.zeros(w)),
    ),
    "time embedding into every block": stack(
        lambda m, x, i: x + branch(m, x + m.t[i](m.inp.bias), i),
        refuse=True,
        t=each(square),
    ),
    "positions added at every block": stack(
        lambda m, x, i: x + m.pos[i] + branch(m, x, i),
        {"pos.1": NARROW_END},
        refuse=True,
        pos=each(lambda w: nn.Parameter(torch.zeros(w))),
        branches=None,
    ),
    "one matrix for each branch": stack(
        lambda m, x, i: x + m.one[i](torch.relu(m.norm[i](x))),
        {"one.1.weight": (1 / 4, 1 / 16), "norm.1.weight": (1.0, 1 / 2)},  # alpha = 1/2
        one=each(square),
    ),
    "blocks of two kinds in turn": stack(
        lambda m, x, i: (
            x + (branch(m, x, i) if i % 2 else m.two[i](torch.tanh(m.one[i](m.norm[i](x)))))
        ),
        {"up.1.weight": INSIDE, "down.1.weight": ENDS, "two.0.weight": ENDS},
        one=each(square),
        two=each(square),
    ),
    "a first block of another kind": stack(
        lambda m, x, i: x + (branch(m, x, i) if i else m.two(torch.tanh(m.one(m.norm[i](x))))),
        {
            "up.1.weight": (1 / 2, 1 / 4),
            "down.1.weight": (0.5 / 7, 0.25 / 7),
        },  # 1 to 7 of this kind
        one=lambda w, d: square(w),
        two=lambda w, d: square(w),
    ),
    "head on the mean of all streams": stack(
        lambda m, x, i: x + branch(m, x, i),
        refuse=True,
        after=lambda m, x: m.head(m.last(x)) + 0 * m.head.bias,
    ),
}


def _kept(m: Any, x: Tensor) -> Tensor:
    m.inp.kept = m.inp(x)
    return m.inp.kept


def _first(m: Any, x: Tensor) -> Tensor:
    m.up[0].kept = m.up[0](x)
    return x


def _mixture(m: Any, x: Tensor, i: int) -> Tensor:
    weights = m.r[i](x).softmax(-1)
    outputs = torch.stack([m.e1[i](torch.relu(m.up[i](x))[:, : x.shape[1]]), m.e2[i](x)], 1)
    return (weights[..., None] * outputs).sum(1)


def highway(m: Any, x: Tensor, i: int) -> Tensor:
    gate = m.g[i](x).sigmoid()
    return gate * branch(m, x, i) + (1 - gate) * x


REFUSED = {
    "post-norm": stack(lambda m, x, i: m.norm[i](x + m.down[i](torch.relu(m.up[i](x)))), None),
    "post-norm, no gain": stack(
        lambda m, x, i: F.layer_norm(x + m.down[i](torch.relu(m.up[i](x))), x.shape[-1:]), None
    ),
    "post-norm, by hand": stack(lambda m, x, i: _unit(x + m.down[i](torch.relu(m.up[i](x)))), None),
    "norm that replaces the stream": stack(
        lambda m, x, i: (lambda y: y + m.down[i](torch.relu(m.up[i](y))))(m.norm[i](x)), None
    ),
    "deepnorm": stack(
        lambda m, x, i: m.norm[i](x * (2 * len(m.up)) ** 0.25 + m.down[i](torch.relu(m.up[i](x)))),
        None,
    ),
    "highway": stack(highway, None, g=each(square)),
    "lerp": stack(lambda m, x, i: torch.lerp(x, branch(m, x, i), 0.5), None),
    "decayed stream": stack(lambda m, x, i: 0.9 * x + branch(m, x, i), None),
    "root of a half": stack(lambda m, x, i: (x + branch(m, x, i)) * 0.5**0.5, None),
    "mean of both": stack(lambda m, x, i: torch.stack([x, branch(m, x, i)]).mean(0), None),
    "plain layers": stack(lambda m, x, i: branch(m, x, i), None),
    "plain layer after a join": stack(
        lambda m, x, i: torch.relu(m.one[i](x + branch(m, x, i))), None, one=each(square)
    ),
    "every second layer plain": stack(
        lambda m, x, i: x + branch(m, x, i) if i % 2 else branch(m, x, i), None
    ),
    "concatenated": stack(
        lambda m, x, i: torch.cat([x, branch(m, x[:, : m.inp.out_features], i)], -1),
        None,
        after=lambda m, x: m.head(x[:, : m.inp.out_features] + x[:, -m.inp.out_features :]),
    ),
    "gated recurrent join": stack(
        lambda m, x, i: m.g(branch(m, x, i), x), None, g=lambda w, d: nn.GRUCell(w, w)
    ),
    "one block, more and more loops": stack(
        lambda m, x, i: x + m.down0(torch.relu(m.up0(m.norm0(x)))),
        None,
        up0=lambda w, d: nn.Linear(w, w),
        down0=lambda w, d: nn.Linear(w, w),
        norm0=lambda w, d: nn.LayerNorm(w),
    ),
}


def _unit(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()


DEPTHS = {f"join, {name}": joined(join) for name, join in JOINS.items()} | BLOCKS


FAULTS = {
    "join, einsum of a stack": "joins by a stack",
    "values of the first block": "a layer of a block also used before the stack is refused",
}


@pytest.mark.parametrize(("name", "optimizer"), cases(DEPTHS, FAULTS))
def test_ends_of_branches_carry_the_multiplier(name: str, optimizer: str) -> None:
    assert wrong(DEPTHS[name], optimizer) == {}


@pytest.mark.parametrize(("name", "optimizer"), cases(REFUSED, FAULTS))
def test_depth_for_which_no_rule_is_known_is_refused(name: str, optimizer: str) -> None:
    assert wrong(REFUSED[name], optimizer) == {}
