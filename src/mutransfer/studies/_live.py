"""Signs of life of a sweep: small files that tell other processes how it stands.

Nothing depends on them: where they cannot be written, as on a full disk, training goes on. Times
are of each process's own monotonic clock, so that clocks of machines are never compared.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from ..core import MutransferError, plain

FOLDER = "live"
"""Name of the folder of signs of life in that of a record."""

ORPHANED = 120.0
"""Seconds without a sign of the coordinator after which a worker ends."""

_COORDINATOR, _JOBS, _STOP = "coordinator.json", "jobs", "stop"

_BEAT = 1.0
"""Seconds between two signs of life."""

_LISTEN = 2.5
"""Seconds without a sign after which a process counts as dead where locks do not work."""

_LOOK = 0.5
"""Seconds between two looks of a worker for a request to stop."""

_SEEK = 2.0
"""Seconds between two looks of a worker for its coordinator: there may be a thousand workers."""

_WINDOW = 30
"""Signs of life over which a worker's pace is measured."""

_here: dict[Path, int] = {}
"""Folders of the coordinators of this process, with its id, which a forked child does not share."""


class Live:
    """The coordinator's side: writes how the sweep stands, and reads what workers write.

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
            (self.folder / _JOBS).mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            halves = self.folder.glob(f"{_COORDINATOR}.*")
            for path in [self.folder / _STOP, *halves, *(self.folder / _JOBS).iterdir()]:
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
        self._thread.join(timeout=2 * _LISTEN)
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
            progress: What changed: `engine`, `workers`, `what` is trained, seconds of work `done`
                of a `total` as estimated beforehand, seconds `left` where they are known better.
        """
        with self._lock:
            self._said.update(progress)

    def ask_to_stop(self) -> None:
        """Ask all workers to end after the step that they are in."""
        with suppress(OSError):
            (self.folder / _STOP).touch()

    def beats(self) -> dict[str, Beaten]:
        """Return the last signs of life of all workers, by job."""
        return beats(self.folder.parent)

    def _run(self) -> None:
        while not self._ended.wait(_BEAT):
            self._write()

    def _write(self) -> None:
        self._beat += 1
        with self._lock:
            said = dict(self._said)
        data = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "sweep": self.sweep,
            "started": self._started,
            "seconds": time.monotonic() - self._begun,
            "beat": self._beat,
            "state": self._state,
            "message": self._message,
            **said,
        }
        if not _replace(self.folder / _COORDINATOR, data):
            # A full disk: another time of change is a sign of life, too, and needs no space.
            with suppress(OSError):
                os.utime(self.folder / _COORDINATOR)


@dataclass(frozen=True, kw_only=True)
class Beaten:
    """The last sign of life of a worker.

    Attributes:
        job: The job.
        host: Machine of the worker.
        pid: Its process.
        alive: How often it gave a sign: a number that no longer grows is that of a dead or
            suspended worker.
        steps: Optimizer steps of all runs so far.
        seconds: Time since the job began, of the worker's own clock.
        pace: Steps a second of late; None at the beginning.
        about: What the job is: its "size", number of "runs", and "steps" of all runs.
    """

    job: str
    host: str
    pid: int
    alive: int
    steps: int
    seconds: float = 0.0
    pace: float | None = None
    about: dict[str, Any] = field(default_factory=dict)


class Beat:
    """The worker's side: a context manager whose thread gives signs of life while a job runs.

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
        self._path = self._folder / _JOBS / f"{quote(job, safe='')}.json"
        self._ended = Event()
        self._thread: Thread | None = None
        self._steps = self._alive = 0
        self._paced = _Pace()
        self._is_known, self._sign, self._silent = self._sweep is None, b"", 0.0

    def __enter__(self) -> Beat:
        self._begun = time.monotonic()
        try:
            is_there = (self._folder / _JOBS).is_dir()
        except OSError:
            is_there = False
        if is_there:
            self._write()
            self._thread = Thread(target=self._run, name="signs of life", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * _LISTEN)
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
            self.is_stopped |= self._is_known and (self._folder / _STOP).exists()
            if now - written >= _BEAT - _LOOK / 2:
                written = now
                self._write()

    def _seek(self) -> None:
        """Look for the coordinator, and end this process if it is orphaned."""
        try:
            path = self._folder / _COORDINATOR
            text, changed = path.read_bytes(), path.stat().st_mtime_ns
        except OSError:
            text, changed = b"", 0
        sweep, sign = _parsed(text).get("sweep"), b"%d %s" % (changed, text)
        if sweep == self._sweep:
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
            **_me(),
            "alive": self._alive,
            "steps": steps,
            "seconds": now - self._begun,
            "pace": self._paced.value(now),
            "about": self._about,
        }
        _replace(self._path, data)

    def _remove(self) -> None:
        """Remove the sign of life, unless another worker has the job by now."""
        with suppress(OSError):
            if {name: _read(self._path).get(name) for name in _me()} == _me():
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


def coordinator(folder: Path) -> dict[str, Any]:
    """Return the last sign of life of a record's coordinator, empty where there is none."""
    live = folder / FOLDER
    # Opening a folder makes network file systems ask for its present files.
    with suppress(OSError):
        os.scandir(live).close()
    return _read(live / _COORDINATOR)


def is_beating(folder: Path, seconds: float = _LISTEN) -> bool:
    """Return True if the coordinator of a record gives a sign of life within these seconds."""
    first, start = coordinator(folder), time.monotonic()
    while time.monotonic() - start < seconds:
        time.sleep(_BEAT / 10)
        if coordinator(folder).get("beat") != first.get("beat"):
            return True
    return False


def beats(folder: Path) -> dict[str, Beaten]:
    """Return the last signs of life of the workers of a record, by job."""
    try:
        paths = sorted((folder / FOLDER / _JOBS).glob("*.json"))
    except OSError:
        return {}
    found = {}
    for path in paths:
        # A file that vanishes in between is of a job that has just ended.
        with suppress(KeyError, TypeError, ValueError):
            data = _read(path)
            found[str(data["job"])] = Beaten(**data)
    return found


def _me() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _replace(path: Path, data: Mapping[str, Any]) -> bool:
    """Write a small file at once, and return False if it cannot be written."""
    whole = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        whole.write_text(json.dumps(plain(data), allow_nan=False))
        whole.replace(path)
    except OSError:
        with suppress(OSError):
            whole.unlink(missing_ok=True)
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return {}


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
