"""Faults of a record: what cannot be written, and what is worth a warning."""

from __future__ import annotations

import errno
from pathlib import Path

from ..core import MutransferError, MutransferWarning

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk without space, and of a user without quota."""


class RecordWarning(MutransferWarning):
    """Something about a record that does not stop a sweep, such as a damaged line."""


def unwritable(path: Path, error: OSError, advice: str = "") -> MutransferError:
    """Return the error that says what cannot be written, and what to do.

    Args:
        path: The file or folder.
        error: The error of the operating system.
        advice: What to do where space is not what lacks.
    """
    reason = error.strerror or str(error)
    if error.errno in FULL:
        advice = "free space and start the same sweep again; what was written before is kept"
    return MutransferError(f"cannot write to {path}: {reason}; {advice}")
