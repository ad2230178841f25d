"""A case of survival, and sweeps that are disturbed as it says until they are through."""

from __future__ import annotations

import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mutransfer as mt

from .judge import Moment, Row, Verdict, judge
from .sweeps import Coordinator, Place, left_behind

STUCK = 600.0
"""Seconds without an end after which a sweep counts as stuck."""

GONE = 30.0
"""Seconds in which workers without a coordinator have to end; a job of submitit is begun anew."""

EARLY = 0.4
"""Share of moments that are counted from the start of a sweep, the others from its first job."""

HASTE = 0.3
"""Factor on pauses of small sweeps that have no workers to wait for."""

ATTEMPTS = 200
"""Starts of one sweep, at most."""


@dataclass(eq=False)
class Scenery:
    """Surroundings of a sweep.

    Attributes:
        folder: Folder of records and traces.
        engine: The engine, with its address.
        roots: Processes whose descendants are workers, besides the coordinator.
        stage: More that belongs to the surroundings.
        diary: Diary of workers that are there before the sweep.
    """

    folder: Path
    engine: str
    roots: list[int] = field(default_factory=list)
    stage: Any = None
    diary: Path | None = None


@contextmanager
def bare(folder: Path, engine: str) -> Iterator[Scenery]:
    """Give a plain folder."""
    yield Scenery(folder, engine)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A disturbance, and what a sweep may make of it.

    Attributes:
        name: Its name.
        done: A description for the table.
        engine: The engine of the sweep.
        disturb: Disturbs a sweep that runs; returns False where it found nothing to disturb.
        times: Disturbances in all.
        most: Disturbances of one sweep, at most.
        pauses: Shortest and longest seconds from a start or a disturbance to the next one.
        studies: Names of the studies, which take turns.
        mend: Called before a sweep that ended is started again.
        scenery: Makes the surroundings.
        launch: Starts a sweep.
        patch: Makes what is called in the sweep's process before it.
        ends: Errors with which a sweep may end.
        says: A remark or warning that has to come, as often as sweeps were disturbed.
        spared: True for rows of the undisturbed sweep that have to be equal; others have to fail.
        settings: Arguments of `sweep`.
    """

    name: str
    done: str
    engine: str
    disturb: Callable[[Scene], bool]
    times: int = 50
    most: int = 10
    pauses: tuple[float, float] = (0.0, 3.0)
    studies: tuple[str, ...] = ("single", "stacked")
    mend: Callable[[Scene], None] = lambda scene: None
    scenery: Callable[[Path, str], AbstractContextManager[Scenery]] = bare
    launch: Callable[..., Any] = Coordinator
    patch: Callable[[Place], Callable[[], None]] | None = None
    ends: tuple[str, ...] = ()
    says: str = ""
    spared: Callable[[Row], bool] = lambda row: True
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Scene:
    """A sweep on its way through disturbances.

    Attributes:
        case: The case.
        scenery: The surroundings.
        place: The traces of the sweep.
        study: Name of its study.
        random: Moments and victims.
        small: True for the small study.
        coordinator: The process that sweeps.
        moments: States at the disturbances.
        damaged: Runs whose rows were destroyed.
        faults: Sentences about what must not be.
        notes: Counts of what was observed.
        starts: Times that the sweep was started.
        goes_on: True if the sweep has to be started again in any case.
    """

    case: Case
    scenery: Scenery
    place: Place
    study: str
    random: random.Random
    small: bool = False
    coordinator: Any = None
    moments: list[Moment] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    goes_on: bool = False

    def start(self, launch: Callable[..., Any] | None = None) -> Any:
        """Start the sweep, or take it up again."""
        patch = self.case.patch and self.case.patch(self.place)
        return (launch or self.case.launch)(
            self.place,
            self.study,
            small=self.small,
            patch=patch,
            engine=self.scenery.engine,
            **self.case.settings,
        )

    def play(self, most: int) -> None:
        """Sweep until all is through, with so many disturbances at most."""
        self._start_again()
        while True:
            if self._comes(most):
                if self.case.disturb(self):
                    self.moments.append(Moment.of(self.place))
            elif self._is_through():
                self._look_for_orphans()
                return
            else:
                self.case.mend(self)
                self._start_again()

    def _start_again(self) -> None:
        self._begun = len(self.place.trained())
        self.coordinator, self.starts = self.start(), self.starts + 1

    def _comes(self, most: int) -> bool:
        """Wait for the next moment to disturb; return False if the sweep ends before."""
        if len(self.moments) >= most:
            if not self.coordinator.wait(STUCK):
                self.faults.append(f"no end within {STUCK:.0f} s")
                self.coordinator.kill()
            return False
        # Some moments are at any time, as while workers start; most of them after work has begun.
        if self.random.random() > EARLY:
            while len(self.place.trained()) == self._begun:
                if self.coordinator.wait(0.05):
                    return False
        shortest, longest = self.case.pauses
        is_short = self.small and self.scenery.engine == "here"
        pause = self.random.uniform(shortest, longest) * (HASTE if is_short else 1.0)
        return not self.coordinator.wait(pause)

    def _is_through(self) -> bool:
        """Return True if the sweep ended well, or for ever."""
        outcome = self.coordinator.outcome
        error = outcome["error"]
        self.notes.update(_kind(note) for note in outcome["notes"])
        self.notes.update(_kind(warning) for warning in outcome["warnings"])
        if self.goes_on:
            self.goes_on = False
            return False
        if not error:
            return True
        self.notes[_kind(error)] += 1
        if not any(re.search(end, error) for end in self.case.ends):
            self.faults.append(f"ended with {error[:500]}")
            return True
        if self.starts >= ATTEMPTS:
            self.faults.append(f"no end in {ATTEMPTS} starts")
            return True
        return False

    def verdict(self, whole: list[Row]) -> Verdict:
        """Return what became of the record."""
        rows = []
        with suppress(mt.MutransferError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = mt.Runs.read(self.place.folder).rows
        spared = [row for row in whole if self.case.spared(row)]
        ids = {row["id"] for row in spared}
        failed = [row for row in rows if row.get("status") == "failed"]
        for row in failed:
            if row["id"] in ids:
                self.faults.append(f"failed: {row.get('message')}")
        if len(rows) - len(ids & {row["id"] for row in rows}) != len(whole) - len(spared):
            self.faults.append("what cannot be trained is not in the record as failed")
        kept = [row for row in rows if row["id"] in ids and row not in failed]
        return judge(spared, self.place, self.moments, rows=kept, damaged=self.damaged)

    def _look_for_orphans(self) -> None:
        """Note processes that live on without a sweep; those of a cluster were there before."""
        if self.scenery.diary is not None:
            return
        start = time.monotonic()
        while left := left_behind(self.place.diary):
            if time.monotonic() - start > GONE:
                names = ", ".join(sorted({each.name() for each in left}))
                self.faults.append(f"{len(left)} processes live on: {names}")
                for process in left:
                    with suppress(Exception):
                        process.kill()
                return
            time.sleep(0.2)


def _kind(text: str) -> str:
    """Return a remark without its numbers and names of files, to be counted."""
    return re.sub(r"\d+", "N", re.sub(r"/\S+", "PATH", text))[:120]
