"""The metric of a record in words."""

from __future__ import annotations

from ..core import MutransferError
from ..studies import Runs

_NAMES = {
    "mean": "mean training loss",
    "final": "final training loss",
    "validation": "validation loss",
}
_REASONS = {
    "mean": "averaged over the whole run, which does not saturate in short runs",
    "final": "over the last steps, as asked for",
    "validation": "on data kept apart, as asked for",
}
_HIGHER_IS_BETTER = ("accuracy", "acc", "auc", "f1", "bleu", "top1", "top5")


def metric_name(runs: Runs) -> str:
    """Return the name of what is compared, such as "mean training loss"."""
    column = _column(runs)
    return _NAMES.get(runs.metric, runs.metric) if column is None else column


def metric_reason(runs: Runs) -> str:
    """Return what is compared and why, as the end of a sentence.

    >>> metric_reason(Runs(header={}, rows=[], metric="final"))
    'final training loss, over the last steps, as asked for'
    """
    if (column := _column(runs)) is not None:
        return f"{column}, the table's column of the loss"
    reason = _REASONS.get(runs.metric, "as asked for")
    return f"{metric_name(runs)}, {reason}"


def check_metric(runs: Runs) -> None:
    """Raise if the metric is better where it is higher.

    Raises:
        MutransferError: the metric is an accuracy or the like.
    """
    words = metric_name(runs).lower().replace("/", "_").replace(".", "_").split("_")
    if high := [word for word in words if word in _HIGHER_IS_BETTER]:
        raise MutransferError(
            f"{metric_name(runs)} is better where it is higher ({high[0]}), and the lowest is "
            "looked for: choose a loss, or an error such as 1 - accuracy"
        )


def _column(runs: Runs) -> str | None:
    """Return the column of a foreign table that holds the metric."""
    columns = runs.header.get("table")
    if not columns:
        return None
    column: str | None = columns.get("loss" if runs.metric == "mean" else runs.metric)
    return column
