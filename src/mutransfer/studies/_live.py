"""Signs of life: what coordinator and workers tell each other."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from ..core import MutransferError
from ._signs import (
    BEAT,
    COORDINATOR,
    FOLDER,
    JOBS,
    LISTEN,
    STOP,
    Beaten,
    beats,
    coordinator,
    me,
    parsed,
    read,
    replace,
)

ORPHANED = 120.0
"""Seconds without a sign of the coordinator after which a worker ends."""

_LOOK = 0.5
"""Seconds between two looks of a worker for a request to stop."""

_SEEK = 2.0
"""Seconds between two looks of a worker for its coordinator: there may be a thousand workers."""

_BEFORE = 100
"""Coordinators before this one whose ids are kept, for their workers that have not begun yet."""

_WINDOW = 30
"""Signs of life over which a worker's pace is measured."""

_here: dict[Path, int] = {}
"""Folders of the coordinators of this process, with its id, which a forked child does not share."""


class Live:
    """Coordinator's side: writes how the sweep stands, and reads what workers write.

    Args:
        folder: Folder of the record.

    Attributes:
        folder: Folder of the signs of life, for `Beat`.
        sweep: An id of this coordinator. Workers that get it as `about["sweep"]` end when another
            one has taken over, and are not misled by an old folder of this name.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute() / FOLDER
        self.sweep = uuid4().hex
        self._said: dict[str, Any] = {}
        self._ended, self._lock = Event(), Lock()
        self._thread = Thread(target=self._run, name="signs of life", daemon=True)
        self._state, self._message, self._beat = "running", "", 0

    def __enter__(self) -> Live:
        self._begun = time.monotonic()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError):
            (self.folder / JOBS).mkdir(parents=True, exist_ok=True)
        last = coordinator(self.folder.parent)
        self._before = [*_list(last.get("before")), *_list([last.get("sweep")])][-_BEFORE:]
        with suppress(OSError):
            halves = self.folder.glob(f"{COORDINATOR}.*")
            for path in [self.folder / STOP, *halves, *(self.folder / JOBS).iterdir()]:
                path.unlink(missing_ok=True)
        _here[self.folder] = os.getpid()
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        # A file system that hangs must not keep the sweep from ending.
        self._thread.join(timeout=2 * LISTEN)
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            self._state = "interrupted"
        elif error is not None:
            is_ours = isinstance(error, MutransferError)
            self._state = "failed"
            self._message = str(error) if is_ours else f"{type(error).__name__}: {error}"
        else:
            self._state = "finished"
        if not self._thread.is_alive():
            self._write()
        _here.pop(self.folder, None)

    def update(self, **progress: Any) -> None:
        """Say how the sweep stands; it is written with the next sign of life.

        Args:
            progress: What changed: `engine`, `workers`, `what` is trained, and seconds of work
                `done` of a `total`, as estimated beforehand.
        """
        with self._lock:
            self._said.update(progress)

    def ask_to_stop(self) -> None:
        """Ask all workers to end after the step that they are in."""
        with suppress(OSError):
            (self.folder / STOP).touch()

    def beats(self) -> dict[str, Beaten]:
        """Return the last signs of life of all workers, by job."""
        return beats(self.folder.parent)

    def forget(self, job: str) -> None:
        """Remove the sign of life of a job that another worker is to have."""
        with suppress(OSError):
            _path(self.folder, job).unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            self._write()

    def _write(self) -> None:
        self._beat += 1
        with self._lock:
            said = dict(self._said)
        data = {
            **me(),
            "sweep": self.sweep,
            "before": self._before,
            "started": self._started,
            "seconds": time.monotonic() - self._begun,
            "beat": self._beat,
            "command": _command(),
            "folder": _current_folder(),
            "state": self._state,
            "message": self._message,
            **said,
        }
        if not replace(self.folder / COORDINATOR, data):
            # A full disk: another time of change is a sign of life, too, and needs no space.
            with suppress(OSError):
                os.utime(self.folder / COORDINATOR)


class Beat:
    """Worker's side: a context manager whose thread gives signs of life.

    It ends the process when the coordinator gives no sign any more, so that no worker of a cluster
    runs for nobody. On a machine that does not see the folder it does nothing.

    Args:
        live: `Live.folder`.
        job: The job; another attempt is another job.
        about: What the job is: `sweep` (of `Live`), `size`, number of `runs`, `steps` of all runs.

    Attributes:
        is_stopped: True once the coordinator has asked to stop.
    """

    def __init__(self, live: Path, job: str, about: Mapping[str, Any]) -> None:
        self.is_stopped = False
        self._folder, self._job = Path(live), job
        self._about = {name: value for name, value in about.items() if name != "sweep"}
        self._sweep = about.get("sweep")
        self._path = _path(self._folder, job)
        self._ended = Event()
        self._thread: Thread | None = None
        self._steps = self._alive = 0
        self._paced = _Pace()
        self._is_known, self._sign, self._silent = self._sweep is None, b"", 0.0

    def __enter__(self) -> Beat:
        self._begun = time.monotonic()
        try:
            is_there = (self._folder / JOBS).is_dir()
        except OSError:
            is_there = False
        if is_there:
            self._seek()
            self._write()
            self._thread = Thread(target=self._run, name="signs of life", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * LISTEN)
            self._remove()

    def count(self, steps: int) -> None:
        """Count steps that were trained."""
        self._steps += steps

    def _run(self) -> None:
        last = sought = written = time.monotonic()
        while not self._ended.wait(_LOOK):
            now = time.monotonic()
            # A process that was suspended has not missed anything in that time.
            passed, last = min(now - last, 2 * _LOOK), now
            self._silent += passed
            if now - sought >= _SEEK:
                sought = now
                self._seek()
            self.is_stopped |= self._is_known and (self._folder / STOP).exists()
            if now - written >= BEAT - _LOOK / 2:
                written = now
                self._write()

    def _seek(self) -> None:
        """Look for the coordinator, and end this process if it is orphaned."""
        try:
            path = self._folder / COORDINATOR
            text, changed = path.read_bytes(), path.stat().st_mtime_ns
        except OSError:
            text, changed = b"", 0
        last, sign = parsed(text), b"%d %s" % (changed, text)
        sweep = last.get("sweep")
        # A job of Slurm may begin when another sweep has taken over from the one that asked for it.
        if self._sweep in (sweep, *_list(last.get("before"))):
            self._is_known = True
        is_another = self._sweep is not None and sweep not in (None, self._sweep)
        if text and sign != self._sign:
            self._sign, self._silent = sign, 0.0
        # One that was never seen may be on a machine that shares no files.
        if not self._is_known or not self._sign or _here.get(self._folder) == os.getpid():
            return
        if is_another or self._silent >= ORPHANED:
            self._remove()
            print(
                f"mutransfer: the sweep that asked for job {self._job} is gone; this worker ends",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)

    def _write(self) -> None:
        self._alive += 1
        now, steps = time.monotonic(), self._steps
        self._paced.add(now, steps)
        data = {
            "job": self._job,
            **me(),
            "alive": self._alive,
            "steps": steps,
            "seconds": now - self._begun,
            "pace": self._paced.value(now),
            "about": self._about,
        }
        replace(self._path, data)

    def _remove(self) -> None:
        """Remove the sign of life, unless another worker has the job by now."""
        with suppress(OSError):
            if {name: read(self._path).get(name) for name in me()} == me():
                self._path.unlink(missing_ok=True)


class _Pace:
    """Steps a second over the last signs of life."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    def add(self, now: float, steps: int) -> None:
        """Note the number of steps, where it has grown."""
        if steps and (not self._points or steps > self._points[-1][1]):
            self._points.append((now, steps))

    def value(self, now: float) -> float | None:
        """Return the pace, which sinks while nothing is counted."""
        if len(self._points) < 2:
            return None
        (first, before), (last, steps) = self._points[0], self._points[-1]
        # Steps that come rarely are due now and then: between two of them the pace stays.
        pause = (last - first) / (len(self._points) - 1)
        end = last if now - last < 2 * pause else now
        return (steps - before) / (end - first)


def _path(live: Path, job: str) -> Path:
    return live / JOBS / f"{quote(job, safe='')}.json"


def _command() -> str:
    """Return the command line of this process, empty where it cannot be given again."""
    path = Path(sys.argv[0])
    if path.name in ("", "-", "-c", "ipykernel_launcher.py"):
        return ""
    if path.name == "__main__.py":
        start = ["python", "-m", path.parent.name]
    else:
        start = ["python", sys.argv[0]] if path.suffix == ".py" else [path.name]
    return shlex.join([*start, *sys.argv[1:]])


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _list(value: Any) -> list[str]:
    """Return the texts of a list that was read, none where there is none."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
