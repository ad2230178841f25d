"""The columns of a record's rows, whose names no metric can take."""

from __future__ import annotations

from collections.abc import Iterable

from ..core import MutransferError

NAMES = frozenset({"id", "rule", "rule_data", "seed", "steps", "batch"})
"""Columns that say what was run, besides axes and hyperparameters."""

OUTCOMES = frozenset(
    {"status", "seconds", "loss", "final", "diverged_at", "stopped_at", "curve"}
    | {"message", "reported_at", "evaluated_at", "validation_curve"}
)
"""Columns that say how it went, besides validation and metrics."""


def check_names(what: str, names: Iterable[str]) -> None:
    """Raise where an axis or a hyperparameter has the name of a column.

    Raises:
        MutransferError: naming it.
    """
    if taken := [name for name in names if name in NAMES | OUTCOMES]:
        raise MutransferError(
            f"{what} cannot be named {taken[0]!r}, as a column of the record is: rename it"
        )


def check_metrics(metrics: Iterable[str], others: Iterable[str]) -> None:
    """Raise where a metric has the name of a column.

    Args:
        metrics: Names of metrics.
        others: Names of axes and hyperparameters.

    Raises:
        MutransferError: naming the metric.
    """
    taken = {*NAMES, *OUTCOMES, *others}
    for name in metrics:
        if name in taken:
            raise MutransferError(
                f"a metric is named {name!r}, as a column of the record is: give it another name"
            )
