"""Progress of long work, and the one type of callback that receives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of long work.

    Attributes:
        what: What is being worked on, such as "width 64, depth 2".
        done: Finished work, in the unit of `total`.
        total: All work: a number of equal pieces, or seconds as estimated beforehand.
        elapsed: Seconds since the work began; 0 where nobody measured.
        result: What was found so far, such as the `Runs` of a sweep; None where nothing is shown.
        note: A remark in a line, such as how the work is done; empty where there is none.
    """

    what: str
    done: float
    total: float
    elapsed: float = 0.0
    result: Any = None
    note: str = ""


OnProgress = Callable[[Progress], None]
"""A callback that receives the progress of long work, given as `progress=`."""
