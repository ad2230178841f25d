"""Examples as modules, and the rows that their sweeps write."""

import importlib.util
import pydoc_data.topics
from pathlib import Path
from types import ModuleType
from typing import Any

import mutransfer as mt

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Return an example as a module."""
    path = EXAMPLES / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(runs: mt.Runs, **what: Any) -> list[dict[str, Any]]:
    """Return the rows with these values."""
    return [row for row in runs.rows if all(row[name] == value for name, value in what.items())]


def write_text(path: Path) -> None:
    """Write some of Python's own documentation."""
    topics = pydoc_data.topics.topics
    path.write_text("".join(topics[name] for name in ("class", "for", "if", "lambda")))
