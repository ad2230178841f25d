"""Regret as the extra steps that make up for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, Size, plain
from ..statistics import Array
from ..studies import Runs
from ._pace import LONGEST, SHARES, Pace, pace


@dataclass(frozen=True, kw_only=True)
class ExtraSteps:
    """The steps that make up for a regret, as a share of the run.

    Attributes:
        share: The share, such as 0.1 for a tenth more steps; infinite beyond three times the run;
            None where the record does not show it.
        source: The runs that show it, or the reason why none do.
    """

    share: Estimate | None
    source: str

    def __str__(self) -> str:
        if self.share is None:
            return f"extra steps unknown: {self.source}"
        if math.isinf(self.share.low):
            return f"more than {LONGEST:.0%} more steps, by {self.source}"
        low, high = _percent(self.share.low), _percent(self.share.high)
        return f"{_percent(self.share.value)} [{low}, {high}] more steps, by {self.source}"

    def to_json(self) -> dict[str, Any]:
        """Return the share and its source as data."""
        return {"share": plain(self.share), "source": self.source}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExtraSteps:
        """Return the extra steps that `to_json` wrote."""
        share = data["share"]
        return cls(
            share=None if share is None else Estimate.from_json(share), source=str(data["source"])
        )


def extra_steps(
    runs: Runs,
    rule: str,
    size: Size,
    regret: float,
    draws: Float[Array, " draws"],
    over: str = "lr",
) -> ExtraSteps:
    """Return how much longer a run would have to be for a regret to vanish.

    The share f of the run with metric(1 + f) = metric(1) - regret, where the metric is that of runs
    with the best value: a run with another value is taken to fall as fast.

    Args:
        runs: The record.
        rule: The rule.
        size: The size that the regret is for.
        regret: The regret, in units of the metric.
        draws: Draws of it; infinite ones stay infinite.
        over: The hyperparameter.
    """
    try:
        found = pace(runs, rule, size, over)
    except MutransferError as error:
        return ExtraSteps(share=None, source=str(error))
    return ExtraSteps(share=_share(found, regret, draws), source=found.source)


def _share(found: Pace, regret: float, draws: Float[Array, " draws"]) -> Estimate:
    """Return the share with its interval: draws of the regret meet draws of the pace."""
    random = np.random.default_rng(2)
    count = len(found.falls)
    regrets = np.asarray(draws, dtype=np.float64)[random.integers(len(draws), size=count)]
    shares = np.sort(_shares(found.falls, regrets))
    # Percentiles that interpolate would make NaN of infinite neighbours: order statistics do not.
    low, high = (float(shares[round(part * (count - 1))]) for part in (0.025, 0.975))
    value = float(np.sort(_shares(found.falls, np.full(count, regret)))[count // 2])
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def _shares(
    falls: Float[Array, "draws shares"], regrets: Float[Array, " draws"]
) -> Float[Array, " draws"]:
    """Return the first share at which each fall reaches a regret, or infinity."""
    reached = falls >= regrets[:, None]
    right = np.clip(reached.argmax(1), 1, None)
    rows = np.arange(len(falls))
    below, above = falls[rows, right - 1], falls[rows, right]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip((regrets - below) / (above - below), 0.0, 1.0)
    shares = SHARES[right - 1] + part * (SHARES[right] - SHARES[right - 1])
    shares = np.where(regrets <= 0, 0.0, shares)
    return np.where(reached.any(1) | (regrets <= 0), shares, math.inf)


def _percent(share: float) -> str:
    return f"over {LONGEST:.0%}" if math.isinf(share) else f"{share:.1%}"
