"""Metrics that runs are compared by."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from ..core import MutransferError, MutransferWarning, Size, number
from ._store import Row

METRICS = {"mean": "loss", "final": "final", "validation": "validation"}
"""The columns of the metrics that every record can have; others are named as their column."""

_HIGHER_IS_BETTER = re.compile(
    r"(val|valid|validation|test|train|eval|dev|mean|avg|best|final|top)?"
    r"(accuracy|acc|auc|auroc|f1|bleu|rouge|psnr|ssim|iou|miou|recall|rewards?|top[15])\d*"
)
"""A word in the names of metrics whose lowest value is the worst."""

_LOWER_IS_BETTER = re.compile(r"\w*(error|err|loss)|neg|negative|minus|nll")
"""A word that says the opposite, as in "top1_error"."""

_TURNED = re.compile(r"\s*1?\s*[-\u2212]")
"""The beginning of a name such as "1 - accuracy"."""

APART = 0.05
"""Share of the longest run by which another may begin later or end earlier."""

EARLY = ("diverged", "stopped", "failed")
"""The statuses of runs that did not come to their end."""


class LengthWarning(MutransferWarning):
    """Mean losses of one size do not compare, as they are over unequal steps."""


def loss_of(row: Row, metric: str = "mean") -> float:
    """Return a metric of a row; infinite where training diverged or was stopped.

    None, NaN and any infinity count as diverged: a comparison with NaN would be false, and the run
    could pass for the best.

    >>> loss_of({"loss": 1.5}), loss_of({"loss": math.nan}), loss_of({"loss": "-inf"})
    (1.5, inf, inf)
    """
    # A metric that was reported before a run diverged says nothing of its end.
    if row.get("status") in EARLY:
        return math.inf
    loss = number(row.get(METRICS.get(metric, metric)))
    return loss if math.isfinite(loss) else math.inf


def check_metric(
    rows: Sequence[Row], metric: str, is_table: bool, size_of: Callable[[Row], Size]
) -> None:
    """Raise unless runs can be compared by a metric.

    Args:
        rows: The runs.
        metric: The metric.
        is_table: True for a table from elsewhere, whose runs cannot simply be completed.
        size_of: Returns the size of a row.

    Raises:
        MutransferError: some that finished lack it, or some were stopped by another one.
    """
    column = METRICS.get(metric, metric)
    finished = [row for row in rows if row.get("status") == "finished"]
    lacking = [row for row in finished if column not in row]
    if lacking and not is_table:
        raise MutransferError(
            f"{len(lacking)} of {len(finished)} finished runs have no metric {metric!r}, such "
            f"as {lacking[0]['rule']} at {size_of(lacking[0])}: they were trained without "
            "it; train all of them in another folder, or compare by another metric"
        )
    stopped = sum("stopped_at" in row for row in rows)
    if stopped and metric != "mean":
        # Curves cross: what is hopeless by its mean may have been the best at the end.
        raise MutransferError(
            f"{stopped} of {len(rows)} runs were stopped by their mean loss, which does not tell "
            f"of {metric!r}: sweep in another folder with search=Refine(metric={metric!r}), which "
            "stops none, or compare by the mean"
        )


def check_direction(name: str) -> None:
    """Raise if a metric is better where it is higher.

    Raises:
        MutransferError: it is an accuracy or the like.
    """
    words = re.findall(r"[^\W_]+", name.lower())
    if _TURNED.match(name) or any(map(_LOWER_IS_BETTER.fullmatch, words)):
        return
    if high := [word for word in words if _HIGHER_IS_BETTER.fullmatch(word)]:
        raise MutransferError(
            f"{name} is better where it is higher ({high[0]}), and the lowest is looked for: "
            "choose a loss, an error such as 1 - accuracy, or its negative under such a name"
        )


def check_lengths(rows: Sequence[Row], size_of: Callable[[Row], Size]) -> None:
    """Raise if mean losses are over unequal parts of training.

    Only loops of one's own can end early by themselves, or begin in the middle.

    Args:
        rows: The runs.
        size_of: Returns the size of a row.

    Raises:
        MutransferError: naming a run, and the steps that it lacks.
    """
    spans: dict[Size, list[tuple[int, int]]] = {}
    for row in rows:
        if row.get("status") == "finished" and "reported_at" in row:
            first, last = row["reported_at"]
            spans.setdefault(size_of(row), []).append((first, last))
    for size, ends in spans.items():
        first, last = min(start for start, _ in ends), max(end for _, end in ends)
        apart = APART * (last - first)
        uneven = [(a, b) for a, b in ends if a > first + apart or b < last - apart]
        # A single loss is no mean over a part.
        if uneven and any(a < b for a, b in ends):
            start, end = uneven[0]
            raise MutransferError(
                f"{len(uneven)} of {len(ends)} runs at {size} report losses of a part of training, "
                f"such as steps {start} to {end} of {first} to {last}: means over unequal parts do "
                "not compare. Compare by the end (metric='final', or one that is reported there), "
                "let all runs train equally long, or let the loop call trial.stop() where it gives "
                "a run up"
            )
