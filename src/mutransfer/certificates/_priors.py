"""Prior knowledge of drifts: octaves of an optimum per doubling of an axis."""

from __future__ import annotations

from collections.abc import Sequence

from ..statistics import AxisPrior, LawPrior

WEAK = AxisPrior(slope=0.0, spread=0.5)
"""Prior of any axis and hyperparameter of which nothing is known."""

AXES: dict[tuple[str, str], AxisPrior] = {
    # Under the standard parametrization the best rate falls by 0.5 to 1.5 octaves per doubling of
    # width (Tensor Programs V, arXiv 2203.03466, Figures 1 and 3), under a maximal update
    # parametrization it stays. The wide tail of the prior holds both.
    ("lr", "width"): AxisPrior(slope=0.0, spread=0.5),
    # Between 0 with the right branch multiplier and -1 with none (Tensor Programs VI, 2310.02244).
    ("lr", "depth"): AxisPrior(slope=0.0, spread=0.5),
    # N^-0.71 over 60M to 1B parameters (Step Law, 2503.04715), N^-0.23 (2409.19913), N^-0.36
    # (2406.19146), C^-0.125 (2401.02954): all within one standard deviation, and none with a limit.
    ("lr", "params"): AxisPrior(slope=-0.4, spread=0.4, tail=0.0, still=0.02, saturates=False),
    # D^0.31 along best batches (2503.04715), D^-0.3 at a fixed one (2409.19913): the sign is open.
    ("lr", "tokens"): AxisPrior(slope=0.0, spread=0.3, tail=0.0),
    ("lr", "steps"): AxisPrior(slope=0.0, spread=0.3),
    # Below the critical batch from 1/2 for Adam (2205.10287) to 1 for SGD (1706.02677), above it 0,
    # or less for Adam (1812.06162, 2405.14578): the batches of a sweep may span both.
    ("lr", "batch"): AxisPrior(
        slope=0.3, spread=0.3, tail=0.0, still=0.02, bend=-0.05, bend_spread=0.1, knee=(0.7, 0.3)
    ),
    ("lr", "context"): AxisPrior(slope=0.0, spread=0.3),
    # A constant timescale B / (lr * decay * D) of averaging (2405.13698, 2505.13738).
    ("weight_decay", "tokens"): AxisPrior(slope=-0.5, spread=0.5),
    ("weight_decay", "steps"): AxisPrior(slope=-0.5, spread=0.5),
    ("weight_decay", "batch"): AxisPrior(slope=0.5, spread=0.5),
}
"""Prior of a hyperparameter along an axis; spreads hold the sources' disagreement."""

PRODUCT = (0.0, 0.05)
"""Mean and sd of the slope's change along one axis per doubling of another, for any pair."""

PRODUCTS: dict[tuple[str, str, str], tuple[float, float]] = {
    # Fits of different ranges of tokens and batches disagree by a few tenths in each slope.
    ("lr", "batch", "tokens"): (0.0, 0.12),
    ("lr", "batch", "steps"): (0.0, 0.12),
    ("lr", "params", "tokens"): (0.0, 0.12),
    ("lr", "params", "batch"): (0.0, 0.12),
}
"""The same of pairs that are known to interact."""

KNEES: dict[tuple[str, str], tuple[dict[str, float], ...]] = {
    # The critical batch grows as D^0.47 (2410.21676), best batches as D^0.57 (2503.04715). That the
    # power may be larger, and that tokens per parameter may count, was seen on the data of the
    # benchmark language_models, where the evidence for both is strong.
    ("lr", "batch"): (
        {},
        {"tokens": 0.5},
        {"tokens": 0.8},
        {"tokens": 0.5, "params": -0.5},
        {"tokens": 0.8, "params": -0.8},
        # Batch times steps are tokens: a half of the logarithm of both is a step for a step.
        {"steps": 1.0},
    ),
}
"""Axes along which the slope may end at a place, and doublings of this place per doubling."""

SCATTER = 0.1
"""Octaves of a typical size's own effect: 0.05 to 0.2 in sweeps of small networks."""


def law_prior(over: str, axes: Sequence[str]) -> LawPrior:
    """Return the prior of a hyperparameter's drift along some axes."""
    numbers = range(len(axes))
    pairs = [(i, j) for i in numbers for j in numbers if i < j]
    return LawPrior(
        axes=tuple(AXES.get((over, axis), WEAK) for axis in axes),
        products={(i, j): _product(over, axes[i], axes[j]) for i, j in pairs},
        knees={
            i: tuple(
                tuple(move.get(axis, 0.0) for axis in axes)
                for move in KNEES[over, axes[i]]
                if move.keys() <= set(axes)
            )
            for i in numbers
            if (over, axes[i]) in KNEES
        },
        scatter=SCATTER,
    )


def _product(over: str, one: str, other: str) -> tuple[float, float]:
    return PRODUCTS.get((over, one, other)) or PRODUCTS.get((over, other, one)) or PRODUCT


def is_known(over: str, axis: str) -> bool:
    """Return True if a drift is known from other people's models.

    Along width and depth it depends on the rule.
    """
    return (over, axis) in AXES and axis not in ("width", "depth")
