"""Judges slopes, and says of those that fail which tensor is at fault and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..reading import pattern
from ._expected import Expectations
from ._slopes import Slope

_NOTABLE = 0.15
"""What a rate, eps, decay or initial scale may differ by from the planned exponent."""

_FIRST = {"size", "input", "logits"}
"""Quantities that are judged at initialisation; the others are after the last step."""

_SAID = {
    "size": "its output at initialisation",
    "input": "its input at initialisation",
    "change": "the change of its output",
    "change of input": "the change of its input",
    "own": "its own part of the change",
    "logits": "the size of the logits at initialisation",
    "change of logits": "the change of the logits",
}
_CONTROLS = {
    "lr": "learning rate",
    "eps": "eps",
    "decay": "rate times weight decay",
    "size": "initial scale",
}


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
    found = list(found)
    carried = {(each.axis, each.name): each.slope for each in found if each.quantity == "carried"}
    heads = {
        each.axis: each.slope for each in found if each.quantity == "head dim" and each.step == 0
    }
    result = []
    for slope in found:
        expected = expectations.of(slope.axis, slope.kind, slope.name, slope.quantity, slope.step)
        if expected is not None and slope.quantity in {"size", "change", "own"}:
            expected += carried.get((slope.axis, slope.name), 0.0)
        if expected is not None and slope.quantity == "logits":
            expected = -heads[slope.axis] / 2 if slope.axis in heads else None
        counts = expected is not None and slope.step == (0 if slope.quantity in _FIRST else steps)
        slope = replace(slope, expected=expected)
        result.append(replace(slope, verdict=_verdict(slope, expectations)) if counts else slope)
    return result


def _verdict(slope: Slope, expectations: Expectations) -> str:
    excess, half = slope.excess, slope.high - slope.slope
    limit = expectations.allowance(slope.axis, slope.name, slope.quantity)[excess < 0]
    if abs(excess) > limit and abs(excess) - half > limit / 2:
        return "fail"
    return "pass" if abs(excess) <= limit and half <= limit else "undecided"


def findings(
    slopes: Sequence[Slope], order: Sequence[str], weights: Mapping[str, str]
) -> list[Finding]:
    """The tensors at fault: those whose own part of the change fails or whose output starts wrong; else the first module that fails.

    Where some of them are also told otherwise than planned, or start so, these come alone, as others may follow from them.

    Args:
        slopes: Judged slopes.
        order: Patterns of the modules in the order of the forward pass.
        weights: The weight of each module that has one, by patterns.
    """
    told = [each for each in slopes if each.kind == "tensor"]
    place = {name: i for i, name in enumerate(order)}
    blamed: list[tuple[Slope, str | None, list[str]]] = []
    for axis in ("width", "depth"):
        failed = [slope for slope in slopes if slope.axis == axis and slope.verdict == "fail"]
        failed.sort(key=lambda slope: (place.get(slope.name, len(place)), slope.quantity))
        own = [
            slope
            for slope in failed
            if slope.quantity == "own" or (slope.quantity == "size" and slope.name in weights)
        ]
        logits = [slope for slope in failed if slope.kind == "attention"]
        rest = [slope for slope in failed if slope.kind != "attention"]
        for slope in own or logits or rest[:1]:
            weight = weights.get(slope.name)
            blamed.append(
                (
                    slope,
                    weight,
                    [text for _, text in deviations(told, slope.axis, weight)] if weight else [],
                )
            )
    if any(causes for *_, causes in blamed):
        blamed = [each for each in blamed if each[2]]
    return list(
        dict.fromkeys(
            Finding(name=weight or _name(slope), text=_sentence(slope, causes))
            for slope, weight, causes in blamed
        )
    )


def misled(slopes: Sequence[Slope], named: Iterable[str]) -> list[Finding]:
    """Tensors that are told otherwise than planned, or start so, beside those that are named already."""
    told = [each for each in slopes if each.kind == "tensor"]
    names, known = dict.fromkeys(each.name for each in told), set(named)
    found: dict[str, list[str]] = {}
    for axis in ("width", "depth"):
        for name in names:
            texts = [text for quantity, text in deviations(told, axis, name) if quantity != "eps"]
            found.setdefault(name, []).extend(texts)
    return [
        Finding(name=name, text="; ".join(texts))
        for name, texts in found.items()
        if texts and name not in known
    ]


def _name(slope: Slope) -> str:
    return "attention" if slope.kind == "attention" else slope.name or "output"


def _sentence(slope: Slope, causes: Sequence[str]) -> str:
    verb = "grows" if slope.slope > 0 else "shrinks"
    text = f"{_SAID[slope.quantity]} {verb} as {slope.axis}^{_number(slope.slope)} [{slope.low:.2f}, {slope.high:.2f}]"
    text += f" after {slope.step} steps" if slope.step else ""
    text += f", expected {slope.axis}^{slope.expected:.3g}"
    return f"{text}: {'; '.join(causes or [_guess(slope)])}"


def deviations(told: Sequence[Slope], axis: str, name: str) -> Iterator[tuple[str, str]]:
    """What a tensor is told, and its initial scale, where these go otherwise than planned: which quantity, and a sentence."""
    own = [each for each in told if each.name == name and each.axis == axis]
    planned = {
        each.quantity.removeprefix("planned "): each.slope
        for each in own
        if each.quantity.startswith("planned ")
    }
    for quantity, right in planned.items():
        off = [
            each for each in own if each.quantity == quantity and abs(each.slope - right) > _NOTABLE
        ]
        if off:
            since = f" from step {off[0].step}" if off[0].step else ""
            yield (
                quantity,
                f"its {_CONTROLS[quantity]} goes as {axis}^{_number(off[0].slope)}{since}, and should go as {axis}^{_number(right)}",
            )


def _number(exponent: float) -> str:
    return f"{round(exponent, 2) + 0.0:.2f}"


def _guess(slope: Slope) -> str:
    """The likely cause, by the pattern of the failure alone."""
    lacks = f"lacks a factor {slope.axis}^{-slope.excess:.2g}"
    if slope.kind == "attention":
        return f"the attention's scale {lacks}: is it 1/sqrt(head_dim), not 1/head_dim, where the head dimension grows?"
    if slope.quantity == "size":
        return f"{'the multiplier of the branch' if slope.axis == 'depth' else 'its initial scale'} {lacks}"
    if slope.quantity == "own":
        return f"its learning rate {lacks}"
    if slope.axis == "depth":
        return (
            "the residual stream grows: branches " + lacks
            if slope.excess > 0
            else "branches become too weak as depth grows"
        )
    return (
        "what comes through its input grows"
        if slope.excess > 0
        else "what is before it stops learning as width grows"
    )


def order_of(rows: Iterable[Any]) -> list[str]:
    """Patterns of the modules in the order in which they first put out something."""
    return list(dict.fromkeys(pattern(row.name) for row in rows if row.kind == "module"))
