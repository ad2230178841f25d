"""Failures of jobs for their own reason, such as a bug in the builder, as data."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from ..core import MutransferError
from ..training import is_out_of_memory
from ._chunks import named_row
from ._run import Run
from ._store import Row
from ._study import Study

_LONGEST = 4000
"""Characters of a traceback that are kept, its end."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The failure of a job for its own reason.

    Attributes:
        message: Type and text of the error.
        trace: The end of its traceback.
        is_memory: True if memory was too small.
    """

    message: str
    trace: str = ""
    is_memory: bool = False

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return an error as data."""
        trace = "".join(traceback.format_exception(error))[-_LONGEST:]
        message = f"{type(error).__name__}: {error}"
        return cls(message=message, trace=trace, is_memory=is_out_of_memory(error))

    def row(self, study: Study, run: Run) -> Row:
        """Return the row of a run that failed so."""
        nothing: Row = {"loss": None, "final": None, "diverged_at": None, "curve": []}
        return {
            "id": study.run_id(run),
            **named_row(study, run),
            "status": "failed",
            **nothing,
            "message": (self.message.splitlines() or [""])[0][:500],
            "traceback": self.trace,
            "seconds": 0.0,
        }


def is_refusal(error: Exception) -> bool:
    """Return True for a refusal of ours, False for a failure of the user's code."""
    return isinstance(error, MutransferError) and error.__cause__ is None
