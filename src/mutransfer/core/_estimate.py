"""A number with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._json import number


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95% interval.

    Attributes:
        value: The number.
        low: Lower end of the interval, at most the value.
        high: Upper end of the interval, at least the value.
    """

    value: float
    low: float
    high: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """Return the estimate that `plain` wrote."""
        return cls(**{end: number(data[end]) for end in ("value", "low", "high")})

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"
