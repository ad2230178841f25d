"""All entries of the zoo."""

from __future__ import annotations

from fnmatch import fnmatchcase

from . import (
    hugging_face_encoders,
    hugging_face_language,
    hugging_face_vision,
    timm_models,
)
from .entry import Entry

FILES = (
    hugging_face_language,
    hugging_face_encoders,
    hugging_face_vision,
    timm_models,
)
ENTRIES: tuple[Entry, ...] = tuple(entry for file in FILES for entry in file.ENTRIES)


def selected(pattern: str = "*") -> list[Entry]:
    """Return the entries whose name, or "package/name", matches, and whose package is there."""
    return [
        entry
        for entry in ENTRIES
        if (
            fnmatchcase(entry.name, pattern)
            or fnmatchcase(f"{entry.package}/{entry.name}", pattern)
        )
        and entry.installed
    ]
