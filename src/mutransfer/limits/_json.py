"""Results with arrays as plain data, and the folder of one that can be drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Drawn, number, plain, text, write_csv, writing
from ..statistics import Array


def fields_of(result: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as plain data, arrays as lists."""
    return {field.name: plain(getattr(result, field.name)) for field in fields(result)}


def array(values: Any) -> Array:
    """Return an array that `plain` wrote; numpy reads "inf" and null as numbers."""
    return np.array(values, dtype=np.float64)


def size(value: Any) -> int | float:
    """Return a width or depth that `plain` wrote: whole, or infinite."""
    whole = number(value)
    return whole if math.isinf(whole) else int(whole)


def save_folder(
    result: Drawn, rows: Sequence[Mapping[str, Any]], out: str | Path, *, name: str, what: str
) -> Path:
    """Write JSON, CSV and the figure of a result into a folder, and return it.

    Args:
        result: A result with `to_json`.
        rows: Its plain rows.
        out: The folder; it is made if it is missing.
        name: Name of the files.
        what: The thing that is written, for messages.

    Raises:
        MutransferError: the folder cannot be written, or matplotlib is missing.
    """
    folder = Path(out)
    with writing(what, out):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(f"{text(result)}\n", encoding="utf-8")
        write_csv(folder / f"{name}.csv", rows)
    result.save_figure(folder / name)
    return folder
