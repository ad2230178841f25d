"""Prior knowledge of drifts: octaves of a hyperparameter's optimum per doubling of an axis."""

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
    # N^-0.71 over 60M to 1B parameters (Step Law, 2503.04715), N^-0.23 in Kaplan's and DeepSeek's
    # fits to compute (2001.08361, 2401.02954): both within one standard deviation.
    ("lr", "params"): AxisPrior(slope=-0.4, spread=0.4),
    # D^0.31 along best batches (2503.04715), D^-0.3 at a fixed one (2409.19913): the sign is open.
    ("lr", "tokens"): AxisPrior(slope=0.0, spread=0.3),
    ("lr", "steps"): AxisPrior(slope=0.0, spread=0.3),
    # From 1/2 for Adam (2205.10287) to 0 beyond the critical batch, where a larger batch no longer
    # helps (1812.06162, 2405.14578); 1 for SGD is in the tail.
    ("lr", "batch"): AxisPrior(slope=0.3, spread=0.3, bend=-0.05, bend_spread=0.08),
    ("lr", "context"): AxisPrior(slope=0.0, spread=0.3),
    # A constant timescale B / (lr * decay * D) of averaging (2405.13698, 2505.13738).
    ("weight_decay", "tokens"): AxisPrior(slope=-0.5, spread=0.5),
    ("weight_decay", "steps"): AxisPrior(slope=-0.5, spread=0.5),
    ("weight_decay", "batch"): AxisPrior(slope=0.5, spread=0.5),
}
"""Prior of a hyperparameter along an axis; spreads hold the sources' disagreement."""

PRODUCTS: dict[tuple[str, str, str], tuple[float, float]] = {
    # The critical batch grows with the tokens, so that the rate saturates later.
    ("lr", "batch", "tokens"): (0.0, 0.12),
    ("lr", "batch", "steps"): (0.0, 0.12),
}
"""Mean and standard deviation of the slope's change along one axis per doubling of the other."""

SCATTER = 0.1
"""Octaves of a typical size's own effect: 0.05 to 0.2 in sweeps of small networks."""


def law_prior(over: str, axes: Sequence[str]) -> LawPrior:
    """Return the prior of a hyperparameter's drift along some axes."""
    products = {
        (axes.index(one), axes.index(other)): product
        for (name, one, other), product in PRODUCTS.items()
        if name == over and one in axes and other in axes
    }
    return LawPrior(
        axes=tuple(AXES.get((over, axis), WEAK) for axis in axes),
        products=products,
        scatter=SCATTER,
    )


def is_known(over: str, axis: str) -> bool:
    """Return True if a drift is known from other people's models, without any of one's own.

    Along width and depth it depends on the rule.
    """
    return (over, axis) in AXES and axis not in ("width", "depth")
