"""The outcome of one rule: its transfer, or the reason of its refusal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn, Self

from ..core import (
    Estimate,
    FrozenDict,
    MutransferError,
    Result,
    Size,
    number,
    parsed,
    parsing,
    plain,
)
from ._optimum import Optimum


@dataclass(frozen=True, kw_only=True, repr=False)
class Transfer(Result):
    """Transfer of the best learning rate from the smallest size to larger ones.

    Attributes:
        rule: The rule.
        optima: The optimum at every size, from small to large.
        drift: Octaves that the optimum moves per doubling, for each axis that varies.
        total: Octaves from the smallest size's optimum to the largest's.
        regret: Loss at the largest size with the smallest size's optimum, less the lowest loss
            there; infinite where that rate diverges or was not run.
        target: The size that `rate` is for; the largest one where none was asked for.
        rate: Log2 of the rate to use at the target: the largest size's optimum, moved by the drift.
        warnings: Reasons not to trust it.
    """

    rule: str
    optima: tuple[Optimum, ...]
    drift: Mapping[str, Estimate]
    total: float
    regret: Estimate
    target: Size
    rate: Estimate
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "drift", FrozenDict(self.drift))

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The hyperparameters to use at the target, as `plan.param_groups` takes them.

        The plan must have the sweep's base.
        """
        return {"lr": 2.0**self.rate.value}

    @property
    def diverged(self) -> float:
        """Share of the runs that diverged, over all sizes alike."""
        return math.fsum(best.diverged for best in self.optima) / len(self.optima)

    def __str__(self) -> str:
        rate = self.rate
        interval = f"[2^{rate.low:.2f}, 2^{rate.high:.2f}]"
        head = f"{self.rule} at {self.target}: rate 2^{rate.value:.2f} {interval}"
        return "\n".join([head, *(f"  warning: {warning}" for warning in self.warnings)])

    def to_json(self) -> dict[str, Any]:
        """Return the transfer as plain data; an infinite regret is "inf"."""
        data: dict[str, Any] = plain({each.name: getattr(self, each.name) for each in fields(self)})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the transfer that `to_json` wrote.

        Raises:
            MutransferError: the data is no transfer.
        """
        with parsing("a transfer written by Transfer.to_json"):
            values = parsed(data)
            return cls(
                rule=values["rule"],
                optima=tuple(map(_optimum, values["optima"])),
                drift={axis: Estimate.from_json(drift) for axis, drift in values["drift"].items()},
                total=number(values["total"]),
                regret=Estimate.from_json(values["regret"]),
                target=Size(values["target"]),
                rate=Estimate.from_json(values["rate"]),
                warnings=tuple(values["warnings"]),
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class Refusal(Result):
    """The reason why a record has no transfer of one rule.

    Attributes:
        rule: The rule.
        reason: What is missing, where, and what to do.
    """

    rule: str
    reason: str

    @property
    def hyperparameters(self) -> NoReturn:
        """Unknown hyperparameters, which raise, so that none are used by mistake.

        Raises:
            MutransferError: always, with the reason of the refusal.
        """
        raise MutransferError(self.reason)

    def __str__(self) -> str:
        return self.reason

    def to_json(self) -> dict[str, Any]:
        """Return rule and reason."""
        return {"rule": self.rule, "reason": self.reason}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the refusal that `to_json` wrote.

        Raises:
            MutransferError: the data is no refusal.
        """
        with parsing("a refusal written by Refusal.to_json"):
            values = parsed(data)
            return cls(rule=values["rule"], reason=values["reason"])


def _optimum(data: Mapping[str, Any]) -> Optimum:
    values = {name: number(value) for name, value in data.items() if name != "size"}
    return Optimum(size=Size(data["size"]), **values)
