"""Buckets: parameters of one shape, type and family, stacked and updated together.

Axes: names of parameters, slots of the program; rows are both, flattened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import rules
from ..core import MutransferError
from ..plans import Row
from ._members import Member
from ._optimizers import UPDATES
from ._recipe import Recipe
from ._step import Step, blocks

_LARGE = 1 << 14
"""Parameters with at least this many entries are updated alone.

Copying their gradients together costs more than an operation for each.
"""

RATES = ("lr", "eps", "weight_decay", "multiplier")


@dataclass(frozen=True)
class Bucket:
    """Parameters of one shape, type and family, updated together.

    Small parameters of one shape lie in one tensor, so that a deep network costs the optimizer no
    more operations than a shallow one.

    Attributes:
        names: Names of the parameters.
        family: The optimizer family that trains them.
        tensors: "parameter", the optimizer's state, and "lr", "eps", "weight_decay" and
            "multiplier", each stacked as (name, slot, ...).
        rates: Rate, eps, decay and multiplier of all members, those that wait too, (name, member,
            1, ..., 1). No weight decay where it is zero for all, so that updates can leave it out.
    """

    names: list[str]
    family: str
    tensors: dict[str, Tensor]
    rates: dict[str, Tensor]

    @classmethod
    def of(cls, names: list[str], members: Sequence[Member], slots: int, recipe: Recipe) -> Bucket:
        """Stack parameters of the first members, in the recipe's type and device.

        Args:
            names: The parameters.
            members: All members; where there are fewer than slots, the last fills the others.
            slots: Number of slots.
            recipe: What members share.
        """
        family = members[0].table[names[0]].optimizer
        for name in names:
            if len(others := {member.table[name].optimizer for member in members}) > 1:
                raise MutransferError(
                    f"{name} is trained by {' and '.join(sorted(others))} in different members; "
                    "members that train together have one optimizer for each tensor"
                )
        models_by_id = {id(member.model): member.model for member in members}
        own = {key: dict(model.named_parameters()) for key, model in models_by_id.items()}
        for name in names:
            check_shapes([parameters[name] for parameters in own.values()], name)
        models = [own[id(member.model)] for member in members[:slots]]
        models += [models[-1]] * (slots - len(models))
        values = torch.stack([stacked([m[name] for m in models], recipe) for name in names])
        rates = _rates([member.table for member in members], names, values)
        first = torch.arange(slots, device=values.device).clamp(max=len(members) - 1)
        tensors = {"parameter": values} | UPDATES[family].start(values)
        return cls(names, family, tensors | {key: r[:, first] for key, r in rates.items()}, rates)

    def load(self, slot: int, number: int, member: Member) -> None:
        """Put a new member into a slot, its optimizer as before the first step.

        Args:
            slot: The slot.
            number: The member's number.
            member: The member.
        """
        parameters = dict(member.model.named_parameters())
        for key, tensor in self.tensors.items():
            if key in self.rates:
                tensor[:, slot] = self.rates[key][:, number]
            elif key != "parameter":
                tensor[:, slot] = 0
        for place, name in enumerate(self.names):
            self.tensors["parameter"][place, slot].copy_(parameters[name].detach())

    def keep(self, index: Int[Tensor, " kept"]) -> None:
        """Drop all other slots."""
        for key, tensor in self.tensors.items():
            self.tensors[key] = tensor[:, index]


def squared_norms(
    tensors: Mapping[str, Tensor], gradient: Float[Tensor, "name slot *shape"]
) -> Float[Tensor, " slot"]:
    """Return each member's squared norm of a bucket's gradients, multipliers explicit."""
    norms = gradient.flatten(2).norm(dim=2) if gradient.dim() > 2 else gradient.abs()
    return (norms * tensors["multiplier"].view_as(norms)).square().sum(0)


def update(
    family: str,
    tensors: Mapping[str, Tensor],
    gradient: Float[Tensor, "name slot *shape"],
    factor: Float[Tensor, " slot"],
    numbers: Mapping[str, Float[Tensor, " slot"]],
    options: Mapping[str, object],
    count: int,
    *,
    whole: bool,
) -> None:
    """Update the parameters of a bucket in place.

    Args:
        family: The optimizer family.
        tensors: The bucket's tensors.
        gradient: The gradients.
        factor: Factor of each member's rates.
        numbers: The numbers of the update.
        options: Options that all members share.
        count: Number of this step, from 1, for updates that need all members at one step.
        whole: False to update in pieces that stay in the processor's cache, as nothing else does
            where operations run one by one.
    """
    if gradient.is_complex() and not rules.family(family).matrices:
        tensors, gradient = _real(tensors, gradient)
    known, rows = UPDATES[family], tensors["parameter"].flatten(0, 1)
    column = (-1, *[1] * (rows.dim() - 1))

    def spread(values: Tensor) -> Tensor:
        return values.repeat(len(gradient)).view(column)

    flat = {k: tensor.flatten(0, 1) for k, tensor in tensors.items() if k != "multiplier"}
    flat["gradient"] = gradient.flatten(0, 1)
    flat["lr"] = flat["lr"] * spread(factor)
    spreads = {name: spread(value) for name, value in numbers.items()}
    for block in [slice(None)] if whole else blocks(rows):
        part = {key: tensor[block] for key, tensor in flat.items()}
        state = {key: part.pop(key) for key in (*known.state, *known.left, *known.right)}
        own = {name: value[block] for name, value in spreads.items()}
        known.apply(Step(**part, state=state, numbers=own, count=count), **options)


def _real(
    tensors: Mapping[str, Tensor], gradient: Float[Tensor, "name slot *shape"]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return views of complex tensors as real ones, which is how torch updates them."""
    views = {
        key: tensor[..., None] if key in RATES else torch.view_as_real(tensor)
        for key, tensor in tensors.items()
    }
    return views, torch.view_as_real(gradient.resolve_conj())


def bucket_names(member: Member) -> list[list[str]]:
    """Return the names of parameters that are updated together."""
    buckets: dict[object, list[str]] = {}
    for name, parameter in member.model.named_parameters():
        if parameter.requires_grad:
            alike = (member.table[name].optimizer, parameter.shape, parameter.dtype)
            key = alike if parameter.numel() < _LARGE else name
            buckets.setdefault(key, []).append(name)
    return list(buckets.values())


def _rates(
    tables: Sequence[Mapping[str, Row]], names: Sequence[str], like: Tensor
) -> dict[str, Tensor]:
    """Return rate, eps, decay and multiplier of tensors, (name, member, 1, ..., 1)."""
    shape = (len(names), len(tables), *[1] * (like.dim() - 2))

    def column(key: str) -> Tensor:
        values = [[float(getattr(table[name], key) or 0.0) for table in tables] for name in names]
        return torch.tensor(values, dtype=like.dtype.to_real(), device=like.device).view(shape)

    columns = {key: column(key) for key in RATES}
    return {key: rates for key, rates in columns.items() if key != "weight_decay" or rates.any()}


def check_shapes(tensors: Sequence[Tensor], name: str) -> None:
    """Raise unless a tensor has one shape in all members.

    Raises:
        MutransferError: naming the tensor.
    """
    if len({tensor.shape for tensor in tensors}) > 1:
        raise MutransferError(
            f"{name} has different shapes in different members; "
            "members that train together have one shape"
        )


def stacked(tensors: Sequence[Tensor], recipe: Recipe) -> Tensor:
    """Return one tensor of all members, in the recipe's type and on its device."""
    values = torch.stack([tensor.detach() for tensor in tensors])
    return values.to(recipe.device, recipe.dtype if values.is_floating_point() else None)
