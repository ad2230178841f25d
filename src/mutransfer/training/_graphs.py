"""A compiled step as one CUDA graph: the processor launches it as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

_WARMUPS = 2
"""Steps on copies before the recording, in which kernels and workspaces are set up."""


class Captured:
    """A step recorded as a CUDA graph, called as the step itself.

    Args:
        step: The compiled step; it changes its first arguments in place.
        arguments: Its arguments. The first `kept` of them stay in memory where they are, the
            others are copied to where the graph reads them.
        kept: Number of those.
    """

    def __init__(self, step: Callable[..., Any], arguments: Sequence[Any], kept: int) -> None:
        self._kept = kept
        self._read = _copied(arguments[kept:])
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARMUPS):
                step(*_copied(arguments))
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            self._losses: Tensor = step(*arguments[:kept], *self._read)

    def __call__(self, *arguments: Any) -> Tensor:
        """Run the step, and return its losses, which the next step overwrites."""
        pairs = zip(tree_leaves(self._read), tree_leaves(arguments[self._kept :]), strict=True)
        for place, value in pairs:
            place.copy_(value)
        self._graph.replay()
        return self._losses


def _copied(arguments: Sequence[Any]) -> list[Any]:
    return [tree_map_only(Tensor, torch.clone, part) for part in arguments]
