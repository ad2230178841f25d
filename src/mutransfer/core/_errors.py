"""The one exception for bad input, and the sentence for a missing extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MutransferError(ValueError):
    """Bad input: the message names what was wrong, where, and what to do.

    The command line prints it as one sentence and exits with code 2.
    """


class MutransferWarning(UserWarning):
    """Something that works, and may not be what was meant."""


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
