"""The learned tensors that carry a tuned multiplier of a model's signals.

Nothing here depends on what grew, so that all sizes of a family carry a multiplier alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..analysis import (
    Contraction,
    attention_logits,
    contraction,
    fate,
    heads_of,
    looked_up,
)
from ..core import FrozenDict
from ..reading import Operation, Reading
from ._sides import Sides

SIGNALS = ("readout", "embedding", "attention", "branch")
"""The signals whose multipliers can be tuned."""

_Uses = Sequence[tuple[int, list[Operation]]]
"""Values, each with the operations that may use it."""


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """The learned tensors that carry a tuned multiplier of one signal.

    Attributes:
        tensors: The power of the multiplier that each tensor carries: 1, or -1 where it undoes the
            multiplier of a tied embedding at the head's input.
        refusal: Why nothing carries it, in a sentence; empty where the tensors do.
    """

    tensors: Mapping[str, int] = field(default_factory=FrozenDict)
    refusal: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", FrozenDict(self.tensors))

    def to_json(self) -> dict[str, Any]:
        """Return the carriers as data."""
        return {"tensors": dict(self.tensors), "refusal": self.refusal}


def signal_carriers(
    sides: Sides, branch_tensors: Mapping[str, object], alike: Mapping[str, str]
) -> dict[str, Carriers]:
    """Return what carries a multiplier of each signal, by the target's names.

    Args:
        sides: The forward passes.
        branch_tensors: The tensors of residual branches.
        alike: A used tensor for each unused one like it, as of another expert.
    """
    found = declared_carriers(sides.target) or {"branch": _branch(sides)}
    found["readout"] = _readout(sides, branch_tensors)
    found["embedding"] = _embedding(sides, branch_tensors)
    found["attention"] = _attention(sides)
    for signal, each in found.items():
        unused = {name: each.tensors[like] for name, like in alike.items() if like in each.tensors}
        found[signal] = Carriers(tensors={**each.tensors, **unused}, refusal=each.refusal)
    return found


def declared_carriers(target: Reading) -> dict[str, Carriers]:
    """Return what carries the multiplier of declared branches, if there are any."""
    if target.branches is None:
        return {}
    return {"branch": _ends(branch.end for branch in target.branches)}


def _branch(sides: Sides) -> Carriers:
    """Return the tensors that end the residual branches."""
    joins = sides.target_stack.joins
    for number, join in enumerate(joins, 1):
        if join.signal.tensors is None:
            return Carriers(
                refusal=f"residual branch {number} of {len(joins)} (with {min(join.tensors)}) does "
                "not end in learned tensors that could carry a multiplier: end it with a linear "
                "layer or an affine norm"
            )
    return _ends(join.signal.tensors or frozenset() for join in joins)


def _ends(ends: Iterable[frozenset[str]]) -> Carriers:
    tensors = {name: 1 for each in ends for name in sorted(each)}
    none = "" if tensors else "the model has no residual branches"
    return Carriers(tensors=tensors, refusal=none)


def _attention(sides: Sides) -> Carriers:
    """Return the tensors that make one factor of the attention logits."""
    signals = sides.walk.signals
    logits = attention_logits(sides.walk)
    if not logits:
        return Carriers(
            refusal="the model has no attention that is seen: no softmax compares products of two "
            "signals"
        )
    tensors = _carried(sides, [(value, signals.users[value]) for value in logits])
    if tensors is None:
        return Carriers(refusal=_no_queries(sides, logits))
    return Carriers(tensors=dict.fromkeys(tensors, 1))


def _no_queries(sides: Sides, logits: Sequence[int]) -> str:
    """Return why no tensors carry a multiplier of these attention logits."""
    signals, makers = sides.walk.signals, sides.walk.program.makers
    value = next((value for value in logits if signals.of(value).tensors is None), logits[0])
    where = f" of {makers[value].module}" if makers[value].module else ""
    ends = frozenset[str]().union(*(signals.ends(factor) for factor in makers[value].inputs))
    if ends:
        return (
            f"{_target_name(sides, max(ends))} makes more than the queries{where}, so that it "
            "cannot carry a multiplier of the attention logits: give the queries a linear layer "
            "of their own"
        )
    return (
        f"no learned tensors can carry a multiplier of the attention logits{where}: make the "
        "queries with a linear layer of their own, or give the norm that they end in a gain"
    )


def _embedding(sides: Sides, branch_tensors: Mapping[str, object]) -> Carriers:
    """Return the tables of look-ups, and what undoes their multiplier at tied heads."""
    tables: dict[str, list[int]] = {}
    for value, name in looked_up(sides.walk.signals):
        in_branch = any(each in branch_tensors for each in sides.names.get(name, ()))
        # A table of attention biases is looked up, too, but makes no features.
        if not in_branch and "softmax" not in fate(sides.walk, value):
            tables.setdefault(name, []).append(value)
    if not tables:
        return Carriers(
            refusal="the model looks nothing up in an embedding; scale and rate of an input's "
            'matrix are tuned by role, with **{"init.input": 2, "lr.input": 2}'
        )
    found: dict[str, int] = {}
    for name, values in tables.items():
        carriers = _table(sides, name, values)
        if carriers.refusal:
            return carriers
        found |= carriers.tensors
    return Carriers(tensors=found)


def _table(sides: Sides, name: str, values: Sequence[int]) -> Carriers:
    """Return what carries the multiplier of the look-ups of one table."""
    signals = sides.walk.signals
    summing = list(signals.summing(name))
    uses = [(value, [*signals.users[value], *summing]) for value in values]
    heads = [head for op in summing if (head := contraction(signals, op)) is not None]
    if any(each.tensors != frozenset({name}) for each in signals.all_of(uses)) or (
        summing and not heads
    ):
        return Carriers(
            refusal=f"{_target_name(sides, name)} is not used by look-ups and a tied head alone, "
            "and cannot carry a multiplier of its look-ups: give each use a tensor of its own"
        )
    tensors = dict.fromkeys(sides.names[name], 1)
    undone = _inputs(sides, heads)
    if undone is None:
        return Carriers(refusal=_tied(sides, heads[0], "embedding"))
    return Carriers(tensors=tensors | dict.fromkeys(undone, -1))


def _readout(sides: Sides, branch_tensors: Mapping[str, object]) -> Carriers:
    """Return the matrices that make the outputs; for a tied one, its input."""
    signals = sides.walk.signals
    heads = [
        head
        for head in heads_of(signals)
        if not any(
            each in branch_tensors
            for name in signals.parameters_of(head.weight)
            for each in sides.names.get(name, ())
        )
    ]
    if not heads:
        return Carriers(
            refusal="the model has no readout that is seen: no matrix outside residual branches "
            "makes an output by sums and functions of entries"
        )
    found = signals.all_of([(head.weight, [head.operation]) for head in heads])
    tied = [head for head, each in zip(heads, found, strict=True) if each.tensors is None]
    walked = frozenset[str]().union(*(each.tensors or () for each in found))
    inputs = _inputs(sides, tied)
    if inputs is None:
        return Carriers(refusal=_tied(sides, tied[0], "readout"))
    return Carriers(tensors=dict.fromkeys([*_names(sides, walked), *inputs], 1))


def _inputs(sides: Sides, heads: Sequence[Contraction]) -> list[str] | None:
    """Return the tensors that make the inputs of tied heads; None without any."""
    names = _carried(sides, [(head.operand, [head.operation]) for head in heads])
    tied = {
        each
        for head in heads
        for name in sides.walk.signals.parameters_of(head.weight)
        for each in sides.names.get(name, ())
    }
    return None if names is None or tied.intersection(names) else names


def _carried(sides: Sides, uses: _Uses) -> list[str] | None:
    """Return the tensors that carry a factor of all these values; None without any."""
    found = sides.walk.signals.all_of(uses)
    if any(each.tensors is None for each in found):
        return None
    return _names(sides, frozenset[str]().union(*(each.tensors or () for each in found)))


def _names(sides: Sides, walked: frozenset[str]) -> list[str]:
    """Return the target's names of walked tensors."""
    return [name for each in sorted(walked) for name in sides.names.get(each, ())]


def _target_name(sides: Sides, walked: str) -> str:
    return next(iter(sides.names.get(walked, ())), walked)


def _tied(sides: Sides, head: Contraction, signal: str) -> str:
    """Return the refusal of a head whose matrix is used elsewhere."""
    name = _target_name(sides, min(sides.walk.signals.parameters_of(head.weight)))
    return (
        f"{name} is used as the head and elsewhere, and the head's input is not made by learned "
        f"tensors that could carry the multiplier of the {signal}: put a norm with a gain before "
        "the head, or untie it"
    )
