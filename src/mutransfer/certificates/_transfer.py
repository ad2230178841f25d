"""The outcome of one rule: its certificate, or the reason of its refusal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NoReturn, Self

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
    value_at,
)
from ._advice import advice
from ._compute import Comparison
from ._extra_steps import ExtraSteps
from ._fast import FastTransfer
from ._optimum import Optimum
from ._proxy import Proxies
from ._scales import distance_text, interval_at, interval_text, loss_text, unit


@dataclass(frozen=True, kw_only=True, repr=False)
class Transfer(Result):
    """The certificate of one rule: what to use at a target, and how sure it is.

    Places and distances are on the hyperparameter's scale: log2 and octaves, the numbers
    themselves, or log2 of 1 / (1 - beta) and its octaves.

    Attributes:
        rule: The rule.
        at: The target; the largest size where none was asked for.
        optima: The optimum at every size, from small to large.
        drift: Distance that the optimum moves per doubling, for each axis that varies.
        verdicts: The equivalence test of each drift: "within" 0.1 octave per doubling, "beyond", or
            "cannot tell".
        laws: The posterior probability of each law, by axis.
        scatter: Standard deviation of a size's own effect beyond its noise; None for one size.
        bands: The law along each axis through the target, as pairs of a value of the axis and the
            optimum there.
        total: Distance from the smallest size's optimum to the largest's.
        place: The optimum at the target: log2 of the rate to use, or the place of another
            hyperparameter.
        regret: Loss to be expected above the lowest at the target, where its hyperparameters are
            those that were found, of all hyperparameters; `high` is its bound.
        extra_steps: The steps that would make up for this hyperparameter's regret.
        proxies: The regret at the largest size of tuning at each smaller one.
        fast: The rates at which optimum and loss converge, along each axis with three sizes.
        versus: Tuning at the smallest size against tuning at the largest, at equal compute; None
            where there is one size, or the cost of a run is not known.
        warnings: Reasons not to trust it.
        over: The hyperparameter.
        scale: Its scale: "log2", "linear", or "log2(1/(1-x))" of a beta.
        others: The best values of the other hyperparameters at the target, by name.
        other_intervals: Their 95% intervals, as values.
    """

    rule: str
    at: Size
    optima: tuple[Optimum, ...]
    drift: Mapping[str, Estimate]
    verdicts: Mapping[str, str]
    laws: Mapping[str, Mapping[str, float]]
    scatter: Estimate | None
    bands: Mapping[str, tuple[tuple[float, Estimate], ...]]
    total: float
    place: Estimate
    regret: Estimate
    extra_steps: ExtraSteps
    proxies: Proxies
    fast: tuple[FastTransfer, ...]
    versus: Comparison | None
    warnings: tuple[str, ...]
    over: str = "lr"
    scale: str = "log2"
    others: Mapping[str, Any] = field(default_factory=dict)
    other_intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    refusal: ClassVar[None] = None
    """A certificate is no refusal."""

    def __post_init__(self) -> None:
        for name in ("drift", "verdicts", "bands", "others", "other_intervals"):
            object.__setattr__(self, name, FrozenDict(getattr(self, name)))
        laws = {axis: FrozenDict(shares) for axis, shares in self.laws.items()}
        object.__setattr__(self, "laws", FrozenDict(laws))

    @property
    def value(self) -> float:
        """The value to use at the target, such as the learning rate."""
        return value_at(self.place.value, self.scale)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters to use at the target, all that were found.

        `plan.param_groups` takes "lr" and "weight_decay", `plan.tuned` multipliers such as
        "readout". The plan must have the sweep's base.
        """
        return {self.over: self.value, **self.others}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95% intervals of the hyperparameters that have a scale.

        Each holds with the others at their best values: where they depend on each other, the best
        of all together may lie outside.
        """
        return {self.over: interval_at(self.place, self.scale), **self.other_intervals}

    @property
    def advice(self) -> str:
        """The thing to do at the target, such as the call of `plan.param_groups`."""
        return advice(self.at, self.hyperparameters)

    @property
    def carried(self) -> Estimate | None:
        """Regret at the largest size of the smallest one's optimum.

        None where there is one size. It is infinite where that value diverges or was not run.
        """
        return self.proxies.regrets[0] if self.proxies.regrets else None

    @property
    def diverged(self) -> float:
        """Share of the runs that diverged, over all sizes alike."""
        return math.fsum(best.diverged for best in self.optima) / len(self.optima)

    def __str__(self) -> str:
        name = "rate" if self.over == "lr" else self.over
        return "\n".join(
            [
                f"{self.rule} at {self.at}: {name} {interval_text(self.place, self.scale)}",
                f"  {self.advice}",
                *([f"  {_HELD}"] if self.other_intervals else []),
                f"  expected regret {loss_text(self.regret)} in loss",
                f"  {self.extra_steps}",
                *(f"  {sentence}" for sentence in self._drifts()),
                *(f"  {line}" for each in self.fast for line in str(each).splitlines()[:1]),
                *([f"  {self.versus}"] if self.versus else []),
                *(f"  warning: {warning}" for warning in self.warnings),
            ]
        )

    def _drifts(self) -> Iterator[str]:
        for axis, drift in self.drift.items():
            moved = f"{distance_text(drift, self.scale)} {unit(self.scale, self.over)}"
            yield f"drift {moved} per doubling of {axis}: {_VERDICTS[self.verdicts[axis]]}"

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as plain data; infinite numbers are "inf"."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        names = ("hyperparameters", "intervals", "refusal", "value", "advice")
        data: dict[str, Any] = plain(own | {name: getattr(self, name) for name in names})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the certificate that `to_json` wrote.

        Raises:
            MutransferError: the data is no certificate.
        """
        with parsing("a transfer written by Transfer.to_json"):
            values = parsed(data)
            scatter, versus = values["scatter"], values["versus"]
            return cls(
                rule=values["rule"],
                at=Size(values["at"]),
                optima=tuple(map(Optimum.from_json, values["optima"])),
                drift={axis: Estimate.from_json(drift) for axis, drift in values["drift"].items()},
                verdicts=values["verdicts"],
                laws=values["laws"],
                scatter=None if scatter is None else Estimate.from_json(scatter),
                bands={axis: _band(values) for axis, values in values["bands"].items()},
                total=number(values["total"]),
                place=Estimate.from_json(values["place"]),
                regret=Estimate.from_json(values["regret"]),
                extra_steps=ExtraSteps.from_json(values["extra_steps"]),
                proxies=Proxies.from_json(values["proxies"]),
                fast=tuple(map(FastTransfer.from_json, values["fast"])),
                versus=None if versus is None else Comparison.from_json(versus),
                warnings=tuple(values["warnings"]),
                over=values["over"],
                scale=values["scale"],
                others=values["others"],
                other_intervals={
                    name: (number(low), number(high))
                    for name, (low, high) in values["other_intervals"].items()
                },
            )


def _band(data: Sequence[Sequence[Any]]) -> tuple[tuple[float, Estimate], ...]:
    return tuple((number(value), Estimate.from_json(place)) for value, place in data)


_HELD = "each interval holds with the others at these values; mt.surface shows how they depend"

_VERDICTS = {
    "within": "within 0.1, it transfers",
    "beyond": "beyond 0.1",
    "cannot tell": "too few or noisy sizes to tell whether it is within 0.1",
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Refusal(Result):
    """The reason why a record has no certificate of one rule.

    Attributes:
        rule: The rule.
        reason: What is missing, where, and what to do.
        at: The target.
        over: The hyperparameter.
        optima: The optima that were found all the same, from small to large.
        warnings: What is to be said of them.
    """

    rule: str
    reason: str
    at: Size
    over: str = "lr"
    optima: tuple[Optimum, ...] = ()
    warnings: tuple[str, ...] = ()

    intervals: ClassVar[Mapping[str, tuple[float, float]]] = FrozenDict()
    """There are none."""
    regret: ClassVar[None] = None
    """It is not known."""

    @property
    def refusal(self) -> str:
        """The reason."""
        return self.reason

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
        """Return the refusal as plain data, without hyperparameters."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        empty: dict[str, Any] = {"hyperparameters": {}, "intervals": {}, "regret": None}
        data: dict[str, Any] = plain(own | empty | {"refusal": self.refusal})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the refusal that `to_json` wrote.

        Raises:
            MutransferError: the data is no refusal.
        """
        with parsing("a refusal written by Refusal.to_json"):
            values = parsed(data)
            return cls(
                rule=values["rule"],
                reason=values["reason"],
                at=Size(values["at"]),
                over=values["over"],
                optima=tuple(map(Optimum.from_json, values["optima"])),
                warnings=tuple(values["warnings"]),
            )
