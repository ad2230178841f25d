"""Checks of the models of a study before any of them is trained."""

from __future__ import annotations

from itertools import pairwise, product

from ..core import MutransferError, Size
from ..tasks import check_fit
from ._columns import check_metrics
from ._models import Models
from ._rules import rule_name
from ._run import Run
from ._sizes import TRAINING
from ._study import Study


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
        task = study.task_of(runs[sizes[0]])
        check_metrics(task.metrics, ["validation", *study.base, *point, *study.fixed])
        check_fit(models.at_base(), task)
        for rule, each in product(map(rule_name, study.rules), study.points()):
            # A multiplier that the model or the rule has no place for is refused here.
            models.plan(Run(rule=rule, size=sizes[0], point=each, seed=0))
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


def _alike(models: Models, first: Run, second: Run) -> bool:
    """Return True if nothing differs in two models, such as their numbers of heads."""
    same_shapes = models.shapes(first) == models.shapes(second)
    return same_shapes and models.settings(first) == models.settings(second)


def check_multipliers(models: Models) -> None:
    """Raise unless the plan of every rule can carry the multipliers of all points.

    Raises:
        MutransferError: naming the rule and the multiplier.
    """
    study = models.study
    if study.build is None:
        return
    by_names = {frozenset(_multipliers(study, point)): point for point in study.points()}
    for rule in map(rule_name, study.rules):
        for names, point in by_names.items():
            if not names:
                continue
            try:
                models.plan(Run(rule=rule, size=study.sizes()[0], point=point, seed=0))
            except MutransferError as error:
                raise MutransferError(f"rule {rule!r}: {error}") from None


def _multipliers(study: Study, point: Mapping[str, Any]) -> list[str]:
    settings = study.settings(Run(rule="", size=study.sizes()[0], point=point, seed=0))
    return [name for name in settings if sets(name) == "multiplier"]


def _line(sizes: list[Size], axis: str) -> list[Size]:
    """Return sizes that differ along one axis alone, from the smallest one on."""
    rest = {name: value for name, value in sizes[0].items() if name != axis}
    return [size for size in sizes if {n: v for n, v in size.items() if n != axis} == rest]
