"""The places of modules in a residual network."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from torch import nn

from ..analysis import Join, Stack, Stars, stack_of
from ..plans import Plan
from ..reading import Reading, canonical, parent, pattern
from ..rules import Role


class Spot(StrEnum):
    """The place of a module's output in the residual network."""

    STREAM = "stream"
    INSIDE = "inside a branch"
    END = "end of a branch"
    READOUT = "readout"
    UNKNOWN = "unknown"


def spots(model: nn.Module, plan: Plan, reading: Reading) -> dict[str, Spot]:
    """Return the spot of each module, by the pattern of its name.

    A module whose tensors all belong to one branch stands inside it; if the branch's last tensors
    are among them, it is the end. A module with tensors of several branches puts out the stream.
    Nothing is known of a module without tensors, unless it is a branch's last module.

    Args:
        model: The base.
        plan: A plan that knows the roles of its tensors.
        reading: Its reading.
    """
    tensors = plan.tensors.values()
    heads = {parent(tensor.name) for tensor in tensors if tensor.role == Role.READOUT}
    tied = {tensor.name for tensor in tensors if tensor.role == Role.TIED}
    names = {id(parameter): canonical(name) for name, parameter in model.named_parameters()}
    joins = joins_of(reading)
    spot_of: dict[str, Spot] = {}
    for name, module in model.named_modules():
        name = canonical(name)
        inside = frozenset(names[id(p)] for p in module.parameters() if id(p) in names)
        if name == "" or name in heads or (inside & tied and isinstance(module, nn.Linear)):
            spot_of[pattern(name)] = Spot.READOUT
        elif any(join.signal.module == name for join in joins):
            spot_of[pattern(name)] = Spot.END
        else:
            spot_of[pattern(name)] = _spot(inside, joins) if inside else Spot.UNKNOWN
    return spot_of


def joins_of(reading: Reading) -> tuple[Join, ...]:
    """Return the residual joins of a model."""
    stack = _stack(reading)
    return () if stack is None else stack.joins


def is_post_norm(reading: Reading) -> bool:
    """Return True where a normalisation follows the residual joins."""
    stack = _stack(reading)
    return stack is not None and stack.normalised > 0


def _stack(reading: Reading) -> Stack | None:
    if reading.program is None:
        return None
    return stack_of(reading.program, Stars(reading.parameters, reading.parameters))


def _spot(tensors: frozenset[str], joins: Sequence[Join]) -> Spot:
    """Return the spot of a module with these tensors."""
    for join in joins:
        if tensors <= join.tensors:
            return Spot.END if tensors & (join.signal.tensors or frozenset()) else Spot.INSIDE
    return Spot.STREAM
