"""All entries of the zoo."""

from __future__ import annotations

from fnmatch import fnmatchcase

from . import (
    diffusion,
    graphs,
    hand_other,
    hand_text,
    hugging_face_encoders,
    hugging_face_language,
    hugging_face_vision,
    timm_models,
    vit_pytorch_models,
    x_transformers_models,
)
from .entry import Entry

FILES = (
    hugging_face_language,
    hugging_face_encoders,
    hugging_face_vision,
    timm_models,
    diffusion,
    graphs,
    x_transformers_models,
    vit_pytorch_models,
    hand_text,
    hand_other,
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
