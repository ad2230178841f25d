"""Dispatch mode that records the operations below autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.flex_attention import flex_attention, math_attention
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..reading import Operation, Ref
from ._execute import Execute, makes_constants, tensors_of
from ._ledger import Ledger
from ._storages import Tracked

# Arguments about the place of a tensor in memory.
_PLACEMENT = {"device", "layout", "memory_format", "pin_memory", "generator", "non_blocking"}


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record of the operations that run while it is entered.

    Operations on constants alone are not recorded: what others take of their results are constants
    of the program.

    Attributes:
        ledger: The program as far as it is written.
    """

    def __init__(self, ledger: Ledger, execute: Execute, keep: Callable[[Tensor], None]) -> None:
        """Prepare a record.

        Args:
            ledger: Ledger to write into.
            execute: Computes the results of an operation.
            keep: Called with a tensor from before the forward pass that is about to be written.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger, self._execute, self._keep = ledger, execute, keep

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would import the compiler, which takes seconds

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and record it."""
        if any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented  # the operations on the tensors that it is made of will come
        named = dict(kwargs or {})
        if func.namespace == "prim":
            return func(*args, **named)
        if _is_composite(func):  # tensors made in inference mode bring these here
            with self:
                return func.decompose(*args, **named)
        ledger = self.ledger
        written = list(_written(func, args, named))
        read = list(tensors_of((args, _inputs(func, named))))
        inputs = [ledger.track(tensor) for tensor in read]
        is_constant = makes_constants(func) or all(ledger.is_constant(each) for each in inputs)
        is_constant &= not any(ledger.track(t).storage.holds_signal for t in written)
        if not is_constant:
            operation = self._operation(func, args, _inputs(func, named))
        for tensor in written:
            self._prepare(tensor, is_constant)
        output = self._execute(func, args, named)
        if torch.Tag.inplace_view in func.tags:
            written = []
        if is_constant:
            self._note_constants(output, written, all(each.is_known for each in inputs))
        else:
            self._note_results(operation, output, written, inputs)
        return output

    def _operation(self, func: Any, args: Any, named: Mapping[str, Any]) -> Operation:
        return Operation(
            name=_name(func),
            arguments=tuple(self._plain(argument) for argument in args),
            keywords={k: self._plain(v) for k, v in named.items() if k not in _PLACEMENT},
            results=(),
            module=self.ledger.module,
        )

    def _plain(self, argument: Any) -> Any:
        """Return an argument as plain data."""
        match argument:
            case Tensor():
                return Ref(self.ledger.read(argument))
            case list() | tuple():
                return tuple(self._plain(each) for each in argument)
            case None | bool() | int() | float() | complex() | str():
                return argument
            case torch.dtype():
                return str(argument).removeprefix("torch.")
            case torch.SymInt():
                return int(argument)
            case _:
                return None

    def _prepare(self, tensor: Tensor, is_constant: bool) -> None:
        if not self.ledger.track(tensor).storage.is_new:
            self._keep(tensor)
        if not is_constant:
            self.ledger.prepare_signal(tensor)

    def _note_constants(self, output: Any, written: list[Tensor], is_known: bool) -> None:
        for tensor in written:
            self.ledger.write_constant(tensor, is_known=is_known)
        for tensor in tensors_of(output):
            self.ledger.add_constant(tensor, is_known=is_known)

    def _note_results(
        self, operation: Operation, output: Any, written: list[Tensor], inputs: list[Tracked]
    ) -> None:
        ledger = self.ledger
        leaves = [*pytree.tree_leaves(output)] if output is not None else []
        # Some operations return nothing of what they write.
        leaves += [t for t in written if not any(t is leaf for leaf in leaves)]
        results = tuple(ledger.new(t) if isinstance(t, Tensor) else None for t in leaves)
        made = Operation(
            operation.name, operation.arguments, operation.keywords, results, operation.module
        )
        ledger.add_operation(made)
        for leaf, value in zip(leaves, results, strict=True):
            if value is None:
                continue
            if any(leaf is tensor for tensor in written):
                ledger.write_signal(leaf, value)
            else:
                ledger.add_result(leaf, value, inputs, made)


@flex_attention.py_impl(Recorder)
def _flex_attention(mode: Recorder, *args: Any, **kwargs: Any) -> Any:
    """Compute flex attention by operations that can be recorded."""
    with mode:
        return math_attention(*args, **kwargs)


@cache
def _name(func: Any) -> str:
    """Return an operation's name, without the underscore of those in place."""
    namespace, _, name = func._schema.name.partition("::")
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return name if namespace == "aten" else f"{namespace}::{name}"


@cache
def _is_composite(func: Any) -> bool:
    key = "CompositeImplicitAutograd"
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key))


@cache
def _schema_written(func: Any) -> tuple[tuple[int, str, bool], ...]:
    """Return position and name of the arguments that are written, True for `out=`."""
    return tuple(
        (position, argument.name, argument.is_out)
        for position, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


def _written(func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operation writes."""
    if func._schema.name == "aten::native_batch_norm" and args[5]:
        # Its schema does not say that it updates running statistics.
        yield from tensors_of(args[3:5])
    for position, name, _ in _schema_written(func):
        yield from tensors_of(args[position] if position < len(args) else named.get(name))


def _inputs(func: Any, named: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments without `out=`, which is not read."""
    outs = {name for _, name, is_out in _schema_written(func) if is_out}
    return {k: v for k, v in named.items() if k not in outs} if outs else named
