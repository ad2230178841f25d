"""Tables as named columns: CSV, TSV, JSON lines, parquet, data frames."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, TextIO

from ..core import MutransferError, kind_of, needs

_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r'"?sep=(.)"?')
"""The line before the column names by which Excel knows the delimiter."""

_PACKED = ("config", "summary")
"""Columns of dictionaries that the API of Weights & Biases gives."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A table, of which columns are read when they are asked for.

    Attributes:
        title: Its name for messages, such as the path.
        names: The names of its columns.
        first: Number of its first row, as an editor or a data frame counts.
        read: Returns these columns, a sequence of equal length each.
    """

    title: str
    names: tuple[str, ...]
    first: int
    read: Callable[[Sequence[str]], list[Sequence[Any]]]

    def columns(self, names: Iterable[str]) -> dict[str, Sequence[Any]]:
        """Return columns by name."""
        wanted = list(dict.fromkeys(names))
        return dict(zip(wanted, self.read(wanted), strict=True)) if wanted else {}


def open_table(source: Any) -> Table:
    """Return the table in a file, or a data frame of pandas or polars.

    Raises:
        MutransferError: there is no such file, it is of an unknown kind or damaged, or the package
            that reads it is missing.
    """
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):
        return _unpacked(_from_frame(source))
    if not isinstance(source, str | Path):
        raise MutransferError(
            f"a table is a path or a data frame, not {kind_of(source)}: "
            "give the path of a CSV, TSV, JSON lines or parquet file"
        )
    path = Path(source)
    if not path.is_file():
        raise MutransferError(f"there is no file {path}: give the path of a table")
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        kinds = ", ".join(_OPENERS)
        raise MutransferError(f"{path} is a table of an unknown kind: its name must end in {kinds}")
    return _unpacked(opener(path))


def _from_csv(path: Path) -> Table:
    with _damage(path), path.open("rb") as raw:
        # Excel and PowerShell write UTF-16, with a mark that says so.
        encoding = "utf-16" if raw.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with _damage(path), path.open(newline="", encoding=encoding, errors="replace") as file:
        before, delimiter = _head(file)
        _skip(file, before)
        names = tuple(name.strip() for name in next(csv.reader(file, delimiter=delimiter), []))
    if not names:
        raise MutransferError(f"{path} is empty: a table needs a row of column names")

    def read(wanted: Sequence[str]) -> list[Sequence[Any]]:
        # One more column than asked for, so that itemgetter always returns a tuple.
        pick = itemgetter(*(names.index(name) for name in wanted), 0)
        with _damage(path), path.open(newline="", encoding=encoding, errors="replace") as file:
            _skip(file, before)
            lines = csv.reader(file, delimiter=delimiter)
            next(lines)
            try:
                rows = []
                for row in lines:
                    # Empty cells at the end are those of a trailing comma.
                    if len(row) > len(names) and any(map(str.strip, row[len(names) :])):
                        raise MutransferError(
                            f"{path}, line {before + lines.line_num} has more cells than "
                            f"the {len(names)} columns: a cell that holds {delimiter!r} itself, "
                            "such as a decimal comma, needs quotes"
                        )
                    if row:
                        rows.append(pick(row))
            except IndexError:
                raise MutransferError(
                    f"{path}, line {before + lines.line_num} has fewer cells than the "
                    f"{len(names)} columns: the file is cut off there, or a cell lacks its quotes"
                ) from None
        columns: list[Sequence[Any]] = list(map(tuple, zip(*rows, strict=True)))
        return columns[:-1] or [() for _ in wanted]

    return Table(title=str(path), names=names, first=2 + before, read=read)


def _head(file: TextIO) -> tuple[int, str]:
    """Return the number of lines before the column names, and the delimiter.

    They are comments, or the delimiter as Excel reads it.
    """
    before, delimiter, comment = 0, "", ""
    for line in file:
        if match := _SEPARATOR.fullmatch(line.strip()):
            delimiter = match[1]
        elif line.startswith("#"):
            comment = line
        else:
            delimiter = delimiter or max(_DELIMITERS, key=line.count)
            # A comment of as many cells, just above numbers, holds their names.
            is_row = any(map(_is_number, line.split(delimiter)))
            names = comment.count(delimiter) == line.count(delimiter)
            return before - (is_row and names), delimiter
        before += 1
    return max(before - 1, 0), delimiter or max(_DELIMITERS, key=comment.count)


def _skip(file: TextIO, before: int) -> None:
    """Move to the line of a file after so many."""
    file.seek(0)
    for _ in range(before):
        file.readline()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _from_json(path: Path) -> Table:
    with _damage(path):
        text = path.read_text(encoding="utf-8-sig")
        whole = path.suffix.lower() == ".json" and text.lstrip()[:1] == "["
        items = json.loads(text) if whole else list(_lines(path, text))
    records = [dict(_flat(item)) for item in items]
    return _from_records(str(path), records, first=0 if whole else 1)


def _lines(path: Path, text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise MutransferError(
                f"{path}, line {number} is no JSON: {error}; JSON lines have one object a line"
            ) from None
        if not isinstance(item, Mapping):
            raise MutransferError(f"{path}, line {number} is no object of JSON, such as {{...}}")
        yield item


def _flat(item: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested dictionaries, by names joined with dots."""
    for key, value in item.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _from_records(title: str, records: list[dict[str, Any]], first: int) -> Table:
    names = tuple(dict.fromkeys(name for record in records for name in record))

    def read(wanted: Sequence[str]) -> list[Sequence[Any]]:
        return [[record.get(name) for record in records] for name in wanted]

    return Table(title=title, names=names, first=first, read=read)


def _from_parquet(path: Path) -> Table:
    with needs("reading parquet", "pyarrow", "tables"):
        from pyarrow import parquet
    with _damage(path):
        names = tuple(parquet.read_schema(path).names)

    def read(wanted: Sequence[str]) -> list[Sequence[Any]]:
        with _damage(path):
            columns = parquet.read_table(path, columns=list(wanted)).to_pydict()
        return [columns[name] for name in wanted]

    return Table(title=str(path), names=names, first=0, read=read)


def _from_frame(frame: Any) -> Table:
    columns = {str(name): name for name in frame.columns}

    def read(wanted: Sequence[str]) -> list[Sequence[Any]]:
        series = (frame[columns[name]] for name in wanted)
        # The method is called tolist in pandas and to_list in polars.
        return [each.tolist() if hasattr(each, "tolist") else each.to_list() for each in series]

    return Table(title="the data frame", names=tuple(map(str, frame.columns)), first=0, read=read)


def _unpacked(table: Table) -> Table:
    """Return the table with columns in place of dictionaries."""
    packed = [name for name in table.names if name.lower() in _PACKED]
    if not packed:
        return table
    cells = table.columns(packed)
    if not all(_is_packed(cell) for column in cells.values() for cell in column):
        return table
    records: list[dict[str, Any]] = [{} for _ in cells[packed[0]]]
    for name, column in cells.items():
        for record, cell in zip(records, column, strict=True):
            record.update(_flat(_dictionary(cell), f"{name}."))
    others = [name for name in table.names if name not in packed]
    for name, column in table.columns(others).items():
        for record, cell in zip(records, column, strict=True):
            record[name] = cell
    return _from_records(table.title, records, table.first)


def _is_packed(cell: Any) -> bool:
    return isinstance(cell, Mapping) or (isinstance(cell, str) and cell.startswith("{"))


def _dictionary(cell: Any) -> Mapping[str, Any]:
    """Return a dictionary, also from its text in JSON or Python."""
    if isinstance(cell, Mapping):
        return cell
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(cell)
        except (SyntaxError, ValueError):
            continue
        return value if isinstance(value, Mapping) else {}
    return {}


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn a file that cannot be read into a sentence."""
    try:
        yield
    except MutransferError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise MutransferError(f"{path} cannot be read as a table: {error}") from None


_OPENERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _from_csv,
    ".tsv": _from_csv,
    ".txt": _from_csv,
    ".jsonl": _from_json,
    ".ndjson": _from_json,
    ".json": _from_json,
    ".parquet": _from_parquet,
}
