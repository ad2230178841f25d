"""Schedules: factors of the learning rate over a training, and their warmup.

A schedule is data: a function (step, steps) -> factor of the steps after warmup, counted from 0. A
new one is an entry here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..core import MutransferError

Schedule = Callable[[int, int], float]
"""A function of a step, counted from 0, and the number of steps, to a factor of the rate."""

_COOLDOWN = 1 / 5
"""Share of the steps in which the rate of "wsd" falls (2405.18392, Section 4)."""

_DROPS = (1 / 2, 3 / 4)
"""Shares of the steps after which the rate of "step" is ten times smaller (1512.03385, 4.2)."""


def constant(step: int, steps: int) -> float:
    """Return 1: the rate stays as it is."""
    return 1.0


def linear(step: int, steps: int) -> float:
    """Return 1 - t, with t = step / steps: the rate falls to zero."""
    return 1 - step / steps


def cosine(step: int, steps: int) -> float:
    """Return (1 + cos(pi t)) / 2, with t = step / steps (1608.03983)."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def wsd(step: int, steps: int) -> float:
    """Return 1, then a line to zero over the last fifth (2404.06395)."""
    return min(1.0, (1 - step / steps) / _COOLDOWN)


def inverse_sqrt(step: int, steps: int) -> float:
    """Return (1 + 10 t)^-1/2, with t = step / steps: 0.3 at the end."""
    return float((1 + 10 * step / steps) ** -0.5)


def stepwise(step: int, steps: int) -> float:
    """Return 1, a tenth after half of the steps, a hundredth after three quarters."""
    return float(10.0 ** -sum(step >= share * steps for share in _DROPS))


SCHEDULES: Mapping[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "wsd": wsd,
    "inverse-sqrt": inverse_sqrt,
    "step": stepwise,
}
"""Every schedule by name."""


def schedule(kind: str | Schedule, steps: int, warmup: float = 0) -> list[float]:
    """Return the factor of the learning rate at every step.

    In warmup the factor rises along a line, (step + 1) / warmup; the schedule begins after it.

    >>> schedule("linear", 6, warmup=2)
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]

    Args:
        kind: A name in `SCHEDULES`, or a function (step, steps) -> factor of the steps after
            warmup.
        steps: Number of steps.
        warmup: Steps of warmup, a whole number; or their share of all steps, a fraction below 1.

    Raises:
        MutransferError: the schedule is unknown, a factor is negative or not finite, or the warmup
            is no number of steps.
    """
    function = _function(kind)
    rising = _warmup_steps(warmup, steps)
    factors = [(step + 1) / rising for step in range(min(rising, steps))]
    rest = steps - rising
    return factors + [_factor(kind, function, step, rest) for step in range(rest)]


def _function(kind: Any) -> Schedule:
    if isinstance(kind, str) and kind in SCHEDULES:
        return SCHEDULES[kind]
    if callable(kind):
        return kind  # type: ignore[no-any-return]
    raise MutransferError(
        f"unknown schedule {kind!r}; choose one of {', '.join(SCHEDULES)}, or give a function "
        "(step, steps) -> factor of the rate"
    )


def _warmup_steps(warmup: Any, steps: int) -> int:
    whole = isinstance(warmup, int) and not isinstance(warmup, bool)
    if whole and warmup >= 0:
        return int(warmup)
    if isinstance(warmup, float) and 0 <= warmup < 1:
        return round(warmup * steps)
    raise MutransferError(
        f"warmup is {warmup!r}: give a number of steps, such as 100, or a fraction of all steps "
        "below 1, such as 0.1"
    )


def _factor(kind: Any, function: Schedule, step: int, steps: int) -> float:
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
    try:
        factor = float(function(step, steps))
    except Exception as error:
        raise MutransferError(
            f"the schedule {name} fails at step {step} of {steps} ({type(error).__name__}: "
            f"{error}): give a function (step, steps) -> factor of the rate"
        ) from error
    if not 0 <= factor < math.inf:
        raise MutransferError(
            f"the schedule {name} is {factor} at step {step} of {steps}: a factor of the rate is "
            "finite and at least 0"
        )
    return factor
