"""Laws of roles: initial scale, gradient, and wanted change of the layer's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ._powers import ONE, Exponent, Powers, powers
from ._roles import Role

_POWERS = ("init", "gradient", "change")


@dataclass(frozen=True, kw_only=True)
class Law:
    """The law of a role in a parametrization.

    It holds for a tensor that is used without a multiplier, outside residual branches.

    Attributes:
        init: Standard deviation of an entry.
        gradient: RMS of an entry of the gradient.
        change: Wanted change of the layer's output in a step.
        sums_over_width: True if the output sums over a growing fan-in. The fan-in of an input is
            finite, and a bias or a gain has none.
        learned: True if the gradient is a sum over features that only training makes add up.
            Inside a residual branch it then also scales as the features' change.
    """

    init: Powers = ONE
    gradient: Powers = ONE
    change: Powers = ONE
    sums_over_width: bool = False
    learned: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the law as data, exact."""
        exponents = {name: getattr(self, name).to_json() for name in _POWERS}
        return {**exponents, "sums_over_width": self.sums_over_width, "learned": self.learned}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Law:
        """Return the law that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the data is no law.
        """
        return cls(**{**data, **{name: powers(**data[name]) for name in _POWERS}})


def laws(*, readout: Exponent = 1, change: Powers = ONE) -> Mapping[Role, Law]:
    """Return the laws of all roles, which follow from the readout's initial scale.

    Features are used with the readout's weights, so their gradient has the readout's size, and
    everything that makes features sees it.

    A tensor that all features pass at once collects this gradient over the width: a router, an
    adapter's first matrix, a factor of all heads. Its law has the size that the gradient soon
    reaches in training, when features have moved together. At first it is smaller by the root of
    the width.

    The matrix of keys or values in grouped-query attention collects the gradient over the heads
    that share it. Its law has the size at first, when these heads are independent.

    Args:
        readout: The readout starts with standard deviation fan_in^-readout: 1 is maximal update,
            1/2 is standard and NTK parametrization.
        change: Wanted change of features in a step; 1 is feature learning.
    """
    start = Fraction(readout)
    back, collected = powers(fan_out=-start), powers(fan_in=1 - start)
    shared = powers(fan_in=Fraction(1, 2) - start, fan_out="-1/2")
    fan = powers(fan_in="-1/2")
    share = powers(experts=-1)
    vector = Law(gradient=back, change=change)
    matrix = Law(init=fan, gradient=back, change=change, sums_over_width=True)
    return {
        Role.INPUT: Law(init=fan, gradient=back, change=change),
        Role.EMBEDDING: vector,
        Role.POSITION: vector,
        Role.HIDDEN: matrix,
        Role.KEY_VALUE: Law(init=fan, gradient=shared, change=change, sums_over_width=True),
        Role.READOUT: Law(init=powers(fan_in=-start), sums_over_width=True),
        Role.TIED: vector,
        Role.DEPTHWISE: Law(init=fan, gradient=back, change=change),
        # An expert and its score get gradients from their share of the tokens alone.
        Role.ROUTER: Law(
            init=powers(fan_in=-start), gradient=collected * share, sums_over_width=True
        ),
        Role.EXPERT: Law(init=fan, gradient=back * share, change=change, sums_over_width=True),
        Role.LORA_A: Law(init=fan, gradient=collected, sums_over_width=True, learned=True),
        Role.LORA_B: vector,
        Role.BIAS: vector,
        Role.GAIN: vector,
        Role.HEAD_GAIN: Law(learned=True),
        Role.LAYER_SCALE: vector,
        Role.VECTOR: vector,
        Role.ATTENTION_SCALE: Law(learned=True),
        Role.SCALAR: Law(),
        Role.FROZEN: Law(),
    }
