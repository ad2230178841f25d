"""2309.16620: hyperparameters other than the rate over depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core import Estimate
from ...limits import Curve, Landscape, Problem, landscape, problem_of
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import slope

SCALED, PLAIN = "branches times 1/sqrt(depth)", "no depth scaling"

HALF_TIME = 5.0
"""Steps after which a decaying rate is half its first value."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"depth": [2, 4], "steps": 4, "width": []},
    "small": {"depth": [4, 8, 16], "steps": 20, "width": [128]},
    "full": {"depth": [4, 8, 16, 32, 64], "steps": 40, "width": [512]},
}


@dataclass(frozen=True)
class _Swept:
    """A hyperparameter that is swept.

    Attributes:
        name: What is measured of it.
        axis: What the values are.
        lr: The rate meanwhile, at which its best value lies inside the values.
        powers: Powers of two that are its values, from the first to the last.
        vary: Sets it.
        each: Values an octave.
    """

    name: str
    axis: str
    lr: float
    powers: tuple[int, int]
    vary: Callable[[Problem, float], Problem]
    each: int = 1

    @property
    def quantity(self) -> str:
        """Name of what is measured."""
        return f"{self.name}: drift, octaves per doubling of depth"

    @property
    def values(self) -> list[float]:
        """Its values, ascending."""
        first, last = (self.each * power for power in self.powers)
        return [2.0 ** (place / self.each) for place in range(first, last + 1)]


def _momentum(problem: Problem, value: float) -> Problem:
    return replace(problem, momentum=1 - 1 / value)


def _decaying(problem: Problem, value: float) -> Problem:
    return replace(problem, lr=value, schedule=lambda step: 0.5 ** (step / HALF_TIME))


def _richness(problem: Problem, value: float) -> Problem:
    return replace(problem, gamma0=value)


def _decay(problem: Problem, value: float) -> Problem:
    return replace(problem, weight_decay=value)


DECAY = _Swept("weight decay of half the effect", "weight decay", 2.0**-6, (-3, 5), _decay)

SWEPT = (
    _Swept("best memory of momentum", "1 / (1 - momentum), steps", 2.0**-4, (0, 5), _momentum),
    _Swept("best first rate of a decaying schedule", "first rate", 1.0, (-8, 0), _decaying, 2),
    _Swept("best richness", "gamma0", 2.0**-3, (-3, 4), _richness),
    DECAY,
)


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    depths = setting["depth"]
    values: dict[str, dict[str, Estimate]] = {SCALED: {}, PLAIN: {}}
    parts = []
    for swept in SWEPT:
        scaled = problem_of("digits", examples=2, lr=swept.lr, steps=setting["steps"])
        plain = replace(scaled, alpha=0.0, beta0=scaled.branch(depths[0]))
        for rule, problem in {SCALED: scaled, PLAIN: plain}.items():
            found = _landscape(problem, swept, depths, setting["width"])
            known = [each for each in _infinite(found) if math.isfinite(each.losses.min())]
            places = [_place(swept, curve) for curve in known]
            values[rule][swept.quantity] = slope([curve.depth for curve in known], places)
            parts.append(_panel(rule, swept, found))
    return Measured(values=values, figure=plot(parts, columns=2))


def _landscape(
    problem: Problem, swept: _Swept, depths: Sequence[int], width: Sequence[int]
) -> Landscape:
    over = (swept.name, swept.vary)
    return landscape(
        problem,
        over=over,
        values=swept.values,
        depth=depths,
        width=width,
        metric="final" if swept is DECAY else "mean",
    )


def _infinite(found: Landscape) -> list[Curve]:
    return [curve for curve in found.curves if math.isinf(curve.width)]


def _place(swept: _Swept, curve: Curve) -> float:
    """Return log2 of the best value or edge; of decay, that of half the effect."""
    if swept is not DECAY:
        edge = swept.values[int(curve.losses.argmin())]
        return math.log2(edge if curve.optimum is None else curve.optimum)
    half = float(curve.losses[0] + curve.losses.max()) / 2
    above = next(i for i, loss in enumerate(curve.losses) if loss >= half)
    low, high = (float(curve.losses[i]) for i in (max(above - 1, 0), above))
    share = (half - low) / (high - low) if high > low else 0.0
    return math.log2(swept.values[max(above - 1, 0)]) + share


def _panel(rule: str, swept: _Swept, found: Landscape) -> Plot:
    lines = []
    for curve in found.curves:
        infinite = math.isinf(curve.width)
        losses = [loss if loss < 1 else math.nan for loss in curve.losses]
        name = f"depth {curve.depth:g}" if infinite else ""
        style: Any = "line" if infinite else "dots"
        lines.append(Series(name=name, x=swept.values, y=losses, style=style))
    return Plot(title=rule, x=swept.axis, y="training loss", lines=lines, log="x")


def _claim(swept: _Swept) -> Claim:
    return Claim(
        says=f"The {swept.name} stays as depth grows.",
        quantity=swept.quantity,
        rule=SCALED,
        wrong=PLAIN,
        expected=0.0,
        tolerance=0.1,
    )


EXPERIMENT = Experiment(
    title="Momentum, schedule, richness and decay over depth",
    source="2309.16620, hyperparameters other than the learning rate",
    shows=(
        "The loss of infinitely wide networks is solved over momentum, the first rate of a "
        "decaying schedule, gamma0 and weight decay, at several depths. With branches times "
        "1/sqrt(depth) the best values stay as depth grows; without, they move. Of the weight "
        "decay, whose best value for the training loss is zero, it is the decay of half the "
        "largest effect on the final loss. Dots are networks of finite width."
    ),
    claims=tuple(map(_claim, SWEPT)),
    measure=_measure,
    minutes=1.0,
    remark=(
        "Without depth scaling, training diverges at depth 16 at every momentum and every gamma0; "
        "these two drifts are from depth 4 to 8. Of the decaying schedule, the half time (-0.18) "
        "and the first rate in whole octaves (-0.22) were swept first, and did not stay within "
        "0.1. "
        "The best richness is 2^1.17, 2^0.98 and 2^0.89 at depth 4, 8 and 16: its steps halve with "
        "depth, so it converges, but moves by more than 0.1 between such shallow networks."
    ),
)
