"""The stack: parameters, state and rates of all members in common tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..core import MutransferError
from ..plans import Row
from ._environment import placed
from ._loss import batch_loss
from ._optimizers import UPDATES
from ._recipe import Member, Recipe
from ._updates import Step, blocks

_LARGE = 1 << 14
"""Parameters with at least this many entries are updated alone.

Copying their gradients together costs more than an operation for each.
"""


class Stack:
    """The members' parameters, buffers, optimizer state and rates, stacked.

    Args:
        members: Members of one shape.
        recipe: What they share.

    Raises:
        MutransferError: shapes or optimizer families differ between members.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe) -> None:
        self.recipe = recipe
        self.template = _copied(members[0].model)
        self.buckets = [_Bucket.of(names, members) for names in _bucket_names(members[0])]
        buffers = [_untrained(member.model) for member in members]
        self.buffers = {name: _stacked([b[name] for b in buffers], name) for name in buffers[0]}
        self.parameters = self._by_name()
        self.alive = torch.arange(len(members))
        self.inputs, self.targets = placed(recipe.task, next(iter(self.parameters.values())))
        seeds = sorted({member.seed for member in members})
        self.rows = torch.stack(
            [recipe.task.batches(seed, recipe.steps, recipe.batch) for seed in seeds]
        )
        self.seed = torch.tensor([seeds.index(member.seed) for member in members])
        self.options = {
            family: {**options, **UPDATES[family].fixed}
            for family, options in recipe.families().items()
        }
        self.gradient = torch.func.vmap(
            torch.func.grad_and_value(self._loss), randomness="different"
        )

    @property
    def largest(self) -> int:
        """Entries of the largest stacked parameter."""
        return max(bucket.tensors["parameter"][0].numel() for bucket in self.buckets)

    def step(self, number: int) -> Float[Tensor, " member"]:
        """Train the members in the stack one step, and return their losses before it."""
        rows: Int[Tensor, "member batch"] = self.rows[self.seed, number]
        gradients, losses = self.gradient(
            self.parameters, self.buffers, self.inputs[rows], self.targets[rows]
        )
        for bucket in self.buckets:
            bucket.step(gradients, number + 1, self.options[bucket.family])
        return losses  # type: ignore[no-any-return]

    def keep(self, members: list[int]) -> None:
        """Drop all other members, which then cost nothing more."""
        if len(members) == len(self.alive):
            return
        index = torch.tensor(members, dtype=torch.long)
        for bucket in self.buckets:
            bucket.keep(index)
        self.buffers = {
            name: buffer[index.to(buffer.device)] for name, buffer in self.buffers.items()
        }
        self.parameters = self._by_name()
        self.alive, self.seed = self.alive[index], self.seed[index]

    def _by_name(self) -> dict[str, Tensor]:
        return {
            name: bucket.tensors["parameter"][i]
            for bucket in self.buckets
            for i, name in enumerate(bucket.names)
        }

    def _loss(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
    ) -> Tensor:
        output = torch.func.functional_call(
            self.template, (parameters, buffers), (inputs,), strict=True
        )
        return batch_loss(self.recipe.task, output, targets)


@dataclass(frozen=True)
class _Bucket:
    """Parameters of one shape and family, updated together.

    Small parameters of one shape lie in one tensor, so that a deep network costs the optimizer no
    more operations than a shallow one.

    Attributes:
        names: Names of the parameters.
        family: The optimizer family that trains them.
        tensors: "parameter", the optimizer's state, and "lr", "eps" and "weight_decay", each
            stacked as (name, member, *shape).
    """

    names: list[str]
    family: str
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, names: list[str], members: Sequence[Member]) -> _Bucket:
        """Stack these parameters of all members."""
        family = members[0].table[names[0]].optimizer
        models = [dict(member.model.named_parameters()) for member in members]
        values = torch.stack([_stacked([m[name] for m in models], name) for name in names])
        for name in names:
            if len(others := {member.table[name].optimizer for member in members}) > 1:
                raise MutransferError(
                    f"{name} is trained by {' and '.join(sorted(others))} in different members; "
                    "members that train together have one optimizer for each tensor"
                )
        state = {key: torch.zeros_like(values) for key in UPDATES[family].state}
        tables = [member.table for member in members]
        return cls(names, family, {"parameter": values} | state | _rates(tables, names, values))

    def step(
        self, gradients: Mapping[str, Tensor], count: int, options: Mapping[str, object]
    ) -> None:
        """Update the parameters of all members in place."""
        update = UPDATES[self.family]
        flat = {key: tensor.flatten(0, 1) for key, tensor in self.tensors.items()}
        parts = [gradients[name] for name in self.names]
        flat["gradient"] = torch.cat(parts) if len(parts) > 1 else parts[0]
        for block in blocks(flat["parameter"]):
            part = {key: tensor[block] for key, tensor in flat.items()}
            state = {key: part.pop(key) for key in update.state}
            update.apply(Step(**part, state=state, count=count), **options)

    def keep(self, index: Int[Tensor, " kept"]) -> None:
        """Drop all members but these."""
        for key, tensor in self.tensors.items():
            self.tensors[key] = tensor[:, index.to(tensor.device)]


def _bucket_names(member: Member) -> list[list[str]]:
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
    """Return rate, eps and decay of these tensors, (name, member, 1, ..., 1).

    No weight decay is returned where it is zero for all, so that updates can leave it out.
    """
    shape = (len(names), len(tables), *[1] * (like.dim() - 2))

    def column(key: str) -> Tensor:
        values = [[float(getattr(table[name], key) or 0.0) for table in tables] for name in names]
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(shape)

    columns = {key: column(key) for key in ("lr", "eps", "weight_decay")}
    return {key: rates for key, rates in columns.items() if key != "weight_decay" or rates.any()}


def _untrained(model: nn.Module) -> dict[str, Tensor]:
    """Return buffers and frozen parameters."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    return dict(model.named_buffers()) | frozen


def _stacked(tensors: list[Tensor], name: str) -> Tensor:
    if len({tensor.shape for tensor in tensors}) > 1:
        raise MutransferError(
            f"{name} has different shapes in different members; "
            "members that train together have one shape"
        )
    return torch.stack([tensor.detach() for tensor in tensors])


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy of the model, or itself where it cannot be copied.

    A forward pass may keep state in plain attributes, which another training of the same model must
    not see.
    """
    try:
        return copy.deepcopy(model)
    except Exception:
        return model
