"""Modules run alone, and the nonlinear part of a block's change."""

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
        if name not in recorded:
            # What a model writes into its inputs in place must not reach the record.
            recorded[name] = pytree.tree_map_only(
                Tensor, lambda tensor: tensor.detach().clone(), (args, kwargs)
            )

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


def alone(
    module: nn.Module, arguments: Arguments, values: Mapping[nn.Parameter, Tensor]
) -> Tensor | None:
    """Return the output of a module by itself, with other values of some parameters.

    Args:
        module: The module; it is left as it was.
        arguments: Its arguments.
        values: The values that take the place of parameters.

    Returns:
        The main tensor; None where the module cannot be run by itself.
    """
    kept = {parameter: parameter.detach().clone() for parameter in values}
    # What a module writes into its arguments stays in this copy.
    given = pytree.tree_map_only(Tensor, Tensor.clone, arguments)
    with torch.no_grad():
        try:
            for parameter, value in values.items():
                parameter.data.copy_(value)
            tensor = main_tensor(module(*given[0], **given[1]))
        # Running the module again is the user's code, and may need more than its arguments.
        except Exception:
            return None
        finally:
            for parameter, value in kept.items():
                parameter.data.copy_(value)
    return None if tensor is None else tensor.clone()


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
        The fraction; None where the output does not change, or the module cannot be run alone.
    """
    now = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    def output(share: float) -> Tensor | None:
        """Return the output with a share of the parameter change."""
        values = {
            parameter: start[name] + share * (now[name] - start[name])
            for name, parameter in module.named_parameters()
        }
        return alone(module, arguments, values)

    outputs = [output(share) for share in (0.0, 1.0, _STEP, -_STEP)]
    before, after, forward, backward = outputs
    if before is None or after is None or forward is None or backward is None:
        return None
    if len({tensor.shape for tensor in (before, after, forward, backward)}) > 1:
        return None
    linear = (forward - backward) / (2 * _STEP)
    change = rms(after - before)
    return rms(after - before - linear) / change if change else None
