"""Terms of sums, counted by what makes them, as a head that reads every layer.

A deeper model has more terms in a sum over its layers. Where one function with the same weights
makes them all they are alike: they add up, and do not average out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..reading import Operation, Ref
from ._operations import COPIES, NORMS, RESHAPED, SLICES
from ._signals import Signals, bits

_MOVES = (RESHAPED | COPIES | {"expand", "expand_as"}) - SLICES
_SIGNS = {"add": 1.0, "sub": -1.0}


@dataclass(frozen=True, slots=True)
class Term:
    """One origin in a sum.

    Attributes:
        factor: Sum of the factors with which it is added.
        paths: Number of times that it is added.
        made: Values that start it, as bits.
    """

    factor: float
    paths: int
    made: int

    def plus(self, other: Term) -> Term:
        """Return both as one."""
        made = self.made | other.made
        return Term(self.factor + other.factor, self.paths + other.paths, made)


Terms = Mapping[object, Term]
"""The terms of a value, by their origins."""


class Tallies:
    """The terms of every value of a forward pass.

    An origin is an operation with its weights and the origins of what it takes, so that all layers
    share those that they share weights for. The end of a residual branch is no term of its stream.

    Args:
        signals: The forward pass.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals, self.program = signals, signals.program
        self._past = [1 << i for i in range(len(self.program.values))]
        self._streams = self._starts = self._joins = 0
        self._stops: set[tuple[int, object]] = set()
        self.terms: list[Terms] = [
            {self._source(i): Term(1.0, 1, 1 << i)} if v.kind != "result" else {}
            for i, v in enumerate(self.program.values)
        ]
        for operation in self.program.operations:
            for position, result in enumerate(operation.results):
                if result is not None:
                    self.terms[result] = self._made(operation, position, result)

    def _source(self, value: int) -> object:
        source = self.program.values[value]
        return source.kind, source.name or source.magnitude or value

    def _made(self, operation: Operation, position: int, result: int) -> Terms:
        """Return the terms of a result; one origin of its own where it is no sum."""
        name, inputs = operation.name, operation.inputs
        if name in _MOVES and inputs:
            return self._passed(inputs[0], result)
        alpha = operation.keywords.get("alpha", 1)
        if name in _SIGNS and len(inputs) <= 2 and isinstance(alpha, int | float):
            return self._added(operation, result)
        if (factor := _number(operation)) is not None:
            return _times(self._passed(inputs[0], result), factor)
        if name in {"sum", "mean"} and (stacked := self._stacked(operation)):
            return self._together(stacked, result, 1.0 if name == "sum" else 1 / len(stacked))
        part: tuple[object, ...] = ()
        if name in SLICES:
            part = position, *(operation.arguments[1:3] if len(operation.results) == 1 else ())
        return {self._origin(operation, part): Term(1.0, 1, 1 << result)}

    def _origin(self, operation: Operation, part: tuple[object, ...]) -> object:
        # Hashes stand for origins, whose nesting grows with depth.
        taken = tuple(frozenset(self.terms[i]) for i in operation.inputs)
        for value in operation.inputs:
            self._stops.update((value, origin) for origin in self.terms[value])
        return operation.name, hash((taken, part))

    def _passed(self, value: int, result: int) -> Terms:
        self._past[result] |= self._past[value]
        return self.terms[value]

    def _added(self, operation: Operation, result: int) -> Terms:
        """Return the terms of a sum or difference of values or numbers."""
        sign = _SIGNS[operation.name] * operation.keywords.get("alpha", 1)
        if len(operation.inputs) == 1:
            return self._passed(operation.inputs[0], result)
        one, other = operation.inputs
        kept, added = self._without_branch(one, other), self._without_branch(other, one)
        found = dict(kept)
        for origin, term in _times(added, sign).items():
            found[origin] = found[origin].plus(term) if origin in found else term
        self._past[result] |= self._past[one] | self._past[other]
        if len(kept) < len(self.terms[one]) or len(added) < len(self.terms[other]):
            self._joins |= 1 << result
        elif self._goes_on(one, other) or self._goes_on(other, one):
            self._streams |= 1 << result
        return found

    def _goes_on(self, stream: int, other: int) -> bool:
        """Return True where a stream meets a signal that every layer may add."""
        of_stream = [self._past[i] & (self._starts | self._joins) for i in (stream, other)]
        once = all(term.paths == 1 for term in self.terms[other].values())
        return bool(of_stream[0]) and not of_stream[1] and once

    def _together(self, values: tuple[int, ...], result: int, factor: float) -> Terms:
        found: dict[object, Term] = {}
        for value in values:
            self._past[result] |= self._past[value]
            for origin, term in _times(self.terms[value], factor).items():
                found[origin] = found[origin].plus(term) if origin in found else term
        return found

    def _without_branch(self, end: int, stream: int) -> Terms:
        """Return the terms of one side, without what the other side's past makes."""
        ancestors, past = self.signals.ancestors, self._past[stream]
        if not self.signals.is_signal[stream] or not ancestors[end] & past:
            return self.terms[end]
        kept = {}
        for origin, term in self.terms[end].items():
            before = 0
            for i in bits(term.made):
                before |= ancestors[i] & ~(1 << i)
            if before & past:
                self._streams |= past
                self._starts |= past if not past & self._joins else 0
                self._stops.add((end, origin))
            else:
                kept[origin] = term
        return kept

    def _stacked(self, operation: Operation) -> tuple[int, ...]:
        """Return the values that a sum over their stack adds."""
        maker = self.program.makers.get(operation.inputs[0])
        if maker is None or len(operation.arguments) < 2:
            return ()
        dims = operation.arguments[1]
        dims = dims if isinstance(dims, tuple) else (dims,)
        n = len(self.program.values[operation.inputs[0]].shape)
        over = len(dims) == 1 and self.stacks_along(maker) == dims[0] % n
        return maker.inputs if over else ()

    def stacks_along(self, operation: Operation) -> int | None:
        """Return the dimension along which an operation puts whole values, if it does.

        That is a stack, or a concatenation along a dimension of one entry.
        """
        result = operation.results[0] if operation.name in {"stack", "cat"} else None
        if result is None:
            return None
        shape = self.program.values[result].shape
        last = operation.arguments[1] if len(operation.arguments) > 1 else 0
        at = int(last) % len(shape)
        return at if operation.name == "stack" or shape[at] == len(operation.inputs) else None

    def is_alike(self, operation: Operation) -> bool:
        """Return True where all that an operation takes has the same origins."""
        origins = {frozenset(self.terms[i]) for i in operation.inputs}
        return len(operation.inputs) > 1 and len(origins) == 1 and origins != {frozenset()}

    @cached_property
    def _mixed(self) -> frozenset[object]:
        """The origins that a stream meets more than once, as its own start."""
        return frozenset(
            origin
            for value in bits(self._streams)
            for origin, term in self.terms[value].items()
            if term.paths > 1
        )

    def repeated(self, value: int) -> frozenset[object]:
        """Return the origins that a value has twice, without those of streams."""
        terms = self.terms[value].items()
        return frozenset(origin for origin, term in terms if term.paths > 1) - self._mixed

    @cached_property
    def ends(self) -> Mapping[int, frozenset[object]]:
        """The origins of each sum that are repeated in it, and go no further."""
        found = {}
        for value in range(len(self.program.values)):
            repeated = self.repeated(value) if self.signals.is_signal[value] else frozenset()
            if repeated and not self._is_normalised(value):
                last = value in self.program.outputs
                stopped = {o for o in repeated if last or (value, o) in self._stops}
                if stopped:
                    found[value] = frozenset(stopped)
        return found

    def _is_normalised(self, value: int) -> bool:
        users = self.signals.users[value]
        is_output = value in self.program.outputs
        return bool(users) and not is_output and all(user.name in NORMS for user in users)


def _times(terms: Terms, factor: float) -> Terms:
    if factor == 1:
        return terms
    return {o: replace(term, factor=term.factor * factor) for o, term in terms.items()}


def _number(operation: Operation) -> float | None:
    """Return the number by which an operation multiplies its only tensor."""
    if operation.name not in {"mul", "div"} or len(operation.arguments) < 2:
        return None
    value, number = operation.arguments[:2]
    if not isinstance(value, Ref) or not isinstance(number, int | float):
        return None
    return float(number) if operation.name == "mul" else 1 / number if number else 0.0
