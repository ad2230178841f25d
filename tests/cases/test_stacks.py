"""Several stacks on one stream or on several, of which some deepen."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.cases.families import (
    ENDS,
    HIDDEN,
    INSIDE,
    ROWS,
    SEQUENCES,
    Factors,
    Family,
    cases,
    wrong,
)
from tests.models import Net, repeat, square


def block(width: int) -> nn.Module:
    layers = (nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
    return nn.Sequential(*layers)


def along(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in blocks:
        x = x + layer(x)
    return x


def stacks(
    run: Callable[[Any, Tensor], Tensor],
    right: Mapping[str, str | Factors],
    branches: tuple[int, int],
    refuse: bool = False,
    inputs: Any = ROWS,
    **parts: Callable[[int, int], Any],
) -> Family:
    """Models of several stacks, of which some deepen."""

    def make(width: int, depth: int) -> nn.Module:
        ends = {"inp": nn.Linear(10, width), "mid": square(width), "head": nn.Linear(width, 3)}
        return Net(run, **ends, **{n: part(width, depth) for n, part in parts.items()})

    return Family(make=make, right=right, branches=None, grow=(1, 4), refuse=refuse, inputs=inputs)


def fixed(number: int) -> Callable[[int, int], nn.ModuleList]:
    return lambda w, d: repeat(number, lambda: block(w))


def growing(w: int, d: int) -> nn.ModuleList:
    return repeat(d, lambda: block(w))


QUARTER, ONE = (1 / 4, 1 / 4), (1.0, 1.0)


def unet(m: Any, x: Tensor) -> Tensor:
    skips, x = [], m.inp(x)
    for layer in m.enc:
        x = x + layer(x)
        skips.append(x)
    for layer in m.dec:
        x = x + skips.pop()
        x = x + layer(x)
    return m.head(x)


def cross(m: Any, x: Tensor) -> Tensor:
    memory, y = along(m.enc, m.inp(x)), m.inp(x)
    for layer, other in zip(m.dec, m.mix, strict=True):
        y = y + layer(y)
        y = y + other(memory)
    return m.head(y)


def recall(m: Any, x: Tensor) -> Tensor:
    y, time = m.inp(x), torch.tanh(m.mid(m.inp(x)))
    for layer, shift in zip(m.enc, m.time, strict=True):
        y = y + layer[3](torch.relu(layer[1](layer[0](y)) + shift(time)))
    return m.head(y)


def gate(m: Any, x: Tensor) -> Tensor:
    y = m.inp(x)
    for layer, gated in zip(m.enc, m.gates, strict=True):
        y = y + gated(x) * F.gelu(layer[3](torch.relu(layer[1](layer[0](y)))))
    return m.head(y)


STACKS = {
    "one deepens, one does not": stacks(
        lambda m, x: m.head(along(m.dec, m.mid(torch.relu(along(m.enc, m.inp(x)))))),
        {"enc.0.3.weight": QUARTER, "dec.0.3.weight": ONE},
        (4, 10),
        enc=growing,
        dec=fixed(2),
    ),
    "side by side": stacks(
        lambda m, x: m.head(along(m.enc, m.inp(x)) + along(m.dec, m.inp(-x))),
        {"enc.0.3.weight": QUARTER, "dec.0.3.weight": ONE},
        (4, 10),
        enc=growing,
        dec=fixed(2),
    ),
    "on one stream, of which one deepens": stacks(
        lambda m, x: m.head(along(m.dec, along(m.enc, m.inp(x)))),
        {"enc.0.3.weight": QUARTER, "dec.0.3.weight": ONE},
        (4, 10),
        enc=growing,
        dec=fixed(2),
    ),
    "both deepen": stacks(
        lambda m, x: m.head(along(m.dec, m.mid(torch.relu(along(m.enc, m.inp(x)))))),
        {"enc.0.3.weight": QUARTER, "dec.0.3.weight": QUARTER},
        (4, 16),
        enc=growing,
        dec=growing,
    ),
    "at other rates": stacks(
        lambda m, x: m.head(along(m.dec, m.mid(torch.relu(along(m.enc, m.inp(x)))))),
        {"enc.0.3.weight": QUARTER, "dec.0.3.weight": (1 / 2.5, 1 / 2.5)},
        (4, 18),
        enc=growing,
        dec=lambda w, d: repeat(d // 2 + 1 if d == 2 else 5, lambda: block(w)),
    ),
    "skips from encoder to decoder": stacks(
        unet,
        {"enc.0.3.weight": QUARTER, "dec.0.3.weight": QUARTER},
        (4, 16),
        refuse=True,
        enc=growing,
        dec=growing,
    ),
    "cross branches": stacks(
        cross,
        {"enc.0.3.weight": QUARTER, "dec.0.3.weight": QUARTER, "mix.1.3.weight": QUARTER},
        (6, 24),
        enc=growing,
        dec=growing,
        mix=growing,
    ),
    "a shift in each branch": stacks(
        recall,
        {"time.1.weight": INSIDE, "enc.1.3.weight": ENDS, "mid.weight": HIDDEN},
        (2, 8),
        enc=growing,
        time=lambda w, d: repeat(d, lambda: square(w)),
    ),
    "a gate on each branch": stacks(
        gate,
        {"gates.1.weight": ENDS, "enc.1.3.weight": INSIDE},
        (2, 8),
        enc=growing,
        gates=lambda w, d: repeat(d, lambda: nn.Linear(10, w)),
    ),
    "a branch before the stack": stacks(
        lambda m, x: m.head(along(m.enc, (lambda y: y + m.mid(torch.relu(y)))(m.inp(x)))),
        {"mid.weight": ONE, "enc.1.3.weight": QUARTER},
        (3, 9),
        enc=growing,
    ),
    "a branch after the stack": stacks(
        lambda m, x: m.head((lambda y: y + m.mid(torch.relu(y)))(along(m.enc, m.inp(x)))),
        {"mid.weight": ONE, "enc.1.3.weight": QUARTER},
        (3, 9),
        enc=growing,
    ),
    "a skip around the stack": stacks(
        lambda m, x: m.head((lambda y: y + along(m.enc, m.mid(torch.relu(y))))(m.inp(x))),
        {"enc.1.3.weight": QUARTER},
        (3, 9),
        enc=growing,
    ),
    "the stream before the stack added after it": stacks(
        lambda m, x: m.head((lambda y: y + along(m.enc, y))(m.inp(x))),
        {"enc.1.3.weight": QUARTER},
        (3, 9),
        enc=growing,
    ),
    "modulated at the end": stacks(
        lambda m, x: m.head(
            F.layer_norm(along(m.enc, m.inp(x)), (16,)) * (1 + m.mid(m.inp(x))) + m.inp(x)
        ),
        {"enc.1.3.weight": QUARTER},
        (3, 9),
        enc=growing,
    ),
    "on raw data": stacks(
        lambda m, x: m.out(along(m.enc, x)),
        {"enc.1.3.weight": QUARTER},
        (2, 8),
        enc=lambda w, d: repeat(d, lambda: block(10)),
        out=lambda w, d: nn.Linear(10, 3),
    ),
    "torch's encoder": stacks(
        lambda m, x: m.head(m.enc(m.inp(x))),
        {"enc.layers.1.linear2.weight": QUARTER, "enc.layers.0.self_attn.out_proj.weight": QUARTER},
        (4, 16),
        inputs=SEQUENCES,
        enc=lambda w, d: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(w, 2, w, 0.0, norm_first=True, batch_first=True),
            d,
            enable_nested_tensor=False,
        ),
    ),
}
FAULTS = {
    "cross branches": "branches that read another stack count as deep ones",
}


@pytest.mark.parametrize(("name", "optimizer"), cases(STACKS, FAULTS))
def test_every_stack_has_a_ratio_of_its_own(name: str, optimizer: str) -> None:
    assert wrong(STACKS[name], optimizer) == {}
