"""The command, called in this process, and a study for its verbs."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mutransfer.cli import main

STUDY = '''
"""A study of seconds whose optima lie inside its grid."""
import mutransfer as mt
from mutransfer.tasks import mlp

grid = {"width": [16, 32], "depth": [2], "lr": mt.log2(-8, 0), "seeds": 2}
study = mt.Study(mlp, **grid, rules=["sp", "default"], optimizer="adam", steps=25)
number = 3
'''


@dataclass(frozen=True)
class Answer:
    """Exit code and output of a command."""

    code: object
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs the command with these arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["mutransfer", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A file with a study."""
    path = tmp_path / "tiny_study.py"
    path.write_text(STUDY)
    return path
