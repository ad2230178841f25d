"""The end of a search: the optima that are known less well than was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from ..core import MutransferWarning, Size
from ._search_start import Optimum

_NAMED = 5
"""Optima that a warning names, at most."""


class SearchWarning(MutransferWarning):
    """A search ended before it found what was wanted."""


def warn_of_wide(
    optima: Mapping[str, Mapping[Size, Mapping[str, Optimum]]], within: float, why: str, allow: str
) -> None:
    """Warn of intervals that are wider than wanted when a search ends.

    Args:
        optima: The optima by rule, size and hyperparameter.
        within: The half width that was wanted.
        why: The reason why none narrows any more, and what to do.
        allow: The way to allow values farther out.
    """
    wide = [
        (f"{name} of {rule} at {size} {best}", best)
        for rule, sizes in optima.items()
        for size, found in sizes.items()
        for name, best in found.items()
        if not best.is_within(within)
    ]
    if not wide:
        return
    more = f", and {len(wide) - _NAMED} more" if len(wide) > _NAMED else ""
    named = "; ".join(text for text, _ in wide[:_NAMED])
    statuses = {best.status for _, best in wide}
    reasons = [why] if statuses - {"edge", "diverged", "failed"} else []
    if "edge" in statuses:
        reasons.append(f"An optimum at an end lies beyond the range that may be searched: {allow}")
    if "diverged" in statuses:
        reasons.append(f"Where all diverged, lower values are needed: {allow}")
    if "failed" in statuses:
        reasons.append("Where runs failed, their rows say why")
    warnings.warn(
        f"intervals are wider than ±{within:g}: {named}{more}. {'. '.join(reasons)}",
        SearchWarning,
        stacklevel=3,
    )
