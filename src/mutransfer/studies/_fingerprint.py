"""A fingerprint of what a study trains: does a record belong to the code of today?

The name of a builder stays when its code changes. A hash of its source misses the classes and
functions that it calls, and changes with every comment. Initial values do not see an activation.
The first losses of training see model, gradients, data and loss alike.
"""

from __future__ import annotations

import math

import torch

from ..training import train
from ._models import Models, recipe
from ._rules import rule_name
from ._run import Run
from ._same import Fingerprint

STEPS = 2
"""The first loss is that of the model as it is drawn, the second sees its gradients."""

_RATE = 2.0**-5
"""Large, so that a change of the gradients shows in the second loss."""


def fingerprint(models: Models) -> Fingerprint | None:
    """Return the first losses at base size and seed 0, which no grid or rule changes.

    None if the builder does not draw the same twice, as where it has a generator of its own, or if
    a loss is not finite.
    """
    study = models.study
    # A draw is copied for each rule: all of them are made at once, for the sweep to use.
    rules = map(rule_name, study.rules)
    runs = [Run(rule=rule, size=study.base, point={"lr": _RATE}, seed=0) for rule in rules]
    member, *_ = models.members(runs)
    if not models.draws_alike(runs[0]):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = train([member], recipe(study, STEPS))[0].tolist()
    return losses if all(map(math.isfinite, losses)) else None
