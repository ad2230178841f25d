"""Buckets: parameters of one shape and family, stacked and updated together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..core import MutransferError
from ..plans import Row
from ._members import Member
from ._optimizers import UPDATES
from ._step import Step, blocks

_LARGE = 1 << 14
"""Parameters with at least this many entries are updated alone.

Copying their gradients together costs more than an operation for each.
"""


@dataclass(frozen=True)
class Bucket:
    """Parameters of one shape and family, updated together.

    Small parameters of one shape lie in one tensor, so that a deep network costs the optimizer no
    more operations than a shallow one.

    Attributes:
        names: Names of the parameters.
        family: The optimizer family that trains them.
        tensors: "parameter", the optimizer's state, and "lr", "eps", "weight_decay" and
            "multiplier", each stacked as (name, member, ...).
    """

    names: list[str]
    family: str
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, names: list[str], members: Sequence[Member], dtype: torch.dtype | None) -> Bucket:
        """Stack these parameters of all members, in a type or in their own."""
        family = members[0].table[names[0]].optimizer
        models = [dict(member.model.named_parameters()) for member in members]
        values = torch.stack([stacked([m[name] for m in models], name, dtype) for name in names])
        for name in names:
            if len(others := {member.table[name].optimizer for member in members}) > 1:
                raise MutransferError(
                    f"{name} is trained by {' and '.join(sorted(others))} in different members; "
                    "members that train together have one optimizer for each tensor"
                )
        state = UPDATES[family].start(values)
        tables = [member.table for member in members]
        return cls(names, family, {"parameter": values} | state | _rates(tables, names, values))

    def gathered(self, gradients: Mapping[str, Tensor]) -> Float[Tensor, "name member *shape"]:
        """Return the gradients of the bucket's parameters."""
        parts = [gradients[name] for name in self.names]
        return torch.stack(parts) if len(parts) > 1 else parts[0][None]

    def squared_norms(
        self, gradient: Float[Tensor, "name member *shape"]
    ) -> Float[Tensor, " member"]:
        """Return each member's squared norm of gradients, multipliers explicit."""
        norms = gradient.flatten(2).norm(dim=2) if gradient.dim() > 2 else gradient.abs()
        return (norms * self.tensors["multiplier"].view_as(norms)).square().sum(0)

    def step(
        self,
        gradient: Float[Tensor, "name member *shape"],
        count: int,
        factor: float,
        options: Mapping[str, object],
    ) -> None:
        """Update the parameters of all members in place, at this factor of their rates."""
        update = UPDATES[self.family]
        flat = {key: tensor.flatten(0, 1) for key, tensor in self.tensors.items()}
        flat["gradient"] = gradient.flatten(0, 1)
        del flat["multiplier"]
        if factor != 1.0:
            flat["lr"] = flat["lr"] * factor
        for block in blocks(flat["parameter"]):
            part = {key: tensor[block] for key, tensor in flat.items()}
            state = {key: part.pop(key) for key in (*update.state, *update.left, *update.right)}
            update.apply(Step(**part, state=state, count=count), **options)

    def keep(self, index: Int[Tensor, " kept"]) -> None:
        """Drop all members but these."""
        for key, tensor in self.tensors.items():
            self.tensors[key] = tensor[:, index.to(tensor.device)]


def bucket_names(member: Member) -> list[list[str]]:
    """Return the names of parameters that are updated together."""
    buckets: dict[object, list[str]] = {}
    for name, parameter in member.model.named_parameters():
        if parameter.requires_grad:
            alike = (member.table[name].optimizer, parameter.shape)
            key = alike if parameter.numel() < _LARGE else name
            buckets.setdefault(key, []).append(name)
    return list(buckets.values())


def _rates(
    tables: Sequence[Mapping[str, Row]], names: Sequence[str], like: Tensor
) -> dict[str, Tensor]:
    """Return rate, eps, decay and multiplier of tensors, (name, member, 1, ..., 1).

    No weight decay is returned where it is zero for all, so that updates can leave it out.
    """
    shape = (len(names), len(tables), *[1] * (like.dim() - 2))

    def column(key: str) -> Tensor:
        values = [[float(getattr(table[name], key) or 0.0) for table in tables] for name in names]
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(shape)

    columns = {key: column(key) for key in ("lr", "eps", "weight_decay", "multiplier")}
    return {key: rates for key, rates in columns.items() if key != "weight_decay" or rates.any()}


def stacked(tensors: list[Tensor], name: str, dtype: torch.dtype | None) -> Tensor:
    """Return one tensor of all members stacked, numbers in a type or in their own.

    Raises:
        MutransferError: shapes differ between members.
    """
    if len({tensor.shape for tensor in tensors}) > 1:
        raise MutransferError(
            f"{name} has different shapes in different members; "
            "members that train together have one shape"
        )
    values = torch.stack([tensor.detach() for tensor in tensors])
    return values.to(dtype) if values.is_floating_point() else values
