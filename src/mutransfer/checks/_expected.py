"""The exponents that the theory expects of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ._owners import module_of
from ._quantities import CHANGE, CHANGE_OF_INPUT, SHRINKS_FAR, Expected, When
from ._slopes import Slope
from ._spots import Spot

Known = Mapping[tuple[str, str, str, str], float]
"""Measured exponents at initialisation, by axis, kind, name and quantity."""


@dataclass(frozen=True)
class Expectations:
    """The table of quantities, read for one model.

    Attributes:
        spots: The spot of each module and bare tensor, by label; also of some calls.
        alpha: The residual exponent: branches are multiplied by depth^-alpha.
        single: Labels of tensors of one number at every size.
        fixed: Labels of modules in a growing stack that keep their index in deeper networks.
    """

    spots: Mapping[str, Spot]
    alpha: Fraction
    single: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()

    def exponent(self, slope: Slope, known: Known) -> float | None:
        """Return the expected exponent; None where nothing is expected.

        Args:
            slope: The measured exponent.
            known: Measured exponents that expectations may depend on.
        """
        expected, quantity = self._entry(slope), slope.measured
        if expected is None or (slope.step and not quantity.lasts):
            return None
        exponent = expected.exponent.at(float(self.alpha))
        if (shift := quantity.shift) is None:
            return exponent
        part = known.get((slope.axis, slope.kind, slope.name, shift.quantity))
        if part is None:
            return None if shift.needed else exponent
        return exponent + shift.times * part

    def shrinks(self, slope: Slope) -> float:
        """Return the distance that the exponent may lie below the expected one."""
        expected = self._entry(slope)
        if expected is None:
            return 0.0
        shrinks = expected.shrinks.at(float(self.alpha))
        # So many branches as in the base have acted before such a layer, each 1/depth in its
        # change, where all of them together change the stream by a constant.
        from_stream = slope.measures(CHANGE) or slope.measures(CHANGE_OF_INPUT)
        if slope.axis == "depth" and from_stream and module_of(slope.name) in self.fixed:
            shrinks = max(shrinks, 1 + SHRINKS_FAR)
        return shrinks

    def is_judged(self, slope: Slope, steps: int) -> bool:
        """Return True if an expectation holds at the moment that was measured."""
        if slope.expected is None:
            return False
        match slope.measured.judged:
            case When.START:
                return slope.step == 0
            case When.END:
                return slope.step == steps or self.is_first_of_scores(slope)
            case When.ENDS:
                # The steps of one number go to and fro, and their sum is chance after the first.
                last = 1 if slope.name in self.single else steps
                return slope.step in {1, last}
        return False

    def is_first_of_scores(self, slope: Slope) -> bool:
        """Return True for the change of a readout in the first step.

        Where a readout starts too large, it grows with width. Later steps undo what was too much.
        """
        return slope.measures(CHANGE) and slope.step == 1 and self.spot(slope) == Spot.READOUT

    def spot(self, slope: Slope) -> Spot:
        """Return the spot of the measured module or tensor."""
        if slope.kind not in {"module", "tensor"}:
            return Spot.UNKNOWN
        module = module_of(slope.name)
        return self.spots.get(slope.name) or self.spots.get(module, Spot.UNKNOWN)

    def _entry(self, slope: Slope) -> Expected | None:
        return slope.measured.expected.get(slope.axis, {}).get(self.spot(slope))
