"""Checks of what searches are given, and of what searches of one's own propose."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from ..core import MutransferError
from ._rules import rule_name
from ._run import Run
from ._study import Study


def is_positive(value: Any) -> bool:
    """Return True for a positive number."""
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) > 0


def is_count(value: Any) -> bool:
    """Return True for a whole number of at least 1."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def check_proposed(name: str, proposed: Any, study: Study) -> list[Run]:
    """Return the runs that a search proposes.

    Args:
        name: The search's name.
        proposed: Its proposal.
        study: The study.

    Raises:
        MutransferError: it is no list of runs, or a run is not of the study, whose record would not
            show it.
    """
    runs = list(proposed) if isinstance(proposed, Iterable) else [proposed]
    if not all(isinstance(run, Run) for run in runs):
        raise MutransferError(
            f"{name}.propose returned {repr(proposed)[:100]}: return a list of Run, and an empty "
            "one to end"
        )
    rules, sizes = {rule_name(rule) for rule in study.rules}, set(study.sizes())
    points = [set(point) for point in study.points()]
    most, least = set().union(*points), points[0].intersection(*points)
    for run in runs:
        wrong = {
            f"rule {run.rule!r}": run.rule in rules,
            str(run.size): run.size in sizes,
            f"seed {run.seed}": run.seed in study.seeds,
            f"a point of {', '.join(run.point)}": least <= set(run.point) <= most,
        }
        if strange := [what for what, is_known in wrong.items() if not is_known]:
            raise MutransferError(
                f"{name}.propose returned a run of {strange[0]}, which the study does not have: "
                "give it to the study, or let the search keep to the study"
            )
    return runs
