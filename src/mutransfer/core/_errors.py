"""The one exception for bad input, and the sentence for a missing extra."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

_FOLDERS = map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))
_OTHERS = ("<", *(f"{folder}{os.sep}" for folder in (Path(__file__).parents[1], *_FOLDERS)))
"""Starts of the file names of code that is not the user's."""

_LONGEST = 400
"""Characters of a message that are shown."""


class MutransferError(ValueError):
    """Bad input: the message names what was wrong, where, and what to do.

    The command line prints it as one sentence and exits with code 2.
    """


class MutransferWarning(UserWarning):
    """Something that works, and may not be what was meant."""


def fault(error: BaseException) -> str:
    """Return type, message and place of an exception that a user's code raised.

    Such as "KeyError: 'hidden' (model.py, line 25)". The place is the last line of the user's own;
    that line stands for a message that is empty, as that of a bare assertion is.
    """
    own = _last_own(error)
    message = str(error) or (own.line or "" if own else "")
    parts = [type(error).__name__, shorten(message, _LONGEST, placeholder=" ...")]
    return ": ".join(part for part in parts if part) + place(error)


def place(error: BaseException) -> str:
    """Return the last line of the user's own, as " (model.py, line 25)"; or nothing."""
    own = _last_own(error)
    return f" ({_short(own.filename)}, line {own.lineno})" if own else ""


def _last_own(error: BaseException) -> traceback.FrameSummary | None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OTHERS)]
    return own[-1] if own else None


def kind_of(value: object) -> str:
    """Return the class of a value with its article.

    >>> kind_of(3), kind_of("text"), kind_of(None)
    ('an int', 'a str', 'None')
    """
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def _short(path: str) -> str:
    """Return a path as it is named in the working folder."""
    inside = os.path.relpath(path)
    return path if inside.startswith("..") else inside


@contextmanager
def needs(what: str, module: str, extra: str) -> Iterator[None]:
    """Turn the missing module of an extra into a sentence that says how to install it.

    Args:
        what: The feature that needs the module, such as "the figure".
        module: The module's name.
        extra: The extra of mutransfer that brings it.

    Raises:
        MutransferError: an import inside the `with` fails.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise MutransferError(f"{what} needs {module}: pip install 'mutransfer[{extra}]'") from None


@contextmanager
def writing(what: str, path: str | Path) -> Iterator[None]:
    """Turn a failed write into a sentence that names the path.

    Args:
        what: The thing that is written, such as "the figure".
        path: The file or folder, as the user gave it.

    Raises:
        MutransferError: the operating system refuses the write.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise MutransferError(
            f"cannot write {what} to {path}: {reason}; give another path"
        ) from None


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn data of another kind into a sentence that says what it should have been.

    Args:
        what: The kind of data, such as "a plan written by Plan.to_json".

    Raises:
        MutransferError: the data inside the `with` lacks an entry, or has one of another kind.
    """
    try:
        yield
    except (
        *(ArithmeticError, AttributeError, IndexError, KeyError),
        *(RecursionError, TypeError, ValueError),
    ) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise MutransferError(f"this is not {what}: {reason}") from error
