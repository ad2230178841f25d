"""The record on disk: crashes, damage, and other studies' records."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.core import Size, write_csv
from mutransfer.statistics import edge
from mutransfer.studies import RecordWarning, Runs, Store

IDENTITY = {"task": "digits", "steps": 200, "options": {"betas": (0.9, 0.99)}, "weight_decay": None}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    new = Store(tmp_path / "deep" / "record")
    new.open(IDENTITY, {"torch": "2.6"})
    return new


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "loss": 1 / 3 + number, "curve": [0.1, 0.2], **fields}


def shard(store: Store, content: str, name: str = "rows-1-1.jsonl") -> Path:
    path = store.folder / name
    path.write_text(content)
    return path


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_rows_come_back_exactly_and_in_order(store: Store) -> None:
    rows = [row(3), row(1, loss=None), row(2)]
    store.append(rows[:2])
    store.append(rows[2:])
    assert Store(store.folder).rows() == rows == Runs.read(store.folder).rows


def test_every_writer_has_a_shard_of_its_own(store: Store) -> None:
    again = Store(store.folder)
    again.open(IDENTITY, {})
    for writer, number in ((store, 1), (again, 2), (store, 3)):
        writer.append([row(number)])
    assert sorted(len(path.read_text().splitlines()) for path in store.folder.glob("rows-*")) == [
        1,
        2,
    ]
    assert {row["id"] for row in store.rows()} == {"r1", "r2", "r3"}


def test_the_header_keeps_the_first_provenance(store: Store) -> None:
    assert store.header() == {
        "identity": json.loads(json.dumps(IDENTITY)),
        "about": {"torch": "2.6"},
    }
    store.open(IDENTITY, {"torch": "9"})
    assert store.header()["about"] == {"torch": "2.6"}


@pytest.mark.parametrize("torn", ['{"id": "r2", "lo', '{"id": "r2"', "{", lines(row(2))[:-2]])
def test_a_torn_last_line_of_any_shard_is_dropped(store: Store, torn: str) -> None:
    shard(store, lines(row(1)) + torn)
    shard(store, lines(row(3)), "rows-2-1.jsonl")
    assert store.rows() == [row(1), row(3)]


def test_a_run_that_two_writers_finished_counts_once(store: Store) -> None:
    shard(store, lines(row(1), row(2)))
    shard(store, lines(row(2), row(3)), "rows-2-1.jsonl")
    assert store.rows() == [row(1), row(2), row(3)]


@pytest.mark.parametrize("name", IDENTITY)
def test_another_studys_runs_stay_with_a_warning_of_what_differs(store: Store, name: str) -> None:
    store.append([row(1)])
    message = f"holds 1 runs of another study: its {name} is .*, this study's is 'x'"
    with pytest.warns(RecordWarning, match=message):
        store.open(IDENTITY | {name: "x"}, {}, design={"runs": ["r2"]})
    store.append([row(2)])
    assert Runs.read(store.folder).rows == [row(2)] and store.rows() == [row(1), row(2)]


def test_a_record_without_runs_may_become_another_studys(tmp_path: Path) -> None:
    empty = Store(tmp_path / "empty")
    empty.open(IDENTITY, {})
    empty.open(IDENTITY | {"steps": 7}, {})
    assert empty.header()["identity"]["steps"] == 7


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            MutransferError, match=f"cannot write to {folder}: .+; give another folder"
        ):
            Store(folder).open(IDENTITY, {})


def test_a_folder_that_vanished_is_reported(store: Store) -> None:
    (store.folder / "study.json").unlink()
    store.folder.rmdir()
    with pytest.raises(
        MutransferError, match=r"cannot write to .*rows-.*; what was written before is kept"
    ):
        store.append([row(1)])


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_folder_without_a_record_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(MutransferError, match="holds no sweep"):
        Runs.read(tmp_path)


def test_not_a_number_never_enters(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.append([row(1, loss=float("nan"))])
    assert store.rows() == []


def test_csv_has_a_column_for_each_plain_value(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, [{"a": 1, "curve": [1]}, {"a": None, "b": "x, y", "more": {}}])
    assert list(csv.reader(path.read_text().splitlines())) == [["a", "b"], ["1", ""], ["", "x, y"]]
    write_csv(path, [])
    assert path.read_text() == ""


def record(losses: dict[tuple[float, int], float | None]) -> Runs:
    rows = [
        {"rule": "sp", "width": 8, "depth": 2, "lr": lr, "seed": seed, "loss": loss}
        for (lr, seed), loss in losses.items()
    ]
    return Runs(
        header={},
        rows=[*rows, {"rule": "mup", "width": 4, "depth": 2, "lr": 1.0, "seed": 0, "loss": 0.5}],
    )


SIZE = Size(width=8, depth=2)


def test_losses_are_sorted_and_infinite_where_runs_diverged() -> None:
    runs = record({(0.5, 1): None, (0.5, 0): 3.0, (0.25, 0): 1.0, (0.25, 1): 2.0})
    rates, losses = runs.losses("sp", SIZE)
    assert rates == [0.25, 0.5] and losses.tolist() == [[1, 3], [2, np.inf]]
    assert runs.rules == ["sp", "mup"] and runs.sizes("mup") == [Size(width=4, depth=2)]


@pytest.mark.parametrize(
    ("rule", "size", "message"),
    [
        (
            "sp",
            SIZE,
            "lacks seed 1 at rate 0.5 of rule 'sp' at width 8, depth 2: run the sweep again",
        ),
        ("mup", SIZE, "no runs of rule 'mup' at width 8, depth 2"),
    ],
)
def test_missing_losses_are_refused(rule: str, size: Size, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        record({(0.5, 0): 3.0, (0.25, 0): 1.0, (0.25, 1): 2.0}).losses(rule, size)


INF = np.inf


@pytest.mark.parametrize(
    ("losses", "side"),
    [
        ([1, 2, 3], "low"),
        ([3, 2, 1], "high"),
        ([2, 1, 2], None),
        ([2, 1, INF], None),
        ([INF, INF, INF], "low"),
        ([INF, 1, INF], None),
    ],
)
def test_edges(losses: list[float], side: str | None) -> None:
    assert edge(np.array(losses)) == side


def test_the_versions_of_a_record_are_kept_where_there_are_several(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for torch in ("2.6", "2.6", "2.13", "2.6"):
        store.open({"build": "a"}, {"torch": torch, "date": "today"})
        expected = [{"torch": "2.6"}, {"torch": "2.13"}] if torch == "2.13" else None
        assert expected is None or store.header()["versions"] == expected
    assert len(store.header()["versions"]) == 2
    assert store.header()["about"]["torch"] == "2.6"
