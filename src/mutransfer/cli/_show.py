"""Printing on terminals of every kind."""

from __future__ import annotations

import codecs
import io
import os
from typing import TextIO

from rich.console import Console

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


class Terminal(Console):
    """A console that goes quiet when its reader has gone, as `head` does."""

    def on_broken_pipe(self) -> None:
        """Write nothing more, and let the work go on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def show(result: object, *, json: bool) -> None:
    """Print a result as people read it, or as JSON."""
    print(text(result) if json else result)
