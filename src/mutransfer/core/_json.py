"""One rule for JSON: infinite and missing numbers have one spelling."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any

_INFINITE = {"inf": math.inf, "-inf": -math.inf}


def plain(value: Any) -> Any:
    """Return data that `json.dumps(allow_nan=False)` takes.

    Infinite numbers become "inf" and "-inf", not-a-number becomes null, fractions become text such
    as "1/2". Dataclasses become dictionaries, sequences and arrays lists. Objects with a `to_json`
    are asked for theirs; what remains becomes text.

    >>> from fractions import Fraction
    >>> plain({"loss": math.inf, "scale": Fraction(1, 2), "sizes": (1, 2), "unknown": math.nan})
    {'loss': 'inf', 'scale': '1/2', 'sizes': [1, 2], 'unknown': None}
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return (
            None
            if math.isnan(value)
            else float(value)
            if math.isfinite(value)
            else str(float(value))
        )
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list) and {*map(type, value)} == {float} and all(map(isfinite, value)):
        return value.copy()  # Loss curves: most numbers of a record.
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    return str(value)


def number(value: Any) -> float:
    """Return a number that `plain` wrote.

    >>> number("inf"), number(2), number(None)
    (inf, 2.0, nan)

    Raises:
        ValueError, TypeError: the value is no number.
    """
    if value is None:
        return math.nan
    return _INFINITE[value] if value in ("inf", "-inf") else float(value)


def parsed(data: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the argument of a `from_json`, data or its text, as a new dictionary.

    Raises:
        ValueError: the text is no JSON, or no dictionary.
    """
    value = json.loads(data) if isinstance(data, str) else data
    if not isinstance(value, Mapping):
        raise ValueError(f"it is a {type(value).__name__}, not a dictionary")
    return dict(value)


def text(data: Any) -> str:
    """Return data as JSON text, after the rule of `plain`."""
    return json.dumps(plain(data), indent=1, allow_nan=False)
