"""The command line, and a copy of the folder of an example to run it in."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer.cli import main
from tests.examples.loading import EXAMPLES


@pytest.fixture
def folder_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Copies the folder of an example, and goes there."""

    def copied(name: str) -> Path:
        shutil.copytree(EXAMPLES / name, tmp_path / name)
        monkeypatch.chdir(tmp_path / name)
        return tmp_path / name

    return copied


@pytest.fixture
def mutransfer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line, which returns its exit code."""

    def run(*arguments: Any) -> int:
        monkeypatch.setattr(sys, "argv", ["mutransfer", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run
