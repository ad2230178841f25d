"""Fast transfer: does the best value converge faster than the loss (2512.22768)?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, Result, parsed, parsing, plain
from ..statistics import Array
from ._decay import Decay, decay
from ._proxy import summary

FEWEST_SIZES = 3
"""A power with a limit needs three points."""

SURE = 0.975
"""Probability from which on a verdict is given."""

_NO_LIMIT = 0.2
"""Powers below which a law cannot be told from a drift that goes on for ever."""

_SMALL_SHARE = 0.1
"""Largest share of the gap in loss that the regret of a still optimum may be."""


@dataclass(frozen=True, kw_only=True, repr=False)
class FastTransfer(Result):
    """The rates at which the optimum and the best loss converge along an axis.

    Attributes:
        axis: The axis n.
        optimum: The power a of |x(n) - x(inf)| = c n^-a, of the optimum's place.
        loss: The power b of L(n) - L(inf) = c n^-b, of the best loss.
        probability: Probability that 2 a > b.
        share: Regret at the largest size of the smallest one's optimum, as a share of the best
            losses' difference between the two.
        verdict: "fast", "slow" or "cannot tell".
        reason: The reason of the verdict.
    """

    axis: str
    optimum: Estimate
    loss: Estimate
    probability: float
    share: Estimate
    verdict: str
    reason: str

    def __str__(self) -> str:
        return "\n".join(
            [
                f"transfer along {self.axis}: {self.verdict}, as {self.reason}",
                f"  distance of the optimum from its limit: {self.axis}^-a, a = {self.optimum}",
                f"  best loss above its limit: {self.axis}^-b, b = {self.loss}",
                f"  probability of 2a > b: {self.probability:.0%}",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as data."""
        data: dict[str, Any] = plain(vars(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the result that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a result written by FastTransfer.to_json"):
            values = parsed(data)
            return cls(
                axis=str(values["axis"]),
                optimum=Estimate.from_json(values["optimum"]),
                loss=Estimate.from_json(values["loss"]),
                probability=float(values["probability"]),
                share=Estimate.from_json(values["share"]),
                verdict=str(values["verdict"]),
                reason=str(values["reason"]),
            )


def fast_transfer(
    sizes: Float[Array, " sizes"],
    optima: Float[Array, " sizes"],
    optimum_errors: Float[Array, " sizes"],
    losses: Float[Array, " sizes"],
    loss_errors: Float[Array, " sizes"],
    curvature: float,
    axis: str = "width",
) -> FastTransfer:
    """Return whether transfer along an axis is fast, slow, or neither is shown.

    Transfer is fast where the loss that it costs vanishes faster than the loss that finite size
    costs; only then does it beat tuning at the target for the same compute, as both grow (Ghosh,
    Wu, Bietti 2025, arXiv 2512.22768). Near its lowest point a loss is a parabola, so that an
    optimum that converges as n^-a costs n^-2a, to be compared with the n^-b of the best loss.

    Optima that do not move beyond their errors count as at least as fast as the loss, if what they
    could cost is at most a tenth of the best losses' difference.

    Args:
        sizes: Sizes along the axis, at least three different ones.
        optima: Places of the optima.
        optimum_errors: Their standard errors.
        losses: Best losses.
        loss_errors: Their standard errors.
        curvature: The excess of a curve at distance d is curvature d^2 / 2.
        axis: Name of the axis.

    Raises:
        MutransferError: there are fewer than three sizes.
    """
    if len(np.unique(sizes)) < FEWEST_SIZES:
        raise MutransferError(
            f"the rates of convergence along {axis} need {FEWEST_SIZES} sizes, and there are "
            f"{len(np.unique(sizes))}"
        )
    moves, falls = decay(sizes, optima, optimum_errors), decay(sizes, losses, loss_errors)
    # Independent fits: draws of one meet those of the other in any order.
    faster = 2 * np.random.default_rng(3).permutation(moves.powers) > falls.powers
    cost = curvature * moves.drops**2 / 2
    share = summary(np.where(falls.drops > 0, cost / np.maximum(falls.drops, 1e-300), np.inf))
    probability = float(faster.mean())
    verdict, reason = _verdict(moves, falls, probability, share)
    return FastTransfer(
        axis=axis,
        optimum=summary(moves.powers),
        loss=summary(falls.powers),
        probability=probability,
        share=share,
        verdict=verdict,
        reason=reason,
    )


def _verdict(moves: Decay, falls: Decay, probability: float, share: Estimate) -> tuple[str, str]:
    if not _differs(falls.drops):
        return "cannot tell", "the best losses do not fall with size beyond their errors"
    if not _differs(moves.drops):
        still = "the optima do not move beyond their errors"
        if share.high <= _SMALL_SHARE:
            return "fast", (
                f"{still}, which counts as at least as fast as the loss: they could cost at most "
                f"{share.high:.1%} of what size gains"
            )
        return "cannot tell", (
            f"{still}, and those are so large that they could cost {_cost(share.high)}: add seeds "
            "or finer steps"
        )
    if float(np.median(moves.powers)) < _NO_LIMIT:
        return "slow", "the optimum moves with no limit in sight, as under the wrong rule"
    if probability >= SURE:
        return "fast", "the regret of the proxy's optimum vanishes faster than the gap in loss"
    if probability <= 1 - SURE:
        return "slow", "the regret of the proxy's optimum vanishes more slowly than the gap in loss"
    return "cannot tell", "the two rates are too close to each other, or too uncertain"


def _cost(share: float) -> str:
    return f"{share:.0%} of what size gains" if share <= 1 else "more than size gains"


def _differs(draws: Float[Array, " draws"]) -> bool:
    """Return True if zero lies outside the 95% interval."""
    interval = summary(draws)
    return interval.low > 0 or interval.high < 0
