"""Ways to compute the results of an operation: on numbers, or on shapes alone.

Where parameters have no numbers, constants and inputs keep theirs, and so does all that is made of
them alone: masks and positions can be looked into, and magnitudes are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils import _pytree as pytree

Execute = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Operation, its arguments and keywords."""

_CPU, _META = torch.device("cpu"), torch.device("meta")


def on_cpu(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Compute on numbers; whatever asks for another device stays on the CPU."""
    output = func(*args, **_placed(named, _CPU))
    if "empty" in func._schema.name:
        output.zero_()  # what lies in fresh memory is no number of the model
    return output


def on_meta(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Compute on the meta device what is made of tensors there, all else on the CPU."""
    given = list(tensors_of((args, named)))
    if not any(tensor.is_meta for tensor in given):
        return on_cpu(func, args, named)
    if makes_constants(func):
        return on_cpu(func, args, {**named, "device": _CPU})
    # Operations that look into a mask need its numbers, others want all on one device.
    moved = pytree.tree_map_only(Tensor, lambda t: t if t.is_meta else t.to("meta"), args)
    attempts: list[Callable[[], Any]] = [
        lambda: func(*moved, **_placed(named, _META)),
        lambda: func(*args, **_placed(named, _META)),
        lambda: _in_half(func, moved, named),
    ]
    return _in_place(func, args, _first(attempts))


def on_fakes(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Compute in the FakeTensorMode that is entered what is made of its tensors."""
    given = list(tensors_of((args, named)))
    if not any(isinstance(tensor, FakeTensor) for tensor in given):
        with unset_fake_temporarily():
            return on_cpu(func, args, named)
    if makes_constants(func):
        to_meta = lambda t: torch.empty_like(t, device="meta")  # noqa: E731
        with unset_fake_temporarily():
            hollow = pytree.tree_map_only(FakeTensor, to_meta, args)
            return on_cpu(func, hollow, {**named, "device": _CPU})
    return _in_place(func, args, func(*args, **_placed(named, _CPU)))


def makes_constants(func: Any) -> bool:
    """Return True for operations that take the shape of their input alone."""
    name = func._schema.name.partition("::")[2]
    return bool(name.endswith("_like") or name.startswith("new_"))


def _placed(named: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return named if named.get("device") is None else {**named, "device": device}


def _in_place(func: Any, args: tuple[Any, ...], output: Any) -> Any:
    """Return the argument itself where it was written, not what stood in its place."""
    return args[0] if func._schema.name.endswith("_") and isinstance(output, Tensor) else output


def _in_half(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Compute in the type of training: some kernels for GPUs know no other."""
    half = pytree.tree_map_only(
        Tensor, lambda t: t.bfloat16() if t.dtype == torch.float32 else t, args
    )
    return pytree.tree_map_only(
        Tensor,
        lambda t: t.float() if t.dtype == torch.bfloat16 else t,
        func(*half, **_placed(named, _META)),
    )


def _first(attempts: list[Callable[[], Any]]) -> Any:
    """Return the result of the first attempt that does not fail."""
    failure: Exception | None = None
    for attempt in attempts:
        try:
            return attempt()
        except (RuntimeError, NotImplementedError) as error:
            failure = failure or error
    assert failure is not None
    raise failure


def tensors_of(arguments: Any) -> Iterator[Tensor]:
    """Yield the tensors among an operation's arguments, which nest in lists."""
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, list | tuple):
        for argument in arguments:
            yield from tensors_of(argument)
    elif isinstance(arguments, dict):
        yield from tensors_of(list(arguments.values()))
