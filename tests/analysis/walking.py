"""Two sizes of one small model, recorded and walked side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.analysis import Finding, Stack, Stars, Use, Walk, account, stack_of
from mutransfer.pytorch._record import record_program
from mutransfer.reading import Program
from tests.models import Net, Residual, square

Make = Callable[[int], nn.Module]
Join = Callable[[Any, Tensor], Tensor]
Layers = dict[str, Callable[[], nn.Module]]

HERE, THERE = 8, 16
GROWN = (HERE, THERE)
WIDTH = 8


def walked(make: Make, inputs: Any = None, sizes: tuple[int, int] = GROWN) -> Walk:
    """Walk over the smaller of two sizes, with the other beside it."""
    torch.manual_seed(0)
    base, other = (record_program(make(size), inputs) for size in sizes)
    return account(base, other, stars(base, other))


def stars(base: Program, other: Program) -> Stars:
    return Stars(base.parameters, other.parameters)


def of_features(run: Callable[..., Any], **parts: Callable[[int], Any]) -> Make:
    """Return a builder of a stem whose features a function takes, with learned parts.

    A part that is a shape becomes a parameter of that shape.
    """

    def learned(part: Any) -> Any:
        return nn.Parameter(torch.randn(part) + 3) if isinstance(part, tuple) else part

    def make(width: int) -> nn.Module:
        made = {name: learned(part(width)) for name, part in parts.items()}
        return Net(lambda m, x: run(m, m.stem(x)), stem=nn.Linear(5, width), **made)

    return make


def of_weights(run: Callable[..., Any], **shapes: Callable[[int], tuple[int, ...]]) -> Make:
    """Return a builder of a function of the stem's features and of parameters, by position."""
    names = list(shapes)
    return of_features(lambda m, x: run(x, *(getattr(m, name) for name in names)), **shapes)


def only_use(walk: Walk, name: str = "w") -> Use:
    (use,) = walk.uses[name]
    return use


def output_ratio(walk: Walk) -> float:
    """Return the growth of the entries of the first output, before it is checked."""
    return next((f.ratio for f in walk.findings if f.place == "output"), 1.0)


def causes(finding: Finding) -> set[str]:
    return {cause.kind for cause in finding.causes}


def stack(join: Join, layers: Layers, depth: int = 2) -> nn.Module:
    """Build blocks of named layers; `join(block, x)` is the stream after a block."""
    return Residual(
        WIDTH,
        depth,
        lambda width: nn.ModuleDict({name: layer() for name, layer in layers.items()}),
        join=lambda model, block, x: join(block, x),
    )


def stacked(model: nn.Module, other: nn.Module | None = None, inputs: Any = None) -> Stack:
    """Return the branches of a model; with another depth beside it, its runs are counted."""
    program = record_program(model, inputs)
    beside = program if other is None else record_program(other, inputs)
    return stack_of(program, stars(program, beside))


matrix = partial(square, WIDTH)
norm = partial(nn.LayerNorm, WIDTH)
no_gain = partial(nn.LayerNorm, WIDTH, elementwise_affine=False)


def bias_and_weight(*names: str) -> set[str]:
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
