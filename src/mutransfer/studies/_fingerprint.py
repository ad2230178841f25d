"""A fingerprint of what a study trains: does a record belong to the code of today?

The name of a builder stays when its code changes. A hash of its source misses the classes and
functions that it calls, and changes with every comment. Initial values do not see an activation.
The first losses of training see model, gradients, data and loss alike, and an evaluation after them
sees the validation data and the metrics.
"""

from __future__ import annotations

import hashlib
import json
import math

import torch

from ..pytorch import seeded
from ..training import Recipe, train
from ._hyperparameters import neutral, sets
from ._models import Models
from ._rules import rule_name
from ._run import Run
from ._same import LOSSES, Fingerprint
from ._sizes import batch_at
from ._study import Study

_RATE = 2.0**-5
"""Large, so that a change of the gradients shows in the second loss."""

_OF_MODEL = ("build", "base", "task", "optimizer", "options", "batch", "context")


def fingerprint(models: Models) -> Fingerprint | None:
    """Return the first losses at base size and seed 0, and an evaluation after them.

    No grid or rule changes them.

    None if the builder does not draw the same twice, as where it has a generator of its own, if a
    loss is not finite, or if the study trains in a loop of its own.
    """
    study = models.study
    if study.train is not None:
        return None
    # A draw is copied for each rule: all of them are made at once, for the sweep to use.
    rules = map(rule_name, study.rules)
    runs = [Run(rule=rule, size=study.base, point=_point(study), seed=0) for rule in rules]
    member, *_ = models.members(runs)
    if not models.draws_alike(runs[0]):
        return None
    recipe = Recipe(
        task=study.task_of(runs[0]),
        steps=LOSSES,
        batch=study.batch_of(runs[0]),
        optimizer=study.optimizer,
        options=study.options,
    )
    with seeded(0):
        trained = train([member], recipe)
    losses = trained.losses[0].tolist()
    if not all(map(math.isfinite, losses)):
        return None
    evaluated = [values[0, -1:] for values in (trained.validation, *trained.metrics.values())]
    return [*losses, *torch.cat(evaluated).nan_to_num(0.0, 0.0, 0.0).tolist()]


def model_name(study: Study) -> str:
    """Return a name for what the fingerprint of a study is of."""
    # The batch at base size, also where it is an axis.
    shared = study.identity() | {"batch": batch_at(study, study.base)}
    fixed = {name: value for name, value in study.fixed.items() if sets(name) == "table"}
    spec = [{name: shared.get(name) for name in _OF_MODEL}, _point(study), fixed]
    text = json.dumps(spec, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _point(study: Study) -> dict[str, object]:
    """Return the point of the fingerprint: what the builder needs, and a rate.

    Multipliers change nothing, so that the model is the one that the builder draws.
    """
    first = study.fixed | dict(study.points()[0])
    built = {name: value for name, value in first.items() if sets(name) == "builder"}
    plain = {name: neutral(name) for name in study.fixed if sets(name) == "multiplier"}
    return {"lr": _RATE} | built | plain
