"""Imports of other packages as they have to be made here."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

ABSENT = "torchvision"


class _Names(type):
    """The type of placeholders for classes; their attributes are their own names."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Placeholder(ModuleType):
    """A module whose every attribute is a class that nothing is an instance of."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Names(name, (), {})


class _Finder:
    """A finder and loader of placeholders."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a placeholder for a module of the absent package."""
        if name.split(".")[0] != ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the placeholder."""
        return _Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing."""


@contextmanager
def without_torchvision() -> Iterator[None]:
    """Let packages import that name torchvision at their top, for data that is not used here.

    timm and vit-pytorch do. torchvision itself needs its own build of torch. The placeholder is
    gone afterwards, so that no other package takes it for the real one.
    """
    if importlib.util.find_spec(ABSENT) is not None:
        yield
        return
    finder = _Finder()
    sys.meta_path.append(finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in [name for name in sys.modules if name.split(".")[0] == ABSENT]:
            del sys.modules[name]


def imported(name: str) -> Any:
    """Return the module of this name, imported without torchvision."""
    if name not in sys.modules:
        with without_torchvision():
            importlib.import_module(name)
    return sys.modules[name]
