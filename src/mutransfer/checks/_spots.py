"""The places of modules in a residual network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from ..analysis import Join, Stack, Stars, stack_of
from ..plans import Plan
from ..reading import Reading, canonical, parent
from ..rules import Role
from ._owners import holder, module_of, owner
from ._record import Pass


class Spot(StrEnum):
    """The place of a module's output in the residual network."""

    STREAM = "stream"
    INSIDE = "inside a branch"
    END = "end of a branch"
    READOUT = "readout"
    UNKNOWN = "unknown"


SCORES = frozenset({Role.READOUT, Role.ROUTER})
"""Roles of matrices whose outputs are finite sums over growing features."""

Run = Callable[[], Pass]
"""A forward pass of the base."""


def spots(
    model: nn.Module,
    plan: Plan,
    reading: Reading,
    run: Run,
    one_off: frozenset[str] = frozenset(),
) -> dict[str, Spot]:
    """Return the spot of each module and tensor by its name.

    A module whose tensors all belong to one branch stands inside it. With the tensors that end the
    branch among them, it puts out either the end or the stream to which the end was added. Two
    forward passes tell: with all ends at zero the first vanishes, and the second does not.
    Nothing is known of a module without tensors, unless it vanishes, too. The spot of a tensor is
    that of its effect on the output of its module.

    Args:
        model: The base.
        plan: A plan that knows the roles of its tensors.
        reading: Its reading.
        run: Runs the base, and returns the record.
        one_off: Tensors of branches that do not grow in number; these belong to the stream.
    """
    tensors = plan.tensors.values()
    heads = {holder(tensor.name) for tensor in tensors if tensor.role in SCORES}
    tied = {tensor.name for tensor in tensors if tensor.role == Role.TIED}
    names = {id(parameter): canonical(name) for name, parameter in model.named_parameters()}
    branches = tuple(join for join in joins_of(reading) if not join.tensors <= one_off)
    seen = run()
    ends = _vanishing(model, branches, seen, run) if branches else frozenset()
    spot_of: dict[str, Spot] = {}
    for name, module in model.named_modules():
        name = canonical(name)
        inside = frozenset(names[id(p)] for p in module.parameters() if id(p) in names)
        if name == "" or name in heads or (inside & tied and isinstance(module, nn.Linear)):
            spot_of[name] = Spot.READOUT
        elif name in ends:
            spot_of[name] = Spot.END
        else:
            spot_of[name] = _spot(inside, branches) if inside else Spot.UNKNOWN
    spot_of |= _activated(seen, spot_of)
    # A module may hand on the output of a readout inside it.
    for call, first in seen.same.items():
        if spot_of.get(first) == Spot.READOUT and first.startswith(f"{call}."):
            spot_of[call] = Spot.READOUT
    used = Counter(name for branch in branches for name in branch.tensors)
    called = {module_of(call) for call in seen.outputs}
    owners = {name: owner(name, called) for name in plan.tensors}
    return spot_of | {
        name: _spot_of_tensor(used[name], spot_of.get(around) if around else Spot.STREAM)
        for name, around in owners.items()
    }


def _activated(seen: Pass, spot_of: Mapping[str, Spot]) -> dict[str, Spot]:
    """Return the spots of activations by call, where a readout feeds them.

    A module without tensors that takes in the output of a readout, such as a softmax, puts out what
    may shrink likewise. It may be called elsewhere, too.
    """
    by_call: dict[str, Spot] = {}
    for call in seen.outputs:
        source = seen.fed.get(call, "")
        spot = by_call.get(source) or spot_of.get(module_of(source))
        if spot_of.get(module_of(call)) == Spot.UNKNOWN:
            by_call[call] = Spot.READOUT if source and spot == Spot.READOUT else Spot.UNKNOWN
    read = {module_of(call) for call, spot in by_call.items() if spot == Spot.READOUT}
    return {call: spot for call, spot in by_call.items() if module_of(call) in read}


def joins_of(reading: Reading) -> tuple[Join, ...]:
    """Return the residual joins of a model."""
    stack = _stack(reading)
    return () if stack is None else stack.joins


def post_norms(reading: Reading) -> int:
    """Return the number of residual joins that a normalisation follows."""
    stack = _stack(reading)
    return 0 if stack is None else stack.normalised


def _stack(reading: Reading) -> Stack | None:
    if reading.program is None:
        return None
    return stack_of(reading.program, Stars(reading.parameters, reading.parameters))


def _spot_of_tensor(branches: int, around: Spot | None) -> Spot:
    """Return the spot of a tensor that so many branches use, by its module's."""
    # A tensor of all layers acts on the stream through all of their branches at once.
    if not branches or (branches > 1 and around not in {Spot.INSIDE, Spot.END}):
        return Spot.STREAM
    # Scores stand inside the branch that they weigh; the model's own output follows its end.
    inside = around in {Spot.INSIDE, Spot.READOUT}
    return Spot.INSIDE if inside else Spot.END


def _spot(tensors: frozenset[str], branches: tuple[Join, ...]) -> Spot:
    """Return the spot of a module that puts out no branch's end."""
    for branch in branches:
        if tensors <= branch.tensors:
            return Spot.STREAM if tensors & (branch.signal.tensors or frozenset()) else Spot.INSIDE
    return Spot.STREAM


def _vanishing(
    model: nn.Module, branches: tuple[Join, ...], seen: Pass, run: Run
) -> frozenset[str]:
    """Return the modules whose output vanishes once the ends of all branches do."""
    with _without_ends(model, branches):
        outputs = run().outputs
    silent = {name for name, output in outputs.items() if not output.any()}
    # A branch may start at zero, as do modules that have nothing to do with branches.
    ends = frozenset().union(*(branch.signal.tensors or () for branch in branches))
    named = {branch.signal.module for branch in branches if branch.signal.module is not None}
    started = {name for name, output in seen.outputs.items() if not output.any()}
    holding = {name for end in ends for name in _parents(end)}
    return frozenset(named | (silent - started) | (silent & holding))


def _parents(name: str) -> Iterator[str]:
    while name := parent(name):
        yield name


@contextmanager
def _without_ends(model: nn.Module, branches: tuple[Join, ...]) -> Iterator[None]:
    """Put zero in the place of the end of every branch."""
    parameters = {canonical(name): p for name, p in model.named_parameters()}
    modules = {canonical(name): module for name, module in model.named_modules()}
    tensors = {name for branch in branches for name in branch.signal.tensors or ()}
    ends = {b.signal.module for b in branches if b.signal.module is not None} & modules.keys()
    kept = {name: parameters[name].detach().clone() for name in tensors & parameters.keys()}
    handles = [modules[name].register_forward_hook(_zero) for name in ends]
    try:
        for name in kept:
            parameters[name].data.zero_()
        yield
    finally:
        for name, value in kept.items():
            parameters[name].data.copy_(value)
        for handle in handles:
            handle.remove()


def _zero(module: nn.Module, arguments: Any, output: Any) -> Any:
    return torch.zeros_like(output) if isinstance(output, Tensor) else output
