"""Shards of a record: files of JSON lines, one for each writer."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core import MutransferError
from ._faults import RecordWarning, unwritable

Row = dict[str, Any]
"""A finished run: its id, what was run, and its losses."""

_CHECKSUM = ', "crc32": '
"""The text before the checksum of a line, which notices a digit that changed on the disk."""

_reported: set[tuple[Path, int]] = set()
"""Damaged lines that this process has warned of: a record is read many times a sweep."""


class Shard:
    """The file of one writer, made with its first rows.

    Args:
        folder: Folder of the record.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows in one write that has reached the disk on return.

        A write that fails leaves the shard as it was.

        Raises:
            MutransferError: the folder cannot be written.
        """
        text = "".join(map(_line, rows))
        if not text:
            return
        path = self._path or self._folder / "rows-*.jsonl"
        try:
            if self._path is None:
                self._path = path = _new(self._folder)
            self._write(path, text.encode())
        except OSError as error:
            advice = "start the same sweep again later; what was written before is kept"
            raise unwritable(path, error, advice) from None

    def _write(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            before, written = os.fstat(descriptor).st_size, 0
            try:
                while written < len(data):
                    written += os.write(descriptor, data[written:])
                os.fsync(descriptor)
            except BaseException as error:
                # Whole lines are kept where it was Ctrl-C that came in between.
                if written < len(data) or isinstance(error, OSError):
                    self._cut(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _cut(self, descriptor: int, size: int) -> None:
        """Take back a part of a write; rows that come later must not follow a torn line."""
        try:
            os.ftruncate(descriptor, size)
        except OSError:
            # The torn line stays the last one of its shard, where readers drop it.
            self._path = None


def _new(folder: Path) -> Path:
    """Make an empty shard after all others, also when the clock was set back."""
    numbers = [number for number, _ in map(_order, _shards(folder)) if number < math.inf]
    number = max(time.time_ns(), int(max(numbers, default=0)) + 1)
    while True:
        path = folder / f"rows-{number:019d}-{os.getpid()}.jsonl"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            number += 1
            continue
        # A file survives a loss of power only with its entry in the folder.
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return path


def _shards(folder: Path) -> list[Path]:
    """Return the shards of a folder, in the order of writing."""
    return sorted(folder.glob("rows-*.jsonl"), key=_order)


def _order(shard: Path) -> tuple[float, str]:
    """Return the number of a shard, by which it is ordered, and its name."""
    number = shard.name.split("-")[1].removesuffix(".jsonl")
    return (int(number) if number.isdecimal() else math.inf), shard.name


def read(folder: Path) -> tuple[dict[str, Row], list[tuple[Path, int]]]:
    """Return rows by id, in the order of writing, and the damaged lines.

    Of several rows of a run the first counts, unless it failed.

    Raises:
        MutransferError: a shard cannot be read.
    """
    rows: dict[str, Row] = {}
    damaged = []
    for shard in _shards(folder):
        try:
            lines = shard.read_bytes().split(b"\n")
        except OSError as error:
            raise MutransferError(f"cannot read {shard}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            row = _parsed(line)
            if row is not None:
                # What failed may have been tried again.
                if rows.setdefault(row["id"], row).get("status") == "failed":
                    rows[row["id"]] = row
            elif line and number < len(lines):
                damaged.append((shard, number))
    return rows, damaged


def _line(row: Row) -> str:
    """Return a row as a line, with a checksum of what stands before it."""
    text = json.dumps(row, allow_nan=False, default=str)[:-1]
    return f"{text}{_CHECKSUM}{zlib.crc32(text.encode())}}}\n"


def _parsed(line: bytes) -> Row | None:
    """Return the row of a line, None where it is damaged.

    Rows that were written by hand, or before lines had a checksum, have none.
    """
    try:
        row: Row = json.loads(line.decode())
        hash(row["id"])
        row.get("status")
        known = row.pop("crc32", None)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None
    text, _, _ = line.rpartition(_CHECKSUM.encode())
    return row if known is None or known == zlib.crc32(text) else None


def report(damaged: Iterable[tuple[Path, int]]) -> None:
    """Warn of damaged lines, of each once in a process."""
    for shard, number in damaged:
        key = (shard.absolute(), number)
        if key not in _reported:
            _reported.add(key)
            warnings.warn(
                f"{shard}, line {number} is damaged and left out; that run is trained again by the "
                "next sweep",
                RecordWarning,
                stacklevel=4,
            )
