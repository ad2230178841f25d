"""Small tables of the page: the certificate on top, and rules side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import Any

from ..certificates import (
    Choice,
    Refusal,
    Transfer,
    decimal,
    distance_text,
    metric_name,
    unit,
)
from ..core import Size
from ..figures import Section
from ..studies import Runs
from ._joined import pairs
from ._versus import LEVEL, Difference, Versus, versus

_MOST_PAIRS = 8
_LONGEST = 160

_VERDICTS = {"within": "transfers", "beyond": "drifts", "cannot tell": "not sure"}


def certificate(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Return the rows of the table on top: what to use at the target, and how sure."""
    several = len(sections) > 1
    return [
        {"study": section.title if several else "", "rule": outcome.rule, **_row(outcome)}
        for section in sections
        for outcome in section.transfers.outcomes
    ]


def _row(outcome: Transfer | Choice | Refusal) -> dict[str, Any]:
    row = {"at": _size(outcome.at), "use": "", "range": "", "drift": "", "regret": ""}
    if isinstance(outcome, Refusal):
        # The first clause says what is wrong; the warnings below say what to do.
        reason = shorten(outcome.reason.partition("; ")[0], _LONGEST, placeholder=" ...")
        return {**row, "verdict": "refused", "reason": reason}
    if isinstance(outcome, Choice):
        return {**row, "verdict": "", "reason": f"{outcome.summary}."}
    ends = [decimal(end, outcome.scale) for end in (outcome.place.low, outcome.place.high)]
    several = len(outcome.drift) > 1
    drifts = [
        f"{distance_text(drift, outcome.scale)} {unit(outcome.scale, outcome.over)}"
        + (f" of {axis}" if several else "")
        for axis, drift in outcome.drift.items()
    ]
    verdicts = dict.fromkeys(_VERDICTS[verdict] for verdict in outcome.verdicts.values())
    return {
        **row,
        "use": f"{outcome.over}={decimal(outcome.place.value, outcome.scale)}",
        "range": f"{ends[0]} to {ends[1]}",
        "drift": "; ".join(drifts),
        "regret": f"{outcome.regret.high:.2g}",
        "verdict": ", ".join(verdicts) or "one size",
        "reason": "",
    }


def _size(size: Size) -> str:
    return str(size)


def comparisons(runs: Runs) -> dict[str, Any] | None:
    """Return the tables of rules against each other; None where there is one rule."""
    chosen = pairs(runs)[:_MOST_PAIRS]
    found = [each for pair in chosen if (each := versus(runs, *pair)) is not None]
    if not found:
        return None
    return {"metric": metric_name(runs), "pairs": [_comparison(each) for each in found]}


def _comparison(found: Versus) -> dict[str, Any]:
    rows = [[size, *_cells(tuned), *_cells(equal)] for size, tuned, equal in found.sizes]
    if len(rows) > 1:
        rows.append(["all sizes", *_cells(found.tuned), *_cells(found.equal)])
    return {
        "title": f"{found.second} against {found.first}",
        "sentence": " ".join(_sentences(found)),
        "rows": rows,
    }


def _cells(found: Difference) -> tuple[str, str]:
    if found.mean is None:
        return "", ""
    mean = found.mean
    ends = f" [{mean.low:+.2g}, {mean.high:+.2g}]" if found.pairs > 1 else ""
    return f"{mean.value:+.2g}{ends}", f"{found.chance:.2g}"


def _sentences(found: Versus) -> Iterator[str]:
    first, second = found.first, found.second
    yield f"{_sentence('Each tuned', found.tuned, first, second)}"
    yield f"{_sentence('At equal values', found.equal, first, second)}"
    one, other = found.diverged
    if one or other:
        yield f"At {one} runs only {first} diverged, at {other} only {second}."


def _sentence(where: str, found: Difference, first: str, second: str) -> str:
    if found.mean is None:
        return f"{where}, no pair of runs came to its end."
    lower, higher = (second, first) if found.mean.value < 0 else (first, second)
    size = f"{abs(found.mean.value):.2g}"
    chance = f"p = {found.chance:.2g} over {found.pairs} pairs"
    if found.is_shown:
        return (
            f"{where}, {lower} has a loss that is lower by {size} than that of {higher} ({chance})."
        )
    least = f"; {found.pairs} pairs cannot show less than {found.least:.2g}"
    few = least if found.least >= LEVEL else ""
    return f"{where}, neither is shown to be better: {lower} is lower by {size} ({chance}{few})."
