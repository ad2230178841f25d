"""Judges slopes, and says of those that fail which tensor is at fault and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..plan._read import pattern
from ._expected import Expectations
from ._slopes import Slope

GROWS, SHRINKS, OWN_SHRINKS = 0.3, 0.4, 0.6
"""How far an exponent may lie above and below what is expected, and below for a layer's own part of the change.

In the first steps, updates and inputs align less in wider networks, so that more is allowed downwards, and most where nothing else counts.
"""

_NOTABLE = 0.15
"""What a rate, eps, decay or initial scale may differ by from the planned exponent."""

_SAID = {
    "size": "its output at initialisation",
    "change": "the change of its output",
    "own": "its own part of the change",
    "change of logits": "the change of the attention logits",
}
_CONTROLS = {"lr": "learning rate", "eps": "eps", "decay": "rate times weight decay", "size": "initial scale"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong.

    Attributes:
        name: The tensor or module at fault, a star for the number of a layer; empty where it is all of them.
        text: What is wrong with it, and the likely cause, in a sentence.
    """

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.name else self.text


def judged(found: Iterable[Slope], expectations: Expectations, steps: int) -> list[Slope]:
    """The slopes with what is expected of them, and a verdict on those at initialisation and after the last step."""
    result = []
    for slope in found:
        expected = expectations.of(slope.axis, slope.kind, slope.name, slope.quantity, slope.step)
        counts = expected is not None and slope.step == (0 if slope.quantity == "size" else steps)
        slope = replace(slope, expected=expected)
        result.append(replace(slope, verdict=_verdict(slope)) if counts else slope)
    return result


def _verdict(slope: Slope) -> str:
    excess, half = slope.excess, slope.high - slope.slope
    limit = GROWS if excess > 0 else OWN_SHRINKS if slope.quantity == "own" and slope.axis == "width" else SHRINKS
    if abs(excess) > limit and abs(excess) - half > limit / 2:
        return "fail"
    return "pass" if abs(excess) <= limit and half <= limit else "undecided"


def findings(slopes: Sequence[Slope], order: Sequence[str], weights: Mapping[str, str], told: Sequence[Slope]) -> list[Finding]:
    """The tensors at fault, by axis: those whose own part of the change fails or whose output starts wrong; else the first that changes.

    Args:
        slopes: Judged slopes.
        order: Patterns of the modules in the order of the forward pass.
        weights: The weight of each module that has one, by patterns.
        told: Slopes of what the optimizer is told, and of what is planned, by tensor.
    """
    result: list[Finding] = []
    place = {name: i for i, name in enumerate(order)}
    for axis in ("width", "depth"):
        failed = [slope for slope in slopes if slope.axis == axis and slope.verdict == "fail"]
        failed.sort(key=lambda slope: (place.get(slope.name, len(place)), slope.quantity))
        roots = [
            slope
            for slope in failed
            if slope.quantity in {"own", "change of logits"} or (slope.quantity == "size" and slope.name in weights)
        ]
        for slope in roots or failed[:1]:
            name = weights.get(slope.name, slope.name) or ("attention" if slope.kind == "attention" else "output")
            result.append(Finding(name=name, text=_sentence(slope, weights.get(slope.name), told)))
    return list(dict.fromkeys(result))


def _sentence(slope: Slope, weight: str | None, told: Sequence[Slope]) -> str:
    verb = "grows" if slope.slope > 0 else "shrinks"
    text = f"{_SAID[slope.quantity]} {verb} as {slope.axis}^{slope.slope:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
    text += f" after {slope.step} steps" if slope.step else ""
    text += f", expected {slope.axis}^{slope.expected:g}"
    causes = list(_causes(slope, weight, told)) or [_guess(slope)]
    return f"{text}: {'; '.join(causes)}"


def _causes(slope: Slope, weight: str | None, told: Sequence[Slope]) -> Iterator[str]:
    """What the optimizer is told, or the initial scale, where it goes otherwise than planned."""
    if weight is None:
        return
    exponents = {each.quantity: each.slope for each in told if each.name == weight and each.axis == slope.axis and each.step == 0}
    for quantity in ("size",) if slope.quantity == "size" else ("lr", "eps", "decay", "size"):
        own, planned = exponents.get(quantity), exponents.get(f"planned {quantity}")
        if own is not None and planned is not None and abs(own - planned) > _NOTABLE:
            yield f"its {_CONTROLS[quantity]} goes as {slope.axis}^{own:.2f}, and {slope.axis}^{planned:.2f} is planned"


def _guess(slope: Slope) -> str:
    """The likely cause, by the pattern of the failure alone."""
    needed = -slope.excess
    if slope.quantity == "change of logits":
        scale = "1/sqrt(head_dim) where the head dimension grows, not 1/head_dim?"
        return f"the attention's scale lacks a factor {slope.axis}^{needed:.2g}: {scale}"
    if slope.quantity == "size":
        what = "the branches' multiplier" if slope.axis == "depth" else "its initial scale"
        return f"{what} lacks a factor {slope.axis}^{needed:.2g}"
    if slope.quantity == "own":
        return f"its learning rate lacks a factor {slope.axis}^{needed:.2g}" + _by_role(slope)
    if slope.axis == "depth":
        return (
            f"residual branches lack a factor depth^{needed:.2g}" if slope.excess > 0 else "residual branches are too weak as depth grows"
        )
    return "it comes through its input" if slope.excess > 0 else "what is before it stops learning as width grows"


def _by_role(slope: Slope) -> str:
    if slope.axis != "width":
        return ""
    if slope.excess > 0.7:
        return ": it is not divided by fan-in"
    return ": it is divided by fan-in although its fan-in is finite?" if slope.excess < -0.7 else ""


def order_of(rows: Iterable[Any]) -> list[str]:
    """Patterns of the modules in the order in which they first put out something."""
    return list(dict.fromkeys(pattern(row.name) for row in rows if row.kind == "module"))
