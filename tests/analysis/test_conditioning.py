"""Tensors that enter residual branches beside the stream: conditioning, layer by layer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.analysis import Stack
from tests.analysis.walking import WIDTH, matrix, stacked
from tests.models import Net, repeat

Branch = Callable[[Any, Any, Tensor, Tensor], Tensor]
Parts = dict[str, Callable[[], Any]]

ROWS = torch.randn(4, 5), torch.randn(4, WIDTH)
DEPTHS = [(1, 2), (2, 4), (4, 2), (2, 2)]


def conditioned(branch: Branch, block: Parts, parts: Parts | None = None, depth: int = 2) -> Net:
    """Build blocks of parts; `branch(model, block, x, c)` is added to the stream."""

    def run(m: Any, x: Tensor, c: Tensor) -> Tensor:
        x = m.stem(x)
        for one in m.blocks:
            x = x + branch(m, one, x, c)
        return m.head(x)

    def make() -> nn.Module:
        made = nn.ModuleDict()
        for name, part in block.items():
            made[name] = part()
        return made

    ends = {"stem": nn.Linear(5, WIDTH), "head": nn.Linear(WIDTH, 3)}
    whole = {name: part() for name, part in (parts or {}).items()}
    return Net(run, **ends, blocks=repeat(depth, make), **whole)


def placed(depth: int, other: int, *parts: Any) -> tuple[Stack, set[str]]:
    """Return the branches, and the tensors in them, of a model with another beside it."""
    model, beside = (conditioned(*parts, depth=d) for d in (depth, other))
    found = stacked(model, beside, ROWS)
    return found, {name.removeprefix("blocks.0.") for name in found.place if ".bias" not in name}


def shifted(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    return block["end"](torch.relu(x + block["shift"](c)))


def modulated(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    scale, shift = block["both"](torch.tanh(m.shared(c))).chunk(2, -1)
    return block["end"](torch.relu(F.layer_norm(x, (WIDTH,)) * (1 + scale) + shift))


def remembered(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    scores = block["query"](x) @ block["key"](c).t() / WIDTH
    return block["end"](scores.softmax(-1) @ block["value"](c))


def looked_up(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    return block["end"](torch.relu(x + block["table"](c.argmax(-1))))


def gated(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    return block["gate"](c) * F.gelu(block["end"](x))


def within(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    x = block["end"](x)
    return block["outer"](x + block["inner"](torch.relu(x + block["shift"](c))))


def table() -> nn.Module:
    return nn.Embedding(WIDTH, WIDTH)


def doubled() -> nn.Module:
    return nn.Linear(WIDTH, 2 * WIDTH)


END: Parts = {"end": matrix}
MEMORY: Parts = {"query": matrix, "key": matrix, "value": matrix}
INSIDE: dict[str, tuple[Branch, Parts, Parts, set[str]]] = {
    "a shift": (shifted, {"shift": matrix}, {}, {"shift"}),
    "scale and shift": (modulated, {"both": doubled}, {"shared": matrix}, {"both"}),
    "keys and values": (remembered, MEMORY, {}, {"query", "key", "value"}),
    "an embedding": (looked_up, {"table": table}, {}, {"table"}),
    "a gate": (gated, {"gate": matrix}, {}, {"gate"}),
    "in a nested branch": (
        within,
        {"inner": matrix, "outer": matrix, "shift": matrix},
        {},
        {"inner", "outer", "shift"},
    ),
}


@pytest.mark.parametrize(("depth", "other"), DEPTHS)
@pytest.mark.parametrize(("branch", "block", "parts", "inside"), INSIDE.values(), ids=INSIDE)
def test_a_layer_s_own_conditioning_is_in_its_branch(
    branch: Branch, block: Parts, parts: Parts, inside: set[str], depth: int, other: int
) -> None:
    found, names = placed(depth, other, branch, END | block, parts)
    assert {f"{name}.weight" for name in {"end", *inside}} == {
        name for name in names if "blocks" not in name
    }
    assert set(found.counts.values()) == {depth}


def shared_shift(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    return block["end"](torch.relu(x + m.shared(c)))


def in_series(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    for layer in m.encoder:
        c = torch.tanh(layer(c))
    return block["end"](torch.relu(x + block["shift"](c)))


def in_turn(m: Any, block: Any, x: Tensor, c: Tensor) -> Tensor:
    shift = m.shifts[block is not m.blocks[0]]
    return block["end"](torch.relu(x + shift(c) + m.shifts[0](c) * c.mean()))


SHARED: dict[str, tuple[Branch, Parts, Parts]] = {
    "one network": (shared_shift, {}, {"shared": matrix}),
    "layers of an encoder": (
        in_series,
        {"shift": matrix},
        {"encoder": lambda: repeat(3, matrix)},
    ),
    "two networks": (in_turn, {}, {"shifts": lambda: repeat(2, matrix)}),
}


@pytest.mark.parametrize(("depth", "other"), DEPTHS[1:])
@pytest.mark.parametrize(("branch", "block", "parts"), SHARED.values(), ids=SHARED)
def test_what_all_branches_share_is_in_none(
    branch: Branch, block: Parts, parts: Parts, depth: int, other: int
) -> None:
    _, names = placed(depth, other, branch, END | block, parts)
    assert not any(name.startswith(("shared", "encoder", "shifts")) for name in names)
    assert all(f"{name}.weight" in names for name in block)


@pytest.mark.parametrize("cached", [True, False])
def test_keys_may_be_cached_but_not_used_elsewhere(cached: bool) -> None:
    def run(m: Any, x: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        x, shifts = m.stem(x), [block["shift"](c) for block in m.blocks]
        for block, shift in zip(m.blocks, shifts, strict=True):
            x = x + block["end"](torch.relu(x + shift))
        return m.head(x), *(shifts if cached else map(torch.tanh, shifts))

    model = conditioned(shifted, END | {"shift": matrix})
    model.run = run
    assert ("blocks.1.shift.weight" in stacked(model, inputs=ROWS).place) == cached


def test_a_matrix_for_both_branches_of_a_block() -> None:
    def run(m: Any, x: Tensor, c: Tensor) -> Tensor:
        x = m.stem(x)
        for block in m.blocks:
            first, second = block["both"](c).chunk(2, -1)
            x = x + block["end"](torch.relu(x + first))
            x = x + block["last"](torch.relu(x + second))
        return m.head(x)

    model = conditioned(shifted, END | {"both": doubled, "last": matrix})
    model.run = run
    found = stacked(model, inputs=ROWS)
    assert found.counts["blocks.1.both.weight"] == 4
    assert all(f"blocks.{i // 2}.both.weight" in j.tensors for i, j in enumerate(found.joins))


def test_layers_of_one_stacked_parameter() -> None:
    def run(m: Any, x: Tensor, c: Tensor) -> Tensor:
        x = m.stem(x)
        for block, shift in zip(m.blocks, m.shifts.unbind(), strict=True):
            x = x + block["end"](torch.relu(x + c @ shift))
        return m.head(x)

    def make(depth: int) -> Net:
        shifts = nn.Parameter(torch.randn(depth, WIDTH, WIDTH))
        model = conditioned(shifted, END, {"shifts": lambda: shifts}, depth)
        model.run = run
        return model

    plan = mt.plan(make(4), make(2), example_inputs=ROWS, optimizer="sgd", rule="completep")
    assert plan["shifts"].factor("lr") == 2
