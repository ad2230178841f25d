"""Passage of a stream between its joins: norms and numbers on the way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..reading import Ref
from ._operations import COPIES, NORMS, VIEWS
from ._signals import bits
from ._streams import Join, Streams


def normalised(streams: Streams, joins: list[Join]) -> int:
    """Return the number of joins whose stream is normalised since the join before.

    The join before is then seen through a norm alone.
    """
    made = sum(1 << join.value for join in joins)
    return sum(
        not streams.copies[join.stream] & made
        and any(
            streams.through[source] & made
            for source in _norms(streams, streams.copies[join.stream])
        )
        for join in joins
    )


def _norms(streams: Streams, copies: int) -> Iterator[int]:
    """Yield what was normalised to make one of these values."""
    for value in bits(copies):
        operation = streams.program.makers.get(value)
        if operation is None:
            continue
        if operation.name in NORMS:
            yield operation.inputs[0]
        else:
            yield from streams.norm_by_hand(operation)


def decayed(streams: Streams, joins: list[Join]) -> int:
    """Return the number of joins whose stream is multiplied since the last."""
    return sum(_is_decayed(streams, join, joins) for join in joins)


def _is_decayed(streams: Streams, join: Join, joins: list[Join]) -> bool:
    copies = streams.copies[join.stream]
    earlier = [j.value for j in joins if j.value < join.value and copies >> j.value & 1]
    if not earlier:
        return False
    last = max(earlier)
    return any(_multiplies(streams, value) for value in bits(copies) if value > last)


def mixed(streams: Streams, joins: Sequence[Join], kept: Collection[Join]) -> int:
    """Return the number of times that a stream meets what no branch scales.

    That is its past, a learned number, or a signal or tensor that is added to it.

    Args:
        streams: The streams.
        joins: The joins that repeat.
        kept: Those of them that count as branches.
    """
    made = sum(1 << join.value for join in kept)
    past, passed = made, 0
    for copies in (streams.copies[join.stream] for join in kept):
        past |= 0 if copies & made else copies
        passed |= copies
    scaled = made | sum(1 << j.value for j in joins if j.signal.tensors and j not in kept)
    bare = sum(1 << join.value for join in joins) & ~scaled
    return sum(
        bool(streams.copies[value] & made)
        and (_mixes(streams, value, past) or bare >> value & 1 or _adds(streams, value, made))
        for value in bits(passed & ~scaled)
    )


def _mixes(streams: Streams, value: int, past: int) -> bool:
    """Return True for a sum of two values of the stream, or its product with a number."""
    operation = streams.program.makers.get(value)
    if operation is None or operation.name not in {"add", "sub", "mul", "div"}:
        return False
    own = [streams.copies[i] & past for i in operation.inputs if streams.is_active(i)]
    if operation.name in {"add", "sub"}:
        return len(own) == 2 and bool(own[0] & own[1])
    return any(own) and any(map(streams.signals.is_weight, operation.inputs))


def _adds(streams: Streams, value: int, made: int) -> bool:
    """Return True for a sum of the stream with what is no branch with tensors."""
    operation = streams.program.makers.get(value)
    if operation is None or operation.name not in {"add", "sub"} or len(operation.inputs) != 2:
        return False
    stream, other = sorted(operation.inputs, key=lambda i: not streams.copies[i] & made)
    if not streams.is_active(other):
        return streams.values[other].is_float and not _is_zero(streams, other)
    ancestors = streams.signals.ancestors[other]
    read = streams.copies[stream] & ancestors
    top = read.bit_length() - 1
    return not ancestors & made or (bool(read) and not streams.tensors_between(top, other))


def _is_zero(streams: Streams, value: int) -> bool:
    return streams.values[value].kind == "constant" and streams.values[value].magnitude is None


def _is_gate(streams: Streams, value: int) -> bool:
    """Return True for a learned vector, or a scalar such as 1 - g."""
    if not streams.signals.is_weight(value):
        return False
    if any(size > 1 for size in streams.values[value].shape):
        return True
    operation = streams.program.makers.get(value)
    while operation is not None and operation.name in VIEWS | COPIES:
        operation = streams.program.makers.get(operation.inputs[0])
    return operation is not None


def _multiplies(streams: Streams, value: int) -> bool:
    operation = streams.program.makers.get(value)
    if operation is None or operation.name not in {"mul", "div"}:
        return False
    if len(operation.inputs) > 1:
        return any(_is_gate(streams, i) for i in operation.inputs)
    numbers = [n for n in operation.arguments if not isinstance(n, Ref | bool | str)]
    return any(isinstance(n, int | float) and n != 1 for n in numbers)
