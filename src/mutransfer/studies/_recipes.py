"""The recipe of a run: what its hyperparameters mean for the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import MutransferError
from ..rules import horizon
from ..training import UPDATES, Recipe
from ._fields import Fields
from ._hyperparameters import sets
from ._run import Run
from ._sizes import batch_at, length, task_at
from ._swept import settings

_OPTIONS = {"momentum": "momentum", "nesterov": "nesterov", "beta1": "betas", "beta2": "betas"}
"""The option of an optimizer that each hyperparameter sets."""


def recipe(study: Fields, run: Run, steps: int | None = None) -> Recipe:
    """Return what all runs that train together with this one share in training.

    Args:
        study: The study.
        run: One of its runs.
        steps: Number of optimizer steps, where it is not the run's.
    """
    values = settings(study, run)
    fields = {name: value for name, value in values.items() if sets(name) == "recipe"}
    return Recipe(
        task=task_at(study, run.size),
        steps=length(study, run.size) if steps is None else steps,
        batch=batch_at(study, run.size),
        optimizer=study.optimizer,
        options=scaled_options(study, run),
        accumulate=study.accumulate,
        precision=study.precision,
        evaluate=study.evaluate,
        **fields,
    )


def options(study: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the optimizer's options, with the hyperparameters that set one.

    Raises:
        MutransferError: the optimizer has no such hyperparameter.
    """
    families = study.families
    by_family = {families[0]: study.options} if len(families) == 1 else dict(study.options)
    found = {name: dict(by_family.get(name, {})) for name in families}
    for name in (name for name in values if sets(name) == "option"):
        option = _OPTIONS[name]
        having = [family for family in families if option in UPDATES[family].options]
        if not having:
            raise MutransferError(f"the optimizer {study.optimizer} has no {name}")
        for family in having:
            found[family][option] = _value(family, name, values[name], found[family])
    return found[families[0]] if len(families) == 1 else found


def _value(family: str, name: str, value: Any, options: Mapping[str, Any]) -> Any:
    if name not in {"beta1", "beta2"}:
        return value
    betas = options.get("betas", _usual_betas(family))
    return (value, betas[1]) if name == "beta1" else (betas[0], value)


def _usual_betas(family: str) -> tuple[float, float]:
    usual: tuple[float, float] = UPDATES[family].options["betas"]
    return usual


def scales(study: Fields, run: Run) -> dict[str, float]:
    """Return the factors of rate, eps and decay for the batch and the steps of a run."""
    if study.horizon is None:
        return {"lr": 1.0, "eps": 1.0, "weight_decay": 1.0}
    change = horizon(study.horizon, optimizer=study.optimizer, **_ratios(study, run))
    return {"lr": change.lr, "eps": change.eps, "weight_decay": change.decay}


def scaled_options(study: Fields, run: Run) -> dict[str, Any]:
    """Return the optimizer's options, with betas for the batch and the steps of a run."""
    found = options(study, settings(study, run))
    if len(study.families) == 1:
        return found | _scaled_betas(study, run, study.families[0], found)
    return {name: found[name] | _scaled_betas(study, run, name, found[name]) for name in found}


def _scaled_betas(
    study: Fields, run: Run, family: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the betas of one family for the batch and steps of a run, if any."""
    if study.horizon is None or "betas" not in UPDATES[family].options:
        return {}
    betas = tuple(options.get("betas", _usual_betas(family)))
    change = horizon(study.horizon, betas=betas, optimizer=study.optimizer, **_ratios(study, run))
    return {"betas": change.betas}


def _ratios(study: Fields, run: Run) -> dict[str, Any]:
    """Return batch and samples of a run over the base's."""
    batch = batch_at(study, run.size) / study.base.get("batch", batch_at(study, run.size))
    steps = length(study, run.size) / study.base.get("steps", length(study, run.size))
    return {"batch": batch, "tokens": batch * steps}
