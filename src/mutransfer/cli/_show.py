"""Printing on terminals of every kind."""

from __future__ import annotations

import codecs
import io
from typing import TextIO

from ..core import text

_STAND_INS = {
    "·": "*",
    "×": "x",
    "±": "+-",
    "√": "sqrt ",
    "∞": "inf",
    "✗": "x",
    "…": "...",
    "\N{MINUS SIGN}": "-",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
}
_POLICY = "mutransfer-stand-ins"


def make_printable(*streams: TextIO) -> None:
    """Let streams write characters that their encoding lacks, by something similar."""
    codecs.register_error(_POLICY, _stand_in)
    for stream in streams:
        # What replaces a stream in tests and notebooks may not be one of a terminal.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_POLICY)


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(character, "?") for character in missing), error.end


def show(result: object, *, json: bool) -> None:
    """Print a result as people read it, or as JSON."""
    print(text(result) if json else result)
