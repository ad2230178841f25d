"""An experiment: what it shows, its claims, and the function that measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..core import MutransferError, OnProgress
from ..studies import Runs, Study, sweep
from ..tasks import Task, task
from ._claim import Claim, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = ("tiny", "small", "full")
"""Seconds, to see that it runs; minutes on two cores; hours on one card."""

_IMAGES = "cifar10-train.parquet", "cifar10-test.parquet"
_TEXT = "tinyshakespeare.txt"

Setting = TypeVar("Setting")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The quantities of an experiment, and its picture.

    Attributes:
        values: Quantities, by rule and name.
        figure: The picture.
        remarks: What is to be said of them, such as what our scale cannot show.
    """

    values: Values
    figure: Figure
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A system or figure of a paper, made with the public API alone.

    Attributes:
        title: What it is about, in a line.
        source: Paper and figure.
        shows: A paragraph: what is trained, and what it shows.
        claims: The paper's statements.
        measure: Trains and measures, on a bench.
        minutes: What it takes at small scale, on one core.
        remark: What differs from the paper, and why, as far as known beforehand.
    """

    title: str
    source: str
    shows: str
    claims: tuple[Claim, ...]
    measure: Callable[[Bench], Measured]
    minutes: float
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The bench of an experiment: its scale, folder, data and device.

    Attributes:
        scale: "tiny", "small" or "full".
        folder: Folder of its records; what is finished there is not run again.
        data: Folder with CIFAR-10 as parquet and tinyshakespeare.txt; without it, experiments run
            on data that is always at hand.
        device: Where models train, such as "cuda".
        progress: Receives the progress of sweeps.
        used: Names of the data that was used, filled as it is asked for.
        counts: Number of runs of each sweep.
    """

    scale: str
    folder: Path
    data: Path | None = None
    device: str | None = None
    progress: OnProgress | None = None
    used: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def pick(self, settings: dict[str, Setting]) -> Setting:
        """Return the setting of this scale; the smaller one's where it has none."""
        for scale in reversed(SCALES[: SCALES.index(self.scale) + 1]):
            if scale in settings:
                return settings[scale]
        raise MutransferError(f"this experiment has no setting of scale {self.scale!r}")

    def sweep(self, study: Study, name: str = "runs", **options: Any) -> Runs:
        """Run a study in a folder of its own, and return the record.

        Args:
            study: The study.
            name: Name of the folder, one for each study.
            options: What else `mutransfer.sweep` takes.
        """
        given: dict[str, Any] = {"device": self.device, "progress": self.progress} | options
        runs = sweep(study, self.folder / name, **given)
        self.counts[name] = len(runs.rows)
        return runs

    def images(self, validation: bool = False) -> Task:
        """Return CIFAR-10 where its data is at hand, or digits.

        Args:
            validation: True to keep data apart: CIFAR-10's test images, or a fifth of digits.
        """
        train, test = ((self.data or Path()) / name for name in _IMAGES)
        if self.data is None or not train.is_file():
            self._use("digits")
            return task("digits", validation=0.2 if validation else 0.0)
        self._use("CIFAR-10 (subset)")
        return task(f"cifar10:{train}", validation=str(test) if validation else 0.0)

    def text(self, context: int, validation: float = 0.0) -> Task:
        """Return Shakespeare in bytes where it is at hand, or Python's documentation."""
        path = (self.data or Path()) / _TEXT
        if self.data is None or not path.is_file():
            self._use("pydocs")
            return task("pydocs", context=context, validation=validation)
        self._use("tinyshakespeare")
        return task(f"text:{path}", context=context, validation=validation)

    def digits(self, validation: float = 0.0) -> Task:
        """Return scikit-learn's handwritten digits."""
        self._use("digits")
        return task("digits", validation=validation)

    def _use(self, name: str) -> None:
        if name not in self.used:
            self.used.append(name)
