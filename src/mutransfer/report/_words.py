"""What was found, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..core import Size
from ..certificates import Transfer
from ._section import Panel, Section, label, varying
from ._tables import regret

_FEW_SEEDS = 5


def headline(sections: Sequence[Section]) -> str:
    """How far the best rate moves in each study, under each rule.

    Such as "From width 32 to width 512 the best rate moves -3.2 octaves under sp and +0.3 under default."
    """
    return " ".join(_moves(section, many=len(sections) > 1) for section in sections)


def costs(section: Section) -> list[str]:
    """What the smallest size's best rate costs at the largest, in a sentence for all rules of the same sizes."""
    said = []
    for (small, large), made in _by_span(section.transfers):
        clauses = []
        for found in made:
            if math.isinf(found.regret.value):
                clauses.append(
                    f"{'diverges' if regret(found) == 'diverges' else 'was not run'} under {found.rule}"
                )
            else:
                clauses.append(f"gives away {regret(found)} in mean loss under {found.rule}")
        axes = varying([small, large])
        said.append(
            f"At {label(large, axes)}, the best rate of {label(small, axes)} {_list(clauses)}."
        )
    return said


def alt_text(panel: Panel) -> str:
    """A panel in words."""
    found = [
        f"2^{line.optimum.log2_lr:.1f} at {label(line.size, [panel.axis])}"
        for line in panel.lines
        if line.optimum
    ]
    share = math.fsum(float(line.diverged.mean()) for line in panel.lines) / len(panel.lines)
    best = (
        f"lowest at {_list(found)}" if found else f"{len(panel.lines)} sizes without marked optima"
    )
    return f"{panel.row}, rule {panel.rule}: {best}; {share:.0%} of the runs diverged."


def warnings(section: Section) -> list[str]:
    """Refusals, and what each transfer warns of."""
    return section.refusals() + [
        f"{made.rule}: {warning}" for made in section.transfers for warning in made.warnings
    ]


def caption(sections: Sequence[Section]) -> str:
    """How to read the figure, and how far to trust its intervals."""
    seeds = sorted({len({row["seed"] for row in section.runs.rows}) for section in sections})
    count = (
        f"{seeds[0]} seed{'s' if seeds[0] != 1 else ''}"
        if len(seeds) == 1
        else f"{seeds[0]} to {seeds[-1]} seeds"
    )
    trust = "; with so few they are too narrow" if seeds[0] < _FEW_SEEDS else ""
    return (
        "Training loss, averaged over the run, against learning rate: a line for each size, from light (small) to dark (large). "
        "Dots are the optima, horizontal bars their 95% intervals, the dashed line their drift, and the band the range over seeds. "
        "Crosses above a panel are runs that diverged, faint where only some seeds did. "
        f"Intervals are by bootstrap over {count}{trust}."
    )


def _moves(section: Section, many: bool) -> str:
    sentences = []
    for (small, large), made in _by_span(section.transfers):
        first, *rest = made
        clauses = [
            f"{_moved(first.total)} octaves under {first.rule}",
            *(f"{_moved(found.total)} under {found.rule}" for found in rest),
        ]
        axes = varying([small, large])
        end = str(getattr(large, axes[0])) if len(axes) == 1 else label(large, axes)
        sentences.append(
            f"From {label(small, axes)} to {end} the best rate moves {_list(clauses)}."
        )
    if refused := [
        rule for rule in section.runs.rules if rule not in {made.rule for made in section.transfers}
    ]:
        sentences.append(
            f"How far the best rate moves under {_list(refused)} is not known: see the warnings."
        )
    place = f"{section.title}: " if many and section.title.lower() != section.axis else ""
    return place + " ".join(sentences)


def _by_span(transfers: Sequence[Transfer]) -> Iterable[tuple[tuple[Size, Size], list[Transfer]]]:
    """Transfers by their smallest and largest sizes."""
    groups: dict[tuple[Size, Size], list[Transfer]] = {}
    for made in transfers:
        groups.setdefault((made.optima[0].size, made.optima[-1].size), []).append(made)
    return groups.items()


def _moved(octaves: float) -> str:
    return f"{octaves:+.1f}" if round(octaves, 1) else "0.0"


def _list(items: Sequence[str]) -> str:
    """Joined as in a sentence.

    >>> _list(["a"]), _list(["a", "b"]), _list(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
