"""Jobs as bytes: packed by the sweep, run by a worker, opened by the sweep."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..core import MutransferError, needs

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads numpy and torch use, once they are imported."""


def packed(
    what: str, extra: str, cpus: int, function: Callable[..., Any], arguments: Sequence[Any]
) -> bytes:
    """Return a job, with the places where its modules and files are found.

    Args:
        what: The feature that packs, for a message.
        extra: The extra that brings cloudpickle.
        cpus: Number of its threads.
        function: The function.
        arguments: Its arguments.

    Raises:
        MutransferError: it cannot be pickled, or cloudpickle is not installed.
    """
    with needs(what, "cloudpickle", extra):
        import cloudpickle
    try:
        job = cloudpickle.dumps((function, tuple(arguments)))
    except Exception as error:
        raise MutransferError(
            f"a job cannot be sent to other processes ({type(error).__name__}: {error}): "
            "give functions and values that can be pickled"
        ) from error
    return pickle.dumps((search_path(), os.getcwd(), cpus, job))


def run(message: bytes) -> bytes:
    """Return the outcome of a job: True and its value, or False and its exception.

    Modules are found where those of the sweep are, on a machine that has the same folders.
    """
    import cloudpickle

    try:
        path, folder, cpus, job = pickle.loads(message)
        path = [each for each in path if os.path.exists(each)]
        sys.path[:] = path + [each for each in sys.path if each not in path]
        with suppress(OSError):
            os.chdir(folder)
        os.environ.update(dict.fromkeys(THREADS, str(cpus)))
        function, arguments = pickle.loads(job)
        outcome: bytes = cloudpickle.dumps((True, function(*arguments)))
    except BaseException as error:
        outcome = cloudpickle.dumps((False, _portable(error)))
    return outcome


def opened(outcome: bytes) -> Any:
    """Return the value of a job, or raise its exception."""
    is_value, value = pickle.loads(outcome)
    if is_value:
        return value
    raise value


def search_path() -> list[str]:
    """Return the folders of modules, the current one by its name."""
    return [folder or os.getcwd() for folder in sys.path]


def _portable(error: BaseException) -> Exception:
    """Return an exception that another process can read, with its traceback as a note."""
    text = "".join(traceback.format_exception(error))
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, Exception):
        portable: Exception = RuntimeError(words)
        # Exceptions whose arguments are not those of their class fail when they are read.
        with suppress(Exception):
            portable = pickle.loads(pickle.dumps(error))
    else:
        # As by sys.exit() in a job, or by Ray: it is not the end of the sweep.
        portable = MutransferError(f"the process of a job was ended ({words})")
    portable.add_note(f"In a worker:\n{text}")
    return portable
