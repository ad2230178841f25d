"""Perceptrons of few layers, and odd layers between a stem and a readout."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .parts import Function, Net, identity, repeat, square


def pair(
    width: int,
    between: Function = torch.relu,
    after: Function = identity,
    **spare: nn.Module,
) -> nn.Module:
    """A stem and a readout, with a function of the features and one of the outputs.

    Modules in `spare` are part of the model and not of its forward pass.
    """
    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(lambda m, x: after(m.readout(between(m.stem(x)))), **ends, **spare)


def framed(width: int, *layers: nn.Module) -> nn.Module:
    """A stem, layers and a readout in a row."""
    return nn.Sequential(nn.Linear(5, width), *layers, nn.Linear(width, 3))


def matrices(width: int, inner: int | None = None) -> nn.Module:
    """Three matrices in a row, the smallest model that every optimizer takes."""
    inner = inner or width
    sizes = ((5, width), (width, inner), (inner, 3))
    return nn.Sequential(*(nn.Linear(*size, bias=False) for size in sizes))


def uneven(width: int) -> nn.Module:
    """Layers of one pattern with several shapes, so that a star cannot stand for all."""
    sizes = ((8, width), (width, width), (width, width), (width, 4))
    layers = nn.Sequential(*(nn.Linear(*size) for size in sizes))
    return Net(lambda m, x: m.layers(x), layers=layers)


def bare_matrix(width: int, inputs: int = 1) -> nn.Module:
    """A bare matrix `mix` whose axes no rule knows, over a number of inputs."""

    def run(m: Any, *x: Tensor) -> Tensor:
        if len(x) != inputs:
            raise TypeError(f"{inputs} inputs are needed")
        return m.readout(torch.relu(sum(m.stem(one) for one in x)) @ m.mix)

    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(run, **ends, mix=nn.Parameter(torch.eye(width)))


def bare_readout(width: int) -> nn.Module:
    """A bare matrix as the readout."""
    return Net(
        lambda m, x: m.layer(m.stem(x)) @ m.projection,
        stem=nn.Linear(5, width),
        layer=square(width),
        projection=nn.Parameter(torch.randn(width, 3) / width),
    )


def bilinear(width: int) -> nn.Module:
    """A bilinear layer of two layers of features."""
    return Net(
        lambda m, x: m.readout(m.both(m.left(x), m.right(x))),
        left=nn.Linear(5, width),
        right=nn.Linear(5, width),
        both=nn.Bilinear(width, width, width),
        readout=nn.Linear(width, 3),
    )


def shared_layers(width: int) -> nn.Module:
    """One layer under two names, whose weight a third has, too."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.readout(m.third(torch.relu(m.second(torch.relu(m.first(m.stem(x)))))))

    first, third = square(width), square(width)
    third.weight = first.weight
    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(run, **ends, first=first, second=first, third=third)


def shared_matrix(width: int) -> nn.Module:
    """One matrix under two names, each time behind a norm."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.readout(m.second(m.norm(m.first(m.norm2(m.stem(x))))))

    layer = square(width, bias=False)
    norms = {"norm": nn.LayerNorm(width), "norm2": nn.LayerNorm(width)}
    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(run, **ends, first=layer, second=layer, **norms)


def two_tables(width: int) -> nn.Module:
    """An embedding that encoder and decoder share, and a head that is another matrix."""
    source, target = nn.Embedding(11, width), nn.Embedding(11, width)
    target.weight = source.weight
    return Net(
        lambda m, x: m.head(torch.relu(m.source(x) + m.target(x))),
        source=source,
        target=target,
        head=nn.Linear(width, 11),
    )


def looped(
    width: int,
    times: int,
    block: Callable[[int], nn.Module],
    once: int = 0,
    *,
    residual: bool = True,
) -> nn.Module:
    """One block applied `times` times, after blocks that are used once."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for first in m.once:
            x = x + first(x)
        for _ in range(times):
            x = x + m.block(x) if residual else m.block(x)
        return m.readout(x)

    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(run, **ends, once=repeat(once, lambda: block(width)), block=block(width))
