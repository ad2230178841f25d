"""The record of a sweep: append-only JSON lines in a folder, safe against crashes."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core import FrozenDict, MutransferError
from ._faults import RecordWarning, unwritable
from ._lock import locked
from ._same import Fingerprint, are_same
from ._shards import Row as Row
from ._shards import Shard, read, report

_ELSEWHERE = "give another folder with out="


class Store:
    """The folder of a record.

    `study.json` holds what its runs share; `rows-*.jsonl`, a shard for each writer, a row for
    every finished run.

    Args:
        folder: Where the record is, or will be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._shard = Shard(self.folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one coordinator of the record, which is made if it is missing.

        The death of the process releases the lock. Reading a record needs none.

        Raises:
            MutransferError: another coordinator is at work on the record, or the folder cannot be
                written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error, _ELSEWHERE) from None
        with locked(self.folder):
            yield

    def open(
        self,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
        first_losses: Callable[[], Fingerprint | None] = lambda: None,
        *,
        design: Mapping[str, Any] = FrozenDict(),
        model: str = "",
    ) -> None:
        """Create the record, or take it up; runs of another study stay where they are.

        Args:
            identity: What all runs of the study share.
            about: What else a new record keeps: versions, device, command, date.
            first_losses: Makes the fingerprint of what is trained; called after all other checks.
            design: What readers need: axes, hyperparameters, and the ids of the "runs".
            model: A name for what the fingerprint is of.

        Raises:
            MutransferError: the record was written with another model of the same name, or the
                folder cannot be written.
        """
        identity = _as_data(identity)
        written = self.header() if (self.folder / "study.json").exists() else None
        different = [] if written is None else _different(written["identity"], identity)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
            changed = [key for key in different if key not in _swept(written, design)]
            if changed and written is not None and (rows := self.rows()):
                self._warn(len(rows), changed[0], written["identity"], identity)
            taken_up = written if not different else None
            header = {"identity": identity, "about": dict((taken_up or {}).get("about", about))}
            header |= self._fingerprints(written, taken_up, first_losses(), model)
            header |= _joined(taken_up, design) | _versions(written, about)
            header |= {"ways": written["ways"]} if written and "ways" in written else {}
            if header != written:
                self._write_header(header)
        except OSError as error:
            raise unwritable(self.folder, error, _ELSEWHERE) from None

    def add(self, runs: Mapping[str, str] | Iterable[str]) -> None:
        """Add the ids of more runs to those of the record.

        Args:
            runs: The ids; with their sizes, as text, where it shall be known what is left of each.
        """
        header = self.header()
        known = set(header["runs"])
        new = [name for name in dict.fromkeys(runs) if name not in known]
        if not new:
            return
        header |= {"runs": [*header["runs"], *new]}
        if isinstance(runs, Mapping):
            sizes = Counter(header.get("sizes", {}))
            sizes.update(runs[name] for name in new)
            header |= {"sizes": dict(sizes)}
        self._write_header(header)

    def ways(self) -> dict[str, Any]:
        """Return how the runs of each shape are trained, by the shape's key."""
        return dict(self.header().get("ways", {}))

    def add_way(self, key: str, way: Mapping[str, Any]) -> None:
        """Keep how the runs of a shape are trained, for a sweep that is taken up again."""
        header = self.header()
        self._write_header(header | {"ways": {**header.get("ways", {}), key: dict(way)}})

    def is_of(self, identity: Mapping[str, Any]) -> bool:
        """Return True if the folder has a record of a study of this identity."""
        if not (self.folder / "study.json").exists():
            return False
        return not _different(self.header()["identity"], _as_data(identity))

    def _fingerprints(
        self,
        written: Mapping[str, Any] | None,
        taken_up: Mapping[str, Any] | None,
        losses: Fingerprint | None,
        model: str,
    ) -> dict[str, Any]:
        """Return the first losses of the study, and of all models of the record by name."""
        models: dict[str, Any] = dict((written or {}).get("models", {}))
        # A record from before models had names has one model.
        known = models.get(model) if models else (taken_up or {}).get("first_losses")
        if known is None or not self._is_trained_alike(known, losses):
            known = losses
        if known is None:
            return {"models": models} if models else {}
        return {"first_losses": known, **({"models": models | {model: known}} if model else {})}

    def _warn(
        self, count: int, key: str, written: Mapping[str, Any], identity: Mapping[str, Any]
    ) -> None:
        """Warn that the folder holds runs of another study."""
        warnings.warn(
            f"{self.folder} holds {count} runs of another study: its {key} is "
            f"{written.get(key)!r}, this study's is {identity.get(key)!r}; the new runs go beside "
            "them, and reading the folder gives those of this study",
            RecordWarning,
            stacklevel=5,
        )

    def _is_trained_alike(self, written: Fingerprint | None, losses: Fingerprint | None) -> bool:
        """Return False if a record without runs is of another model; raise if it has runs."""
        # A record from before fingerprints, or a builder that has none, cannot be compared.
        if written is None or losses is None or are_same(written, losses):
            return True
        if self.rows():
            then, now = (", ".join(f"{loss:.4g}" for loss in each) for each in (written, losses))
            raise MutransferError(
                f"{self.folder} was written with another model: at base size and seed 0 the first "
                f"losses, and what is evaluated after them, were {then}, and are {now} now, so the "
                "code of the builder, the data, the loss or a metric changed since; give another "
                "folder with out="
            )
        return False

    def _write_header(self, header: Mapping[str, Any]) -> None:
        path = self.folder / "study.json"
        # A crash while writing must not leave half a header under the file's name.
        whole = path.with_suffix(f".{os.getpid()}")
        try:
            with whole.open("w") as file:
                file.write(json.dumps(header, indent=1, default=str))
                file.flush()
                os.fsync(file.fileno())
            whole.replace(path)
        except OSError as error:
            raise unwritable(path, error, _ELSEWHERE) from None
        finally:
            with suppress(OSError):
                whole.unlink(missing_ok=True)

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
        self._shard.append(rows)

    def rows(self) -> list[Row]:
        """Return every finished run once, in the order of writing.

        A torn last line of a shard is dropped. Another damaged line is left out with a
        `RecordWarning`: the run that it held is missing, and is trained again.

        Raises:
            MutransferError: a shard cannot be read.
        """
        rows, damaged = read(self.folder)
        if damaged and self._lacks(rows):
            report(damaged)
        return list(rows.values())

    def _lacks(self, rows: Mapping[str, Row]) -> bool:
        """Return True if a run of the record is missing, as far as its header says."""
        try:
            listed = self.header().get("runs")
        except MutransferError:
            return True
        return not listed or any(name not in rows for name in listed)


def _as_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them, tuples as lists."""
    data: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return data


def _different(written: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Return the fields in which two identities differ."""
    keys = dict.fromkeys([*identity, *written])
    return sorted(key for key in keys if identity.get(key) != written.get(key))


def _swept(*designs: Mapping[str, Any] | None) -> set[str]:
    """Return what these designs sweep; a study may fix what another one sweeps."""
    names = ("axes", "hyperparameters")
    return {each for design in designs if design for n in names for each in design.get(n, ())}


def _versions(written: Mapping[str, Any] | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions that made a record, where there are several."""
    first, *_ = each = [
        {name: source[name] for name in ("mutransfer", "torch") if name in source}
        for source in ((written or {}).get("about", about), about)
    ]
    known = list((written or {}).get("versions", [first]))
    known += [versions for versions in each if versions not in known]
    return {"versions": known} if len(known) > 1 else {}


def _joined(written: Mapping[str, Any] | None, design: Mapping[str, Any]) -> dict[str, Any]:
    """Return the design of a record that a study takes up.

    Runs of earlier grids stay among its runs, unless axes or hyperparameters are others.
    """
    new = _as_data(design)
    if written is None or "runs" not in new:
        return new
    same = all(written.get(name) == new.get(name) for name in ("axes", "hyperparameters"))
    known = written.get("runs", ()) if same else ()
    sizes = {"sizes": written["sizes"]} if same and "sizes" in written else {}
    return new | {"runs": list(dict.fromkeys([*known, *new["runs"]]))} | sizes
