"""Recordings of a stacked step as operations on tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map_only

from ._generators import as_it_was, drawn
from ._held import changed

_MASKS = (torch.bool, torch.uint8)
"""Types of tensors that select by their values."""


class NotCompiledError(Exception):
    """A step cannot be compiled; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorder:
    """A step that is recorded on copies of its arguments.

    A recording that is not the same for other batches and parameters would train another model
    without a word: it is refused.

    Attributes:
        step: The step; it changes its arguments in place.
        held: Returns what its forward pass and loss hold, which were not called so far.
        arguments: The arguments of the first step, which stay as they are.
        other: Those of another step, with another batch and, if there is one, another model.
        kept: Number of arguments that the step changes, the first ones.
        carries: Returns True if the step depends on the forward passes before it, of arguments.
    """

    step: Callable[..., Any]
    held: Callable[[], Mapping[str, Any]]
    arguments: Sequence[Any]
    other: Sequence[Any]
    kept: int
    carries: Callable[[Sequence[Any]], bool]

    def recording(self) -> GraphModule:
        """Return the recording of all steps.

        Raises:
            NotCompiledError: the step cannot be recorded, or its forward pass draws from Python's
                or NumPy's generators, reads values of tensors, or uses what earlier ones have kept.
        """
        drawn_before, before = drawn(), self.held()
        # Others first: what the first pass keeps of them is not what the first step would keep.
        changing = copies(self.other)
        recorded = self._recorded(changing)
        if drawn() != drawn_before:
            raise NotCompiledError("its forward pass draws from Python's or NumPy's generator")
        # One step later: a single model has other parameters then.
        following = [*changing[: self.kept], *self.arguments[self.kept :]]
        equal = all(
            same(self._outcome(recorded, each), self._outcome(self.step, each))
            for each in (following, self.arguments)
        )
        if changed(before, self.held()) is not None or not equal:
            recorded = self._recorded_again(following, before)
        return recorded

    def _recorded_again(self, following: Sequence[Any], before: Mapping[str, Any]) -> GraphModule:
        """Return the recording of the steps after one that kept what others use."""
        second = self._recorded(copies(following))
        again = [*self.arguments[: self.kept], *self.other[self.kept :]]
        third = self._recorded(copies(again))
        name = changed(before, self.held())
        uses = name and f"its forward pass changes {name}, which it holds"
        if not _alike(second, third):
            raise NotCompiledError(uses or "its operations depend on the values of its tensors")
        try:
            carries = self.carries(following) or self.carries(self.arguments)
        except Exception as error:
            raise NotCompiledError(short(error)) from error
        if carries:
            raise NotCompiledError(uses or "its first forward pass is not like those after it")
        return third

    def _recorded(self, arguments: Sequence[Any]) -> GraphModule:
        """Return the recording of a step, which changes these arguments."""
        try:
            recorded = make_fx(self.step)(*arguments)
        except Exception as error:
            raise NotCompiledError(short(error)) from error
        if operation := _of_values(recorded):
            raise NotCompiledError(f"the shape that {operation} returns depends on values")
        return recorded

    def _outcome(self, step: Callable[..., Any], arguments: Sequence[Any]) -> list[Any] | None:
        """Return the outcome of a step, None where it fails."""
        try:
            with as_it_was():
                return outcome(step, arguments)
        except Exception:
            return None


def outcome(step: Callable[..., Any], arguments: Sequence[Any]) -> list[Any]:
    """Return what a step yields, and the copies of its arguments that it has changed."""
    changing = copies(arguments)
    return [step(*changing), *tree_leaves(changing)]


def copies(arguments: Sequence[Any]) -> list[Any]:
    """Return copies of all tensors in arguments."""
    return [tree_map_only(Tensor, torch.clone, part) for part in arguments]


def constants(recorded: GraphModule) -> Mapping[str, Tensor]:
    """Return the tensors that a recording holds."""
    plain = {n: v for n, v in vars(recorded).items() if isinstance(v, Tensor)}
    return plain | dict(recorded.named_buffers()) | dict(recorded.named_parameters())


def short(error: Exception) -> str:
    """Return the first line of an error, with its kind."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def _alike(one: GraphModule, other: GraphModule) -> bool:
    """Return True for recordings of the same operations and constants."""
    return one.code == other.code and changed(constants(one), constants(other)) is None


def _of_values(recorded: GraphModule) -> str | None:
    """Return an operation whose shape depends on the arguments' values."""
    reached = set[Node]()
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


def same(first: Sequence[Any] | None, second: Sequence[Any] | None) -> bool:
    """Return True if two outcomes are equal to the last digit."""
    if first is None or second is None:
        return False
    pairs = zip(first, second, strict=True)
    return all(changed({"": one}, {"": other}) is None for one, other in pairs)
