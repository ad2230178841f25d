"""Layers one by one, against the others of their label.

A label is judged by the RMS over its layers. That hides a layer that becomes too weak, and one
among many that becomes too strong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..core import Size
from ._expected import Expectations
from ._findings import Finding, deviants, failures
from ._owners import module_of
from ._quantities import BARE_OWN, OWN, QUANTITIES, REACH, SIZE
from ._rows import Row
from ._slopes import Slope, slopes
from ._spots import Spot
from ._verdict import judged, verdict_of

_OUTPUTS = (SIZE, OWN, BARE_OWN)
"""Quantities that are a layer's own; a change that comes through its input is another's."""

_COMPARED = {quantity.plans for quantity in QUANTITIES.values() if quantity.plans}
_PLANNED = {key for key, quantity in QUANTITIES.items() if quantity.plans} | {
    ("tensor", name) for name in _COMPARED
}
_NEEDED = {
    *(quantity.key for quantity in _OUTPUTS),
    *(REACH.key, ("module", "carried"), ("tensor", "carried")),
    *_PLANNED,
}

Position = tuple[Size, str]
"""A size, and the name of a layer or tensor in it."""


@dataclass(frozen=True, kw_only=True)
class Members:
    """The exponents of single layers.

    Attributes:
        slopes: The exponents by the layer's own name. One fails only if it also differs from the
            others of its label.
        label_of: The label of each layer and tensor.
    """

    slopes: Sequence[Slope]
    label_of: Mapping[str, str]


def members(
    rows: Sequence[Row],
    axes: Mapping[str, Sequence[int]],
    expectations: Expectations,
    steps: int,
    *,
    joint: bool,
) -> Members:
    """Fit and judge the exponents of single layers of labels that have several.

    Args:
        rows: The measured numbers, those of the base first.
        axes: The sizes along each axis.
        expectations: The expected exponents.
        steps: Number of steps that the networks were trained.
        joint: True if every width was combined with every depth.
    """
    base = rows[0].size
    needed = [row for row in rows if (row.kind, row.quantity) in _NEEDED]
    fitted: list[Slope] = []
    label_of: dict[str, str] = {}
    for varied in [tuple(axes)] if joint else [(axis,) for axis in axes]:
        along = [
            row
            for row in needed
            if all(row.size[axis] == base[axis] for axis in base if axis not in varied)
        ]
        placed = _placed(along)
        some_rows = [row for row in along if (row.size, row.name) in placed]
        single = [row._replace(label=placed[row.size, row.name]) for row in some_rows]
        label_of |= {new.label: row.label for new, row in zip(single, some_rows, strict=True)}
        some = {axis: axes[axis] for axis in varied}
        known = replace(expectations, spots=_spots(expectations, label_of))
        own = judged(slopes(single, some, joint=joint), known, steps)
        others = slopes(list(_relative(along, placed)), some, joint=joint)
        fitted += _confirmed(own, others, known)
    return Members(slopes=fitted, label_of=label_of)


def _placed(rows: Sequence[Row]) -> dict[Position, str]:
    """Return the name of each layer that has its like at every size.

    Of the layers of a label at the smallest size, the first half is counted from the front and the
    second from the back, so that a deeper network has its first and its last layers among them.
    The name is that at the largest size.
    """
    found: dict[str, dict[Size, dict[str, None]]] = {}
    for row in rows:
        found.setdefault(row.label, {}).setdefault(row.size, {})[row.name] = None
    sizes = sorted({row.size for row in rows})
    placed: dict[Position, str] = {}
    for by_size in found.values():
        count = len(by_size.get(sizes[0], ()))
        if count < 2 or any(len(by_size.get(size, ())) < count for size in sizes):
            continue
        chosen = {size: _ends([*by_size[size]], count) for size in sizes}
        for size, names in chosen.items():
            placed |= {
                (size, name): last for name, last in zip(names, chosen[sizes[-1]], strict=True)
            }
    return placed


def _ends(names: list[str], count: int) -> list[str]:
    back = count // 2
    return names[: count - back] + names[len(names) - back :]


def _spots(expectations: Expectations, label_of: Mapping[str, str]) -> dict[str, Spot]:
    known = expectations.spots
    spots = {
        name: known.get(label) or known.get(module_of(label)) for name, label in label_of.items()
    }
    return {name: spot for name, spot in spots.items() if spot is not None}


def _relative(rows: Sequence[Row], placed: Mapping[Position, str]) -> Iterator[Row]:
    """Yield each output of a layer over the RMS of the others of its label."""
    outputs = [row for row in rows if any(row.measures(quantity) for quantity in _OUTPUTS)]
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in outputs:
        groups.setdefault((*row[:6], row.label, row.quantity), []).append(row)
    for group in groups.values():
        total = sum(row.value**2 for row in group)
        for row in group:
            # Rounding may leave less than nothing where one layer is all there is.
            rest = max(0.0, total - row.value**2)
            if rest and (row.size, row.name) in placed:
                ratio = row.value / math.sqrt(rest / (len(group) - 1))
                yield row._replace(label=placed[row.size, row.name], value=ratio)


def _confirmed(
    own: Sequence[Slope], others: Sequence[Slope], expectations: Expectations
) -> Iterator[Slope]:
    """Yield the exponents, failed only where the layer differs from its like."""
    relative = {(s.axis, s.kind, s.name, s.quantity, s.step): s for s in others}
    for slope in own:
        other = relative.get((slope.axis, slope.kind, slope.name, slope.quantity, slope.step))
        if slope.verdict == "fail":
            shrinks = expectations.shrinks(slope)
            if other is None or not _differs(other, slope.excess > 0, shrinks):
                slope = replace(slope, verdict="")
        yield slope


def _differs(relative: Slope, grows: bool, shrinks: float) -> bool:
    """Return True if a layer surely grows or shrinks more than its label's others."""
    same = (relative.slope > 0) == grows
    return same and verdict_of(replace(relative, expected=0.0), shrinks) == "fail"


def lone_findings(
    found: Members, named: Sequence[str], weights: Mapping[str, str], *, planned: bool
) -> list[Finding]:
    """Return a finding for each single layer at fault whose label has none.

    Args:
        found: The exponents of single layers.
        named: Labels that were found.
        weights: The weight of each module that has one.
        planned: True if tensors are compared with their plan.
    """
    others = [slope for slope in found.slopes if found.label_of[slope.name] not in named]
    # A fault that shows in the mean over layers also shows in single ones, here and elsewhere.
    wrong = [] if named else failures(others, (), weights)
    if planned:
        wrong += deviants(others, [finding.name for finding in wrong], sure=True)
    return wrong
