"""The panels of a law figure, one for each axis that was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..certificates import Choice, Optimum, Refusal, Transfer, Transfers
from ..core import Estimate, Size, varying
from ._panels import Section, sections


@dataclass(frozen=True, kw_only=True, eq=False)
class LawPanel:
    """The optima of one rule along one axis, and the law through them.

    Attributes:
        section: Title of its section.
        rule: The rule.
        axis: The axis.
        at: The target.
        optima: The optima that were found.
        band: The law along the axis through the target, as pairs of a value of the axis and the
            optimum there; empty where the rule was refused.
        drift: Distance that the optimum moves per doubling of the axis, if known.
        verdict: The equivalence test of the drift.
        place: The optimum at a target that was not measured; None where it was, or where the rule
            was refused.
        over: The hyperparameter.
        scale: Its scale.
        refused: True if the rule has no certificate.
    """

    section: str
    rule: str
    axis: str
    at: Size
    optima: tuple[Optimum, ...]
    band: tuple[tuple[float, Estimate], ...]
    drift: Estimate | None
    verdict: str
    place: Estimate | None
    over: str
    scale: str
    refused: bool

    @property
    def row(self) -> tuple[str, str]:
        """Its row of the figure: the section and the axis."""
        return self.section, self.axis

    @property
    def shade(self) -> str:
        """The axis that colours tell apart: of the others, the one of most values."""
        sizes = [best.size for best in self.optima]
        others = [axis for axis in varying(sizes) if axis != self.axis] if sizes else []
        return max(others, key=lambda axis: len({size[axis] for size in sizes}), default=self.axis)


def law_panels(found: Transfers | Sequence[Section]) -> list[LawPanel]:
    """Return the panels of a law figure: a row for each axis, a column for each rule.

    There are none where no axis varies, nor of hyperparameters that are choices.
    """
    each = sections(found) if isinstance(found, Transfers) else found
    return [panel for section in each for panel in _panels(section)]


def _panels(section: Section) -> Iterator[LawPanel]:
    transfers = section.transfers
    outcomes = [each for each in transfers.outcomes if not isinstance(each, Choice)]
    axes = dict.fromkeys(axis for outcome in outcomes for axis in _axes(outcome))
    scale = next((best.scale for each in outcomes for best in each.optima), "log2")
    for axis in axes:
        for outcome in outcomes:
            yield _panel(section.title, outcome, axis, scale)


def _axes(outcome: Transfer | Refusal) -> list[str]:
    if isinstance(outcome, Transfer):
        return list(outcome.drift)
    return varying([best.size for best in outcome.optima]) if outcome.optima else []


def _panel(section: str, outcome: Transfer | Refusal, axis: str, scale: str) -> LawPanel:
    granted = outcome if isinstance(outcome, Transfer) else None
    measured = any(best.size == outcome.at for best in outcome.optima)
    return LawPanel(
        section=section,
        rule=outcome.rule,
        axis=axis,
        at=outcome.at,
        optima=outcome.optima,
        band=granted.bands.get(axis, ()) if granted else (),
        drift=granted.drift.get(axis) if granted else None,
        verdict=granted.verdicts.get(axis, "") if granted else "",
        place=None if granted is None or measured else granted.place,
        over=outcome.over,
        scale=scale,
        refused=granted is None,
    )
