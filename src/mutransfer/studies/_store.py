"""The record of a sweep: append-only JSON lines in a folder, safe against crashes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core import MutransferError
from ._same import Fingerprint, are_same

Row = dict[str, Any]
"""A finished run: its id, what was run, and its losses."""


class Store:
    """The folder of a record.

    `study.json` holds what its runs share; `rows-*.jsonl`, a shard for each writer, a row for
    every finished run.

    Args:
        folder: Where the record is, or will be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._shard: Path | None = None

    def open(
        self,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
        first_losses: Callable[[], Fingerprint | None] = lambda: None,
    ) -> None:
        """Create the record, or verify that it belongs to this study.

        A record of another study without any runs is replaced.

        Args:
            identity: What all runs of the study share.
            about: What else a new record keeps: versions, device, command, date.
            first_losses: Makes the fingerprint of what is trained; called after all other checks.

        Raises:
            MutransferError: the record was written by another study or with another model, or the
                folder cannot be written.
        """
        identity = json.loads(json.dumps(identity, default=str))
        written = self.header() if (self.folder / "study.json").exists() else None
        fresh = written is None or not self._is_of(written["identity"], identity)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
            losses = first_losses()
            known = None if fresh or written is None else written.get("first_losses")
            if fresh or not self._is_trained_alike(known, losses):
                kept = {} if losses is None else {"first_losses": losses}
                self._write_header({"identity": identity, "about": dict(about), **kept})
        except OSError as error:
            raise MutransferError(
                f"cannot write to {self.folder}: {error.strerror}; give another folder with out="
            ) from None

    def _is_of(self, written: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
        """Return False if a record without runs is of another study; raise if it has runs."""
        keys = identity.keys() | written.keys()
        different = sorted(key for key in keys if identity.get(key) != written.get(key))
        if different and self.rows():
            key = different[0]
            raise MutransferError(
                f"{self.folder} was written by another study: its {key} is {written.get(key)!r}, "
                f"this study's is {identity.get(key)!r}; give another folder with out="
            )
        return not different

    def _is_trained_alike(self, written: Fingerprint | None, losses: Fingerprint | None) -> bool:
        """Return False if a record without runs is of another model; raise if it has runs."""
        # A record from before fingerprints, or a builder that has none, cannot be compared.
        if written is None or losses is None or are_same(written, losses):
            return True
        if self.rows():
            then, now = (", ".join(f"{loss:.4g}" for loss in each) for each in (written, losses))
            raise MutransferError(
                f"{self.folder} was written with another model: at base size and seed 0 the first "
                f"losses were {then}, and are {now} now, so the code of the builder, the data or "
                "the loss changed since; give another folder with out="
            )
        return False

    def _write_header(self, header: Mapping[str, Any]) -> None:
        path = self.folder / "study.json"
        # A crash while writing must not leave half a header under the file's name.
        whole = path.with_suffix(f".{os.getpid()}")
        whole.write_text(json.dumps(header, indent=1, default=str))
        whole.replace(path)

    def header(self) -> dict[str, Any]:
        """Return what `open` wrote.

        Raises:
            MutransferError: there is no record in the folder.
        """
        path = self.folder / "study.json"
        try:
            header: dict[str, Any] = json.loads(path.read_text())
            header["identity"].keys()
        except (AttributeError, KeyError, OSError, TypeError, ValueError):
            raise MutransferError(
                f"{self.folder} holds no sweep: it has no readable study.json"
            ) from None
        return header

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows in one write that has reached the disk on return.

        Each writer has a shard of its own, so that a line torn by a crash stays the last one of
        its shard.

        Raises:
            MutransferError: the folder cannot be written.
        """
        if self._shard is None:
            self._shard = self.folder / f"rows-{time.time_ns()}-{os.getpid()}.jsonl"
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        try:
            with self._shard.open("a") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MutransferError(
                f"cannot write to {self._shard}: {error.strerror}; what was written before is kept"
            ) from None

    def rows(self) -> list[Row]:
        """Return every finished run once, in the order of writing.

        A torn last line of a shard is dropped.

        Raises:
            MutransferError: a line other than a shard's last is damaged.
        """
        rows: dict[str, Row] = {}
        for shard in sorted(self.folder.glob("rows-*.jsonl")):
            lines = shard.read_text(errors="replace").split("\n")
            for number, line in enumerate(lines):
                try:
                    row = json.loads(line)
                    rows.setdefault(row["id"], row)
                except (KeyError, TypeError, ValueError):
                    if number == len(lines) - 1:
                        continue
                    raise MutransferError(
                        f"{shard}, line {number + 1} is damaged; remove that line and run the "
                        "sweep again"
                    ) from None
        return list(rows.values())
