"""Costs of the runs of a record, relative to each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core import MutransferError, Size, varying
from ..studies import Runs

_LENGTHS = ("steps", "batch", "context")
_KNOWN = ("params", "width", "depth", "tokens", *_LENGTHS)
"""Axes whose share in the operations of a run is known."""


def run_costs(runs: Runs, rule: str) -> tuple[dict[Size, float], str]:
    """Return the cost of one run at each size, and its unit.

    Operations go as parameters times tokens, where parameters are the axis of that name or go as
    width^2 depth, and tokens are the axis or steps times batch times context. Only ratios mean
    something. Where sizes vary along another axis, measured seconds are taken.

    Raises:
        MutransferError: the sizes vary along another axis, and some have no measured time.
    """
    sizes = runs.sizes(rule)
    if set(varying(sizes)) <= {*_KNOWN}:
        rows = {runs.size_of(row): row for row in runs.only(rule).rows}
        return {size: _operations({**rows[size], **size}) for size in sizes}, "operations"
    times: dict[Size, list[float]] = {}
    for row in runs.only(rule).rows:
        if isinstance(row.get("seconds"), int | float) and row["seconds"] > 0:
            times.setdefault(runs.size_of(row), []).append(float(row["seconds"]))
    if missing := [size for size in sizes if size not in times]:
        raise MutransferError(
            f"the cost of a run of rule {rule!r} at {missing[0]} is not known: its size has other "
            f"axes than {', '.join(_KNOWN)}, and the record has no seconds of it"
        )
    return {size: float(np.mean(times[size])) for size in sizes}, "seconds"


def _operations(row: Mapping[str, Any]) -> float:
    """Return a number that goes as the operations of a run."""
    parameters = row.get("params", row.get("width", 1) ** 2 * row.get("depth", 1))
    tokens = row.get("tokens", math.prod(row.get(name, 1) for name in _LENGTHS))
    return float(parameters * tokens)
