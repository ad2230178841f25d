"""Examples as modules, and the command line in the folder of an example."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mutransfer as mt
from mutransfer.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Return an example as a module under its own name, as the command line loads it."""
    path = EXAMPLES / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row_of(runs: mt.Runs, **what: Any) -> dict[str, Any]:
    """Return the one row with these values."""
    (row,) = [row for row in runs.rows if all(row[name] == value for name, value in what.items())]
    return row


@pytest.fixture
def folder_of(tmp_path, monkeypatch):
    """Copy the folder of an example, and go there."""

    def copied(name: str) -> Path:
        shutil.copytree(EXAMPLES / name, tmp_path / name)
        monkeypatch.chdir(tmp_path / name)
        return tmp_path / name

    return copied


@pytest.fixture
def mutransfer(monkeypatch):
    """The command line, which returns its exit code."""

    def run(*arguments: Any) -> int:
        monkeypatch.setattr(sys, "argv", ["mutransfer", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run
