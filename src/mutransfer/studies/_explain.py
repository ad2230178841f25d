"""Explanations: the way in which the runs of each shape train, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import MutransferError, Result, columns, parsed, parsing, plain
from ._budget import duration
from ._cost import seconds
from ._device import check_device
from ._models import Models
from ._shapes import shapes
from ._store import Store
from ._study import Study
from ._way import Way
from ._ways import Asked, choose_ways, known_ways, unmeasured


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The way in which the runs of one shape train.

    Attributes:
        size: Their size in words.
        runs: How many runs the study has of this shape.
        way: The program, the processes, their measured pace, why, and what else was measured.
        seconds: Time of training them all.
        is_recorded: True if the record has the way, False if it was measured now.
    """

    size: str
    runs: int
    way: Way
    seconds: float
    is_recorded: bool


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation(Result):
    """The way in which every shape of a study trains.

    Attributes:
        shapes: The shapes, in the order of training.
    """

    shapes: tuple[Explained, ...]

    def __str__(self) -> str:
        header = ["size", "runs", "program", "processes", "ms a step", "in all", "chosen"]
        rows = [
            [
                each.size,
                str(each.runs),
                str(each.way.program),
                str(each.way.processes),
                "-" if each.way.seconds is None else f"{1e3 * each.way.seconds:.3g}",
                "-" if each.way.seconds is None else duration(each.seconds),
                "recorded" if each.is_recorded else "now",
            ]
            for each in self.shapes
        ]
        return "\n".join([columns([header, *rows], right=[1, 3, 4, 5]), *self._reasons()])

    def _reasons(self) -> list[str]:
        """Return reason and other candidates of each shape."""
        lines = []
        for each in self.shapes:
            lines += ["", f"{each.size}: {each.way.reason or 'no reason is recorded'}"]
            lines += [f"  not chosen: {other}" for other in each.way.others]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as data."""
        rows = [{**vars(each), "way": each.way.to_json()} for each in self.shapes]
        return {"shapes": plain(rows)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Explanation:
        """Return the explanation that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("an explanation written by Explanation.to_json"):
            rows = [
                Explained(**{**each, "way": Way.from_json(each["way"])})
                for each in parsed(data)["shapes"]
            ]
            return cls(shapes=tuple(rows))


def explain(study: Study, out: str | Path, *, device: str | None = None) -> Explanation:
    """Return the way in which the runs of each shape train, and why.

    Nothing is trained.

    A shape that has begun in the record has its way there. Of others the candidates are measured,
    compiled ones where they may pay, as the sweep does before its first step. Times are of all runs
    of the study; a search that makes few of them at a time may choose otherwise.

    Args:
        study: The study.
        out: Folder of its record, which need not exist.
        device: Where models train.

    Raises:
        MutransferError: the study trains in a function of its own, or there is no such device.
    """
    check_device(device)
    if study.train is not None:
        raise MutransferError(
            "the study trains in a function of its own, one run after the other: there is no "
            "program to choose"
        )
    store, models = Store(out), Models(study)
    recorded = store.ways() if (store.folder / "study.json").exists() else {}
    every = shapes(study, study.runs(), device)
    asked = [Asked(shape=shape, expected=len(shape.runs)) for shape in every]
    ways, left = known_ways(models, asked, recorded)
    for each, found in zip(left, choose_ways(models, left, device), strict=True):
        ways[each.shape.key] = found or unmeasured(models, each.shape)
    rows = [
        Explained(
            size=str(shape.size),
            runs=len(shape.runs),
            way=ways[shape.key],
            seconds=seconds(study, shape, ways[shape.key]),
            is_recorded=shape.key in recorded,
        )
        for shape in every
    ]
    return Explanation(shapes=tuple(rows))
