"""The Python object that a command names, such as `my_study.py:study`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypeVar

from ..core import MutransferError, fault, kind_of

T = TypeVar("T")


def load(spec: str) -> Any:
    """Return the object that a text names.

    Args:
        spec: FILE.py:NAME or MODULE:NAME.

    Raises:
        MutransferError: the file, the module or the name does not exist, or running it fails.
    """
    where, colon, name = spec.rpartition(":")
    if not (where and colon and name):
        raise MutransferError(
            f"{spec!r} names no object: write FILE.py:NAME or MODULE:NAME, "
            "such as my_study.py:study"
        )
    module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    try:
        return getattr(module, name)
    except AttributeError:
        raise MutransferError(
            f"{where} has no {name!r}; say which object to use after the colon"
        ) from None


def load_a(kind: type[T], title: str, spec: str) -> T:
    """Return the object that a text names, which has to be of a class.

    Args:
        kind: The class.
        title: The name of the class for messages, such as "mutransfer.Study".
        spec: FILE.py:NAME or MODULE:NAME.

    Raises:
        MutransferError: as `load`, or the object is of another class.
    """
    value = load(spec)
    if not isinstance(value, kind):
        raise MutransferError(f"{spec} is {kind_of(value)}, not a {title}")
    return value


def load_builder(spec: str) -> Callable[..., Any]:
    """Return the function that makes a model.

    Raises:
        MutransferError: as `load`, or the object cannot be called.
    """
    build: Callable[..., Any] = load(spec)
    if not callable(build):
        raise MutransferError(f"{spec} is {kind_of(build)}, not a function that makes a model")
    return build


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise MutransferError(f"there is no file {path}")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise MutransferError(f"{path} is no Python file")
    module = module_from_spec(spec)
    # Classes of the file can then be pickled, and the file can import its neighbours.
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent.resolve()))
    with _explained(f"{path} failed"):
        spec.loader.exec_module(module)
    return module


def _from_name(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    with _explained(f"cannot import {name}"):
        return import_module(name)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn any failure of the user's code into a sentence."""
    try:
        yield
    except MutransferError:
        raise
    except Exception as error:
        raise MutransferError(f"{what}: {fault(error)}") from error
