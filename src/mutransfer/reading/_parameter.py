"""A learned tensor as data."""

from __future__ import annotations

from dataclasses import dataclass

from ._axes import Axes


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A learned tensor of one model.

    Attributes:
        name: Its canonical name; one that several modules share has its first name.
        shape: Its shape.
        axes: The axis of each dimension, as its layer or the user says; None where neither does.
        is_declared: True if the user said its axes.
        kind: "matrix", "embedding", "router", "bias", "gain", "vector" or "scalar".
        layer: The shapes of all parameters of its module.
        module: The class of its module.
        aliases: The other names under which modules share it.
    """

    name: str
    shape: tuple[int, ...]
    axes: Axes | None
    kind: str
    layer: tuple[tuple[int, ...], ...]
    module: str
    aliases: tuple[str, ...] = ()
    is_declared: bool = False
