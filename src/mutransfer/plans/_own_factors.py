"""Numbers that a model multiplies signals by, as sqrt(width) after its embedding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..reading import NOTHING, Signal, Trace, pattern
from ..rules import ONE, Parametrization
from ._match import Match


@dataclass(frozen=True, kw_only=True)
class OwnFactor:
    """A factor of a signal that differs between the model and its base.

    Attributes:
        signal: The signal.
        value: The factor in the model.
        base_values: The factors in the base, of the signals of this kind.
    """

    signal: Signal
    value: float
    base_values: tuple[float, ...]

    @property
    def is_clear(self) -> bool:
        """True if one positive factor undoes the difference."""
        return len(self.base_values) == 1 and self.value / self.base_values[0] > 0

    @property
    def inverse(self) -> float:
        """The factor that undoes the difference."""
        return self.base_values[0] / self.value

    @property
    def squared(self) -> Fraction:
        """The square of the model's factor over the base's; multipliers are its powers."""
        return _squared(self.value / self.base_values[0])

    @property
    def fact(self) -> str:
        """The difference in a sentence."""
        tensors, module = self.signal.tensors, self.signal.module
        if tensors:
            where = f" what {' and '.join(sorted(tensors))} make"
        else:
            where = f" the output of {module}" if self.signal != NOTHING else " a signal"
        values = " or ".join(f"{value:.6g}" for value in self.base_values)
        return f"the model multiplies{where} by {self.value:.6g}, the base by {values}"


def own_factors(
    rule: Parametrization, matches: Mapping[str, Match], target: Trace, base: Trace
) -> Iterator[OwnFactor]:
    """Yield the factors of learned signals that differ between the model and its base.

    A rule that says nothing of depth leaves those of branches as they are.
    """
    base_kinds = {name: m.base_run[0] for m in matches.values() for name in m.base_run}
    base_values = _by_kind(base.factors, base_kinds)
    values = _by_kind(target.factors, {name: m.base_run[0] for name, m in matches.items()})
    deeper = len(target.branches) != len(base.branches)
    left = rule.branch_multiplier == ONE and deeper
    ends = {branch.end for branch in target.branches} if left else set()
    unscaled = [(NOTHING, 1.0)]
    for kind in dict.fromkeys([*values, *base_values]):
        known = [value for _, value in base_values.get(kind, unscaled)]
        for signal, value in values.get(kind, unscaled):
            same = any(math.isclose(value, other, rel_tol=1e-6) for other in known)
            if kind and signal not in ends and not same:
                yield OwnFactor(signal=signal, value=value, base_values=tuple(sorted(set(known))))


def left_factors(target: Trace, base: Trace) -> list[float]:
    """Return the factors of unlearned signals that differ between model and base.

    Factors that are not known on the meta device are not a number.
    """
    values, base_values = (
        sorted(v for v, signal in trace.factors if signal == NOTHING and not math.isnan(v))
        for trace in (target, base)
    )
    unknown = [value for value, _ in target.factors if math.isnan(value)]
    same_depth = len(target.branches) == len(base.branches)
    if same_depth and len(values) == len(base_values):
        pairs = zip(values, base_values, strict=True)
        return [a for a, b in pairs if not math.isclose(a, b, rel_tol=1e-6)] + unknown
    return [
        a
        for a in dict.fromkeys(values)
        if not any(math.isclose(a, b, rel_tol=1e-6) for b in base_values)
    ] + unknown


def _by_kind(
    factors: Sequence[tuple[float, Signal]], kinds: Mapping[str, str]
) -> dict[frozenset[str], list[tuple[Signal, float]]]:
    """Return signals of one kind, such as of all layers, with their total factors."""
    totals: dict[Signal, float] = {}
    for value, signal in factors:
        if signal != NOTHING and not math.isnan(value):
            totals[signal] = totals.get(signal, 1.0) * value
    by_kind: dict[frozenset[str], list[tuple[Signal, float]]] = {}
    for signal, value in totals.items():
        if signal.tensors is None:
            kind = {pattern(signal.module or "")}
        else:
            kind = {kinds.get(name, name) for name in signal.tensors}
        by_kind.setdefault(frozenset(kind), []).append((signal, value))
    return by_kind


def _squared(ratio: float) -> Fraction:
    """Return the square of a ratio, exactly if it or its root is one of small numbers.

    Models round such numbers in double or in single precision.
    """
    inverse = abs(ratio) < 1
    size = 1 / abs(ratio) if inverse else abs(ratio)
    simple = (
        Fraction(size**2).limit_denominator(10**4),
        Fraction(size).limit_denominator(10**4) ** 2,
    )
    close = (
        fraction
        for tolerance in (1e-12, 1e-6)
        for fraction in simple
        if math.isclose(fraction, size**2, rel_tol=tolerance)
    )
    square = next(close, Fraction(size**2))
    return 1 / square if inverse else square
