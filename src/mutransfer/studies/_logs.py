"""The log of a script: what it writes, and what an earlier attempt had written."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from subprocess import Popen
from typing import Any

Entry = Mapping[str, Any]
"""One line of a log: its values by column."""

_POLL = 0.1
"""Seconds between two looks at a log."""


class Log:
    """A file of JSON lines, or a CSV or TSV file, that a script writes.

    Made before the script starts, so that what an earlier attempt left is told from what is new.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = path.read_bytes() if path.exists() else b""

    def old(self) -> Iterator[Entry]:
        """Yield the entries of an earlier attempt, but for a line that was torn."""
        return self._entries(_text(self._before).split("\n")[:-1])

    def new(self, process: Popen[str]) -> Iterator[Entry]:
        """Yield the entries that a process writes, until it has ended."""
        return self._entries(self._written(process))

    @property
    def _delimiter(self) -> str | None:
        return {".csv": ",", ".tsv": "\t"}.get(self.path.suffix)

    def _entries(self, lines: Iterable[str]) -> Iterator[Entry]:
        if self._delimiter is not None:
            return csv.DictReader(lines, delimiter=self._delimiter)
        return _objects(lines)

    def _written(self, process: Popen[str]) -> Iterator[str]:
        """Yield whole lines as they are written, after the header of a table."""
        position, rest = None, ""
        while True:
            ended = process.poll() is not None
            if position is None:
                position = self._start()
                if position and self._delimiter is not None:
                    yield _text(self._before).partition("\n")[0]
            if position is not None:
                with self.path.open("rb") as file:
                    file.seek(position)
                    data = file.read()
                position += len(data)
                *lines, rest = (rest + _text(data)).split("\n")
                yield from lines
            if ended:
                yield from [rest] if rest else []
                return
            time.sleep(_POLL)

    def _start(self) -> int | None:
        """Return where new text starts, 0 in a file that is new; None while there is none."""
        data = self.path.read_bytes() if self.path.exists() else b""
        if not data or data == self._before:
            return None
        return len(self._before) if data.startswith(self._before) else 0


def _objects(lines: Iterable[str]) -> Iterator[Entry]:
    """Yield the JSON objects among lines; a script also prints other things."""
    for line in lines:
        if line.lstrip().startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _text(data: bytes) -> str:
    return data.decode(errors="replace").replace("\r\n", "\n")
