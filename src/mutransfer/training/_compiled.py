"""Compilation of a stacked step into one program."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ._generators import as_it_was
from ._held import changed
from ._recording import NotCompiledError, Recorder, constants, copies, short

KEPT = 16
"""Programs that are kept, to be used again where a step is recorded as the same operations."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """A compiled program, and the recording that it was compiled from."""

    code: str
    constants: Mapping[str, Tensor]
    inputs: Sequence[Any]
    program: Callable[..., Any]

    def is_of(self, recording: torch.fx.GraphModule, inputs: Sequence[Any]) -> bool:
        """Return True for a recording of the same operations, constants and shapes."""
        same = (self.code, self.inputs) == (recording.code, inputs)
        return same and changed(self.constants, constants(recording)) is None


_PROGRAMS: deque[_Kept] = deque(maxlen=KEPT)


def compiled(recorder: Recorder) -> Callable[..., Any]:
    """Return a step as a compiled function of the same arguments.

    Raises:
        NotCompiledError: the step cannot be recorded or compiled.
    """
    with as_it_was(), _silent():
        return _program(recorder.recording(), recorder.arguments)


def _program(recorded: torch.fx.GraphModule, arguments: Sequence[Any]) -> Callable[..., Any]:
    """Return the program of a recording, an earlier one where it is the same."""
    leaves = tree_leaves(arguments)
    inputs = [(leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in leaves]
    for kept in _PROGRAMS:
        if kept.is_of(recorded, inputs):
            return kept.program
    try:
        program = torch.compile(recorded, dynamic=False, fullgraph=True)
        program(*copies(arguments))
    except Exception as error:
        raise NotCompiledError(short(error)) from error
    _PROGRAMS.append(_Kept(recorded.code, constants(recorded), inputs, program))
    return program


@contextmanager
def _silent() -> Iterator[None]:
    """Leave out the compiler's warnings, which are about its own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
