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

from ._held import changed, snapshot


class NotCompiledError(Exception):
    """A step cannot be compiled; the message says why."""


KEPT = 16
"""Programs that are kept, to be used again where a step is recorded as the same operations."""

_MASKS = (torch.bool, torch.uint8)
"""Types of tensors that select by their values."""


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
        return same and changed(self.constants, _constants(recording)) is None


_PROGRAMS: deque[_Kept] = deque(maxlen=KEPT)


def compiled(
    step: Callable[..., Any],
    template: nn.Module,
    arguments: Sequence[Any],
    other: Sequence[Any],
    kept: int,
    carries: Callable[[Sequence[Any]], bool],
) -> Any:
    """Return a step as a compiled function of the same arguments.

    The step is recorded on copies of its arguments, as operations on tensors, and compiled for
    their shapes. A recording that is not the same for other batches and parameters would train
    another model without a word: it is refused.

    Args:
        step: The step; it changes its arguments in place.
        template: The module whose forward pass it has.
        arguments: The arguments of the first step, which stay as they are.
        other: Those of another step, with another batch.
        kept: Number of arguments that the step changes, the first ones.
        carries: Returns True if the step depends on the forward passes before it, of arguments.

    Raises:
        NotCompiledError: the step cannot be recorded or compiled, or its forward pass draws from
            Python's or NumPy's generators, reads values of tensors, or uses what it has changed in
            a module.
    """
    with as_it_was(), _silent():
        generators, before = _generators(), snapshot(template)
        # Another batch first: what the first pass keeps of it is not what the first step would.
        changing = copies(other)
        first = _recorded(step, changing)
        following = [*changing[:kept], *copies(arguments[kept:])]
        tried = copies(following)
        recorded = second = _recorded(step, following)
        if not _alike(first, second):
            # The first forward pass may have kept what the others use: that comes once.
            recorded = _recorded(step, [*following[:kept], *copies(other[kept:])])
        if _generators() != generators:
            raise NotCompiledError("its forward pass draws from Python's or NumPy's generator")
        name = changed(before, snapshot(template))
        uses = name and f"its forward pass changes {name}, which it holds"
        if not _alike(recorded, second):
            raise NotCompiledError(uses or "its operations depend on the values of its tensors")
        if (name or recorded is not second) and _carries(carries, tried):
            raise NotCompiledError(uses or "its first forward pass is not like those after it")
        if operation := _of_values(recorded):
            raise NotCompiledError(f"the shape that {operation} returns depends on values")
        return _program(recorded, arguments)


def _recorded(step: Callable[..., Any], arguments: Sequence[Any]) -> torch.fx.GraphModule:
    """Return the recording of a step, which changes its arguments."""
    try:
        return make_fx(step)(*arguments)
    except Exception as error:
        raise NotCompiledError(_short(error)) from error


def _carries(carries: Callable[[Sequence[Any]], bool], arguments: Sequence[Any]) -> bool:
    try:
        return carries(arguments)
    except Exception as error:
        raise NotCompiledError(_short(error)) from error


def _alike(one: torch.fx.GraphModule, other: torch.fx.GraphModule) -> bool:
    """Return True for recordings of the same operations and constants."""
    return one is other or (
        one.code == other.code and changed(_constants(one), _constants(other)) is None
    )


def _constants(recorded: torch.fx.GraphModule) -> Mapping[str, Tensor]:
    """Return the tensors that a recording holds."""
    plain = {n: v for n, v in vars(recorded).items() if isinstance(v, Tensor)}
    return plain | dict(recorded.named_buffers()) | dict(recorded.named_parameters())


def _of_values(recorded: torch.fx.GraphModule) -> str | None:
    """Return an operation whose result has a shape that depends on the arguments' values."""
    reached = set[torch.fx.Node]()
    for node in recorded.graph.nodes:
        sources = node.all_input_nodes
        if node.target is torch.ops.aten.index.Tensor:
            # Numbers select as many entries as there are numbers, masks as many as are true.
            sources = [n for n in node.args[1] if n is not None and n.meta["val"].dtype in _MASKS]
        if node.op == "placeholder" or not reached.isdisjoint(node.all_input_nodes):
            reached.add(node)
        tags = getattr(node.target, "tags", ())
        if torch.Tag.dynamic_output_shape in tags and not reached.isdisjoint(sources):
            return str(node.target)
    return None


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
        raise NotCompiledError(_short(error)) from error
    _PROGRAMS.append(_Kept(recorded.code, _constants(recorded), inputs, program))
    return program


def copies(arguments: Sequence[Any]) -> list[Any]:
    """Return copies of all tensors in arguments."""
    return [tree_map_only(Tensor, torch.clone, part) for part in arguments]


@contextmanager
def as_it_was() -> Iterator[None]:
    """Leave the generators of torch, NumPy and Python as they were."""
    plain, array = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(array)


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
