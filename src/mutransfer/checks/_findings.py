"""Findings: the tensors and modules at fault, each with the likely cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..reading import parent
from ._quantities import AXES, TENSOR_SIZE, Quantity
from ._slopes import Slope

_NOTABLE = 0.15
"""Distance from the planned exponent above which a rate, eps, decay or initial scale is named."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong.

    Attributes:
        name: The tensor or module at fault, with a star for the number of a layer; empty where it
            is the whole network.
        text: A sentence: the symptom and the likely cause.
    """

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.name else self.text


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """An exponent that fails, the weight to blame, and its deviations from the plan.

    The exponent may be measured elsewhere than at the weight's own module.
    """

    slope: Slope
    weight: str | None
    deviations: tuple[str, ...]
    elsewhere: bool = False

    def finding(self) -> Finding:
        name = "attention" if self.slope.kind == "attention" else self.slope.name or "output"
        text = _sentence(self.slope, self.deviations)
        # The number is another module's: it has to be found in the table by that name.
        place = f"measured at {name}: " if self.elsewhere else ""
        return Finding(name=self.weight or name, text=place + text)


def failures(
    slopes: Sequence[Slope],
    order: Sequence[str],
    weights: Mapping[str, str],
    ends: Sequence[str] = (),
) -> list[Finding]:
    """Return a finding for each module at fault, or else for the first failure.

    A module is at fault if its own part of the change fails, or if its output starts wrong. Only
    where there is no such module the attention, or the first failing module, is named. Where some
    tensors also deviate from their plan, these come alone, as all others may follow from them.

    Args:
        slopes: Judged exponents.
        order: Labels of the modules in the order of the forward pass.
        weights: The weight of each module that has one, by labels.
        ends: Labels of the weights that end branches, to blame where the stream grows in depth.
    """
    place = {name: i for i, name in enumerate(order)}
    faults: list[_Failure] = []
    for axis in AXES:
        failed = [slope for slope in slopes if slope.axis == axis and slope.verdict == "fail"]
        failed.sort(key=lambda slope: (_place(slope, place), slope.quantity))
        at_fault = [slope for slope in failed if _is_at_fault(slope, weights)]
        attention = [slope for slope in failed if slope.kind == "attention"]
        others = [slope for slope in failed if slope.kind != "attention"]
        if not (at_fault or attention) and axis == "depth" and _grows(others[:1]):
            faults += [
                _Failure(slope=others[0], weight=end, deviations=(), elsewhere=True) for end in ends
            ]
            others = others if not ends else []
        for slope in at_fault or attention or others[:1]:
            weight = slope.name if slope.kind == "tensor" else weights.get(slope.name)
            texts = [text for _, text in _deviations(slopes, axis, weight)] if weight else []
            faults.append(_Failure(slope=slope, weight=weight, deviations=tuple(texts)))
    if any(fault.deviations for fault in faults):
        faults = [fault for fault in faults if fault.deviations]
    return list(dict.fromkeys(fault.finding() for fault in faults))


def deviants(slopes: Sequence[Slope], named: Iterable[str], *, sure: bool = False) -> list[Finding]:
    """Return a finding for each unnamed tensor that deviates from its plan.

    Args:
        slopes: The measured exponents.
        named: Names of tensors that were found already.
        sure: True if an initial scale has to deviate by more than its interval, too.
    """
    names = dict.fromkeys(slope.name for slope in slopes if slope.kind == "tensor")
    known = set(named)
    texts_of: dict[str, list[str]] = {}
    for axis in AXES:
        for name in names:
            deviations = _deviations(slopes, axis, name, sure=sure)
            texts = [text for quantity, text in deviations if quantity.alone]
            texts_of.setdefault(name, []).extend(texts)
    return [
        Finding(name=name, text="; ".join(texts))
        for name, texts in texts_of.items()
        if texts and name not in known
    ]


def _grows(slopes: Sequence[Slope]) -> bool:
    return any(slope.excess > 0 for slope in slopes)


def _place(slope: Slope, place: Mapping[str, int]) -> int:
    """Return the place of a module, or of a tensor's module, in the forward pass."""
    name = parent(slope.name) if slope.kind == "tensor" else slope.name
    return place.get(name, len(place))


def _is_at_fault(slope: Slope, weights: Mapping[str, str]) -> bool:
    blames = slope.measured.blames
    return blames == "module" or (blames == "weight" and slope.name in weights)


def _deviations(
    slopes: Sequence[Slope], axis: str, name: str, *, sure: bool = False
) -> Iterator[tuple[Quantity, str]]:
    """Yield each quantity of a tensor that does not scale as planned, with a sentence."""
    of_tensor = [s for s in slopes if (s.kind, s.name, s.axis) == ("tensor", name, axis)]
    planned = {slope.measured.plans: slope.slope for slope in of_tensor if slope.measured.plans}
    for quantity, exponent in planned.items():
        measured = [slope for slope in of_tensor if slope.quantity == quantity]
        # Rates are exact, and random numbers are not.
        drawn = sure and quantity == TENSOR_SIZE.name
        off = [
            slope
            for slope in measured
            if abs(slope.slope - exponent) - (slope.high - slope.slope if drawn else 0) > _NOTABLE
        ]
        if off:
            since = f" from step {off[0].step}" if off[0].step else ""
            yield (
                off[0].measured,
                f"its {off[0].measured.words} goes as {axis}^{_number(off[0].slope)}{since}, "
                f"and should go as {axis}^{_number(exponent)}",
            )


def _sentence(slope: Slope, deviations: Sequence[str]) -> str:
    """Return the symptom, and the deviations from the plan or else the likely cause."""
    verb = "grows" if slope.slope > 0 else "shrinks"
    interval = f"[{slope.low:.2f}, {slope.high:.2f}]"
    plural = "s" if slope.step > 1 else ""
    after = f" after {slope.step} step{plural}" if slope.step else ""
    symptom = (
        f"{slope.measured.words} {verb} as {slope.axis}^{_number(slope.slope)} {interval}{after}, "
        f"expected {slope.axis}^{slope.expected:.3g}"
    )
    cause = slope.measured.cause
    assert cause is not None, f"{slope.quantity} is judged, so the table has a cause for it"
    return f"{symptom}: {'; '.join(deviations or [cause(slope.axis, slope.excess)])}"


def _number(exponent: float) -> str:
    return f"{round(exponent, 2) + 0.0:.2f}"
