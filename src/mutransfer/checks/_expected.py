"""What the theory expects of every measured quantity: its exponent in width and in depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from torch import nn

from ..pytorch import Plan
from ..reading import Reading, canonical, pattern
from ..rules import Role

GROWS, SHRINKS, OWN_SHRINKS = 0.3, 0.4, 0.7
"""How far an exponent may lie above and below what is expected; see `Expectations.allowance`."""


class Spot(StrEnum):
    """Where the output of a module stands in the residual network."""

    STREAM = "stream"
    INSIDE = "inside a branch"
    END = "end of a branch"
    READOUT = "readout"
    UNKNOWN = "unknown"


def spots(model: nn.Module, own: Plan, read: Reading) -> dict[str, Spot]:
    """Where each module of a model stands, by the pattern of its name.

    A module with tensors of one branch alone stands inside it, or is its end where the branch's last tensors are its own; one with tensors
    of several branches puts out the stream. Of a module without tensors nothing is known.
    """
    heads = {
        name.rpartition(".")[0]
        for name, tensor in own.tensors.items()
        if tensor.role == Role.READOUT
    }
    tied = {name for name, tensor in own.tensors.items() if tensor.role == Role.TIED}
    first = {id(parameter): canonical(name) for name, parameter in model.named_parameters()}
    found: dict[str, Spot] = {}
    for name, module in model.named_modules():
        name = canonical(name)
        tensors = frozenset(
            first[id(parameter)] for parameter in module.parameters() if id(parameter) in first
        )
        key = pattern(name)
        if name == "" or name in heads or (tensors & tied and isinstance(module, nn.Linear)):
            found[key] = Spot.READOUT
        elif not tensors:
            found[key] = _ends(name, read) or Spot.UNKNOWN
        else:
            found[key] = _ends(name, read) or _spot(tensors, read)
    return found


def _ends(module: str, read: Reading) -> Spot | None:
    """The end, if the module puts out the end of a branch."""
    return Spot.END if any(branch.end.module == module for branch in read.trace.branches) else None


def _spot(tensors: frozenset[str], read: Reading) -> Spot:
    for branch in read.trace.branches:
        if tensors <= branch.tensors:
            return (
                Spot.END
                if branch.end.tensors is not None and tensors & branch.end.tensors
                else Spot.INSIDE
            )
    return Spot.STREAM


@dataclass(frozen=True)
class Expectations:
    """The exponents that the theory expects.

    Width: features and their changes are constant (Tensor Programs V, 2203.03466, Desideratum J.1); a readout is constant or shrinks at
    first, so that only growth is wrong there. Depth, with branches times depth^-alpha: the stream is constant, the end of a branch goes as
    depth^-alpha, and each layer's own part of the change inside branches as depth^(alpha-1) (2310.02244, Section 7; 2603.00541, Section 4).
    """

    spots: Mapping[str, Spot]
    alpha: Fraction

    def spot(self, name: str) -> Spot:
        """Where a module stands."""
        return self.spots.get(name.partition("#")[0], Spot.UNKNOWN)

    def allowance(self, axis: str, name: str, quantity: str) -> tuple[float, float]:
        """How far an exponent may lie above and below what is expected.

        In the first steps, updates and inputs align less in wider networks, so that more is allowed downwards, and most where nothing else
        counts. The stream of shallow networks is mostly their branches. Of the end of a branch, the part of the change that comes from its
        weight goes as 1/depth at any alpha.
        """
        spot = self.spot(name)
        if axis == "width" and (quantity in {"own", "change of logits"} or spot == Spot.READOUT):
            return GROWS, OWN_SHRINKS
        if axis == "depth" and (spot == Spot.STREAM or quantity in {"input", "change of input"}):
            return GROWS, OWN_SHRINKS
        if axis == "depth" and quantity == "change" and self.spot(name) == Spot.END:
            return GROWS, SHRINKS + 1 - float(self.alpha)
        return GROWS, SHRINKS

    def of(self, axis: str, kind: str, name: str, quantity: str, step: int) -> float | None:
        """The expected exponent; None where nothing is expected of it."""
        if kind == "attention":
            return (
                0.0
                if (quantity == "change of logits" and step) or (quantity == "logits" and not step)
                else None
            )
        spot = self.spot(name)
        if kind == "module" and quantity in {"input", "change of input"}:
            return 0.0 if step or quantity == "input" else None
        if kind != "module" or quantity not in {"size", "change", "own"}:
            return None
        if quantity == "size" and (step > 0 or spot == Spot.READOUT):
            return None
        if axis == "width":
            return 0.0
        alpha = float(self.alpha)
        table = {
            "size": {Spot.STREAM: 0.0, Spot.INSIDE: 0.0, Spot.END: -alpha},
            "change": {Spot.STREAM: 0.0, Spot.INSIDE: 0.0, Spot.END: -alpha, Spot.READOUT: 0.0},
            "own": {Spot.STREAM: 0.0, Spot.INSIDE: alpha - 1, Spot.END: -1.0, Spot.READOUT: 0.0},
        }
        return table[quantity].get(spot)
