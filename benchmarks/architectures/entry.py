"""One entry of the zoo: an architecture, its inputs, how it grows, and the truth."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .truth import Truth

AXES = ("width", "depth", "both")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An architecture with the truth about how it scales.

    Attributes:
        name: Its name, unique in the zoo.
        package: The package that it comes from; "torch" for models written here.
        build: The model at a width and a depth.
        inputs: Its inputs, the same at all sizes: a tensor, a tuple or a mapping.
        truths: The right ways to scale it; more than one where a multiplier has several places.
        special: A few words for the table.
        widths: Width of the base and of the wider model; None if only depth grows.
        depths: Depth of the base and of the deeper model; None if only width grows.
        refused: Axes along which no rule is known, with the reason; "both" follows from them.
        hints: Arguments of `mutransfer.plan` that an honest message may ask for, such as
            {"hooks": True} or {"roles": {...}}.
        proved: True if training in double precision is compared with explicit multipliers.
    """

    name: str
    package: str
    build: Callable[[int, int], nn.Module]
    inputs: Callable[[], Any]
    truths: tuple[Truth, ...]
    special: str = ""
    widths: tuple[int, int] | None = (32, 128)
    depths: tuple[int, int] | None = (2, 4)
    refused: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    proved: bool = False

    @property
    def installed(self) -> bool:
        """True if its package is there."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes along which it grows."""
        grows = {"width": self.widths is not None, "depth": self.depths is not None}
        return tuple(axis for axis in AXES if grows.get(axis, all(grows.values())))

    def refusal(self, axis: str) -> str | None:
        """Return why no rule is known along this axis; None if one is."""
        parts = ("width", "depth") if axis == "both" else (axis,)
        return next((self.refused[part] for part in parts if part in self.refused), None)

    def sizes(self, axis: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return width and depth of the base and of the model that is planned."""
        widths, depths = self.widths or (32, 32), self.depths or (2, 2)
        wide = widths[1] if axis in ("width", "both") else widths[0]
        deep = depths[1] if axis in ("depth", "both") else depths[0]
        return (widths[0], depths[0]), (wide, deep)

    def make(self, width: int, depth: int) -> nn.Module:
        """Return the model at this size, from a fixed seed."""
        torch.manual_seed(0)
        return self.build(width, depth)


def call(model: nn.Module, inputs: Any) -> Any:
    """Return the model's output for inputs as an entry gives them."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator for inputs that do not depend on the model."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return standard normal inputs."""
    return torch.randn(*shape, generator=seeded(seed))


def tokens(*shape: int, high: int = 64, seed: int = 0) -> torch.Tensor:
    """Return random tokens; 0 and 1 are left for padding and the like."""
    return torch.randint(2, high, shape, generator=seeded(seed))
