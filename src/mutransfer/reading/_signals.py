"""Carriers of a signal's multiplier, and declared residual branches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Signal:
    """A signal that may have to be multiplied by a factor, and what could do it.

    Attributes:
        tensors: Names of the learned tensors that it is linear in, one factor of each product; None
            where there are none, or where they make something else, too.
        module: Name of the module that puts it out, for nothing else and once a forward pass; None
            where there is none.
    """

    tensors: frozenset[str] | None = None
    module: str | None = None


NOTHING = Signal()
"""A signal that nothing could multiply."""


@dataclass(frozen=True)
class Branch:
    """A residual branch that was declared.

    Attributes:
        tensors: Names of all learned tensors in the branch.
        end: Names of the tensors in which its output is linear.
        matrices: Number of its weight matrices.
    """

    tensors: frozenset[str]
    end: frozenset[str]
    matrices: int
