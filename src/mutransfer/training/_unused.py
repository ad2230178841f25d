"""The layers that a forward pass uses in some steps alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ._generators import drawn
from ._held import changed, counting
from ._stack import Stack

_TRIED = 2
"""Steps that show whether forward passes change: the first may keep what all later ones use."""


class Unused:
    """A watch over the steps of a stack that leave out some of its layers.

    A parameter that a step does not use has a gradient of zeros in a stack and none in a loop, so
    that momentum moves it in the first alone. Which layers a pass uses cannot depend on values of
    tensors in a stack. It can where the pass changes other things that it holds, such as a count,
    or draws from the generators of Python or NumPy; else a layer is used always, or never.

    Args:
        stack: The stack.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._steps = 0
        self._varies = not stack.is_compiled

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch a step.

        Raises:
            ValueError: naming a parameter that it may have left out.
        """
        together = self._stack.together
        changes = self._changes() if self._steps < _TRIED else None
        together.looks = True
        try:
            yield
        finally:
            together.looks = False
        if changes is not None:
            self._steps += 1
            self._varies = changes()
        if self._varies and together.still:
            raise ValueError(
                f"{together.still[0]} gets no gradient in some steps, in which torch would leave "
                "it as it is"
            )

    @property
    def is_possible(self) -> bool:
        """True while a step may leave out layers that others use."""
        return self._varies

    def _changes(self) -> Callable[[], bool]:
        """Return a function: did a step since then change what later ones may use?"""
        before, numbers = self._stack.held(), drawn()
        differ = counting if self._steps else changed
        return lambda: differ(before, self._stack.held()) is not None or drawn() != numbers
