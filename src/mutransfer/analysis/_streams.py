"""Residual streams of one forward pass: joins, and the branches that they add."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..reading import NOTHING, Operation, Program, Signal
from ._operations import (
    BOUNDED,
    CONVOLUTIONS,
    COPIES,
    NORMS,
    PLACED,
    PRODUCTS,
    SLICES,
    VIEWS,
)
from ._signals import Signals

_LINEAR = (VIEWS | COPIES | PLACED | {"mean", "index", "gather", "cat"}) - {
    *("addcmul", "addcdiv", "lerp", "maximum", "minimum")
}
CONTRACTIONS = PRODUCTS | CONVOLUTIONS
_ACCUMULATING = frozenset({"index_add", "scatter_add", "index_put", "_index_put_impl"})


@dataclass(frozen=True, kw_only=True)
class Join:
    """A branch that is added to its stream.

    Attributes:
        value: The stream after the sum.
        stream: The stream before the sum.
        end: The end of the branch; the sum itself where one operation makes both.
        top: The latest point of the stream that the branch reads.
        tensors: The parameters in the branch.
        matrices: Weight matrices in series.
        operation: The sum.
        signal: What could multiply its end.
    """

    value: int
    stream: int
    end: int
    top: int
    tensors: frozenset[str]
    matrices: int
    operation: Operation
    signal: Signal = NOTHING


class Streams:
    """The joins of a program, in the order of its forward pass.

    Sets of values are bits of integers, so that a large graph is searched fast.

    Args:
        program: The forward pass.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.signals = program, Signals(program)
        self.values = program.values
        n = len(self.values)
        self.copies = [1 << i for i in range(n)]
        self.through = [1 << i for i in range(n)]
        self.images = [0] * n
        self.mapped = [0] * n
        self.series = [0] * n
        for operation in program.operations:
            for result in operation.results:
                if result is not None:
                    self._follow(operation, result)

    def _follow(self, operation: Operation, result: int) -> None:
        """Note the values of which a result is a linear copy, and those through functions."""
        signals = [i for i in operation.inputs if self.is_active(i)]
        name = operation.name
        copied = self._copied(operation, result, signals)
        for i in copied:
            self.copies[result] |= self.copies[i]
            self.through[result] |= self.through[i]
            self.images[result] |= self.images[i]
            self.mapped[result] |= self.mapped[i]
        for source in self.norm_by_hand(operation):
            self.through[result] |= self.through[source]
        # A norm, or a function that changes nothing when it comes twice, hands the stream on.
        functions = NORMS | BOUNDED | {"relu", "leaky_relu"}
        if name in functions and signals:
            self.through[result] |= self.through[signals[0]]
        if name in NORMS and "batch" in name and signals:
            self.images[result] |= self.images[signals[0]]
        self.series[result] = max((self.series[i] for i in operation.inputs), default=0)
        weighted = self._weight(operation)
        if weighted is not None and self.signals.is_signal[result]:
            self.series[result] += 1
            if signals:
                self.images[result] = self.copies[signals[0]]
                self.mapped[result] = self.signals.ancestors[weighted]

    def _weight(self, operation: Operation) -> int | None:
        """Return the learned matrix of a contraction."""
        if operation.name not in CONTRACTIONS:
            return None
        weights = [i for i in operation.inputs if self.signals.is_weight(i)]
        return next((i for i in weights if len(self.values[i].shape) > 1), None)

    def _copied(self, operation: Operation, result: int, signals: list[int]) -> list[int]:
        """Return the signals of which the result is a linear copy."""
        name = operation.name
        if name in _LINEAR and not (name in SLICES and self._slices_features(operation)):
            return signals[:1] if name in {"index", "gather"} else signals
        if name in {"add", "sub"}:
            return signals
        if name == "addcmul":
            return [i for i in operation.inputs[:1] if self.is_active(i)]
        if name in {"addmm", "baddbmm", "addmv"}:
            return [i for i in operation.inputs[:1] if self.is_active(i)]
        if name in {"mul", "div"} and len(signals) == 1:
            return signals
        return self._summed_stack(operation)

    def _summed_stack(self, operation: Operation) -> list[int]:
        """Return the values that a sum over a stack of them adds."""
        maker = self.program.makers.get(operation.inputs[0]) if operation.inputs else None
        if operation.name != "sum" or maker is None or maker.name != "stack":
            return []
        dims = operation.arguments[1] if len(operation.arguments) > 1 else None
        n = len(self.values[operation.inputs[0]].shape)
        at = maker.arguments[1] if len(maker.arguments) > 1 else 0
        one = isinstance(dims, tuple) and len(dims) == 1 and dims[0] % n == at % n
        return [i for i in maker.inputs if self.is_active(i)] if one else []

    def _slices_features(self, operation: Operation) -> bool:
        """Return True for a slice of the last dimension, which is another signal."""
        shape = self.values[operation.inputs[0]].shape
        numbers = [n for n in operation.arguments[1:] if isinstance(n, int)]
        sized = operation.name in {"split", "split_with_sizes", "unsafe_split", "chunk"}
        dim = numbers[1 if sized and operation.name != "split_with_sizes" else 0 :][:1]
        return bool(shape) and len(shape) > 1 and (dim or [0])[0] % len(shape) == len(shape) - 1

    def is_active(self, value: int) -> bool:
        return self.signals.is_signal[value] and self.values[value].is_float

    @cached_property
    def joins(self) -> list[Join]:
        """The joins that add a branch with learned tensors to their stream."""
        found: list[Join] = []
        for operation in self.program.operations:
            for result in operation.results[:1]:
                join = None if result is None else self._join(operation, result, found)
                found += [join] if join is not None else []
        signals = self.signals.all_of([(join.end, self._sum_of(join)) for join in found])
        fused = self._fused_signals([join for join in found if join.end == join.value])
        return [
            replace(join, signal=fused.get(join.value, signal))
            for join, signal in zip(found, signals, strict=True)
        ]

    def _sum_of(self, join: Join) -> list[Operation]:
        """Return the operations that add a branch: a sum, and the stack that it sums over."""
        operations = [join.operation]
        if join.operation.name == "sum":
            operations.append(self.program.makers[join.operation.inputs[0]])
        return operations

    def _fused_signals(self, joins: list[Join]) -> dict[int, Signal]:
        """Return what carries each branch that one operation multiplies and adds."""
        found = dict.fromkeys((join.value for join in joins), NOTHING)
        weights = [
            (join, weight) for join in joins if (weight := self._weight(join.operation)) is not None
        ]
        uses = [(weight, [join.operation]) for join, weight in weights]
        for (join, _), signal in zip(weights, self.signals.all_of(uses), strict=True):
            found[join.value] = signal
        for join in joins:
            if join.operation.name == "addcmul":
                factors = join.operation.inputs[1:3]
                signals = [self.signals.of(i, [join.operation]) for i in factors]
                found[join.value] = next((each for each in signals if each.tensors), NOTHING)
        return found

    def _join(self, operation: Operation, result: int, found: list[Join]) -> Join | None:
        """Return the stream and the branch that an operation adds, if it adds one."""
        terms = self._terms(operation, result)
        for stream, end in terms:
            if end != result and self._is_mixture(stream, end):
                return None
            join = self._branch(operation, result, stream, end, found, self.copies[stream])
            if join is not None:
                return join
        for stream, end in terms:
            if end != result and self._is_shortcut(stream, end):
                return self._branch(operation, result, stream, end, found, self.images[stream])
        return None

    def _is_shortcut(self, stream: int, end: int) -> bool:
        """Return True where the stream's side is one matrix, and the branch's are several.

        A readout of all layers adds up what one matrix makes of each: no side is a branch.
        """
        if self.mapped[stream] & self.mapped[end] & self._parameters and self._is_read_out(end):
            return False
        image = self.images[stream] & self.signals.ancestors[end]
        return (
            bool(image)
            and not self.copies[end] & image
            and self.series[end] - self.series[image.bit_length() - 1] > 1
        )

    @cached_property
    def _parameters(self) -> int:
        return sum(1 << index for index in self.program.parameters.values())

    @cached_property
    def _multiplied(self) -> int:
        """The values that a matrix is applied to, with what they are made of, as bits."""
        found = 0
        for operation in self.program.operations:
            if self._weight(operation) is not None:
                for value in operation.inputs:
                    found |= self.signals.ancestors[value] if self.is_active(value) else 0
        return found

    def _is_read_out(self, value: int) -> bool:
        """Return True for a value that no later matrix takes in."""
        return not self._multiplied >> value & 1

    def _terms(self, operation: Operation, result: int) -> list[tuple[int, int]]:
        """Return the possible (stream, end of the branch) of a sum."""
        active = [i for i in operation.inputs if self.is_active(i)]
        name, rank = operation.name, len(self.values[result].shape)
        if name in {"addmm", "baddbmm", "addmv"} and operation.inputs[0] in active:
            weighted = self._weight(operation) is not None
            return [(operation.inputs[0], result)] if weighted else []
        if name == "addcmul" and operation.inputs[0] in active:
            factors = any(self.is_active(i) for i in operation.inputs[1:3])
            return [(operation.inputs[0], result)] if factors else []
        if name in _ACCUMULATING and len(active) >= 2:
            adds = name in {"index_add", "scatter_add"} or True in operation.arguments
            return [(active[0], active[-1])] if adds else []
        terms = self._summed_stack(operation) if name == "sum" else active
        weights = [i for i in operation.inputs if self.signals.is_weight(i)]
        if name == "add" and len(active) == len(weights) == 1:
            # A stream may start as learned latents, which its first branch reads.
            return [(weights[0], active[0])]
        if name not in {"add", "sub", "sum"} or len(terms) < 2:
            return []
        if any(len(self.values[i].shape) != rank for i in terms):
            return []
        if len({self.values[i].shape[-1:] for i in terms}) > 1:
            return []
        pairs = [(a, b) for a in terms for b in terms if a != b]
        return pairs if name != "sum" else [p for p in pairs if p[0] == terms[0]] + pairs

    def _is_mixture(self, a: int, b: int) -> bool:
        """Return True where both sides are copies of one deep signal."""
        common = self.copies[a] & self.copies[b]
        while common:
            low = common & -common
            i = low.bit_length() - 1
            if self.signals.is_signal[i] and (
                self.signals.is_learned[i] or self.values[i].kind == "input"
            ):
                return True
            common ^= low
        return False

    def _branch(
        self,
        operation: Operation,
        result: int,
        stream: int,
        end: int,
        found: list[Join],
        source: int,
    ) -> Join | None:
        ancestors = self.signals.ancestors
        before = ancestors[end] & ~(1 << end) if end == result else ancestors[end]
        if end == result:
            before = 0
            for i in operation.inputs[1:]:
                before |= ancestors[i]
        common = source & before
        if not common:
            return None
        top = common.bit_length() - 1
        own = set(self._between(top, end))
        tensors = self.tensors_between(top, end)
        starts_elsewhere = any(
            p.value in own and p.top not in own and p.top != top and p.matrices for p in found
        )
        if not tensors or starts_elsewhere or self._is_coupled(top, own, operation):
            return None
        return Join(
            value=result,
            stream=stream,
            end=end,
            top=top,
            tensors=tensors,
            matrices=self._matrices(top, end),
            operation=operation,
        )

    def _is_coupled(self, top: int, inside: set[int], join: Operation) -> bool:
        """Return True where the branch also makes another stream, as reversible blocks do."""
        ancestors = self.signals.ancestors
        for i in inside:
            operation = self.program.makers.get(i)
            if operation is None or operation.name not in {"add", "sub"}:
                continue
            sides = [j for j in operation.inputs if self.is_active(j)]
            other = [j for j in sides if not ancestors[j] >> top & 1 and self.signals.is_learned[j]]
            users = [user for user in self.signals.users[i] if user is not join]
            leaves = any(r not in inside for user in users for r in user.results[:1])
            if other and len(sides) == 2 and leaves:
                return True
        return False

    def lies_between(self, top: int, value: int, end: int) -> bool:
        """Return True for a value that is made of the one and makes the other."""
        ancestors = self.signals.ancestors
        return bool(ancestors[end] >> value & 1 and ancestors[value] >> top & 1)

    def _between(self, top: int, end: int) -> Iterator[int]:
        return (i for i in range(top + 1, end + 1) if self.lies_between(top, i, end))

    def tensors_between(self, top: int, end: int) -> frozenset[str]:
        """Return the parameters that act on a value on its way to another."""
        return frozenset(name for i in self._between(top, end) for name in self._weights_of(i))

    def _weights_of(self, value: int) -> Iterator[str]:
        """Yield the parameters that an operation takes, seen through what is made of them."""
        for i in self.program.makers[value].inputs if value in self.program.makers else ():
            if self.signals.is_weight(i):
                yield from self.signals.parameters_of(i)

    def _matrices(self, top: int, end: int) -> int:
        """Return the number of weight matrices in series between the stream and the end."""
        deep: dict[int, int] = {top: 0}
        for i in range(top + 1, end + 1):
            operation = self.program.makers.get(i)
            if operation is None or not self.lies_between(top, i, end):
                continue
            before = max((deep[j] for j in operation.inputs if j in deep), default=0)
            deep[i] = before + (self._weight(operation) is not None)
        return deep.get(end, 0)

    def made(self, by: frozenset[str]) -> Iterator[tuple[int, frozenset[str]]]:
        """Yield what operations make of signals and parameters, with the names of these.

        Args:
            by: Names of the operations.
        """
        for operation in self.program.operations:
            result = operation.results[0] if operation.results else None
            if operation.name in by and result is not None:
                names = frozenset(self._weights_of(result))
                if names and self.signals.is_signal[result]:
                    yield result, names

    def norm_by_hand(self, operation: Operation) -> Iterator[int]:
        """Yield the signal of x * rsqrt(mean(x * x)) and its like."""
        active = [i for i in operation.inputs if self.is_active(i)]
        if operation.name in {"mul", "div"} and len(active) == 2:
            for one, other in (active, active[::-1]):
                top = self.copies[one] & self.signals.ancestors[other]
                if top and self.series[one] == self.series[other]:
                    yield one
                    return
