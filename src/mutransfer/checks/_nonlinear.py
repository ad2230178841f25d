"""The nonlinear part of a block's change in its parameter change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..tasks import main_tensor
from ._record import module_name, rms

_STEP = 0.05
"""Step of the central difference, as a fraction of the parameter change."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a module."""


@contextmanager
def arguments_of(model: nn.Module, names: set[str]) -> Iterator[dict[str, Arguments]]:
    """Record the arguments of these modules in their first call inside the `with`."""
    recorded: dict[str, Arguments] = {}

    def record(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        detached = pytree.tree_map_only(Tensor, Tensor.detach, (args, kwargs))
        recorded.setdefault(name, detached)

    modules = {module_name(name): module for name, module in model.named_modules()}
    handles = [
        module.register_forward_pre_hook(partial(record, name), with_kwargs=True)
        for name, module in modules.items()
        if name in names
    ]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def nonlinearity(
    module: nn.Module, start: Mapping[str, Tensor], arguments: Arguments
) -> float | None:
    """Return the nonlinear fraction of a module's output change.

    It is what remains without the part that is linear in the change of its parameters; the input
    is held. It vanishes where the layers of a branch do not learn together, as in deep networks
    with alpha below 1 (CompleteP, 2505.01618, Figure 6).

    Args:
        module: The module, with its parameters as they are now.
        start: Its parameters at initialisation, by their names in it.
        arguments: Its arguments.

    Returns:
        The fraction; None where the output does not change.
    """
    now = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    def output(share: float) -> Tensor:
        """Return the output with a share of the parameter change."""
        for name, parameter in module.named_parameters():
            parameter.data.copy_(start[name] + share * (now[name] - start[name]))
        tensor = main_tensor(module(*arguments[0], **arguments[1]))
        assert tensor is not None, "the module put out a tensor while it was recorded"
        return tensor.clone()

    with torch.no_grad():
        try:
            before, after = output(0.0), output(1.0)
            linear = (output(_STEP) - output(-_STEP)) / (2 * _STEP)
        finally:
            for name, parameter in module.named_parameters():
                parameter.data.copy_(now[name])
    change = rms(after - before)
    return rms(after - before - linear) / change if change else None
