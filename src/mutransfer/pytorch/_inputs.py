"""Inputs of a forward pass: those given, or a guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ..core import MutransferError


def guess_inputs(model: nn.Module) -> Tensor:
    """Return a small batch that the first layer of the model accepts, not at random.

    Raises:
        MutransferError: the first layer is of a kind whose input cannot be guessed.
    """
    for module in model.modules():
        match module:
            case nn.Embedding():
                return (torch.arange(16) % module.num_embeddings).view(2, 8)
            case nn.Linear():
                return _numbers(module, module.in_features)
            case nn.Conv1d():
                return _numbers(module, module.in_channels, 64)
            case nn.Conv2d():
                return _numbers(module, module.in_channels, 32, 32)
            case nn.Conv3d():
                return _numbers(module, module.in_channels, 16, 16, 16)
            case _ if next(module.parameters(recurse=False), None) is not None and not list(
                module.children()
            ):
                break
            case _:
                continue
    raise MutransferError(
        f"the inputs of {type(model).__name__} cannot be guessed from its first layer; "
        "give some with example_inputs="
    )


def candidates(model: nn.Module, example_inputs: Any = None) -> Iterator[Any]:
    """Yield inputs worth trying: those given, else a guess and the model's own.

    What is yielded is a copy on the CPU.

    Raises:
        MutransferError: none are given, and they cannot be guessed.
    """
    given = [example_inputs] if example_inputs is not None else _own(model)
    for inputs in given:
        yield copied(inputs)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    for inputs in given:
        floats = [t for t in tensors(inputs) if t.is_floating_point()]
        if dtype is not None and any(t.dtype != dtype for t in floats):
            yield copied(inputs, dtype)


def copied(inputs: Any, dtype: torch.dtype | None = None) -> Any:
    """Return inputs with copies of their tensors on the CPU, floats of this type."""

    def copy(tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        new = tensor.detach().cpu().clone()
        new = new.to(dtype) if dtype is not None and new.is_floating_point() else new
        return new.requires_grad_(tensor.requires_grad)

    plain = dict(inputs) if isinstance(inputs, Mapping) else inputs
    return pytree.tree_map_only(Tensor, copy, plain)


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of the model."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def tensors(tree: Any) -> list[Tensor]:
    """Return the tensors among inputs or outputs, in containers and dataclasses."""
    if is_traceable_wrapper_subclass(tree):  # such as jagged tensors
        parts = [getattr(tree, name) for name in tree.__tensor_flatten__()[0]]
    elif isinstance(tree, Tensor):
        return [tree]
    elif isinstance(tree, Mapping):
        parts = list(tree.values())
    elif isinstance(tree, list | tuple):
        parts = list(tree)
    elif is_dataclass(tree) or isinstance(tree, torch.distributions.Distribution):
        parts = list(vars(tree).values())
    else:
        return []
    return [tensor for part in parts for tensor in tensors(part)]


def _own(model: nn.Module) -> list[Any]:
    """Return a guess, and the model's own inputs, as Hugging Face's have."""
    guesses: list[Any] = []
    with suppress(MutransferError):
        guesses.append(guess_inputs(model))
    try:
        dummy = getattr(model, "dummy_inputs", None)
    except Exception:  # of a model whose own are for another kind of it
        dummy = None
    if isinstance(dummy, Mapping):
        unmasked = {name: value for name, value in dummy.items() if "mask" not in name}
        guesses += [dict(dummy)] if len(unmasked) == len(dummy) else [dict(dummy), unmasked]
    if not guesses:
        guess_inputs(model)
    return guesses


def _numbers(module: nn.Linear | nn.modules.conv._ConvNd, *shape: int) -> Tensor:
    """Return normal numbers: all zeros have no norm, and no direction."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *shape, generator=generator).to(module.weight.dtype)
