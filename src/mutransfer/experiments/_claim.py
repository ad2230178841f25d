"""Claims of papers, each with the wrong rule under which it must not hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..core import Estimate, number

Sense = Literal["near", "at least", "at most"]

Values = Mapping[str, Mapping[str, Estimate]]
"""Measured quantities: rule, then quantity, then its value."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A paper's statement about one quantity.

    Attributes:
        says: The statement, in words.
        quantity: What is measured, with its unit.
        rule: The rule, model or choice for which it holds.
        wrong: The one for which it must fail, or the claim proves nothing.
        expected: The value that is stated.
        tolerance: How far from it the measured value may lie.
        sense: "near" the value, "at least" or "at most" it.
    """

    says: str
    quantity: str
    rule: str
    wrong: str
    expected: float
    tolerance: float = 0.0
    sense: Sense = "near"

    def holds(self, value: float) -> bool:
        """Return if a measured value is as the claim says; NaN never is."""
        above, below = value - self.expected, self.expected - value
        errors = {"near": abs(above), "at least": below, "at most": above}
        # To rounding: 1.1 is 1 ± 0.1.
        return errors[self.sense] <= self.tolerance + 1e-9

    @property
    def wanted(self) -> str:
        """The values that are allowed, as text."""
        tolerance = f" ± {self.tolerance:g}" if self.tolerance else ""
        sense = "" if self.sense == "near" else f"{self.sense} "
        return f"{sense}{self.expected:g}{tolerance}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim beside what was measured.

    Attributes:
        claim: The claim.
        value: The quantity under its rule.
        control: The quantity under the wrong rule.
    """

    claim: Claim
    value: Estimate
    control: Estimate

    @property
    def holds(self) -> bool:
        """The claim holds for what was measured."""
        return self.claim.holds(self.value.value)

    @property
    def is_sure(self) -> bool:
        """The claim holds for the whole 95% interval of what was measured."""
        return self.claim.holds(self.value.low) and self.claim.holds(self.value.high)

    @property
    def fails_when_wrong(self) -> bool:
        """The claim is false under the wrong rule, so that it could have failed."""
        value = self.control.value
        return not math.isnan(value) and not self.claim.holds(value)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Return the finding that `plain` wrote."""
        numbers = {key: number(data["claim"][key]) for key in ("expected", "tolerance")}
        return cls(
            claim=Claim(**{**data["claim"], **numbers}),
            value=Estimate.from_json(data["value"]),
            control=Estimate.from_json(data["control"]),
        )


def exactly(value: float) -> Estimate:
    """Return a number without an interval: computed, or measured once."""
    return Estimate(value=value, low=value, high=value)


def shown(value: Estimate) -> str:
    """Return a value with its interval, if it has one, to three digits.

    >>> shown(exactly(0.5)), shown(Estimate(value=-0.987, low=-1.2, high=-0.8))
    ('0.5', '-0.987 [-1.2, -0.8]')
    """
    if math.isnan(value.value):
        return "not known"
    if value.low == value.high:
        return f"{value.value:.3g}"
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"
