"""Transfers in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..certificates import Transfer, regret_text
from ..core import Size, varying
from ..figures import Panel, Section

_FEW_SEEDS = 5
"""Seeds below which bootstrap intervals are too narrow."""


def headline(sections: Sequence[Section]) -> str:
    """Return how far the best rate moves in each study, under each rule.

    Such as "From width 32 to 512 the best rate moves -3.2 octaves under sp and +0.3 under default."
    """
    return " ".join(_moves(section, many=len(sections) > 1) for section in sections)


def costs(section: Section) -> list[str]:
    """Return what the smallest size's best rate costs at the largest.

    There is a sentence for all rules of the same sizes.
    """
    sentences = []
    for (small, large), transfers in _by_span(section.transfers):
        axes = varying([small, large])
        clauses = _join([_cost(transfer) for transfer in transfers])
        sentences.append(f"At {large.along(axes)}, the best rate of {small.along(axes)} {clauses}.")
    return sentences


def _cost(transfer: Transfer) -> str:
    text = regret_text(transfer)
    if math.isinf(transfer.regret.value):
        return f"{'diverges' if text == 'diverges' else 'was not run'} under {transfer.rule}"
    return f"gives away {text} in mean loss under {transfer.rule}"


def alt_text(panel: Panel) -> str:
    """Return a panel in words."""
    optima = [
        f"2^{line.optimum.log2_lr:.1f} at {line.size.along([panel.axis])}"
        for line in panel.lines
        if line.optimum
    ]
    share = math.fsum(float(line.diverged.mean()) for line in panel.lines) / len(panel.lines)
    unmarked = f"{len(panel.lines)} sizes without marked optima"
    best = f"lowest at {_join(optima)}" if optima else unmarked
    return f"{panel.row}, rule {panel.rule}: {best}; {share:.0%} of the runs diverged."


def warnings(section: Section) -> list[str]:
    """Return the reasons of refusals, then the warnings of each transfer."""
    reasons = [refusal.reason for refusal in section.refusals]
    return reasons + [
        f"{transfer.rule}: {warning}"
        for transfer in section.transfers
        for warning in transfer.warnings
    ]


def caption(sections: Sequence[Section]) -> str:
    """Return how to read the figure, and how far to trust its intervals."""
    seeds = sorted({len({row["seed"] for row in section.runs.rows}) for section in sections})
    count = f"{seeds[0]} to {seeds[-1]} seeds"
    if len(seeds) == 1:
        count = f"{seeds[0]} seed{'s' if seeds[0] != 1 else ''}"
    trust = "; with so few they are too narrow" if seeds[0] < _FEW_SEEDS else ""
    return (
        "Training loss, averaged over the run, against learning rate: a line for each size, "
        "from light (small) to dark (large). "
        "Dots are the optima, horizontal bars their 95% intervals, the dashed line their drift, "
        "and the band the range over seeds. "
        "Crosses above a panel are runs that diverged, faint where only some seeds did. "
        f"Intervals are by bootstrap over {count}{trust}."
    )


def _moves(section: Section, many: bool) -> str:
    sentences = [_move(*span, transfers) for span, transfers in _by_span(section.transfers)]
    if refused := [refusal.rule for refusal in section.refusals]:
        sentences.append(
            f"How far the best rate moves under {_join(refused)} is not known: see the warnings."
        )
    place = f"{section.title}: " if many and section.title.lower() != section.axis else ""
    return place + " ".join(sentences)


def _move(small: Size, large: Size, transfers: Sequence[Transfer]) -> str:
    first, *rest = transfers
    clauses = [
        f"{_moved(first.total)} octaves under {first.rule}",
        *(f"{_moved(transfer.total)} under {transfer.rule}" for transfer in rest),
    ]
    axes = varying([small, large])
    end = str(large[axes[0]]) if len(axes) == 1 else large.along(axes)
    return f"From {small.along(axes)} to {end} the best rate moves {_join(clauses)}."


def _by_span(transfers: Iterable[Transfer]) -> Iterable[tuple[tuple[Size, Size], list[Transfer]]]:
    """Return the transfers by their smallest and largest sizes."""
    groups: dict[tuple[Size, Size], list[Transfer]] = {}
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
