"""One forward pass of a model as a list of operations: plain data, no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class Ref:
    """A value among the arguments of an operation, by its index in the program."""

    index: int


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the forward pass.

    Attributes:
        shape: Its shape.
        kind: "parameter", "input", "constant" or "result" (of an operation).
        name: The canonical name of a parameter; of a constant, that of its buffer, if it is one.
        is_float: True for real or complex floating-point numbers.
        magnitude: RMS, mean magnitude and largest magnitude of the finite entries other than zero
            of a constant; None where there are none, or where the values are not known.
    """

    shape: tuple[int, ...]
    kind: str = "result"
    name: str = ""
    is_float: bool = True
    magnitude: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation below autograd, with the arguments of its ATen schema.

    Attributes:
        name: Its ATen name without overload and without the underscore of in-place operations:
            "mm", "add", "native_layer_norm". A "write" makes a tensor whose storage was written
            through another view: its arguments are the tensor before and what was written.
        arguments: Positional arguments; values as `Ref`, lists as tuples.
        keywords: Keyword arguments, likewise.
        results: Indices of the values that it makes; None for what is no tensor.
        module: Canonical name of the innermost module that called it.
        inputs: The values that it takes, in the order of its arguments.
    """

    name: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    results: tuple[int | None, ...]
    module: str = ""
    inputs: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = (*_refs(self.arguments), *_refs(tuple(self.keywords.values())))
        object.__setattr__(self, "inputs", found)


@dataclass(frozen=True, kw_only=True)
class Program:
    """The operations of one forward pass, in order.

    Attributes:
        values: Every tensor; a result comes after all that it was made of.
        operations: Every operation that made one of them.
        outputs: The values that the model returned.
        modules: For each module, by canonical name, the values that it put out, call by call.
        is_training: True if the model ran in training mode.
    """

    values: tuple[Value, ...] = ()
    operations: tuple[Operation, ...] = ()
    outputs: tuple[int, ...] = ()
    modules: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    is_training: bool = False

    @cached_property
    def makers(self) -> Mapping[int, Operation]:
        """The operation that made each result."""
        return {i: op for op in self.operations for i in op.results if i is not None}

    @cached_property
    def users(self) -> Mapping[int, list[Operation]]:
        """The operations that take each value."""
        found: dict[int, list[Operation]] = {i: [] for i in range(len(self.values))}
        for operation in self.operations:
            for index in dict.fromkeys(operation.inputs):
                found[index].append(operation)
        return found

    @cached_property
    def parameters(self) -> Mapping[str, int]:
        """The value of each parameter that the forward pass uses."""
        return {v.name: i for i, v in enumerate(self.values) if v.kind == "parameter"}


def _refs(arguments: tuple[Any, ...]) -> Iterator[int]:
    for argument in arguments:
        if isinstance(argument, Ref):
            yield argument.index
        elif isinstance(argument, tuple):
            yield from _refs(argument)
