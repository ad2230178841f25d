"""The outcome of one rule: its transfer, or the reason of its refusal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
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
from ._advice import advice
from ._optimum import Optimum
from ._scales import interval_text, value_at


@dataclass(frozen=True, kw_only=True, repr=False)
class Transfer(Result):
    """Transfer of the best hyperparameter from the smallest size to larger ones.

    Places and distances are on its scale: log2 and octaves, or the numbers themselves.

    Attributes:
        rule: The rule.
        optima: The optimum at every size, from small to large.
        drift: Distance that the optimum moves per doubling, for each axis that varies.
        total: Distance from the smallest size's optimum to the largest's.
        regret: Loss at the largest size with the smallest size's optimum, less the lowest loss
            there; infinite where that value diverges or was not run.
        target: The size that `rate` is for; the largest one where none was asked for.
        rate: Log2 of the rate to use at the target, or the place of another hyperparameter: the
            largest size's optimum, moved by the drift.
        warnings: Reasons not to trust it.
        over: The hyperparameter.
        scale: Its scale, "log2" or "linear".
        others: The best values of the other hyperparameters at the target, by name.
    """

    rule: str
    optima: tuple[Optimum, ...]
    drift: Mapping[str, Estimate]
    total: float
    regret: Estimate
    target: Size
    rate: Estimate
    warnings: tuple[str, ...]
    over: str = "lr"
    scale: str = "log2"
    others: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "drift", FrozenDict(self.drift))
        object.__setattr__(self, "others", FrozenDict(self.others))

    @property
    def value(self) -> float:
        """The value to use at the target, such as the learning rate."""
        return value_at(self.rate.value, self.scale)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters to use at the target, all that were found.

        `plan.param_groups` takes "lr" and "weight_decay", `plan.tuned` multipliers such as
        "readout". The plan must have the sweep's base.
        """
        return {self.over: self.value, **self.others}

    @property
    def advice(self) -> str:
        """The thing to do at the target, such as the call of `plan.param_groups`."""
        return advice(self.target, self.hyperparameters)

    @property
    def diverged(self) -> float:
        """Share of the runs that diverged, over all sizes alike."""
        return math.fsum(best.diverged for best in self.optima) / len(self.optima)

    def __str__(self) -> str:
        name = "rate" if self.over == "lr" else self.over
        head = f"{self.rule} at {self.target}: {name} {interval_text(self.rate, self.scale)}"
        return "\n".join(
            [
                head,
                f"  {self.advice}",
                *(f"  warning: {warning}" for warning in self.warnings),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return the transfer as plain data; an infinite regret is "inf"."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        names = ("value", "hyperparameters", "advice")
        data: dict[str, Any] = plain(own | {name: getattr(self, name) for name in names})
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
                optima=tuple(map(Optimum.from_json, values["optima"])),
                drift={axis: Estimate.from_json(drift) for axis, drift in values["drift"].items()},
                total=number(values["total"]),
                regret=Estimate.from_json(values["regret"]),
                target=Size(values["target"]),
                rate=Estimate.from_json(values["rate"]),
                warnings=tuple(values["warnings"]),
                over=values["over"],
                scale=values["scale"],
                others=values["others"],
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class Refusal(Result):
    """The reason why a record has no transfer of one rule.

    Attributes:
        rule: The rule.
        reason: What is missing, where, and what to do.
        over: The hyperparameter.
    """

    rule: str
    reason: str
    over: str = "lr"

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
        """Return rule, reason and hyperparameter."""
        return {"rule": self.rule, "reason": self.reason, "over": self.over}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the refusal that `to_json` wrote.

        Raises:
            MutransferError: the data is no refusal.
        """
        with parsing("a refusal written by Refusal.to_json"):
            values = parsed(data)
            return cls(rule=values["rule"], reason=values["reason"], over=values["over"])
