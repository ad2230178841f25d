"""Proxies: the regret at a large size of values that were found at smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Estimate, Size, plain
from ..statistics import Array

Excess = Callable[[Float[Array, " n"]], Float[Array, "draws n"]]
"""Loss above the lowest at distances from the optimum, for each draw of the curve's shape."""


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """The regret at the largest size of tuning at each smaller one.

    Attributes:
        target: The size that the regret is for.
        sizes: The proxies, from small to large.
        regrets: Regret of each proxy's own optimum, taken over unchanged.
        predicted: Regret of what a law across the sizes up to each proxy predicts; None where no
            law is known.
    """

    target: Size
    sizes: tuple[Size, ...]
    regrets: tuple[Estimate, ...]
    predicted: tuple[Estimate | None, ...] = ()

    def bound(self, number: int) -> float:
        """Return the smaller upper end of a proxy, unchanged or predicted."""
        law = self.predicted[number] if self.predicted else None
        unchanged = self.regrets[number].high
        return unchanged if law is None else min(unchanged, law.high)

    def smallest(self, within: float) -> Size | None:
        """Return the smallest proxy that is sure to have been enough.

        Args:
            within: Largest regret that is accepted; the upper end of the interval is at most that.

        Returns:
            The size, or None where no proxy keeps within it: `reason` says why.
        """
        good = (size for number, size in enumerate(self.sizes) if self.bound(number) <= within)
        return next(good, None)

    def reason(self, within: float) -> str:
        """Return a sentence on the smallest proxy, or on why there is none."""
        if not self.sizes:
            return f"no size below {self.target} was swept, so that there is no proxy to judge"
        if (found := self.smallest(within)) is not None:
            bound = self.bound(self.sizes.index(found))
            return (
                f"tuning at {found} would have been enough: its regret at {self.target} is at "
                f"most {bound:.3g}"
            )
        numbers = range(len(self.sizes))
        best = min(numbers, key=self.bound)
        values = [each.value for each in (self.regrets[best], *self._law(best))]
        noisy = min(values) <= within
        why = (
            "the runs are too few to be sure: add seeds or finer steps"
            if noisy
            else "its optimum is elsewhere: tune at a larger size, or predict by the drift"
        )
        return (
            f"no proxy is sure to keep the regret at {self.target} within {within:.3g}; the best, "
            f"{self.sizes[best]}, has {min(values):.3g} and at most {self.bound(best):.3g}: {why}"
        )

    def __str__(self) -> str:
        lines = [f"regret at {self.target} of tuning at a smaller size"]
        for number, size in enumerate(self.sizes):
            law = "".join(f"; by the drift {_text(each)}" for each in self._law(number))
            lines.append(f"  {size}: {_text(self.regrets[number])}{law}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return sizes and regrets as data."""
        data: dict[str, Any] = plain(vars(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Proxies:
        """Return the proxies that `to_json` wrote."""
        return cls(
            target=Size(data["target"]),
            sizes=tuple(map(Size, data["sizes"])),
            regrets=tuple(map(Estimate.from_json, data["regrets"])),
            predicted=tuple(
                None if each is None else Estimate.from_json(each) for each in data["predicted"]
            ),
        )

    def _law(self, number: int) -> list[Estimate]:
        """Return the regret of the prediction, if there is one."""
        law = self.predicted[number] if self.predicted else None
        return [] if law is None else [law]


def proxies(
    sizes: Sequence[Size],
    optima: Float[Array, "draws sizes"],
    excess: Excess,
    predictions: Mapping[Size, Float[Array, " draws"]] | None = None,
) -> Proxies:
    """Return the regret at the largest size of each smaller size's optimum.

    Draw for draw, the regret is the excess of the largest size's curve at the distance between the
    two optima. So it holds the error of the proxy's optimum, that of the largest size's, and the
    doubt about the shape.

    Args:
        sizes: All sizes, the largest last.
        optima: Joint draws of their optima; those of the last belong to the draws of `excess`.
        excess: The curve of the largest size, as `Posterior.excess` gives it.
        predictions: Draws of the optimum at the largest size as a law of the sizes up to each proxy
            predicts it, where it is known.
    """
    known = predictions or {}
    *smaller, target = sizes
    last = optima[:, -1]
    regrets = [regret_of(optima[:, i] - last, excess) for i in range(len(smaller))]
    law = [regret_of(known[s] - last, excess) if s in known else None for s in smaller]
    return Proxies(
        target=target, sizes=tuple(smaller), regrets=tuple(regrets), predicted=tuple(law)
    )


def regret_of(distances: Float[Array, " draws"], excess: Excess) -> Estimate:
    """Return the regret at one distance for each draw of the curve."""
    return summary(regret_draws(distances, excess))


def regret_draws(distances: Float[Array, " draws"], excess: Excess) -> Float[Array, " draws"]:
    """Return the excess of each draw of the curve at its own distance."""
    values = np.asarray(excess(distances), dtype=np.float64)
    own = values[np.arange(len(distances)) % len(values), np.arange(len(distances))]
    return np.where(np.isnan(own), np.inf, own)


def summary(draws: Float[Array, " draws"]) -> Estimate:
    """Return median and 95% interval of draws that may be infinite."""
    # Percentiles that interpolate would make NaN of infinite neighbours: order statistics do not.
    ordered = np.sort(draws)
    low, value, high = (
        float(ordered[round(share * (len(ordered) - 1))]) for share in (0.025, 0.5, 0.975)
    )
    return Estimate(value=value, low=low, high=high)


def _text(regret: Estimate) -> str:
    return f"{regret.value:.3g} [{regret.low:.3g}, {regret.high:.3g}]"
