"""Forward passes that are hard to run, and models that reading them must leave as they were."""

import copy
import functools
import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import mutransfer as mt
from tests.cases.families import (
    HIDDEN,
    INPUT,
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

PLAIN = {"a.weight": INPUT, "b.weight": HIDDEN, "c.weight": READOUT}


def passing(
    run: Callable[..., Any],
    right: dict[str, str | Factors] | None = PLAIN,
    inputs: Any = ROWS,
    **parts: Callable[[int], Any],
) -> Family:
    """Three layers under a forward pass."""
    return Family(
        make=lambda w: Net(
            run,
            a=nn.Linear(10, w),
            b=square(w),
            c=nn.Linear(w, 3),
            **{n: part(w) for n, part in parts.items()},
        ),
        right=right if right is None or right is PLAIN else PLAIN | right,
        inputs=inputs,
    )


def plain(m: Any, x: Tensor) -> Tensor:
    return m.c(torch.relu(m.b(torch.relu(m.a(x)))))


@dataclass
class Output:
    """An output as Hugging Face has it, without its base class."""

    logits: Tensor
    hidden: Tensor | None = None


Named = namedtuple("Named", ["logits", "hidden"])
TABLE: dict[int, Tensor] = {}


@functools.lru_cache
def causal(length: int) -> Tensor:
    return torch.tril(torch.ones(length, length)) / length


def global_mask(length: int) -> Tensor:
    if length not in TABLE:
        TABLE[length] = torch.tril(torch.ones(length, length)) / length
    return TABLE[length]


def until(m: Any, x: Tensor) -> Tensor:
    """A loop to a tolerance, at most so many times."""
    h = torch.relu(m.a(x))
    for _ in range(3):
        new = torch.tanh(h + x[:, :1])
        if (new - h).abs().max().item() < 1e-9:
            break
        h = new
    return m.c(torch.relu(m.b(h)))


class Straight(torch.autograd.Function):
    """Signs, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Reversible(torch.autograd.Function):
    """A custom function with parameters among its inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return F.linear(x, w, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return grad @ w, grad.t() @ x, grad.sum(0)


def autocast(m: Any, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        y = m.b(torch.relu(m.a(x)))
    with torch.autocast(device_type=x.device.type, enabled=False):
        return m.c(torch.relu(y.float()))


def sampled(m: Any, x: Tensor) -> Any:
    policy = torch.distributions.Categorical(logits=plain(m, x))
    action = policy.sample()
    return action, policy.log_prob(action), policy.entropy()


def normal(m: Any, x: Tensor) -> Any:
    policy = torch.distributions.Normal(plain(m, x), m.t.exp())
    action = policy.rsample()
    return {"action": action, "log": policy.log_prob(action).sum(-1)}


def kept_where_positive(m: Any, x: Tensor) -> Tensor:
    h = torch.relu(m.a(x))
    rows = (h.sum(-1) > -1).nonzero()[:, 0]
    return torch.zeros(len(x), 3).index_copy(0, rows, m.c(torch.relu(m.b(h[rows]))))


def counted(m: Any, x: Tensor) -> Tensor:
    m.count += 1
    m.mean.lerp_(x.mean(0).detach(), 0.1)
    return plain(m, x - m.mean)


def cached(m: Any, x: Tensor) -> Tensor:
    """Keys and values of earlier calls, in a list."""
    h = m.a(x)
    m.cache.append(h.detach())
    past = torch.cat([*m.cache[-1:], h], 1)
    return m.c(
        torch.relu(m.b(F.scaled_dot_product_attention(h, past, past, scale=1 / h.shape[-1])))
    )


PASSES = {
    "an item of the data": passing(lambda m, x: plain(m, x * (2 if x.sum().item() > 0 else 1))),
    "an item of a signal": passing(
        lambda m, x: plain(m, x / max(m.a(x).abs().max().item(), 1e-3)), None
    ),
    "a list of a signal": passing(lambda m, x: plain(m, x + len(m.a(x).tolist()))),
    "numpy": passing(lambda m, x: plain(m, torch.from_numpy(x.detach().numpy().copy()))),
    "a loop to a tolerance": passing(until),
    "nonzero": passing(kept_where_positive),
    "sampling": passing(sampled),
    "a normal policy": passing(normal, {"t": SCALAR}, t=lambda w: nn.Parameter(torch.zeros(3))),
    "autocast": passing(autocast),
    "no_grad inside": passing(lambda m, x: plain(m, x) + torch.no_grad()(plain)(m, x)),
    "checkpoint": passing(lambda m, x: checkpoint(plain, m, x, use_reentrant=False)),
    "checkpoint, reentrant": passing(lambda m, x: checkpoint(plain, m, x, use_reentrant=True)),
    "a function of autograd": passing(lambda m, x: m.c(Straight.apply(m.b(torch.relu(m.a(x)))))),
    "a function with parameters": passing(
        lambda m, x: m.c(torch.relu(Reversible.apply(torch.relu(m.a(x)), m.b.weight, m.b.bias)))
    ),
    "straight through": passing(
        lambda m, x: m.c((lambda h: h + (h.sign() - h).detach())(m.b(torch.relu(m.a(x)))))
    ),
    "functional call": passing(
        lambda m, x: (
            torch.func.functional_call(
                m.b, {"weight": m.b.weight, "bias": m.b.bias}, torch.relu(m.a(x))
            )
            @ m.c.weight.t()
        )
    ),
    "vmap over rows": passing(lambda m, x: torch.func.vmap(lambda row: plain(m, row))(x)),
    "vmap over inputs and weights": passing(
        lambda m, x: torch.func.vmap(
            lambda row, w: m.c(torch.relu(w @ torch.relu(m.a(row)))), (0, None)
        )(x, m.b.weight)
    ),
    "a dataclass out": passing(lambda m, x: Output(plain(m, x), m.a(x))),
    "a named tuple out": passing(lambda m, x: Named(plain(m, x), m.a(x))),
    "an ordered dictionary out": passing(lambda m, x: OrderedDict(logits=plain(m, x))),
    "nested lists out": passing(lambda m, x: [[plain(m, x)], {"h": (m.a(x),)}]),
    "a nested list in": passing(
        lambda m, x: plain(m, x[0][0] + x[1]["y"]), inputs=([[ROWS], {"y": ROWS}],)
    ),
    "a dictionary in": passing(lambda m, x: plain(m, x["x"]), inputs=({"x": ROWS},)),
    "none in": passing(
        lambda m, x, mask: plain(m, x if mask is None else x * mask), inputs=(ROWS, None)
    ),
    "numbers in": passing(lambda m, x, scale: plain(m, x * scale), inputs=(ROWS, 0.5)),
    "a flag in": passing(lambda m, x, flag: plain(m, x) if flag else x, inputs=(ROWS, True)),
    "buffers changed": passing(
        counted, count=lambda w: 0, mean=lambda w: nn.Buffer(torch.zeros(10))
    ),
    "a cache of keys": passing(cached, inputs=SEQUENCES, cache=lambda w: []),
    "an lru_cache": passing(lambda m, x: plain(m, causal(6) @ x), inputs=SEQUENCES),
    "a global table": passing(lambda m, x: plain(m, global_mask(6) @ x), inputs=SEQUENCES),
    "a random number of Python": passing(lambda m, x: plain(m, x * (1 + (random.random() < 0.5)))),
    "noise": passing(lambda m, x: plain(m, x + torch.randn_like(x))),
    "dropout": passing(
        lambda m, x: m.c(F.dropout(torch.relu(m.b(torch.relu(m.a(x)))), 0.3, m.training))
    ),
    "a frozen part": passing(
        lambda m, x: plain(m, x), {}, f=lambda w: nn.Linear(3, 3).requires_grad_(False)
    ),
    "used in training alone": passing(
        lambda m, x: (plain(m, x), m.aux(torch.relu(m.a(x)))) if m.training else plain(m, x),
        {"aux.weight": READOUT},
        aux=lambda w: nn.Linear(w, 7),
    ),
    "a hidden layer used in training alone": passing(
        lambda m, x: (
            (plain(m, x), m.aux(torch.relu(m.h(torch.relu(m.a(x)))))) if m.training else plain(m, x)
        ),
        {"aux.weight": READOUT, "h.weight": HIDDEN},
        aux=lambda w: nn.Linear(w, 7),
        h=square,
    ),
    "complex numbers": passing(
        lambda m, x: m.c(
            torch.view_as_real(
                torch.view_as_complex(m.b(torch.relu(m.a(x))).unflatten(-1, (-1, 2))) * 1j
            ).flatten(-2)
        )
    ),
    "a fourier transform along time": passing(
        lambda m, x: m.c(torch.fft.fft(m.b(torch.relu(m.a(x))), dim=1).real), inputs=SEQUENCES
    ),
    "sorting along time": passing(
        lambda m, x: m.c(m.b(torch.relu(m.a(x))).sort(1).values), inputs=SEQUENCES
    ),
    "sparse graph": passing(
        lambda m, x: m.c(
            torch.relu(torch.sparse.mm(torch.eye(4).to_sparse(), m.b(torch.relu(m.a(x)))))
        )
    ),
    "strings in": passing(lambda m, x, how: plain(m, x) if how == "a" else x, inputs=(ROWS, "a")),
    "double": Family(
        make=lambda w: Net(plain, a=nn.Linear(10, w), b=square(w), c=nn.Linear(w, 3)).double(),
        right=PLAIN,
        inputs=ROWS.double(),
    ),
    "bfloat16": Family(
        make=lambda w: Net(plain, a=nn.Linear(10, w), b=square(w), c=nn.Linear(w, 3)).bfloat16(),
        right=PLAIN,
        inputs=ROWS.bfloat16(),
    ),
    "half": Family(
        make=lambda w: Net(plain, a=nn.Linear(10, w), b=square(w), c=nn.Linear(w, 3)).half(),
        right=PLAIN,
        inputs=ROWS.half(),
    ),
    "on meta": Family(
        make=lambda w: Net(plain, a=nn.Linear(10, w), b=square(w), c=nn.Linear(w, 3)).to("meta"),
        right=PLAIN,
        inputs=ROWS,
    ),
    "compiled": Family(
        make=lambda w: torch.compile(
            Net(plain, a=nn.Linear(10, w), b=square(w), c=nn.Linear(w, 3)), backend="eager"
        ),
        right=PLAIN,
        inputs=ROWS,
    ),
    "no elements": passing(plain, {}, e=lambda w: nn.Parameter(torch.zeros(7, 0))),
    "no elements that grow": passing(plain, {}, e=lambda w: nn.Parameter(torch.zeros(w, 0))),
    "shared submodules": Family(
        make=lambda w: (
            lambda b: Net(
                lambda m, x: m.c(torch.relu(m.b2(torch.relu(m.b(torch.relu(m.a(x))))))),
                a=nn.Linear(10, w),
                b=b,
                b2=b,
                c=nn.Linear(w, 3),
            )
        )(square(w)),
        right=PLAIN,
        inputs=ROWS,
    ),
    "frozen stem": Family(
        make=lambda w: Net(
            plain, a=nn.Linear(10, w).requires_grad_(False), b=square(w), c=nn.Linear(w, 3)
        ),
        right=PLAIN,
        inputs=ROWS,
    ),
    "lists of parameters": Family(
        make=lambda w: Net(
            lambda m, x: torch.relu(torch.relu(x @ m.p[0]) @ m.p[1]) @ m.p[2],
            p=nn.ParameterList([torch.randn(10, w), torch.randn(w, w), torch.randn(w, 3)]),
        ),
        right={"p.0": INPUT, "p.1": HIDDEN, "p.2": READOUT},
        inputs=ROWS,
    ),
    "weights as (in, out)": Family(
        make=lambda w: Net(
            lambda m, x: torch.relu(torch.relu(x @ m.p) @ m.q + m.v) @ m.r,
            p=nn.Parameter(torch.randn(10, w)),
            q=nn.Parameter(torch.randn(w, w)),
            v=nn.Parameter(torch.randn(w)),
            r=nn.Parameter(torch.randn(w, 3)),
        ),
        right={"p": INPUT, "q": HIDDEN, "r": READOUT, "v": VECTOR},
        inputs=ROWS,
    ),
    "weights of three dimensions": Family(
        make=lambda w: Net(
            lambda m, x: m.c(torch.einsum("bti,ihd->bthd", m.a(x), m.q).flatten(2)),
            a=nn.Linear(10, w),
            q=nn.Parameter(torch.randn(w, w // 4, 4)),
            c=nn.Linear(w, 3),
        ),
        right={"q": HIDDEN, "c.weight": READOUT},
        inputs=SEQUENCES,
    ),
    "words": Family(
        make=lambda w: Net(
            lambda m, ids: m.c(torch.relu(m.b(m.e(ids) + m.p(torch.arange(6))))),
            e=nn.Embedding(12, w),
            p=nn.Embedding(8, w),
            b=square(w),
            c=nn.Linear(w, 12),
        ),
        right={"e.weight": INPUT, "p.weight": INPUT, "b.weight": HIDDEN, "c.weight": READOUT},
        inputs=WORDS,
    ),
}


FAULTS = {
    "an item of a signal": "a number read off a signal is taken as fixed",
}


@pytest.mark.parametrize(("name", "optimizer"), cases(PASSES, FAULTS))
def test_a_forward_pass_that_runs_is_read(name: str, optimizer: str) -> None:
    assert wrong(PASSES[name], optimizer) == {}


def state(model: nn.Module) -> tuple[Any, ...]:
    """Everything that reading a model must not change."""
    values = {n: v.clone() for n, v in model.state_dict().items()}
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    return values, hooks, [m.training for m in model.modules()], torch.get_rng_state()


KEPT = ("buffers changed", "a cache of keys", "an lru_cache", "a global table", "noise", "dropout")


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("training", [True, False])
def test_planning_leaves_the_model_as_it_was(name: str, training: bool) -> None:
    family = PASSES[name]
    causal.cache_clear()
    TABLE.clear()
    model, base = family.build(4).train(training), family.build()
    twin = copy.deepcopy(model)
    before, python = state(model), random.getstate()
    mt.plan(model, base, example_inputs=family.inputs)
    after = state(model)
    assert before[1:3] == after[1:3]
    assert all(torch.equal(before[0][n], after[0][n]) for n in before[0])
    assert torch.equal(before[3], after[3])
    assert python == random.getstate()
    assert all(v.device.type == "cpu" for v in TABLE.values())
    for each in (model, twin):
        torch.manual_seed(1)
        each.output = each(family.inputs)
    assert torch.equal(model.output, twin.output)
    assert getattr(model, "count", 0) == getattr(twin, "count", 0)
    assert len(getattr(model, "cache", [])) == len(getattr(twin, "cache", []))
