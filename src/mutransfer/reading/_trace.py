"""One forward pass of a model, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """A residual branch.

    Attributes:
        tensors: Names of all learned tensors in the branch.
        end: Its output, before the residual add.
        matrices: Weight matrices in series (the block depth of Tensor Programs VI, 2310.02244).
    """

    tensors: frozenset[str]
    end: Signal
    matrices: int


@dataclass(frozen=True)
class Attention:
    """One softmax attention.

    Attributes:
        head_dim: Size of a head.
        scale: Factor on the logits; None where the attention is written out by hand.
        query: The queries; unknown where the attention is written out by hand.
        key_value: Names of the tensors that make keys and values.
    """

    head_dim: int
    scale: float | None
    query: Signal = NOTHING
    key_value: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trace:
    """The structure that one forward pass of a model shows.

    Attributes:
        branches: The outermost residual branches, in the order of the forward pass.
        attention: Every softmax attention, in the order of the forward pass.
        feeds: The input of each matrix.
        factors: The numbers that the model multiplies signals by, and these signals.
        post_norm: True if a normalisation follows a residual add on the stream.
        first: Names of the matrices that take in data rather than features.
        final: Names of the tensors that make the output.
        recurrent: Names of modules that use their tensors once a time step.
        state_space: Names of modules that are state-space layers, such as Mamba's.
        uses: Number of operations that use each learned tensor.
        declared: True if the branches were declared and nothing else is known.
    """

    branches: tuple[Branch, ...] = ()
    attention: tuple[Attention, ...] = ()
    feeds: Mapping[str, Signal] = field(default_factory=dict)
    factors: tuple[tuple[float, Signal], ...] = ()
    post_norm: bool = False
    first: frozenset[str] = frozenset()
    final: frozenset[str] = frozenset()
    recurrent: tuple[str, ...] = ()
    state_space: tuple[str, ...] = ()
    uses: Mapping[str, int] = field(default_factory=dict)
    declared: bool = False
