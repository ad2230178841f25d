"""One update of stacked tensors: its data, and the pieces that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

State = dict[str, Tensor]
"""The optimizer's state of stacked tensors, (row, ...)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One update of stacked tensors of one shape, in place.

    Attributes:
        parameter: The tensors, (row, *shape); a row is one tensor of one member.
        gradient: Their gradients.
        state: The optimizer's state, changed in place.
        numbers: The numbers of this step, such as betas and their powers, (row, 1, ..., 1); those
            that are zero for all members at all steps are left out.
        lr: The rates, stacked alike.
        eps: The eps, stacked alike.
        weight_decay: The weight decays, stacked alike; None where all are zero.
        count: Number of this step, from 1, for updates that need all members at one step.
    """

    parameter: Tensor
    gradient: Tensor
    state: State
    numbers: Mapping[str, Tensor]
    lr: Tensor
    eps: Tensor
    weight_decay: Tensor | None = None
    count: int = 0

    def number(self, name: str) -> Tensor | float:
        """Return one of the numbers of this step."""
        return self.numbers.get(name, 0.0)

    def coupled(self) -> Tensor:
        """Return the gradient with L2 weight decay."""
        if self.weight_decay is None:
            return self.gradient
        return self.gradient + self.weight_decay * self.parameter

    def shrink(self) -> None:
        """Shrink the parameters by decoupled weight decay, rate times decay."""
        if self.weight_decay is not None:
            self.parameter.mul_(1 - self.lr * self.weight_decay)

    def as_matrices(self) -> Step:
        """Return the same step with kernels flattened, as views of the same memory."""
        if self.parameter.dim() <= 3:
            return self
        flat: dict[str, Any] = {
            name: value.view(*value.shape[:2], -1)
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and name != "gradient"
        }
        flat["gradient"] = self.gradient.flatten(2)
        flat["numbers"] = {n: v.view(*v.shape[:2], -1) for n, v in self.numbers.items()}
        state = {name: value.view(*value.shape[:2], -1) for name, value in self.state.items()}
        return replace(self, **flat, state=state)


_CACHED_ENTRIES = 1 << 17
"""Entries of a block that stays in the processor's cache.

An update passes over its tensors several times.
"""


def blocks(stacked: Tensor) -> Iterator[slice]:
    """Return slices of rows whose update stays in cache; on other devices all rows."""
    rows = len(stacked)
    size = rows
    if stacked.device.type == "cpu":
        size = max(1, _CACHED_ENTRIES // max(1, stacked[0].numel()))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
