"""Every command of docs/clusters.md runs; those that need a cluster as far as they go without."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
HERE = ("--engine processes", "status")
STUDY = """
import mutransfer as mt
from mutransfer.tasks import mlp

study = mt.Study(mlp, width=[8], depth=[2], lr=[0.1, 0.2], seeds=1, steps=2)
"""


def commands() -> list[str]:
    """Return the lines of the page that begin with the command."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [
        line for block in blocks for line in block.splitlines() if line.startswith("mutransfer")
    ]


def test_the_commands_of_the_page_run(command: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(STUDY)
    lines = commands()
    assert len(lines) >= 8
    for line in lines:
        _, *arguments = shlex.split(line, comments=True)
        runs_here = "--engine" not in line or any(part in line for part in HERE)
        answer = command(*arguments, *(() if runs_here else ("--estimate",)))
        assert answer.code == 0, (line, answer.err)
    assert len(list((tmp_path / "runs/mine").glob("rows-*.jsonl"))) == 1
