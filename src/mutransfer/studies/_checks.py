"""What a study's training is refused for before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import MutransferError
from ..training import check_optimizer
from ._command import Command
from ._hyperparameters import is_pattern, sets
from ._recipes import options
from ._run import Run
from ._sizes import takes

if TYPE_CHECKING:
    from ._study import Study


def check_study(study: Study) -> None:
    """Raise unless the study can be trained with.

    Raises:
        MutransferError: the optimizer or a hyperparameter is unknown, or a number is out of range.
    """
    points = study.points()
    names = list(dict.fromkeys([*study.fixed, *(name for point in points for name in point)]))
    _check_builder(study, names)
    if study.train is not None:
        if isinstance(study.train, Command):
            sizes = {axis for axis, value in study.base.items()}
            swept = {n for n, line in study.swept.items() if len(line) > 1} | sizes
            study.train.check(sizes | set(names), swept)
        return
    if study.build is None:
        raise MutransferError(
            "the study has neither a builder nor train=: give a function that makes a model"
        )
    check_optimizer(study.optimizer, study.options, "a study")
    families = [name.strip() for name in study.optimizer.split("+")]
    decays = [study.weight_decay, *(point.get("weight_decay") for point in points)]
    if "adam" in families and any(decays):
        raise MutransferError(
            "Adam adds weight decay to the gradient, which no width rule makes right; "
            "give optimizer='adamw'"
        )
    options(study, {name: 0.5 for name in names if sets(name) == "option"})
    for size in study.sizes():
        run = Run(rule="", size=size, point=points[0], seed=0)
        study.task_of(run).batches(0, 1, study.batch_of(run))


def _check_builder(study: Study, names: list[str]) -> None:
    """Raise unless the builder takes every keyword that is no hyperparameter of training."""
    for name in names:
        if is_pattern(name) or sets(name) != "builder" or study.train is not None:
            continue
        if not takes(study.build, name):
            raise MutransferError(
                f"{name!r} is no hyperparameter, and the builder takes no keyword of this name"
            )
