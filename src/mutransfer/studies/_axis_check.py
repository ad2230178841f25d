"""Checks of the models of a study before any of them is trained."""

from __future__ import annotations

from itertools import pairwise, product

from ..core import MutransferError, Size
from ..tasks import check_fit
from ..training import alone
from ._columns import check_metrics
from ._failures import is_refusal
from ._models import Models
from ._rules import rule_name
from ._run import Run
from ._sizes import TRAINING


def check_axes(models: Models) -> None:
    """Raise unless every axis changes the model, and the model fits its task.

    Raises:
        MutransferError: naming the axis, or what of the task does not fit.
    """
    study = models.study
    if study.build is None:
        return
    sizes, point = study.sizes(), study.points()[0]
    runs = {size: Run(rule="", size=size, point=point, seed=0) for size in sizes}
    if study.train is None:
        task = study.task_of(Run(rule="", size=study.base, point=point, seed=0))
        check_metrics(task.metrics, ["validation", *study.base, *point, *study.fixed])
        with alone(task, task.loss):
            check_fit(models.at_base(), task)
        for rule, each in product(map(rule_name, study.rules), study.points()):
            # A multiplier that the model or the rule has no place for is refused here.
            _check_carried(models, Run(rule=rule, size=sizes[0], point=each, seed=0))
    for axis in study.base:
        # A model without positions has the same shapes at every context.
        if axis in TRAINING or axis == "context":
            continue
        for first, second in pairwise(_line(sizes, axis)):
            if _alike(models, runs[first], runs[second]):
                raise MutransferError(
                    f"the builder makes the same shapes at {first} and at {second}: it ignores "
                    f"{axis}"
                )


def _check_carried(models: Models, run: Run) -> None:
    """Raise unless the plan of a run can carry its multipliers; name its rule."""
    try:
        models.plan(run)
    except MutransferError as error:
        if not models.is_tuned(run):
            raise
        raise MutransferError(f"rule {run.rule!r}: {error}") from None


def _alike(models: Models, first: Run, second: Run) -> bool:
    """Return True if nothing differs in two models, such as their numbers of heads."""
    try:
        models.shapes(first), models.shapes(second)
    except Exception as error:
        if is_refusal(error):
            raise
        # A builder that fails at a size fails when it is trained: other sizes are.
        return False
    same_shapes = models.shapes(first) == models.shapes(second)
    return same_shapes and models.settings(first) == models.settings(second)


def _line(sizes: list[Size], axis: str) -> list[Size]:
    """Return sizes that differ along one axis alone, from the smallest one on."""
    rest = {name: value for name, value in sizes[0].items() if name != axis}
    return [size for size in sizes if {n: v for n, v in size.items() if n != axis} == rest]
