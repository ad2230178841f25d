"""Trackers of experiments: one adapter of three calls for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..core import FrozenDict, needs
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
    """
    for row in rows:
        tracker.start(row["id"], {name: row[name] for name in names if name in row})
        stride = _last_step(row) / max(1, len(row["curve"]))
        for number, loss in enumerate(row["curve"]):
            tracker.log(round((number + 1) * stride), {"loss": loss})
        plain = {k: v for k, v in row.items() if k not in names and not isinstance(v, list)}
        tracker.finish({key: value for key, value in plain.items() if value is not None})


def _last_step(row: Row) -> int:
    """Return the step at which the curve of a row ends."""
    if row.get("reported_at"):
        return int(row["reported_at"][1])
    end = row.get("diverged_at")
    return int(row.get("steps", len(row["curve"])) if end is None else end)


class Tracked(Store):
    """A record whose rows go to a tracker, too.

    Args:
        folder: Where the record is, or will be.
        tracker: The tracker.
        names: Columns that say what was run.
    """

    def __init__(self, folder: str | Path, tracker: Tracker, names: Iterable[str]) -> None:
        super().__init__(folder)
        self._tracker, self._names = tracker, tuple(names)

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows to the record, then show them in the tracker."""
        listed = list(rows)
        super().append(listed)
        track(self._tracker, listed, self._names)


@dataclass
class Wandb:
    """Weights & Biases, also offline: `Wandb(project="sweep", mode="offline")`.

    Attributes:
        settings: Arguments of wandb.init, or of trackio.init.
        package: "wandb", or "trackio", which has the same three calls.
    """

    settings: Mapping[str, Any] = field(default_factory=FrozenDict)
    package: str = "wandb"

    def __post_init__(self) -> None:
        with needs("this tracker", self.package, self.package):
            self._module = __import__(self.package)

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run."""
        self._run = self._module.init(name=name, config=dict(config), **self.settings)

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
        with needs("TensorBoard", "tensorboard", "tensorboard"):
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
