"""The modules in whose outputs the effects of tensors show."""

from __future__ import annotations

from collections.abc import Container

from ..reading import parent

_PARAMETRIZED = ".parametrizations."


def puts_out_weight(module: str) -> bool:
    """Return True for a module of a parametrization, whose output is no feature."""
    return _PARAMETRIZED in f".{module}."


def holder(name: str) -> str:
    """Return the module of a tensor; of a parametrization, the one that has it."""
    module, mark, _ = f".{name}".partition(_PARAMETRIZED)
    return module.removeprefix(".") if mark else parent(name)


def owner(name: str, called: Container[str]) -> str:
    """Return the innermost module of a tensor that is called for features.

    A layer whose weight is used by a function is never called itself, as the output projection of
    `nn.MultiheadAttention`.
    """
    module = holder(name)
    while module and module not in called:
        module = parent(module)
    return module


def module_of(call: str) -> str:
    """Return the name of the module of a call."""
    return call.partition("#")[0]
