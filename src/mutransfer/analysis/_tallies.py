"""Terms of sums, counted by what makes them, as a head that reads every layer.

A deeper model has more terms in a sum over its layers. Where one function with the same weights
makes them all they are alike: they add up, and do not average out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

from ..reading import Operation, pattern
from ._layered import MOVES, Layers, Term, Terms, number, softmax_of, times
from ._operations import NORMS, SLICES, SOFTMAXES
from ._signals import Signals, bits

_SIGNS = {"add": 1.0, "sub": -1.0}


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
        self.layers = Layers(signals, self.terms, self._origin)
        for operation in self.program.operations:
            for position, result in enumerate(operation.results):
                if result is not None:
                    self.terms[result] = self._made(operation, position, result)
                    self.layers.note(operation, result)

    def _source(self, value: int) -> object:
        source = self.program.values[value]
        if source.kind == "parameter" and math.prod(source.shape) == 1:
            return source.kind, pattern(source.name)
        return source.kind, source.name or source.magnitude or value

    def _made(self, operation: Operation, position: int, result: int) -> Terms:
        """Return the terms of a result; one origin of its own where it is no sum."""
        name, inputs = operation.name, operation.inputs
        if inputs and (name in MOVES or self._is_of_one(operation, result)):
            return self._passed(inputs[0], result)
        alpha = operation.keywords.get("alpha", 1)
        if name in _SIGNS and len(inputs) <= 2 and isinstance(alpha, int | float):
            return self._added(operation, result)
        if (factor := number(operation)) is not None:
            return times(self._passed(inputs[0], result), factor)
        if (layered := self.layers.added(operation, result)) is not None:
            factor = 1.0 if name == "sum" else 1 / len(layered.terms)
            for value in layered.copies:
                self._past[result] |= self._past[value]
            return _together(layered.terms, factor)
        self.layers.mixed(operation, result)
        for value in inputs:
            self._stops.update((value, origin) for origin in self.terms[value])
        if name in SOFTMAXES and softmax_of(self.signals, result) == result:
            # Each layer may have a logit of its own name.
            names = frozenset(map(pattern, self.signals.parameters_of(result)))
            return {(name, names): Term(1.0, 1, 1 << result)}
        part: tuple[object, ...] = ()
        if name in SLICES and not self._is_number(operation, result):
            part = position, *(operation.arguments[1:3] if len(operation.results) == 1 else ())
        origin = self._origin(operation, tuple(self.terms[i] for i in inputs), part)
        return {origin: Term(1.0, 1, 1 << result)}

    def _origin(
        self, operation: Operation, taken: tuple[Terms, ...], part: tuple[object, ...] = ()
    ) -> object:
        # Hashes stand for origins, whose nesting grows with depth.
        return operation.name, hash((tuple(map(frozenset, taken)), part))

    def _is_of_one(self, operation: Operation, result: int) -> bool:
        """Return True for a stack of one value, or a sum of one, as of a single layer."""
        if operation.name in {"stack", "cat"}:
            return len(operation.inputs) == 1
        sizes = [math.prod(self.program.values[i].shape) for i in (operation.inputs[0], result)]
        return operation.name in {"sum", "mean"} and sizes[0] == sizes[1]

    def _is_number(self, operation: Operation, result: int) -> bool:
        """Return True for one number of a learned vector, of which all are alike."""
        size = math.prod(self.program.values[result].shape)
        return size == 1 and self.signals.is_weight(operation.inputs[0])

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
        for origin, term in times(added, sign).items():
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


def _together(parts: tuple[Terms, ...], factor: float) -> Terms:
    found: dict[object, Term] = {}
    for terms in parts:
        for origin, term in times(terms, factor).items():
            found[origin] = found[origin].plus(term) if origin in found else term
    return found
