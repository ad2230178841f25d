"""Ways to compute the results of an operation: on numbers, or on shapes alone.

Where tensors have no numbers, constants keep theirs: masks, positions and frequencies can be looked
into, and their magnitudes are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Execute = Callable[[Any, tuple[Any, ...], dict[str, Any], bool], Any]
"""Operation, its arguments and keywords, and whether its results are constants."""


def on_cpu(func: Any, args: tuple[Any, ...], named: dict[str, Any], is_constant: bool) -> Any:
    """Compute on numbers; whatever asks for another device stays on the CPU."""
    if named.get("device") is not None:
        named = {**named, "device": torch.device("cpu")}
    output = func(*args, **named)
    if is_constant and "empty" in func._schema.name:
        output.zero_()  # what lies in fresh memory is no number of the model
    return output


def on_meta(func: Any, args: tuple[Any, ...], named: dict[str, Any], is_constant: bool) -> Any:
    """Compute shapes on the meta device, constants on the CPU."""
    if is_constant:
        if any(isinstance(arg, Tensor) and arg.is_meta for arg in args):  # such as zeros_like
            named = {**named, "device": torch.device("cpu")}
        return on_cpu(func, args, named, True)
    if named.get("device") is not None:
        named = {**named, "device": torch.device("meta")}
    originals: dict[int, Tensor] = {}

    def to_meta(tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            return tensor
        moved = tensor.detach().to("meta")
        originals[id(moved)] = tensor
        return moved

    args_meta, named_meta = pytree.tree_map_only(Tensor, to_meta, (args, named))
    try:
        output = func(*args_meta, **named_meta)
    except (RuntimeError, NotImplementedError):
        # Some operations look into constants, such as a mask that picks entries.
        return func(*args, **named)
    return pytree.tree_map_only(Tensor, lambda t: originals.get(id(t), t), output)


def on_fakes(func: Any, args: tuple[Any, ...], named: dict[str, Any], is_constant: bool) -> Any:
    """Compute shapes in the FakeTensorMode that is entered, constants on the CPU."""
    from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

    if is_constant:

        def to_meta(tensor: Tensor) -> Tensor:
            return torch.empty_like(tensor, device="meta")

        with unset_fake_temporarily():
            fakes = any(isinstance(arg, FakeTensor) for arg in args)
            args = pytree.tree_map_only(FakeTensor, to_meta, args)
            return on_meta(func, args, named, True) if fakes else on_cpu(func, args, named, True)
    if named.get("device") is not None:
        named = {**named, "device": torch.device("cpu")}
    output = func(*args, **named)
    if isinstance(args[0], Tensor) and not isinstance(args[0], FakeTensor):
        # What is written is an argument, not the fake made of it.
        return args[0] if func._schema.name.endswith("_") else output
    return output
