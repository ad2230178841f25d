"""Places in the user's files that an error comes from."""

from __future__ import annotations

import sysconfig
import traceback
from functools import cache
from pathlib import Path

import torch

_OURS = (Path(torch.__file__).parent, Path(__file__).parents[1])
"""Folders whose lines say nothing about why a model fails."""

_STANDARD = Path(sysconfig.get_path("stdlib"))
"""The folder of Python's own modules, in which others may be installed."""


@cache
def is_foreign(filename: str) -> bool:
    """Return True for a file that is neither torch's, Python's nor ours."""
    path = Path(filename)
    of_python = path.is_relative_to(_STANDARD) and "site-packages" not in path.parts
    return not of_python and not any(map(path.is_relative_to, _OURS))


def place(error: Exception) -> str:
    """Return the innermost file and line that are neither torch's, Python's nor ours."""
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [frame for frame in frames if is_foreign(frame.filename)]
    return f", {Path(foreign[-1].filename).name} line {foreign[-1].lineno}" if foreign else ""
