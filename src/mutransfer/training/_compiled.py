"""Compilation of a stacked step into one program."""

from __future__ import annotations

import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map_only

from ._held import changed, held


class NotCompiledError(Exception):
    """A step cannot be compiled; the message says why."""


KEPT = 16
"""Programs that are kept, to be used again where a step is recorded as the same operations."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """A compiled program, and the recording that it was compiled from."""

    code: str
    constants: Mapping[str, Tensor]
    inputs: Sequence[Any]
    program: Callable[..., Any]

    def is_of(self, code: str, constants: Mapping[str, Tensor], inputs: Sequence[Any]) -> bool:
        """Return True for a recording of the same operations, constants and shapes."""
        return (
            (self.code, self.inputs) == (code, inputs)
            and self.constants.keys() == constants.keys()
            and all(torch.equal(value, constants[n]) for n, value in self.constants.items())
        )


_PROGRAMS: deque[_Kept] = deque(maxlen=KEPT)


def compiled(step: Callable[..., Any], template: nn.Module, arguments: Sequence[Any]) -> Any:
    """Return a step as a compiled function of the same arguments.

    The step is recorded once on copies of its arguments, as operations on tensors, and compiled
    for their shapes. A recording that is not the same every time would train another model without
    a word: it is refused.

    Args:
        step: The step; it changes its arguments in place.
        template: The module whose forward pass it has.
        arguments: The arguments of the first step, which stay as they are.

    Raises:
        NotCompiledError: the step cannot be recorded or compiled, or its forward pass draws from
            Python's or NumPy's generators, or changes a number that a module holds.
    """
    with _as_it_was(), _silent():
        generators = _generators()
        recorded, name = _recorded(step, template, arguments)
        if name is not None:
            # The first forward pass may have kept what the others use: that comes once.
            recorded, name = _recorded(step, template, arguments)
        if _generators() != generators:
            raise NotCompiledError("its forward pass draws from Python's or NumPy's generator")
        if name is not None:
            raise NotCompiledError(f"its forward pass changes {name}, which it holds")
        return _program(recorded, arguments)


def _recorded(
    step: Callable[..., Any], template: nn.Module, arguments: Sequence[Any]
) -> tuple[torch.fx.GraphModule, str | None]:
    """Return the recording of a step, and the name of what it changed in the template."""
    before = dict(held(template))
    try:
        recorded = make_fx(step)(*_copies(arguments))
    except Exception as error:
        raise NotCompiledError(_short(error)) from error
    return recorded, changed(before, held(template))


def _program(recorded: torch.fx.GraphModule, arguments: Sequence[Any]) -> Callable[..., Any]:
    """Return the program of a recording, an earlier one where it is the same."""
    constants = {n: v for n, v in vars(recorded).items() if isinstance(v, Tensor)}
    constants |= dict(recorded.named_buffers())
    leaves = tree_leaves(arguments)
    inputs = [(leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in leaves]
    for kept in _PROGRAMS:
        if kept.is_of(recorded.code, constants, inputs):
            return kept.program
    try:
        program = torch.compile(recorded, dynamic=False, fullgraph=True)
        program(*_copies(arguments))
    except Exception as error:
        raise NotCompiledError(_short(error)) from error
    _PROGRAMS.append(_Kept(recorded.code, constants, inputs, program))
    return program


def _copies(arguments: Sequence[Any]) -> list[Any]:
    return [tree_map_only(Tensor, torch.clone, part) for part in arguments]


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave torch's generators as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextmanager
def _silent() -> Iterator[None]:
    """Leave out the compiler's warnings, which are about its own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _generators() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, keys.tobytes(), *rest  # type: ignore[union-attr]


def _short(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
