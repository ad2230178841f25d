"""The experiments by name: folders with an `EXPERIMENT` and a result."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path

from ..core import MutransferError
from ._bench import Experiment
from ._outcome import Outcome

HOME = Path(__file__).parent
RESULT = "result.json"
"""Name of the committed result in an experiment's folder."""


def names() -> list[str]:
    """Return the names of all experiments."""
    return sorted(path.parent.name for path in HOME.glob("*/__init__.py"))


def experiment(name: str) -> Experiment:
    """Return the experiment of this name.

    Raises:
        MutransferError: there is no such experiment.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise MutransferError(
            f"unknown experiment {name!r}; {guess}`mutransfer experiment list` shows all"
        )
    found: Experiment = import_module(f"{__package__}.{name}").EXPERIMENT
    return found


def committed(name: str) -> Outcome | None:
    """Return the result that comes with an experiment, if it was run."""
    path = HOME / name / RESULT
    return Outcome.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
