"""Tensors in residual branches that do not act on the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from ._signals import bits
from ._stars import Stars
from ._streams import Join, Streams

_PICKS = frozenset({"select", "unbind"})


def with_conditioning(streams: Streams, joins: Sequence[Join], stars: Stars) -> list[Join]:
    """Return the joins with the tensors that enter their branches beside the stream.

    Keys and values of another sequence are such, or a shift by a time. All that they make has to
    end in branches, and each layer has to have its own: what all layers share, such as an encoder,
    is in no branch.

    Args:
        streams: The streams.
        joins: The joins that count, in the order of the forward pass.
        stars: The runs of layers that grow.
    """
    reached, parameters = _reached(streams, joins), streams.program.parameters
    known = frozenset[str]().union(*(join.tensors for join in joins))
    runs: dict[str, list[str]] = {}
    for name in parameters.keys() - known:
        runs.setdefault(stars.run(name), []).append(name)
    beside: list[set[str]] = [set() for _ in joins]
    for run in runs.values():
        masks = [reached[parameters[name]] for name in run]
        alone = len(run) == 1
        parts = _picked(streams, parameters[run[0]], reached) if alone else masks
        if _in_turn(parts, len(joins), least=1 if stars.is_repeated(run[0]) else 2):
            for name, mask in zip(run, masks, strict=True):
                for i in bits(mask):
                    beside[i].add(name)
    return [
        replace(join, tensors=join.tensors | names)
        for join, names in zip(joins, beside, strict=True)
    ]


def _reached(streams: Streams, joins: Sequence[Join]) -> list[int]:
    """Return the branches that each value enters, as bits, and the output as one."""
    program, signals = streams.program, streams.signals
    inside = [0] * len(program.values)
    for i, join in enumerate(joins):
        for value in range(join.top + 1, join.end + 1):
            if streams.lies_between(join.top, value, join.end):
                inside[value] |= 1 << i
    found = [0] * len(program.values)
    for value in program.outputs:
        if signals.is_last(value):
            found[value] = 1 << len(joins)
    for operation in reversed(program.operations):
        mask = 0
        for result in operation.results:
            mask |= 0 if result is None else inside[result] or found[result]
        for value in operation.inputs:
            found[value] |= mask
    return found


def _picked(streams: Streams, parameter: int, reached: Sequence[int]) -> list[int]:
    """Return what the layers of a stacked parameter reach, or what all of it does."""
    users = streams.signals.users[parameter]
    if any(user.name not in _PICKS for user in users):
        return [reached[parameter]]
    return [reached[i] for user in users for i in user.results if i is not None]


def _in_turn(parts: Sequence[int], number: int, least: int) -> bool:
    """Return True where each part enters branches alone, before those of the next."""
    used = sorted(filter(None, parts), key=lambda mask: mask & -mask)
    ends_in_branches = all(mask.bit_length() <= number for mask in used)
    after = (b & -b > a for a, b in pairwise(used))
    return len(used) >= least and ends_in_branches and all(after)
