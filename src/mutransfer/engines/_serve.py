"""A worker's side of `Processes`: jobs from standard input, outcomes to standard output."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import IO

from ._frames import read, write

_LOOK = 0.5
"""Seconds between two looks at the parent."""


def serve(parent: int) -> None:
    """Run one job after another, until the parent closes the channel or is gone.

    Args:
        parent: Process id of the parent.
    """
    # Ctrl-C in a terminal reaches every process; the sweep decides what happens to its jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    jobs, outcomes = _channels()
    with contextlib.suppress(EOFError, OSError):
        while True:
            write(outcomes, _outcome(read(jobs)))
    # Threads that a job left behind keep no process alive.
    os._exit(0)


def _channels() -> tuple[IO[bytes], IO[bytes]]:
    """Return the channels; what jobs print goes to standard error, and they can read nothing."""
    jobs, outcomes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return jobs, outcomes


def _watch(parent: int) -> None:
    """End this process when its parent is gone, whatever it does."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


def _outcome(message: bytes) -> bytes:
    """Return the pickled outcome of a job: True and its value, or False and its exception."""
    import cloudpickle

    try:
        path, folder, job = pickle.loads(message)
        sys.path[:] = path
        os.chdir(folder)
        function, arguments = pickle.loads(job)
        data: bytes = cloudpickle.dumps((True, function(*arguments)))
    except BaseException as error:
        data = cloudpickle.dumps((False, _portable(error)))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return data


def _portable(error: BaseException) -> Exception:
    """Return an exception that another process can read, with the traceback as a note."""
    text = "".join(traceback.format_exception(error))
    try:
        # The end of a job's process, as by sys.exit(), is not that of the sweep.
        assert isinstance(error, Exception)
        copy = pickle.loads(pickle.dumps(error))
        assert isinstance(copy, Exception)
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"In a worker:\n{text}")
    return copy
