"""Identities: what trains a study and each of its runs, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..core import Size
from ..pytorch import builder_name
from ..rules import Parametrization
from ._fields import Fields
from ._rules import rule_named, trained_data
from ._run import Run
from ._sizes import TRAINING, batch_at, length, task_at
from ._swept import fixed, settings

_DEFAULTS = {"accumulate": 1, "precision": None, "horizon": None}
"""Arguments that are part of an identity only where they differ from these."""


def identity(study: Fields, build: str | None, train: str | None) -> dict[str, Any]:
    """Return what all runs of a study share; see `Study.identity`."""
    alike = fixed(study)
    shared = {
        "build": build,
        "base": _base(study),
        "task": _named(study.task) if callable(study.task) else _task_name(study, study.base),
        "optimizer": study.optimizer,
        "options": dict(study.options),
        "weight_decay": alike.get("weight_decay"),
        "steps": study.steps if isinstance(study.steps, int) else None,
        "batch": study.batch if isinstance(study.batch, int) else None,
    }
    if isinstance(study.context, int):
        shared["context"] = study.context
    others = {name: v for name, v in alike.items() if name not in {"weight_decay", "lr"}}
    changed = {
        name: _named(getattr(study, name))
        for name, usual in _DEFAULTS.items()
        if getattr(study, name) != usual
    }
    changed |= {} if train is None else {"train": train}
    return shared | {name: _named(value) for name, value in others.items()} | changed


def run_id(study: Fields, identity: Mapping[str, Any], run: Run) -> str:
    """Return the hash of everything that trains a run; see `Study.run_id`."""
    values, alike = settings(study, run), fixed(study)
    # Whether a value is swept or fixed makes no difference to what a run trains.
    shared = {n: v for n, v in identity.items() if n not in values and n not in alike}
    shared |= {
        "task": _task_name(study, run.size),
        "weight_decay": values.pop("weight_decay", None),
        "steps": length(study, run.size),
        "batch": batch_at(study, run.size),
    }
    rule = rule_named(study.rules, run.rule)
    fields = {
        "rule": trained_data(rule) if isinstance(rule, Parametrization) else run.rule,
        **{axis: value for axis, value in run.size.items() if axis not in TRAINING},
        **{name: _named(value) for name, value in values.items()},
        "seed": run.seed,
    }
    spec = json.dumps([shared, fields], sort_keys=True, default=str)
    return hashlib.sha256(spec.encode()).hexdigest()[:16]


def _base(study: Fields) -> dict[str, int]:
    """Return the base along the axes that change what is trained."""
    scaled = TRAINING if study.horizon is None else ()
    return {axis: value for axis, value in study.base.items() if axis not in scaled}


def _task_name(study: Fields, size: Size) -> str | None:
    return None if study.task is None else task_at(study, size).name


def _named(value: Any) -> Any:
    return builder_name(value) if callable(value) else value
