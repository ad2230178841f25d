"""Optimizers for stacked tensors, each member with its own rate, eps and weight decay; equal to torch.optim member by member."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ..core import MutransferError

State = dict[str, Tensor]
"""What the optimizer remembers of one stacked tensor, each entry of its shape."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One update of stacked tensors of one shape (row, *shape), in place; a row is one tensor of one member.

    The rates are stacked too, (row, 1, ..., 1); `count` is the number of this step, from 1.
    """

    parameter: Tensor
    gradient: Tensor
    state: State
    count: int
    lr: Tensor
    eps: Tensor
    weight_decay: Tensor | None = None


def sgd(step: Step, *, momentum: float = 0.0, nesterov: bool = False) -> None:
    """torch.optim.SGD, with L2 weight decay."""
    gradient = step.gradient
    if step.weight_decay is not None:
        gradient = gradient + step.weight_decay * step.parameter
    if momentum:
        buffer = step.state["momentum"]
        buffer.mul_(momentum if step.count > 1 else 0.0).add_(gradient)
        gradient = gradient + momentum * buffer if nesterov else buffer
    step.parameter.sub_(step.lr * gradient)


def adam(step: Step, *, betas: tuple[float, float] = (0.9, 0.999), decoupled: bool = False) -> None:
    """torch.optim.Adam, with L2 weight decay; torch.optim.AdamW where the decay is decoupled."""
    gradient = step.gradient
    if step.weight_decay is not None:
        if decoupled:
            step.parameter.mul_(1 - step.lr * step.weight_decay)
        else:
            gradient = gradient + step.weight_decay * step.parameter
    first, second = step.state["first"], step.state["second"]
    first.lerp_(gradient, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    denominator = second.sqrt().div_((1 - betas[1] ** step.count) ** 0.5).add_(step.eps)
    step.parameter.sub_(
        torch.div(first, denominator, out=denominator).mul_(step.lr / (1 - betas[0] ** step.count))
    )


@dataclass(frozen=True)
class Update:
    """A stacked optimizer: its update, the names of its state, and torch's own class for training one by one."""

    apply: Callable[..., None]
    state: tuple[str, ...]
    torch_class: type[torch.optim.Optimizer]
    fixed: Mapping[str, bool] = field(default_factory=dict)


UPDATES: Mapping[str, Update] = {
    "sgd": Update(sgd, ("momentum",), torch.optim.SGD),
    "adam": Update(adam, ("first", "second"), torch.optim.Adam),
    "adamw": Update(adam, ("first", "second"), torch.optim.AdamW, {"decoupled": True}),
}


def update(name: str) -> Update:
    """The stacked optimizer of this name.

    Raises:
        MutransferError: there is none.
    """
    if name not in UPDATES:
        raise MutransferError(
            f"no ensemble trains with the optimizer {name!r}; choose one of {', '.join(UPDATES)}"
        )
    return UPDATES[name]


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the stacked optimizer of this name does not take.

    Raises:
        MutransferError: naming the option, and those it takes.
    """
    chosen = update(name)
    known = [
        option
        for option in signature(chosen.apply).parameters
        if option != "step" and option not in chosen.fixed
    ]
    if unknown := sorted(options.keys() - set(known)):
        raise MutransferError(
            f"the optimizer {name} of an ensemble takes no option {unknown[0]!r}; it takes {', '.join(known)}"
        )


_CACHED_ENTRIES = 1 << 17
"""An update passes over its tensors several times: blocks this large stay in the processor's cache between passes."""


def blocks(stacked: Tensor) -> Iterator[slice]:
    """Slices of rows whose update stays in cache; all rows at once on other devices than the CPU."""
    rows = len(stacked)
    size = (
        rows
        if stacked.device.type != "cpu"
        else max(1, _CACHED_ENTRIES // max(1, stacked[0].numel()))
    )
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
