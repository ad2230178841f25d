"""Trains many members of one shape as one program, or one by one with torch.optim.

Both give the same losses to rounding, unless the model itself draws while it trains, as dropout does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..core import MutransferError
from ..statistics import diverged_at
from ..tasks import Task
from ._optimizers import Step, Update, blocks, check_options, update

_CHECK_EVERY = 20
"""Steps between looks at which members have diverged; those leave the stack and cost nothing more."""

_LARGE = 1 << 14
"""Entries of a parameter from which on copying its gradient costs more than an operation of its own."""

_SHARED = 1 << 17
"""Entries of a tensor from which on several threads are faster than one, also on a machine with other work."""

Watch = Callable[[int], None]
"""Called with the number of member-steps just done."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One configuration: an initialised model, the parameter groups of its plan, and the seed of its batches.

    Members with the same initial draw may share one model: it is copied, never changed.
    """

    model: nn.Module
    groups: Sequence[Mapping[str, Any]]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every member is trained: what all of them share.

    Attributes:
        task: Data and loss.
        steps: Number of optimizer steps.
        batch: Examples a step.
        optimizer: "sgd", "adam" or "adamw".
        options: What else the optimizer takes, such as betas or momentum.
    """

    task: Task
    steps: int
    batch: int
    optimizer: str = "adamw"
    options: Mapping[str, Any] = field(default_factory=dict)


def train(
    members: Sequence[Member], recipe: Recipe, watch: Watch | None = None
) -> Float[Tensor, "member steps"]:
    """Train all members together: one stacked tensor for each parameter, one vectorised step, each member with its own rates.

    Args:
        members: Configurations of one shape.
        recipe: What they share.
        watch: Told of progress.

    Returns:
        The loss of every step before its update, float64; not a number for the steps that a diverged member was not trained any more
        (see `diverged_at`).

    Raises:
        MutransferError: there are no members, or their shapes or optimizers do not fit.
    """
    stack = _Stack(members, recipe)
    losses = torch.full((len(members), recipe.steps), float("nan"), dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH), _threads(stack.largest):
        for step in range(recipe.steps):
            losses[stack.alive, step] = stack.step(step).double().cpu()
            if watch is not None:
                watch(len(stack.alive))
            if (step + 1) % _CHECK_EVERY == 0:
                ended = diverged_at(losses[stack.alive, : step + 1].numpy())
                stack.keep([i for i, end in enumerate(ended) if end is None])
                if not len(stack.alive):
                    break
    return losses


def train_one_by_one(
    members: Sequence[Member], recipe: Recipe, watch: Watch | None = None
) -> Float[Tensor, "member steps"]:
    """As `train`, with an ordinary loop over members and torch's own optimizer."""
    losses = torch.full((len(members), recipe.steps), float("nan"), dtype=torch.float64)
    kind = update(recipe.optimizer).torch_class
    for i, member in enumerate(members):
        model = copy.deepcopy(member.model)
        named = dict(model.named_parameters())
        groups = [
            {**group, "params": [named[name] for name in group["names"]]} for group in member.groups
        ]
        optimizer = kind(groups, **recipe.options)
        inputs, targets = _data(recipe.task, next(iter(named.values())))
        with sdpa_kernel(SDPBackend.MATH), _threads(max(p.numel() for p in named.values())):
            for step, rows in enumerate(
                recipe.task.batches(member.seed, recipe.steps, recipe.batch)
            ):
                optimizer.zero_grad()
                loss = recipe.task.loss(model(inputs[rows]), targets[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses[i, step] = loss.detach().double()
                if watch is not None:
                    watch(1)
                if (step + 1) % _CHECK_EVERY == 0 and diverged_at(
                    losses[i : i + 1, : step + 1].numpy()
                )[0] is not None:
                    break
    return losses


@contextmanager
def _threads(largest: int) -> Iterator[None]:
    """One thread where the largest tensor is too small to share: waiting for the others would cost more than they save."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if largest >= _SHARED else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _data(task: Task, like: Tensor) -> tuple[Tensor, Tensor]:
    """The task's examples on the device of a parameter, floating ones in its type."""

    def placed(data: Tensor) -> Tensor:
        return data.to(like.device, like.dtype if data.is_floating_point() else data.dtype)

    return placed(task.inputs), placed(task.targets)


class _Stack:
    """The members' parameters, buffers, optimizer state and rates, stacked; and which members they are.

    Small parameters of one shape lie in one tensor (name, member, *shape), so that a deep network costs the optimizer no more
    operations; a large one has its own.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe) -> None:
        if not members:
            raise MutransferError("an ensemble needs at least one member")
        self.template = members[0].model
        self.recipe = recipe
        self.update = update(recipe.optimizer)
        check_options(recipe.optimizer, recipe.options)
        models = [dict(member.model.named_parameters()) for member in members]
        self.names = _buckets(members[0].model)
        self.tensors: list[dict[str, Tensor]] = []
        for names in self.names:
            values = torch.stack([_stacked([m[name] for m in models], name) for name in names])
            state = {key: torch.zeros_like(values) for key in self.update.state}
            self.tensors.append(
                {"parameter": values} | state | _rates(members, names, values, self.update)
            )
        buffers = [_untrained(member.model) for member in members]
        self.buffers = {name: _stacked([b[name] for b in buffers], name) for name in buffers[0]}
        self.parameters = self._by_name()
        self.alive = torch.arange(len(members))
        self.inputs, self.targets = _data(recipe.task, next(iter(self.parameters.values())))
        seeds = sorted({member.seed for member in members})
        self.rows = torch.stack(
            [recipe.task.batches(seed, recipe.steps, recipe.batch) for seed in seeds]
        )
        self.seed = torch.tensor([seeds.index(member.seed) for member in members])
        self.gradient = torch.func.vmap(
            torch.func.grad_and_value(self._loss), randomness="different"
        )

    @property
    def largest(self) -> int:
        """Entries of the largest stacked parameter."""
        return max(tensors["parameter"][0].numel() for tensors in self.tensors)

    def _by_name(self) -> dict[str, Tensor]:
        pairs = zip(self.names, self.tensors, strict=True)
        return {
            name: tensors["parameter"][i]
            for names, tensors in pairs
            for i, name in enumerate(names)
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
        return self.recipe.task.loss(output, targets)

    def step(self, number: int) -> Float[Tensor, " member"]:
        """One training step of all members still in the stack; their losses before it."""
        rows: Int[Tensor, "member batch"] = self.rows[self.seed, number]
        gradients, losses = self.gradient(
            self.parameters, self.buffers, self.inputs[rows], self.targets[rows]
        )
        options = {**self.recipe.options, **self.update.fixed}
        for names, tensors in zip(self.names, self.tensors, strict=True):
            flat = {key: tensor.flatten(0, 1) for key, tensor in tensors.items()}
            flat["gradient"] = (
                torch.cat([gradients[name] for name in names])
                if len(names) > 1
                else gradients[names[0]]
            )
            for block in blocks(flat["parameter"]):
                part = {key: tensor[block] for key, tensor in flat.items()}
                state = {key: part.pop(key) for key in self.update.state}
                self.update.apply(Step(**part, state=state, count=number + 1), **options)
        return losses  # type: ignore[no-any-return]

    def keep(self, members: list[int]) -> None:
        """Drop all others from the stack."""
        if len(members) == len(self.alive):
            return
        index = torch.tensor(members, dtype=torch.long)
        for tensors in self.tensors:
            for key, tensor in tensors.items():
                tensors[key] = tensor[:, index.to(tensor.device)]
        self.buffers = {
            name: buffer[index.to(buffer.device)] for name, buffer in self.buffers.items()
        }
        self.parameters = self._by_name()
        self.alive, self.seed = self.alive[index], self.seed[index]


def _buckets(model: nn.Module) -> list[list[str]]:
    """Names of the parameters that are updated together: small ones of one shape, and every large one alone."""
    found: dict[object, list[str]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        found.setdefault(parameter.shape if parameter.numel() < _LARGE else name, []).append(name)
    return list(found.values())


def _untrained(model: nn.Module) -> dict[str, Tensor]:
    """Buffers and frozen parameters."""
    return dict(model.named_buffers()) | {
        name: p for name, p in model.named_parameters() if not p.requires_grad
    }


def _stacked(tensors: list[Tensor], name: str) -> Tensor:
    if len({t.shape for t in tensors}) > 1:
        raise MutransferError(
            f"{name} has different shapes in different members; an ensemble trains members of one shape"
        )
    return torch.stack([t.detach() for t in tensors])


def _rates(
    members: Sequence[Member], names: Sequence[str], like: Tensor, update: Update
) -> dict[str, Tensor]:
    """Rate, eps and decay of these tensors for every member, (name, member, 1, ..., 1); no decay where it is zero for all.

    What a group leaves out is torch's default.
    """
    defaults = {
        key: parameter.default
        for key, parameter in signature(update.torch_class).parameters.items()
    }
    found: dict[str, list[list[float]]] = {"lr": [], "eps": [], "weight_decay": []}
    for name in names:
        groups = [
            next((g for g in member.groups if name in g["names"]), None) for member in members
        ]
        if None in groups:
            raise MutransferError(f"{name} is in no parameter group of member {groups.index(None)}")
        for key, table in found.items():
            table.append(
                [
                    float(group.get(key, defaults.get(key, 0.0)))
                    for group in groups
                    if group is not None
                ]
            )
    shape = (len(names), len(members), *[1] * (like.dim() - 2))
    columns = {
        key: torch.tensor(table, dtype=like.dtype, device=like.device).view(shape)
        for key, table in found.items()
    }
    return {key: column for key, column in columns.items() if key != "weight_decay" or column.any()}
