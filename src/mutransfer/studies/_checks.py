"""Checks of a study before anything is trained."""

from __future__ import annotations

from typing import Any

from ..core import FrozenDict, MutransferError
from ..pytorch import check_start
from ..rules import family
from ..training import check_optimizer
from ._command import Command
from ._fields import Fields
from ._hyperparameters import is_pattern, sets
from ._recipes import options, recipe, scales
from ._rules import rule_name
from ._run import Run
from ._sizes import batch_at, sizes, takes, task_at
from ._swept import fixed, points


def check_study(study: Fields) -> None:
    """Raise unless the study can be trained with.

    Raises:
        MutransferError: the optimizer or a hyperparameter is unknown, or a number is out of range.
    """
    if study.build is not None and not callable(study.build):
        raise MutransferError(
            f"the builder is {study.build!r}: give the function that makes a model, such as "
            "mutransfer.tasks.mlp"
        )
    listed = points(study)
    names = list(dict.fromkeys([*fixed(study), *(name for point in listed for name in point)]))
    _check_builder(study, names)
    if study.horizon is not None:
        for size in sizes(study):
            scales(study, Run(rule="", size=size, point=listed[0], seed=0))
    if study.train is not None:
        _check_function(study, names)
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
    taken = options(study, {name: 0.5 for name in names if sets(name) == "option"})
    for name in study.families:
        check_start(name, taken if len(study.families) == 1 else taken[name])
    # Points that differ in rates and multipliers alone train by one recipe.
    recipes = {
        FrozenDict({n: v for n, v in point.items() if sets(n) in {"recipe", "option"}}): point
        for point in listed
    }
    for size in sizes(study):
        task_at(study, size).feed(0, 1, batch_at(study, size))
        for point in recipes.values():
            recipe(study, Run(rule="", size=size, point=point, seed=0))


def _check_function(study: Fields, names: list[str]) -> None:
    """Raise unless a training function is one, and a command names what varies."""
    if not callable(study.train):
        raise MutransferError(
            f"train is {study.train!r}: give a function of a Trial, or command('python train.py "
            "--lr {lr}') for a script"
        )
    if not isinstance(study.train, Command):
        return
    lines: dict[str, set[Any]] = {
        axis: {size[axis] for size in sizes(study)} for axis in study.base
    }
    lines |= {name: {point.get(name) for point in points(study)} for name in names}
    lines |= {"rule": {*map(rule_name, study.rules)}, "seed": {*study.seeds}}
    varied = {name for name, line in lines.items() if len(line) > 1}
    study.train.check({*study.base, *names}, varied)


def _check_builder(study: Fields, names: list[str]) -> None:
    """Raise unless the builder takes every keyword that training does not."""
    for name in names:
        if is_pattern(name) or sets(name) != "builder" or study.train is not None:
            continue
        if not takes(study.build, name):
            raise MutransferError(
                f"{name!r} is no hyperparameter, and the builder takes no keyword of this name"
            )
