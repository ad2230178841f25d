"""All layers of a model in one tensor for each matrix."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.cases.families import (
    ENDS,
    GAIN,
    INPUT,
    INSIDE,
    READOUT,
    ROWS,
    Factors,
    Family,
    cases,
    wrong,
)
from tests.cases.test_depth import BRANCHES, each
from tests.models import Net


def vmapped(width: int, depth: int) -> nn.Module:
    """Experts side by side under vmap inside every block, their tensors stacked."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.inp(x)
        for up, down in zip(m.up, m.down, strict=True):
            both = torch.func.vmap(
                lambda u, d, y: F.linear(torch.relu(F.linear(y, u)), d), (0, 0, None)
            )
            x = x + both(up, down, m.norm(x)).sum(0)
        return m.head(x)

    parts = {"inp": nn.Linear(10, width), "head": nn.Linear(width, 3), "norm": nn.LayerNorm(width)}
    stacks = {
        name: each(lambda w: nn.Parameter(torch.randn(2, w, w)))(width, depth)
        for name in ("up", "down")
    }
    return Net(run, **parts, **stacks)


def stacked(
    loop: Callable[[Any, Tensor], Tensor],
    right: Mapping[str, str | Factors],
    **parts: Callable[[int, int], Any],
) -> Family:
    """All layers in one tensor each."""

    def make(width: int, depth: int) -> nn.Module:
        shapes = {"up": (depth, 2 * width, width), "down": (depth, width, 2 * width)}
        layers = {n: nn.Parameter(torch.randn(s) * s[-1] ** -0.5) for n, s in shapes.items()}
        ends = {"inp": nn.Linear(10, width), "head": nn.Linear(width, 3)}
        made = {n: part(width, depth) for n, part in parts.items()}
        return Net(lambda m, x: m.head(loop(m, m.inp(x))), **ends, **layers, **made)

    return Family(make=make, right=right, inputs=ROWS, grow=(4, 4), branches=BRANCHES)


def by_index(m: Any, x: Tensor) -> Tensor:
    for i in range(len(m.up)):
        y = torch.relu(F.linear(F.rms_norm(x, x.shape[-1:]), m.up[i]))
        x = x + F.linear(y, m.down[i])
    return x


def by_unbind(m: Any, x: Tensor) -> Tensor:
    for up, down in zip(m.up.unbind(), m.down.unbind(), strict=True):
        x = x + torch.relu(F.rms_norm(x, x.shape[-1:]) @ up.t()) @ down.t()
    return x


def by_split(m: Any, x: Tensor) -> Tensor:
    for up, down in zip(m.up.split(1), m.down.split(1), strict=True):
        x = x + torch.relu(F.rms_norm(x, x.shape[-1:]) @ up[0].t()) @ down[0].t()
    return x


def by_index_select(m: Any, x: Tensor) -> Tensor:
    for i in range(len(m.up)):
        up, down = (t.index_select(0, torch.tensor([i]))[0] for t in (m.up, m.down))
        x = x + torch.relu(F.rms_norm(x, x.shape[-1:]) @ up.t()) @ down.t()
    return x


def by_einsum(m: Any, x: Tensor) -> Tensor:
    for i in range(len(m.up)):
        y = torch.relu(torch.einsum("bi,oi->bo", F.rms_norm(x, x.shape[-1:]), m.up[i]))
        x = x + torch.einsum("bi,oi->bo", y, m.down[i])
    return x


def gained(m: Any, x: Tensor) -> Tensor:
    for i in range(len(m.up)):
        y = torch.relu(F.rms_norm(x, x.shape[-1:]) * m.gain[i] @ m.up[i].t())
        x = x + m.scale[i] * (y @ m.down[i].t())
    return x


IN_ONE = {"up": INSIDE, "down": ENDS, "inp.weight": INPUT, "head.weight": READOUT}
STACKED = {
    "indexing": stacked(by_index, IN_ONE),
    "unbind": stacked(by_unbind, IN_ONE),
    "split": stacked(by_split, IN_ONE),
    "index_select": stacked(by_index_select, IN_ONE),
    "einsum": stacked(by_einsum, IN_ONE),
    "gains and scales in one tensor": stacked(
        gained,
        {"up": INSIDE, "down": INSIDE, "gain": GAIN, "scale": (1 / 4, 1 / 4)},
        gain=lambda w, d: nn.Parameter(torch.ones(d, w)),
        scale=lambda w, d: nn.Parameter(torch.ones(d)),
    ),
    "vmap over experts": Family(
        make=vmapped,
        inputs=ROWS,
        grow=(4, 4),
        branches=BRANCHES,
        right={"up.0": INSIDE, "down.1": ENDS, "head.weight": READOUT},
    ),
}
FAULTS: dict[str, str] = {}


@pytest.mark.parametrize(("name", "optimizer"), cases(STACKED, FAULTS))
def test_a_dimension_of_layers_is_depth(name: str, optimizer: str) -> None:
    assert wrong(STACKED[name], optimizer) == {}
