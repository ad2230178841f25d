"""Results with arrays as plain data."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np

from ..core import number, plain
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
