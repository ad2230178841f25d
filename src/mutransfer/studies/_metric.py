"""Metrics that runs are compared by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..core import MutransferError, Size, number
from ._store import Row

METRICS = {"mean": "loss", "final": "final", "validation": "validation"}
"""The columns of the metrics that every record can have; others are named as their column."""

EARLY = ("diverged", "stopped", "failed")
"""The statuses of runs that did not come to their end."""


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
