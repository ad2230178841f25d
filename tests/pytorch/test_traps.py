"""Models that are easily planned wrongly: planned correctly or refused."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models import (
    Net,
    Residual,
    RootMeanSquare,
    Standardised,
    TwoMatrices,
    Unit,
    additive_skips,
    bare_readout,
    embedded,
    inside,
    shared_matrix,
    square,
    torch_attention,
    torch_encoder,
    two_heads,
    two_tables,
)
from tests.pytorch.hard_cases import (
    BASE,
    DEEPER,
    QUERY_CARRIES,
    ROWS,
    SEQUENCES,
    WORDS,
    Case,
    Make,
    accepted,
    at_width,
    attention,
    carry_missing_scale,
    ends_halved,
    init_and_rate,
    library,
    never,
    relu_block,
    residual,
    tied_carried,
)


def by_hand(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def one_norm(width: int) -> nn.Module:
    """Build attention with one norm for queries and keys."""

    def mix(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return library(m, m.qk(q), m.qk(k), v)

    return two_heads(width, mix, qk=nn.LayerNorm(width // 2))


def used_twice(width: int) -> nn.Module:
    """Build a model that uses its tied head on two signals."""

    def run(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return m.head(m.norm(m.token(x))), m.head(m.norm2(m.layer(m.token(x))))

    return embedded(width, run, norm2=nn.LayerNorm(width))


def one_block(width: int) -> nn.Module:
    """Build a model with one block under two names."""
    block = relu_block(width)
    return Residual(width, 2, lambda _: block, join=inside)


def last_layer_shared(width: int, depth: int) -> nn.Module:
    """Build a residual network whose branches begin and end with the same layer."""

    def join(m: Any, block: nn.Module, x: Tensor) -> Tensor:
        return x + m.shared(block(m.shared(x)))

    return Residual(width, depth, relu_block, join=join, shared=square(width))


def scaled_layer(width: int) -> nn.Module:
    """Build a branch with a layer scale that has a leading axis."""
    scale = nn.Parameter(torch.ones(1, width))
    return Net(lambda m, x: m.only(x) * m.scale, only=square(width), scale=scale)


def deeper_branches(width: int, depth: int) -> nn.Module:
    """Build a residual network of as many matrices a branch as it has branches."""
    return Residual(width, depth, lambda n: nn.Sequential(*(square(n) for _ in range(depth))))


def sequential(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), square(width), nn.ReLU(), square(width))


def normed_outside(norm: Any) -> Make:
    """A family with a norm on the stream after each residual add."""

    def block(width: int) -> nn.Module:
        branch = TwoMatrices(width, norm=None, activation=torch.relu)
        branch.outside = norm(width)
        return branch

    return residual(lambda m, one, x: one.outside(x + one(x)), block)


def weight_norm(width: int) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(square(width))


# A join of the stream and a block, in a model that deepens.
JOINS = {
    "branch plus a constant": lambda m, block, x: x + (block(x) + 1),
    "branch beside a constant": lambda m, block, x: (
        x + torch.cat([block(x)[:, 1:], torch.ones(len(x), 1)], -1)
    ),
    "branch under a threshold": lambda m, block, x: x + F.threshold(block(x), 1.0, 0.0),
    "a constant over the branch": lambda m, block, x: x + torch.ones(BASE) / block(x),
}
ODD_JOINS = {
    "every other branch taken off the stream": lambda m, block, x: (
        x - block(x) if block is m.blocks[0] else x + block(x)
    ),
    "one stream times a constant": lambda m, block, x: (
        (0.9 * x if block is m.blocks[0] else x) + block(x)
    ),
}
ATTENTION: dict[str, Case] = {
    "attention by hand": Case(
        make=attention(by_hand),
        inputs=SEQUENCES,
        correct=carry_missing_scale("query.weight", "key.weight"),
    ),
    "torch's attention": Case(make=at_width(torch_attention), inputs=SEQUENCES, correct=never),
    "torch's encoder, head dimension grows": Case(
        make=partial(torch_encoder, head=None), inputs=SEQUENCES, correct=never
    ),
    "one attention applied twice": Case(
        make=attention(library, times=2), inputs=SEQUENCES, correct=QUERY_CARRIES
    ),
    "one query in two attentions": Case(
        make=attention(lambda m, q, k, v: library(m, q, k, v) + library(m, q, v, k)),
        inputs=SEQUENCES,
        correct=QUERY_CARRIES,
    ),
    "query is key": Case(
        make=attention(lambda m, q, k, v: library(m, q, q, v + k)),
        inputs=SEQUENCES,
        correct=never,
    ),
    "one norm for query and key": Case(
        make=at_width(one_norm),
        inputs=SEQUENCES,
        correct=carry_missing_scale("qk.weight", "qk.weight"),
    ),
}
TIES: dict[str, Case] = {
    "tied in the forward pass": Case(
        make=at_width(
            lambda width: embedded(
                width, lambda m, x: m.norm(m.layer(m.token(x))) @ m.token.weight.T, tied=False
            )
        ),
        inputs=WORDS,
        correct=tied_carried("token.weight", "norm"),
    ),
    "head before embedding": Case(
        make=at_width(
            lambda width: embedded(
                width, lambda m, x: m.head(m.norm(m.layer(m.token(x)))), head_first=True
            )
        ),
        inputs=WORDS,
        correct=tied_carried("head.weight", "norm"),
    ),
    "tied head used twice": Case(
        make=at_width(used_twice),
        inputs=WORDS,
        correct=tied_carried("token.weight", "norm", "norm2"),
    ),
    "norm before the tied head used before": Case(
        make=at_width(
            lambda width: embedded(width, lambda m, x: m.head(m.norm(m.layer(m.norm(m.token(x))))))
        ),
        inputs=WORDS,
        correct=never,
    ),
    "one matrix under two names": Case(
        make=at_width(shared_matrix),
        correct=lambda plan: all(
            init_and_rate(plan, f"{norm}.weight") == (1, 1) for norm in ("norm", "norm2")
        ),
    ),
    "one block under two names": Case(
        make=at_width(one_block),
        correct=lambda plan: init_and_rate(plan, "blocks.0.up.weight") == (0.5, 0.25),
        refuse=False,
    ),
    "one embedding under two names": Case(
        make=at_width(two_tables),
        inputs=WORDS,
        correct=lambda plan: init_and_rate(plan, "source.weight") == (1, 1),
        refuse=False,
    ),
    "bare readout": Case(
        make=at_width(bare_readout),
        correct=lambda plan: init_and_rate(plan, "projection") == (0.25, 0.25),
    ),
}
BRANCHES: dict[str, Case] = {
    "standardised last weights": Case(
        make=residual(block=partial(relu_block, last=lambda n: Standardised(n, n))),
        grow=DEEPER,
        correct=ends_halved,
        refuse=False,
    ),
    "weight norm on the last layer": Case(
        make=residual(block=partial(relu_block, last=weight_norm)),
        grow=DEEPER,
        correct=lambda plan: (
            init_and_rate(plan, "blocks.0.down.parametrizations.weight.original0") == (0.5, 0.5)
        ),
        refuse=False,
    ),
    "last layer used in the stem too": Case(make=last_layer_shared, grow=DEEPER, correct=never),
    **{n: Case(make=residual(join), grow=DEEPER, correct=never) for n, join in JOINS.items()},
    **{
        name: Case(make=residual(join), grow=DEEPER, correct=ends_halved)
        for name, join in ODD_JOINS.items()
    },
    "layer scale with a leading axis": Case(
        make=residual(block=scaled_layer),
        grow=DEEPER,
        correct=lambda plan: plan.rule == "depth-mup",
    ),
    "a cast stream": Case(
        make=lambda width, depth: Residual(
            width,
            depth,
            relu_block,
            join=lambda m, block, x: x.double() + block(x.float()).double(),
            pool=lambda x: x.float(),
        ),
        grow=DEEPER,
        correct=ends_halved,
    ),
    "data as the stream": Case(
        make=lambda width, depth: Residual(5, depth, relu_block, stem=nn.Identity()),
        grow=DEEPER,
        inputs=ROWS,
        correct=ends_halved,
    ),
    "additive skips": Case(
        make=partial(additive_skips, block=relu_block), grow=DEEPER, correct=ends_halved
    ),
    "matrices per branch grow too": Case(make=deeper_branches, grow=DEEPER, correct=never),
    "post-norm by hand": Case(make=normed_outside(RootMeanSquare), grow=DEEPER, correct=never),
    "post-norm of torch's RMSNorm": Case(
        make=normed_outside(nn.RMSNorm), grow=DEEPER, correct=never
    ),
    "post-norm without gain": Case(
        make=normed_outside(lambda width: Unit()), grow=DEEPER, correct=never
    ),
    "blocks in Sequential": Case(
        make=residual(block=sequential),
        grow=DEEPER,
        correct=lambda plan: init_and_rate(plan, "blocks.0.3.weight") == (0.5, 0.5),
        refuse=False,
    ),
}
CASES = ATTENTION | TIES | BRANCHES


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_trap_is_planned_correctly_or_refused(case: Case) -> None:
    assert accepted(case)
