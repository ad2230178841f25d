"""The metric of a record in words."""

from __future__ import annotations

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


def metric_name(runs: Runs) -> str:
    """Return the name of what is compared, such as "mean training loss"."""
    return runs.metric_column or _NAMES.get(runs.metric, runs.metric)


def metric_reason(runs: Runs) -> str:
    """Return what is compared and why, as the end of a sentence.

    >>> metric_reason(Runs(header={}, rows=[], metric="final"))
    'final training loss, over the last steps, as asked for'
    """
    if (column := runs.metric_column) is not None:
        return f"{column}, the table's column of the loss"
    reason = _REASONS.get(runs.metric, "as asked for")
    return f"{metric_name(runs)}, {reason}"
