"""Text that has to fit."""

from __future__ import annotations

from typing import Any


def shortened(text: str, room: float, **font: Any) -> str:
    """Return the text, without its middle where it is wider than the room.

    Args:
        text: The text.
        room: Its room in points.
        font: The font, as matplotlib's FontProperties takes it.
    """
    short, kept = text, len(text)
    while kept and text_width(short, **font) > room:
        kept -= 1
        short = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return short


def text_width(text: str, **font: Any) -> float:
    """Return the width of a text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    properties = FontProperties(**font)
    width, *_ = TextToPath().get_text_width_height_descent(text, properties, ismath=False)
    return float(width)
