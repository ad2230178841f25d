"""Checks of a study before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import FrozenDict, MutransferError
from ..rules import family
from ..training import check_optimizer
from ._command import Command
from ._fields import Fields
from ._hyperparameters import check_values, is_pattern, sets
from ._recipes import options, recipe
from ._run import COLUMNS, Run
from ._sizes import TRAINING, batch_at, sizes, takes, task_at
from ._swept import fixed, points, swept


def check_study(study: Fields) -> None:
    """Raise unless the study can be trained with.

    Raises:
        MutransferError: the optimizer or a hyperparameter is unknown, or a number is out of range.
    """
    listed = points(study)
    names = list(dict.fromkeys([*fixed(study), *(name for point in listed for name in point)]))
    for name in names:
        check_values(name, [point[name] for point in listed if name in point])
    if study.train is not None and not callable(study.train):
        raise MutransferError(f"train is {study.train!r}: give a function of a Trial, or a command")
    _check_builder(study, names)
    _check_names(study, names)
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
    families = [name.strip() for name in study.optimizer.split("+")]
    decays = [study.weight_decay, *(point.get("weight_decay") for point in listed)]
    badly = [name for name in families if family(name).decays_badly]
    if badly and any(decays):
        name = "Adam" if badly[0] == "adam" else badly[0]
        raise MutransferError(
            f"{name} adds weight decay to the gradient, which no width rule makes right; "
            "give optimizer='adamw'"
        )
    options(study, {name: 0.5 for name in names if sets(name) == "option"})
    for size in sizes(study):
        task = task_at(study, size)
        task.feed(0, 1, batch_at(study, size))
        if taken := sorted((COLUMNS | {*study.base, *names}) & task.metrics.keys()):
            raise MutransferError(
                f"the task has a metric {taken[0]!r}, which the record has of every run: give it "
                "another name"
            )
        for point in _recipes(study, listed):
            recipe(study, Run(rule="", size=size, point=point, seed=0))


def _recipes(study: Fields, listed: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return points with all combinations of what a recipe sets."""
    known = {
        FrozenDict({n: v for n, v in point.items() if sets(n) in {"recipe", "option"}}): point
        for point in listed
    }
    return list(known.values())


def _check_names(study: Fields, names: list[str]) -> None:
    """Raise unless axes and hyperparameters have columns of their own in a record."""
    for name in names:
        if name in COLUMNS or name in study.base:
            raise MutransferError(
                f"a hyperparameter cannot be named {name!r}, which the record has of every run: "
                "give it as an axis or argument of the study, or rename it by a builder of your own"
            )
    for axis in study.base:
        if axis in COLUMNS - set(TRAINING):
            raise MutransferError(
                f"an axis cannot be named {axis!r}, which the record has of every run: rename it "
                "by a builder of your own"
            )


def _check_builder(study: Fields, names: list[str]) -> None:
    """Raise unless the builder takes every keyword that training does not."""
    for name in names:
        if is_pattern(name) or sets(name) != "builder" or study.train is not None:
            continue
        if not takes(study.build, name):
            raise MutransferError(
                f"{name!r} is no hyperparameter, and the builder takes no keyword of this name"
            )
