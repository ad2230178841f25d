"""Disagreements of sources: sides, effects, and situations that they concern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core import FrozenDict
from ._quantities import Quantities
from ._situation import Situation

Effect = Callable[[Quantities, Situation], Quantities]
"""A change of a tensor's quantities, in Table 3's form and without the branch's multiplier."""

OF_RULES = "rule"


def nowhere(situation: Situation) -> bool:
    """Return False: the choice is about no single tensor."""
    return False


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A choice that sources make differently.

    Attributes:
        name: The option's name.
        quantity: The subject of the choice.
        default: The side that is taken unless another is chosen.
        sides: Each side with its meaning and with the sources that take it.
        where: "rule" for an option of rules, else the argument that makes the choice.
        effects: The effect of each side but the default.
        concerns: Returns True for a situation in which the choice matters.
    """

    name: str
    quantity: str
    default: str
    sides: Mapping[str, str]
    where: str = OF_RULES
    effects: Mapping[str, Effect] = field(default_factory=dict)
    concerns: Callable[[Situation], bool] = nowhere

    def __post_init__(self) -> None:
        for name in ("sides", "effects"):
            object.__setattr__(self, name, FrozenDict(getattr(self, name)))

    @property
    def is_option(self) -> bool:
        """True if the choice is an option of rules."""
        return self.where == OF_RULES

    def __str__(self) -> str:
        sides = "\n".join(
            f"  {side}{' (default)' if side == self.default else ''}: {text}"
            for side, text in self.sides.items()
        )
        option = f"an option of rules: {self.name}=..."
        chosen = option if self.is_option else f"chosen by {self.where}"
        return f"{self.name}: {self.quantity}; {chosen}\n{sides}"

    def to_json(self) -> dict[str, Any]:
        """Return name, quantity, default, sides and where as data."""
        return {
            "name": self.name,
            "quantity": self.quantity,
            "default": self.default,
            "sides": dict(self.sides),
            "where": self.where,
        }
