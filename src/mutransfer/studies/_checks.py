"""Checks of a study before anything is trained."""

from __future__ import annotations

from ..core import FrozenDict, MutransferError
from ..rules import family
from ..training import check_optimizer
from ._command import Command
from ._fields import Fields
from ._hyperparameters import check_values, is_pattern, sets
from ._recipes import recipe
from ._run import Run, check_metrics
from ._sizes import batch_at, sizes, takes, task_at
from ._swept import fixed, points, swept


def check_study(study: Fields) -> None:
    """Raise unless the study can be trained with.

    Raises:
        MutransferError: the optimizer or a hyperparameter is unknown, or a number is out of range.
    """
    listed = points(study)
    names = list(dict.fromkeys([*fixed(study), *(name for point in listed for name in point)]))
    _check_builder(study, names)
    for name, value in (pair for point in listed for pair in point.items()):
        check_values(name, [value])
    if study.train is not None:
        if isinstance(study.train, Command):
            axes = set(study.base)
            varied = {name for name, line in swept(study).items() if len(line) > 1}
            study.train.check(axes | set(names), axes | varied)
        return
    if study.build is None:
        raise MutransferError(
            "the study has neither a builder nor train=: give a function that makes a model"
        )
    check_optimizer(study.optimizer, study.options, "a study")
    decays = [values.get("weight_decay") for values in (fixed(study), *listed)]
    badly = [name for name in study.families if family(name).decays_badly]
    if badly and any(decays):
        name = "Adam" if badly[0] == "adam" else badly[0]
        raise MutransferError(
            f"{name} adds weight decay to the gradient, which no width rule makes right; "
            "give optimizer='adamw'"
        )
    _check_recipes(study, names)


def _check_recipes(study: Fields, names: list[str]) -> None:
    """Raise unless every recipe of the study can be trained with."""
    distinct = {
        FrozenDict({n: v for n, v in point.items() if sets(n) in {"option", "recipe"}}): point
        for point in points(study)
    }
    for size in sizes(study):
        data = task_at(study, size)
        check_metrics(data.metrics, {"validation", *study.base, *names})
        data.feed(0, 1, batch_at(study, size))
        for point in distinct.values():
            recipe(study, Run(rule="", size=size, point=point, seed=0))


def _check_builder(study: Fields, names: list[str]) -> None:
    """Raise unless the builder takes every keyword that training does not."""
    for name in names:
        if is_pattern(name) or sets(name) != "builder" or study.train is not None:
            continue
        if not takes(study.build, name):
            raise MutransferError(
                f"{name!r} is no hyperparameter, and the builder takes no keyword of this name"
            )
