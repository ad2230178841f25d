"""The folders are layers: each knows only those before it, and the errors."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mutransfer

ROOT = Path(mutransfer.__file__).parent
LAYERS = ("rules", "plan", "tasks", "ensemble", "sweep", "transfer", "report", "check", "limits", "ext")
FOLDERS = [path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()]


def imports(source: str, package: str) -> Iterator[str]:
    """Full names of all modules that a module of this package imports, wherever in its text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def breaches(source: str, folder: str) -> list[str]:
    """What a module in this folder imports and should not."""
    below = LAYERS[: LAYERS.index(folder)]
    found = []
    for name in imports(source, f"mutransfer.{folder}"):
        top, _, inner = name.partition(".")
        place = inner.split(".")[0]
        if top == "mutransfer" and place not in (*below, folder, "_errors"):
            found.append(name)
        if folder == "rules" and top not in ("mutransfer", *sys.stdlib_module_names):
            found.append(name)
    return found


def test_every_folder_is_a_layer() -> None:
    assert set(FOLDERS) <= set(LAYERS) and {"rules", "plan", "tasks", "ensemble", "sweep", "transfer", "report"} <= set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_layer_knows_only_those_before_it(folder: str) -> None:
    sources = {path.name: path.read_text() for path in (ROOT / folder).rglob("*.py")}
    assert {name: bad for name, source in sources.items() if (bad := breaches(source, folder))} == {}


@pytest.mark.parametrize(
    ("folder", "source", "bad"),
    [
        ("plan", "from ..rules import Role\nfrom .._errors import MutransferError\nfrom ._show import table\nimport torch", []),
        ("plan", "from ..tasks import Task", ["mutransfer.tasks.Task"]),
        ("plan", "from .. import sweep", ["mutransfer.sweep"]),
        ("plan", "from .. import Study", ["mutransfer.Study"]),
        ("plan", "from .._live import LiveSweep", ["mutransfer._live.LiveSweep"]),
        ("sweep", "def f():\n    from mutransfer.report import save", ["mutransfer.report.save"]),
        ("sweep", "if TYPE_CHECKING:\n    import mutransfer.transfer", ["mutransfer.transfer"]),
        ("report", "from ..transfer._optimum import vertex", []),
        ("rules", "import json, torch.nn", ["torch.nn"]),
        ("rules", "from numpy import array", ["numpy.array"]),
        ("rules", "from ..plan import plan", ["mutransfer.plan.plan"]),
    ],
)
def test_the_check_sees_a_breach(folder: str, source: str, bad: list[str]) -> None:
    assert breaches(source, folder) == bad
