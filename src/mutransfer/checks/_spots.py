"""The places of modules in a residual network."""

from __future__ import annotations

from enum import StrEnum

from torch import nn

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
    spot_of: dict[str, Spot] = {}
    for name, module in model.named_modules():
        name = canonical(name)
        inside = frozenset(names[id(p)] for p in module.parameters() if id(p) in names)
        if name == "" or name in heads or (inside & tied and isinstance(module, nn.Linear)):
            spot_of[pattern(name)] = Spot.READOUT
        elif any(branch.end.module == name for branch in reading.trace.branches):
            spot_of[pattern(name)] = Spot.END
        else:
            spot_of[pattern(name)] = _spot(inside, reading) if inside else Spot.UNKNOWN
    return spot_of


def _spot(tensors: frozenset[str], reading: Reading) -> Spot:
    """Return the spot of a module with these tensors."""
    for branch in reading.trace.branches:
        if tensors <= branch.tensors:
            return Spot.END if tensors & (branch.end.tensors or frozenset()) else Spot.INSIDE
    return Spot.STREAM
