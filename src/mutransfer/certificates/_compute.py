"""Transfer against tuning the target itself with the same compute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Estimate, plain
from ..statistics import Array
from ._proxy import Excess, summary

_PLACES = 401
"""Places at which the curve is known over the range of a search."""

_OFFSETS = 16
"""Offsets of the grid of direct tuning, for each draw of the curve."""

_SURE = 0.95
"""Probability from which on one of the two is said to be better."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The regret of transfer and of direct tuning, at the same compute.

    Attributes:
        runs: Runs at the target that the proxies' compute and one run there would pay for.
        transfer: Regret of the value that the proxies gave.
        direct: Regret of the best of so many runs at the target, on an even grid.
        probability: Probability that transfer has the lower loss.
        better: "transfer", "direct" or "cannot tell".
    """

    runs: int
    transfer: Estimate
    direct: Estimate
    probability: float
    better: str

    def __str__(self) -> str:
        plural = "" if self.runs == 1 else "s"
        return (
            f"tuned at the smallest size, or at the largest with the compute of {self.runs} "
            f"run{plural} there: {self.better} (regret {self.transfer.value:.3g}, at most "
            f"{self.transfer.high:.3g}; directly {self.direct.value:.3g}, at most "
            f"{self.direct.high:.3g})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as data."""
        data: dict[str, Any] = plain(vars(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        """Return the comparison that `to_json` wrote."""
        return cls(
            runs=int(data["runs"]),
            transfer=Estimate.from_json(data["transfer"]),
            direct=Estimate.from_json(data["direct"]),
            probability=float(data["probability"]),
            better=str(data["better"]),
        )


def versus_direct(
    regrets: Float[Array, " draws"],
    excess: Excess,
    span: tuple[float, float],
    *,
    proxies: float,
    target: float,
    noise: float = 0.0,
    worst: float = math.inf,
) -> Comparison:
    """Compare tuned proxies and one run at the target with runs there alone.

    Direct tuning tries an even grid over the whole range of the search, at an offset that is
    arbitrary, and keeps the run of lowest loss, noise included.

    Args:
        regrets: Draws of the regret of the value that the proxies gave.
        excess: The target's curve, as `Posterior.excess` gives it.
        span: The range of the search as distances from the target's optimum.
        proxies: Compute of all runs at proxies.
        target: Compute of one run at the target.
        noise: Standard deviation of one run's loss.
        worst: Excess that a diverged run counts as.
    """
    runs = max(1, int((proxies + target) / target + 1e-9))
    low, high = span
    places = np.linspace(low, high, _PLACES)
    curves = np.asarray(excess(places), dtype=np.float64)
    curves = np.where(np.isfinite(curves), curves, worst)
    random = np.random.default_rng(4)
    offsets = random.random((len(curves), _OFFSETS, 1))
    shares = (np.arange(runs) + offsets) / runs
    tried = np.round(shares * (_PLACES - 1)).astype(np.int64)
    losses = curves[np.arange(len(curves))[:, None, None], tried]
    seen = losses + noise * random.standard_normal(losses.shape)
    kept = np.take_along_axis(losses, seen.argmin(-1)[..., None], -1)[..., 0]
    direct = kept.mean(1)
    transfer = np.minimum(np.asarray(regrets, dtype=np.float64), worst)
    size = min(len(direct), len(transfer))
    direct, transfer = direct[:size], transfer[:size]
    probability = float(np.mean(transfer < direct) + np.mean(transfer == direct) / 2)
    better = "transfer" if probability >= _SURE else "cannot tell"
    return Comparison(
        runs=runs,
        transfer=summary(transfer),
        direct=summary(direct),
        probability=probability,
        better="direct" if probability <= 1 - _SURE else better,
    )
