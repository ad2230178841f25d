"""The parameters and modules that could multiply a signal by one factor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import permutations

from ..reading import Operation, Program, Signal
from ._operations import (
    CONVOLUTIONS,
    COPIES,
    LOOKUPS,
    NORMS,
    PLACED,
    POSITIVE,
    PRODUCTS,
    SLICES,
    VIEWS,
)

_HOMOGENEOUS = VIEWS | COPIES | POSITIVE | {"linalg_vector_norm", "norm"}
_SUMS = frozenset({"add", "sub", "cat", "stack"})

_NEGLIGIBLE = 1e-5
"""Largest number beside features that does not matter, as the eps of a distance."""

Found = tuple[set[int], set[str]]
"""Values that were walked through, and the parameters at their ends; none where one failed."""


class Signals:
    """The walks back from signals to the parameters that they are linear in.

    Args:
        program: The forward pass.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.values, self.makers = program.values, program.makers

    @cached_property
    def users(self) -> dict[int, list[Operation]]:
        """The operations that take each value and are not in vain."""
        needed = set(self.program.outputs)
        live = list[Operation]()
        for operation in reversed(self.program.operations):
            if any(i in needed for i in operation.results if i is not None):
                needed.update(operation.inputs)
                live.append(operation)
        found: dict[int, list[Operation]] = {i: [] for i in range(len(self.values))}
        for operation in reversed(live):
            for index in dict.fromkeys(operation.inputs):
                found[index].append(operation)
        return found

    @cached_property
    def ancestors(self) -> list[int]:
        """The values that each value is made of, itself among them, as bits."""
        found = [1 << i for i in range(len(self.values))]
        for operation in self.program.operations:
            mask = 0
            for index in operation.inputs:
                mask |= found[index]
            for result in operation.results:
                if result is not None:
                    found[result] |= mask
        return found

    @cached_property
    def is_signal(self) -> list[bool]:
        """True for the values that depend on the model's input."""
        inputs = sum(1 << i for i, v in enumerate(self.values) if v.kind == "input")
        return [bool(mask & inputs) for mask in self.ancestors]

    @cached_property
    def is_learned(self) -> list[bool]:
        """True for the values that depend on a parameter."""
        mask = sum(1 << i for i, v in enumerate(self.values) if v.kind == "parameter")
        return [bool(each & mask) for each in self.ancestors]

    @cached_property
    def _parameters(self) -> int:
        return sum(1 << index for index in self.program.parameters.values())

    def parameters_of(self, value: int) -> Iterator[str]:
        """Yield the parameters that a value is made of."""
        for index in bits(self.ancestors[value] & self._parameters):
            yield self.values[index].name

    def summing(self, parameter: str) -> Iterator[Operation]:
        """Yield the operations on a parameter but for look-ups, and those on its views."""
        todo = [self.program.parameters[parameter]]
        while todo:
            for operation in self.program.users[todo.pop()]:
                if operation.name in VIEWS | COPIES:
                    todo += [i for i in operation.results if i is not None]
                if operation.name not in LOOKUPS:
                    yield operation

    def views_for(self, parameter: str, operation: Operation) -> list[Operation]:
        """Return the views of a parameter that nothing but this operation uses."""
        found = []
        for view in self._views(self.program.parameters[parameter]):
            inner = [*self._views(*view.results)]
            made = [i for each in (view, *inner) for i in each.results if i is not None]
            users = (user for i in made for user in self.users[i])
            if all(user is operation or user in inner for user in users):
                found.append(view)
        return found

    def _views(self, *values: int | None) -> Iterator[Operation]:
        """Yield the views and copies of values, and those of these."""
        for value in values:
            for user in self.users[value] if value is not None else ():
                if user.name in VIEWS | COPIES:
                    yield user
                    yield from self._views(*user.results)

    def is_cut(self, parameter: str) -> bool:
        """Return True for a parameter whose parts are used apart from each other."""
        todo = [self.program.parameters[parameter]]
        while todo:
            value = todo.pop()
            for operation in self.program.users[value]:
                if operation.name not in VIEWS | COPIES:
                    continue
                results = [i for i in operation.results if i is not None]
                whole = math.prod(self.values[value].shape)
                cuts = operation.name in SLICES
                if cuts and any(math.prod(self.values[i].shape) < whole for i in results):
                    return True
                todo += results
        return False

    def is_weight(self, value: int) -> bool:
        """Return True for a value that is made of parameters and constants."""
        return self.is_learned[value] and not self.is_signal[value]

    def is_constant(self, value: int) -> bool:
        """Return True for a value that is made of constants alone."""
        return not self.is_learned[value] and not self.is_signal[value]

    def of(self, value: int, users: Iterable[Operation] | None = None) -> Signal:
        """Return what could multiply this value, and nothing else, by one factor.

        Args:
            value: The signal.
            users: The operations that may use it; all its users by default.
        """
        return self.all_of([(value, self.users[value] if users is None else users)])[0]

    def all_of(self, signals: Sequence[tuple[int, Iterable[Operation]]]) -> list[Signal]:
        """Return what could multiply these values by one common factor, and nothing else.

        A tensor cannot carry it if it, or what it makes, is used anywhere else.

        Args:
            signals: Each value, with the operations that may use it.
        """
        walks = [self._walk(value) for value, _ in signals]
        inside = {id(self.makers[i]) for walked, _ in walks for i in walked if i in self.makers}
        inside |= {id(user) for _, users in signals for user in users}
        found = []
        for (value, users), (walked, names) in zip(signals, walks, strict=True):
            module = self._module(value, {id(user) for user in users})
            elsewhere = not names or self._elsewhere(value, walked, names, inside)
            found.append(Signal(None if elsewhere else frozenset(names), module))
        return found

    def ends(self, value: int) -> frozenset[str]:
        """Return the parameters that the value is linear in, used elsewhere or not."""
        return frozenset(self._walk(value)[1])

    def _elsewhere(self, value: int, walked: set[int], names: set[str], inside: set[int]) -> bool:
        """Return True where a walked value or a parameter is used for something else."""
        known = self.program.parameters
        made = {i for i in walked if self.values[i].kind == "result"}
        if made.intersection(self.program.outputs) - {value}:
            return True
        if value in self.program.outputs and not self.is_last(value):
            return True
        checked = [i for i in walked if self.values[i].kind != "parameter"]
        checked += [known[name] for name in names]
        # All results of a split are multiplied where one is.
        splits = (self.makers[i] for i in walked if i in self.makers)
        checked += [i for op in splits if op.name in VIEWS for i in op.results if i is not None]
        if any(id(user) not in inside for i in checked for user in self.users[i]):
            return True
        return any(self._is_operand(i, walked) for i in walked if self.is_signal[i])

    def _is_operand(self, value: int, walked: set[int]) -> bool:
        """Return True for a walked value that is summed with a walked weight.

        Multiplied both, they would multiply what follows twice.
        """
        for user in self.users[value]:
            made = user.results[0] if user.name in PRODUCTS | CONVOLUTIONS else None
            step = self._step(made) if made is not None and made in walked else None
            if step is not None and value not in {*step.further, *step.walked}:
                return True
        return False

    def is_last(self, value: int) -> bool:
        """Return True for an output that no other output is made of."""
        others = (i for i in self.program.outputs if i != value)
        return not any(self.ancestors[i] >> value & 1 for i in others)

    def _module(self, value: int, allowed: set[int]) -> str | None:
        """Return the module whose output is this signal, but for views of it and factors."""
        while all(id(user) in allowed for user in self.users[value]):
            if value in self.program.outputs and not self.is_last(value):
                return None
            if value in self._outputs_of_modules:
                return self._outputs_of_modules[value]
            operation = self.makers.get(value)
            if operation is None or self._is_part(value, operation):
                return None
            inputs = [i for i in operation.inputs if not self.is_constant(i)]
            linear = operation.name in _HOMOGENEOUS | {"mul", "div"}
            if len(inputs) != 1 or not linear or self.is_weight(inputs[0]):
                return None
            if operation.name == "div" and operation.inputs[0] != inputs[0]:
                return None
            value, allowed = inputs[0], {id(operation)}
        return None

    def _is_part(self, value: int, operation: Operation) -> bool:
        """Return True for one result of a split whose others are used, too."""
        others = [i for i in operation.results if i is not None and i != value]
        return any(self.users[i] or i in self.program.outputs for i in others)

    @cached_property
    def _outputs_of_modules(self) -> dict[int, str]:
        """The innermost module, called once, whose only output each value is."""
        found: dict[int, str] = {}
        for name, calls in self.program.modules.items():
            if name and len(calls) == 1 and len(calls[0]) == 1:
                value = calls[0][0]
                if len(name) > len(found.get(value, "")):
                    found[value] = name
        return found

    def _walk(self, value: int) -> Found:
        """Walk back through homogeneous operations; no names where another is met."""
        walked, names, stack = set[int](), set[str](), [value]
        while stack:
            at = stack.pop()
            if at in walked:
                continue
            walked.add(at)
            if self.values[at].kind == "parameter":
                names.add(self.values[at].name)
                continue
            step = self._step(at)
            if step is None:
                return walked, set()
            stack += step.further
            walked |= step.walked
            names |= step.names
        return walked, names

    def _step(self, value: int) -> _Step | None:
        """Return where a walk goes on from a value; None where it cannot."""
        operation = self.makers.get(value)
        if operation is None:
            return None
        name, inputs = operation.name, list(operation.inputs)
        learned = [i for i in inputs if not self.is_constant(i)]
        if name in PRODUCTS | CONVOLUTIONS:
            return self._contraction(operation)
        if name in NORMS:
            affine = [i for i in inputs[1:] if self.is_weight(i)]
            signal = not self.is_weight(inputs[0])
            return _Step(affine) if affine and signal else None
        if name in LOOKUPS or name == "cumsum":
            return _Step(inputs[:1]) if inputs[:1] == learned[:1] else None
        if name == "_weight_norm_interface":
            return _Step([inputs[1]]) if value == operation.results[0] else None
        if name in _SUMS:
            return self._sum(operation, learned)
        if name in {"mul", "div"}:
            return self._product(operation, learned)
        if name == "masked_fill" or name in PLACED - {"maximum", "minimum", "lerp", "addcdiv"}:
            return self._placed(operation, learned)
        if name in _HOMOGENEOUS:
            return _Step(learned[:1])
        return None

    def _contraction(self, operation: Operation) -> _Step | None:
        inputs = list(operation.inputs)
        added, factors = [], inputs[:2]
        if operation.name.startswith(("addm", "badd", "addb")):
            added, factors = inputs[:1], inputs[1:3]
        elif operation.name in CONVOLUTIONS:
            added = inputs[2:]
        if any(self.is_constant(i) and self._is_nonzero(i) for i in added):
            return None
        rest = [i for i in added if not self.is_constant(i)]
        weights = [i for i in factors if self.is_weight(i)]
        if len(weights) == 1:
            return _Step([*weights, *rest])
        if weights and any(len(self.values[i].shape) > 1 for i in rest):
            return None
        # A bias belongs to the matrix that learned vectors pass, not to the vectors.
        chosen = self._one_of(factors[::-1] if weights and rest else factors)
        return None if chosen is None else _Step(rest, *chosen)

    def _sum(self, operation: Operation, learned: list[int]) -> _Step | None:
        """Return the terms of a sum, unless a constant that matters is among them."""
        constants = [i for i in operation.inputs if self.is_constant(i)]
        if any(map(self._is_nonzero, constants)):
            return None
        if operation.name in {"add", "sub"}:
            numbers = [n for n in operation.arguments[:2] if isinstance(n, int | float)]
            if any(abs(number) > _NEGLIGIBLE for number in numbers):
                return None
        return _Step(learned) if learned else None

    def _is_nonzero(self, constant: int) -> bool:
        value = self.values[constant]
        return value.magnitude is not None or not value.is_float or value.kind == "result"

    def _product(self, operation: Operation, learned: list[int]) -> _Step | None:
        """Return the factor of a product that carries; never a divisor."""
        inputs = list(operation.inputs)
        if operation.name == "div":
            if not inputs or operation.arguments[:1] != (_ref(operation),):
                return None
            top = inputs[0]
            if self.is_constant(top):
                return None
            others = [i for i in inputs[1:] if not self.is_constant(i)]
            if not others:
                return _Step([top])
            walked, names = self._walk(top)
            apart = names and not any(self._depends(i, walked, names) for i in others)
            return _Step([], walked, names) if apart else None
        if len(learned) == 1:
            return _Step(learned)
        weights = [i for i in learned if self.is_weight(i)]
        if len(weights) == 1 and self._walk(weights[0])[1]:
            return _Step(weights)
        chosen = self._one_of(learned)
        return None if chosen is None else _Step([], *chosen)

    def _placed(self, operation: Operation, learned: list[int]) -> _Step | None:
        if operation.name == "addcmul":
            return None
        fills = [n for n in operation.arguments[1:] if isinstance(n, float)]
        filled = operation.name == "masked_fill"
        if any(n and abs(n) < 1e4 for n in fills) and filled:
            return None
        index_like = {i for i in operation.inputs if not self.values[i].is_float}
        return _Step([i for i in learned if i not in index_like])

    def _one_of(self, factors: list[int]) -> Found | None:
        """Return the walk behind one of two factors that the other does not depend on."""
        for one, other in permutations(factors, 2):
            walked, names = self._walk(one)
            if names and not self._depends(other, walked, names):
                return walked, names
        return None

    def _depends(self, value: int, walked: set[int], names: set[str]) -> bool:
        made = [i for i in walked if self.values[i].kind == "result"]
        made += [self.program.parameters[name] for name in names]
        return any(self.ancestors[value] >> i & 1 for i in made)


class _Step:
    """Next step of a walk: further values, and those walked for it."""

    def __init__(
        self, further: list[int], walked: set[int] | None = None, names: set[str] | None = None
    ) -> None:
        self.further, self.walked, self.names = further, walked or set(), names or set()


def _ref(operation: Operation) -> object:
    return operation.arguments[0] if operation.inputs else None


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, the lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
