"""Ask and tell: few runs on one curve, from a loop or a table of one's own."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._few_points import SmoothCurve
from ._refine import refinement
from ._refined import Refined, Start


class Refinement:
    """A search for the optimum of one curve that remembers its measurements.

    All is decided by `refinement`; places are on its scale, log2 of a rate.

    >>> search = Refinement(start=-8.0, prior=SmoothCurve())
    >>> while places := search.ask():
    ...     for place in places:
    ...         search.tell(place, loss=2.5 * (1 + 0.005 * (place + 9.1) ** 2))
    >>> print(f"{search.best:.2f} after {search.runs} runs, {search.state.status}")
    -9.09 after 5 runs, inside
    """

    def __init__(
        self,
        *,
        start: Start | float,
        within: float = 0.25,
        step: float = 1.0,
        allowed: Float[Array, " n"] | None = None,
        low: float = -np.inf,
        high: float = np.inf,
        unit: float = 1.0,
        shift: float = 0.2,
        prior: SmoothCurve | None = None,
    ) -> None:
        self._start = start if isinstance(start, Start) else Start(mean=start)
        self._within, self._step, self._allowed = within, step, allowed
        self._low, self._high, self._unit, self._shift = low, high, unit, shift
        self._prior = prior
        self._losses: dict[tuple[float, int], float] = {}

    def tell(self, place: float, loss: float, seed: int = 0) -> None:
        """Take a measurement; a loss that is not finite is a run that diverged."""
        self._losses[float(place), seed] = float(loss) if np.isfinite(loss) else np.inf

    def ask(self) -> list[float]:
        """Return places to measure next, with every seed so far; none when it has ended."""
        return list(self.state.proposals)

    @property
    def best(self) -> float:
        """The optimum so far; NaN before anything is known."""
        return self.state.place

    @property
    def runs(self) -> int:
        """Number of measurements."""
        return len(self._losses)

    @property
    def state(self) -> Refined:
        """Optimum, interval, status, and where another seed would help more than a place."""
        places = sorted({place for place, _ in self._losses})
        seeds = sorted({seed for _, seed in self._losses})
        losses = [[self._losses.get((p, seed), np.nan) for p in places] for seed in seeds]
        return refinement(
            np.array(places),
            np.array(losses).reshape(len(seeds), len(places)),
            start=self._start,
            within=self._within,
            step=self._step,
            allowed=self._allowed,
            low=self._low,
            high=self._high,
            unit=self._unit,
            shift=self._shift,
            prior=self._prior,
        )
