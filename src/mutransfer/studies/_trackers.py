"""Trackers of experiments: one adapter of three calls for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..core import MutransferError
from ._store import Row, Store


class Tracker(Protocol):
    """Something that shows runs: it is started, gets numbers by step, and is finished."""

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run with its configuration."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Note numbers of one step."""
        ...

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End the run with its final numbers."""
        ...


def track(tracker: Tracker, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Show finished runs in a tracker.

    Args:
        tracker: The tracker.
        rows: Rows of a record.
        names: Columns that say what was run: rule, axes, hyperparameters, seed.

    Raises:
        MutransferError: the tracker lacks a call, or is a class.
    """
    check_tracker(tracker)
    for row in rows:
        tracker.start(row["id"], {name: row[name] for name in names if name in row})
        for step, values in sorted(_numbers(row).items()):
            tracker.log(step, values)
        plain = {k: v for k, v in row.items() if k not in names and not isinstance(v, list)}
        tracker.finish({key: value for key, value in plain.items() if value is not None})


def check_tracker(tracker: Tracker) -> None:
    """Raise unless an object has the three calls of a tracker.

    Raises:
        MutransferError: it lacks one, or is a class.
    """
    calls = ("start", "log", "finish")
    if isinstance(tracker, type):
        raise MutransferError(
            f"the tracker is the class {tracker.__name__}: give an object of it, such as "
            f"{tracker.__name__}()"
        )
    if lacking := [name for name in calls if not callable(getattr(tracker, name, None))]:
        raise MutransferError(
            f"the tracker is {tracker!r}, which has no {' and no '.join(lacking)}: give an object "
            "with start(name, config), log(step, values) and finish(summary), such as Wandb or "
            "TensorBoard of mutransfer.studies"
        )


def _numbers(row: Row) -> dict[int, dict[str, float]]:
    """Return loss, validation loss and metrics of a row by step."""
    curves = {"loss": dict(zip(steps_of(row), row["curve"], strict=True))}
    # A metric may have such a name, too, and is one number.
    for name in (n for n in row if n.endswith("_curve") and isinstance(row[n], list)):
        points = zip(row["evaluated_at"], row[name], strict=True)
        curves[name.removesuffix("_curve")] = dict(points)
    found: dict[int, dict[str, float]] = {}
    for name, curve in curves.items():
        for step, value in curve.items():
            if value is not None:
                found.setdefault(step, {})[name] = value
    return found


def steps_of(row: Row) -> list[int]:
    """Return the step of each point of the curve, which ends where the run did."""
    number = len(row["curve"])
    if "reported_at" in row:
        first, last = row["reported_at"]
        at = first + np.arange(number) * (last - first) / max(1, number - 1)
    else:
        end = row.get("diverged_at")
        steps = row.get("steps", number) if end is None else end
        at = np.arange(1, number + 1) * steps / number
    return list(np.rint(at).astype(int).tolist())


class Tracked(Store):
    """A record whose rows go to a tracker, too.

    Args:
        folder: Where the record is, or will be.
        tracker: The tracker.
        names: Columns that say what was run.

    Raises:
        MutransferError: the tracker lacks a call, or is a class.
    """

    def __init__(self, folder: str | Path, tracker: Tracker, names: Iterable[str]) -> None:
        check_tracker(tracker)
        super().__init__(folder)
        self._tracker, self._names = tracker, tuple(names)

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows to the record, then show them in the tracker."""
        listed = list(rows)
        super().append(listed)
        track(self._tracker, listed, self._names)


class Wandb:
    """Weights & Biases, also offline: `Wandb(project="sweep", mode="offline")`.

    Args:
        package: "wandb", or "trackio", which has the same three calls.
        settings: Arguments of wandb.init, or of trackio.init.
    """

    def __init__(self, *, package: str = "wandb", **settings: Any) -> None:
        with _installed(package):
            self._module = __import__(package)
        self._settings = settings

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run."""
        self._run = self._module.init(name=name, config=dict(config), **self._settings)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Note numbers of one step."""
        self._module.log(dict(values), step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End the run; its last numbers are logged, too."""
        numbers = {k: v for k, v in summary.items() if isinstance(v, int | float)}
        if numbers:
            self._module.log(numbers)
        self._module.finish()


@dataclass
class TensorBoard:
    """TensorBoard: a folder of event files for each run.

    Attributes:
        folder: Where they are written.
    """

    folder: str | Path

    def __post_init__(self) -> None:
        with _installed("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._writer_class = SummaryWriter

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run."""
        self._config = {key: value for key, value in config.items() if value is not None}
        self._writer = self._writer_class(str(Path(self.folder) / name))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Note numbers of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End the run with its configuration and final numbers."""
        numbers = {k: v for k, v in summary.items() if isinstance(v, int | float)}
        self._writer.add_hparams(self._config, numbers, run_name=".")
        self._writer.close()


@contextmanager
def _installed(package: str) -> Iterator[None]:
    """Turn a missing package, which mutransfer does not bring, into a sentence."""
    try:
        yield
    except ModuleNotFoundError:
        raise MutransferError(f"this tracker needs {package}: pip install {package}") from None
