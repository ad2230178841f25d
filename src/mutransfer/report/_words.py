"""Transfers in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..certificates import (
    Choice,
    Optimum,
    Refusal,
    Transfer,
    decimal,
    distance_text,
    metric_name,
    metric_reason,
    regret_text,
    unit,
    value_text,
)
from ..core import Estimate, Size, two_digits, varying
from ..figures import LawPanel, Panel, Section

T = TypeVar("T", bound="Transfer | _Path")

_MOST_OPTIMA = 12
"""Optima of a panel that are told one by one."""


def headline(sections: Sequence[Section]) -> str:
    """Return how far the best value moves in each study, under each rule.

    Such as "From width 32 to 512 the best rate moves -3.2 octaves under sp and +0.3 under default."
    """
    return " ".join(_moves(section, many=len(sections) > 1) for section in sections)


def costs(section: Section) -> list[str]:
    """Return what the smallest size's best value costs at the largest.

    There is a sentence for all rules of the same sizes. One size alone has none.
    """
    sentences = []
    for (small, large), transfers in _by_span(section.transfers.granted):
        axes = varying([small, large])
        if not axes:
            continue
        clauses = _join([_cost(transfer, metric_name(section.runs)) for transfer in transfers])
        best = _best(section)
        sentences.append(f"At {large.along(axes)}, {best} of {small.along(axes)} {clauses}.")
    return sentences


def advice(section: Section) -> list[str]:
    """Return what to do at the target, for each rule, and how sure it is."""
    outcomes: list[Transfer | Choice] = [*section.transfers.granted, *section.transfers.choices]
    return [f"{outcome.rule}: {outcome.advice}.{_certainty(outcome)}" for outcome in outcomes]


def _certainty(outcome: Transfer | Choice) -> str:
    """Return interval, regret and verdict of a certificate."""
    if isinstance(outcome, Choice):
        return ""
    ends = [
        f"{name} {two_digits(low)} to {two_digits(high)}"
        for name, (low, high) in outcome.intervals.items()
    ]
    sentences = [
        f"The 95% interval is {_join(ends)}",
        f"the regret to be expected is {outcome.regret.value:.2g} in loss, at most "
        f"{outcome.regret.high:.2g}",
        str(outcome.extra_steps),
        *(f"{_drift(drift, outcome, axis)}" for axis, drift in outcome.drift.items()),
    ]
    return f" {'; '.join(sentences)}."


def _drift(drift: Estimate, outcome: Transfer, axis: str) -> str:
    moved = f"{distance_text(drift, outcome.scale)} {unit(outcome.scale, outcome.over)}"
    return f"the drift is {moved} per doubling of {axis}, {_VERDICTS[outcome.verdicts[axis]]}"


_VERDICTS = {
    "within": "within 0.1",
    "beyond": "beyond 0.1",
    "cannot tell": "not shown to be within 0.1",
}


def _best(section: Section) -> str:
    over = section.transfers.over
    return "the best rate" if over == "lr" else f"the best {over}"


def _cost(transfer: Transfer, metric: str) -> str:
    text = regret_text(transfer)
    if transfer.carried is None or math.isinf(transfer.carried.value):
        return f"{'diverges' if text == 'diverges' else 'was not run'} under {transfer.rule}"
    return f"gives away {text} in {metric} under {transfer.rule}"


def alt_text(panel: Panel) -> str:
    """Return a panel in words."""
    optima = [
        f"{_place(panel, line.optimum.position)} at {line.size.along([panel.axis])}"
        for line in panel.lines
        if line.optimum
    ]
    share = math.fsum(float(line.diverged.mean()) for line in panel.lines) / len(panel.lines)
    unmarked = f"{len(panel.lines)} sizes without marked optima"
    best = f"lowest at {_join(optima)}" if optima else unmarked
    if len(optima) > _MOST_OPTIMA:
        places = sorted(line.optimum.position for line in panel.lines if line.optimum)
        ends = (_place(panel, place) for place in (places[0], places[-1]))
        best = f"lowest at {' to '.join(ends)} at {len(optima)} sizes"
    return f"{panel.row}, rule {panel.rule}: {best}; {share:.0%} of the runs diverged."


def _place(panel: Panel, position: float) -> str:
    if panel.scale == "choice":
        return panel.choices[int(position)]
    return f"2^{position:.1f}" if panel.scale == "log2" else decimal(position, panel.scale)


def warnings(section: Section) -> list[str]:
    """Return the reasons of refusals, then the warnings of each rule."""
    reasons = [refusal.reason for refusal in section.refusals]
    return reasons + [
        f"{outcome.rule}: {warning}"
        for outcome in section.transfers.outcomes
        if not isinstance(outcome, Refusal)
        for warning in outcome.warnings
    ]


def caption(sections: Sequence[Section], *, shades: str = "light (small) to dark (large)") -> str:
    """Return how to read the figure, and how far to trust its intervals.

    Args:
        sections: The sections.
        shades: The colours of small and large sizes.
    """
    seeds = sorted({len({row["seed"] for row in section.runs.rows}) for section in sections})
    count = f"{seeds[0]} to {seeds[-1]} seeds"
    if len(seeds) == 1:
        count = f"{seeds[0]} seed{'s' if seeds[0] != 1 else ''}"
    over = overs(sections)
    reason = _join(list(dict.fromkeys(metric_reason(section.runs) for section in sections)))
    return (
        f"Loss against {over}: a line for each size, from {shades}. "
        f"The loss is the {reason}. "
        "Dots are the optima, horizontal bars their 95% intervals, the dashed line their drift, "
        "and the band the range over seeds. "
        "Crosses above a panel are runs that diverged, faint where only some seeds did. "
        f"Intervals have in them the noise of {count}, the misfit of the curve, and the spacing of "
        "the values."
    )


def overs(sections: Sequence[Section]) -> str:
    """Return the hyperparameters of all sections, as in a sentence."""
    return _join(list(dict.fromkeys(_name(section.transfers.over) for section in sections)))


def law_alt_text(panel: LawPanel) -> str:
    """Return a panel of the law in words."""
    start = f"{panel.section}, rule {panel.rule}, best {_name(panel.over)} against {panel.axis}"
    if panel.refused:
        return f"{start}: refused; {len(panel.optima)} optima were found."
    values = sorted({best.size[panel.axis] for best in panel.optima})
    law = f"{len(panel.optima)} optima from {panel.axis} {values[0]} to {values[-1]}"
    if panel.place is None:
        return f"{start}: {law}."
    ends = [value_text(end, panel.scale) for end in (panel.place.low, panel.place.high)]
    return (
        f"{start}: {law}; {value_text(panel.place.value, panel.scale)} at {panel.at}, "
        f"{' to '.join(ends)}."
    )


def law_caption(panels: Sequence[LawPanel]) -> str:
    """Return how to read the figure of the law."""
    over = _join(list(dict.fromkeys(_name(panel.over) for panel in panels)))
    target = (
        " The diamond is the optimum that is predicted at the target, with its interval."
        if any(panel.place for panel in panels)
        else ""
    )
    return (
        f"The best {over} against size: a dot for each size, with its 95% interval. The dashed "
        "line is the average of laws through the target, the band its 95% interval, in which is "
        f"the scatter of single sizes: it is narrow where one was measured.{target} Rules that "
        "are refused have the optima that were found."
    )


def _name(over: str) -> str:
    return "learning rate" if over == "lr" else over


def _moves(section: Section, many: bool) -> str:
    best = _best(section)
    found: list[Transfer | _Path] = [*section.transfers.granted, *_known(section)]
    sentences = [_move(best, *span, paths) for span, paths in _by_span(found)]
    sentences += [f"{choice.summary}." for choice in section.transfers.choices]
    for unknown, rules in _unknown(section, best).items():
        sentences.append(f"{unknown} under {_join(rules)} is not known: see the warnings.")
    is_said = section.title.lower() in (section.axis, section.transfers.over)
    place = f"{section.title}: " if many and not is_said else ""
    return place + " ".join(sentences)


@dataclass(frozen=True)
class _Path:
    """Optima of a rule that is refused at the target, from small to large."""

    rule: str
    over: str
    optima: tuple[Optimum, ...]

    @property
    def scale(self) -> str:
        return self.optima[-1].scale

    @property
    def total(self) -> float:
        return self.optima[-1].position - self.optima[0].position


def _known(section: Section) -> Iterator[_Path]:
    """Yield the optima of rules that are refused beyond the sweep alone.

    Every size has one, and those of the ends lie inside the values that were run.
    """
    for refusal in section.refusals:
        sizes = section.runs.sizes(refusal.rule)
        if refusal.at in sizes or [best.size for best in refusal.optima] != sizes:
            continue
        ends = refusal.optima[0], refusal.optima[-1]
        if ends[0].size != ends[1].size and all(best.status == "inside" for best in ends):
            yield _Path(refusal.rule, refusal.over, refusal.optima)


def _unknown(section: Section, best: str) -> dict[str, list[str]]:
    """Return what refusals leave open, with their rules."""
    found: dict[str, list[str]] = {}
    for refusal in section.refusals:
        # Beyond the sizes that were run a refusal may be about the target alone.
        was_run = refusal.at in section.runs.sizes(refusal.rule)
        what = f"How far {best} moves" if was_run else f"{best.capitalize()} at {refusal.at}"
        found.setdefault(what, []).append(refusal.rule)
    return found


def _move(best: str, small: Size, large: Size, transfers: Sequence[Transfer | _Path]) -> str:
    first, *rest = transfers
    if small == large:
        granted = [each for each in transfers if isinstance(each, Transfer)]
        places = _join([f"{two_digits(each.value)} under {each.rule}" for each in granted])
        return f"At {small} {best} is {places}."
    clauses = [
        f"{_moved(first.total)} {unit(first.scale, first.over)} under {first.rule}",
        *(f"{_moved(transfer.total)} under {transfer.rule}" for transfer in rest),
    ]
    axes = varying([small, large])
    end = str(large[axes[0]]) if len(axes) == 1 else large.along(axes)
    return f"From {small.along(axes)} to {end} {best} moves {_join(clauses)}."


def _by_span(transfers: Iterable[T]) -> Iterable[tuple[tuple[Size, Size], list[T]]]:
    """Return the transfers by their smallest and largest sizes."""
    groups: dict[tuple[Size, Size], list[T]] = {}
    for transfer in transfers:
        span = transfer.optima[0].size, transfer.optima[-1].size
        groups.setdefault(span, []).append(transfer)
    return groups.items()


def _moved(octaves: float) -> str:
    return f"{octaves:+.1f}" if round(octaves, 1) else "0.0"


def _join(items: Sequence[str]) -> str:
    """Return items joined as in a sentence.

    >>> _join(["a"]), _join(["a", "b"]), _join(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
