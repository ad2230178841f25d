"""A reason for a factor, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._powers import Powers, powers
from ._quantities import QUANTITIES


@dataclass(frozen=True)
class Reason:
    """One reason for the way a tensor scales.

    Attributes:
        kind: A quantity ("init", "lr", "eps", "decay") for its derivation; "source", "options",
            "caveat" or "disagreement" of the rule; "branch", "tied-head", "attention" or
            "own-factor" for a multiplier that is folded into the tensor.
        text: The reason in a sentence.
        power: The power that the reason is for; None where there is none.
    """

    kind: str
    text: str
    power: Powers | None = None

    def __str__(self) -> str:
        if self.kind in QUANTITIES:
            return f"{self.kind} {self.power}: {self.text}"
        return self.text if self.power is None else f"{self.text} {self.power}"

    def to_json(self) -> dict[str, Any]:
        """Return kind, text and power."""
        power = None if self.power is None else self.power.to_json()
        return {"kind": self.kind, "text": self.text, "power": power}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reason:
        """Return the reason that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the data is no reason.
        """
        power = None if data["power"] is None else powers(**data["power"])
        return cls(kind=data["kind"], text=data["text"], power=power)
