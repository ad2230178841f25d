"""How far the change of a block is from linear in the change of its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ._record import main_tensor, module_name, rms

_STEP = 0.05
"""Step of the central difference, as a share of the tensors' change."""

Inputs = dict[str, tuple[tuple[Any, ...], dict[str, Any]]]


@contextmanager
def inputs_of(model: nn.Module, names: set[str]) -> Iterator[Inputs]:
    """Notes what these modules are given in the first call inside the `with`."""
    found: Inputs = {}

    def note(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        detached = pytree.tree_map_only(Tensor, Tensor.detach, (args, kwargs))
        found.setdefault(name, detached)

    own = [(module_name(name), module) for name, module in model.named_modules()]
    handles = [
        module.register_forward_pre_hook(partial(note, name), with_kwargs=True)
        for name, module in own
        if name in names
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def nonlinearity(
    module: nn.Module, start: Mapping[str, Tensor], given: tuple[tuple[Any, ...], dict[str, Any]]
) -> float | None:
    """What of the change of a module's output, its input held, is not linear in the change of its tensors, as a share of the change.

    It vanishes where layers of a branch do not learn together, as in deep networks with alpha below 1 (CompleteP, 2505.01618, Figure 6).

    Args:
        module: The module, with its tensors as they are now.
        start: Its tensors at initialisation, by their names in it.
        given: Its arguments.

    Returns:
        The share; None where the output does not change.
    """
    now = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    def output(share: float) -> Tensor:
        for name, parameter in module.named_parameters():
            parameter.data.copy_(start[name] + share * (now[name] - start[name]))
        found = main_tensor(module(*given[0], **given[1]))
        assert found is not None
        return found.clone()

    with torch.no_grad():
        try:
            before, after = output(0.0), output(1.0)
            linear = (output(_STEP) - output(-_STEP)) / (2 * _STEP)
        finally:
            for name, parameter in module.named_parameters():
                parameter.data.copy_(now[name])
    change = rms(after - before)
    return rms(after - before - linear) / change if change else None
