"""Finds the Python object that the command line names: `my_study.py:study` or `package.module:build`."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from ._errors import MutransferError


def load(spec: str) -> Any:
    """The object `spec` names, as FILE.py:NAME or MODULE:NAME.

    Raises:
        MutransferError: the file, the module or the name does not exist, or running it fails.
    """
    where, colon, name = spec.rpartition(":")
    if not (where and colon and name):
        raise MutransferError(
            f"{spec!r} names no object: write FILE.py:NAME or MODULE:NAME, such as my_study.py:study"
        )
    module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    try:
        return getattr(module, name)
    except AttributeError:
        raise MutransferError(
            f"{where} has no {name!r}; say which object to use after the colon"
        ) from None


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise MutransferError(f"there is no file {path}")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise MutransferError(f"{path} is no Python file")
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except MutransferError:
        raise
    except Exception as error:
        raise MutransferError(f"{path} failed: {type(error).__name__}: {error}") from error
    return module


def _from_name(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return import_module(name)
    except MutransferError:
        raise
    except Exception as error:
        raise MutransferError(f"cannot import {name}: {type(error).__name__}: {error}") from error
