"""One coordinator a record: a lock that the death of its holder releases."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core import MutransferError
from ._faults import RecordWarning, unwritable
from ._signs import coordinator, is_beating

fcntl: ModuleType | None
try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

NAME = ".lock"
"""Name of the lock's file in the folder of a record."""

_TRIES, _PAUSE = 4, 0.1
"""Tries at a held lock, and seconds between them: one who looks holds it for an instant."""

_HELD = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES})
"""Errors of a lock that another process holds; any other means that locks do not work there."""

_descriptors: set[int] = set()


def _forget() -> None:
    """Close the parent's locks in a forked child, which may outlive it."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a record.

    Where the file system has no locks, work goes on with a warning, unless signs of life show
    another coordinator.

    Args:
        folder: Folder of the record; it exists.

    Raises:
        MutransferError: another coordinator holds it, or the folder cannot be written.
    """
    try:
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(folder, error, "give another folder with out=") from None
    _descriptors.add(descriptor)
    try:
        works = _acquire(folder, descriptor)
        _refuse_living(folder, works=works)
        _sign(descriptor)
        yield
    finally:
        # A forked child has closed its copy already.
        if descriptor in _descriptors:
            _descriptors.discard(descriptor)
            _release(descriptor)


def is_locked(folder: Path) -> bool | None:
    """Return True if a coordinator holds the record, None where locks do not work.

    Looking needs no more than the right to read, and disturbs nobody.
    """
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in _HELD else None
    finally:
        os.close(descriptor)
    return False


def _acquire(folder: Path, descriptor: int) -> bool:
    """Take the lock, and return False where the file system has none."""
    if fcntl is None:
        return False
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD:
                return False
            if not left:
                raise _refused(folder, holder(folder)) from None
            time.sleep(_PAUSE)
    return False


def _release(descriptor: int) -> None:
    # Said aloud: a child that is just being forked has the descriptor for an instant.
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _refuse_living(folder: Path, *, works: bool) -> None:
    """Raise where another coordinator lives that this lock does not see.

    Some file systems have no locks, and some have such as hold on one machine alone.
    """
    last = coordinator(folder)
    is_suspect = last.get("state") == "running"
    if works and last.get("host") == socket.gethostname():
        is_suspect = False
    if is_suspect and is_beating(folder):
        raise _refused(folder, last)
    if not works:
        warnings.warn(
            f"{folder} is on a file system without locks: nothing refuses a second sweep that is "
            "started at the same moment",
            RecordWarning,
            stacklevel=4,
        )


def _sign(descriptor: int) -> None:
    """Write who holds the lock, for the one who is refused."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    who = {"host": socket.gethostname(), "pid": os.getpid(), "started": since}
    # Without space the lock holds all the same, and nobody knows by whom.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(who).encode())


def holder(folder: Path) -> dict[str, Any]:
    """Return who holds the lock, empty where that is not known."""
    try:
        who = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        return {}
    return who if isinstance(who, dict) else {}


def _refused(folder: Path, who: dict[str, Any]) -> MutransferError:
    """Return the error for a second coordinator."""
    name = "another process"
    if {"pid", "host", "started"} <= who.keys():
        name = f"process {who['pid']} on {who['host']}, since {who['started']},"
    return MutransferError(
        f"{name} is at work on {folder}, and a record has one sweep at a time: wait for it (see "
        f"`mutransfer status {folder}`), stop it, or give another folder with out="
    )
