"""Shapes: runs of one size that one program can train."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core import FrozenDict, Size
from ..training import Recipe
from ._hyperparameters import sets
from ._recipes import recipe
from ._run import Run
from ._study import Study
from ._values import as_recorded


@dataclass(frozen=True)
class Shape:
    """Runs of one size that one program can train.

    Attributes:
        key: A hash of what they share, by which the record knows their program.
        runs: The runs.
    """

    key: str
    runs: tuple[Run, ...]

    @property
    def size(self) -> Size:
        """Size of the runs."""
        return self.runs[0].size


def shapes(study: Study, runs: Iterable[Run], device: str | None = None) -> list[Shape]:
    """Return runs by shape, in the order of their first run.

    Args:
        study: The study.
        runs: Some of its runs.
        device: Where they train; ways of training are those of one device.
    """
    recipes: dict[Mapping[str, Any], Recipe] = {}
    alike: dict[Mapping[str, Any], list[Run]] = {}
    for run in runs:
        settings = study.settings(run)
        # A recipe makes its schedule, which takes long for many runs of many steps.
        varied = FrozenDict({n: v for n, v in settings.items() if sets(n) in {"option", "recipe"}})
        key = FrozenDict({"size": run.size, "settings": varied})
        if key not in recipes:
            recipes[key] = recipe(study, run)
        built = {n: v for n, v in settings.items() if sets(n) == "builder"}
        shared = {"size": run.size, **recipes[key].shared(), "built": FrozenDict(built)}
        alike.setdefault(FrozenDict(shared), []).append(run)
    return [Shape(_key(study, shared, device), tuple(each)) for shared, each in alike.items()]


def _key(study: Study, shared: Mapping[str, Any], device: str | None) -> str:
    named = {n: as_recorded(v) for n, v in shared["built"].items()}
    options = {family: dict(given) for family, given in shared["options"].items()}
    spec = [
        study.identity(),
        dict(shared["size"]),
        named,
        options,
        shared["label_smoothing"],
        shared["steps"],
    ]
    text = json.dumps([*spec, device], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
