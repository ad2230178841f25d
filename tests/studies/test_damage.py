"""The record on a bad day: damaged lines, full disks, clocks that jump, folders for readers."""

import errno
import json
import os
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError
from mutransfer.studies import RecordWarning, Runs, Store
from mutransfer.studies import _shards as shards

IDENTITY = {"task": "digits"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "record")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def opened(folder: Path) -> Store:
    store = Store(folder)
    store.open(IDENTITY, {}, design={"runs": [f"r{number}" for number in range(4)]})
    return store


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "loss": 1 / 3 + number, "curve": [0.1, 0.2], **fields}


def shard(store: Store, content: bytes, name: str = "rows-1-1.jsonl") -> Path:
    path = store.folder / name
    path.write_bytes(content)
    return path


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


DAMAGE = {
    "half a line": b'{"id": ',
    "no run": b"[1]",
    "no id": b'{"loss": 1}',
    "an id that is none": b'{"id": [1]}',
    "zeros of a lost block": b"\0" * 40,
    "half a character": b'{"id": "r1", "note": "\xc3"}',
    "two lines in one": lines(row(1))[:-9] + lines(row(1))[:-1],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_line_is_reported_and_its_run_is_missing(store: Store, damage: bytes) -> None:
    path = shard(store, lines(row(0)) + damage + b"\n" + lines(row(2)))
    with pytest.warns(RecordWarning, match=f"{path.name}, line 2 is damaged .* trained again"):
        assert store.rows() == [row(0), row(2)]
    # Reported once, as a sweep reads its record many times.
    assert Runs.read(store.folder).rows == [row(0), row(2)]


def test_every_byte_of_a_row_that_changes_is_noticed(store: Store) -> None:
    store.append([row(0), row(1)])
    (path,) = store.folder.glob("rows-*.jsonl")
    whole = path.read_bytes()
    assert store.rows() == [row(0), row(1)]
    for place in range(whole.index(b"\n")):
        for bit in (1, 2, 64):
            changed = bytearray(whole)
            changed[place] ^= bit
            path.write_bytes(changed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RecordWarning)
                left = [each for each in store.rows() if each["id"] != "r1"]
            # What happens to the checksum's own name leaves the row as it was.
            assert not left or left[0].items() >= row(0).items(), bytes(changed)


def test_rows_without_a_checksum_are_read(store: Store) -> None:
    shard(store, lines(row(0)) + b'{"id": "r1", "crc32": 7}\n')
    with pytest.warns(RecordWarning, match="line 2 is damaged"):
        assert store.rows() == [row(0)]


def test_damage_is_silent_once_its_run_was_trained_again(store: Store) -> None:
    shard(store, b"?\n" + lines(row(0), row(2), row(3)))
    store.append([row(1)])
    assert store.rows() == [row(0), row(2), row(3), row(1)]


def test_a_torn_last_line_and_an_empty_one_are_dropped_silently(store: Store) -> None:
    shard(store, lines(row(0)) + b"\n" + lines(row(2)) + b'{"id": "r3')
    assert store.rows() == [row(0), row(2)]


def test_a_shard_that_cannot_be_read_is_refused(store: Store) -> None:
    (store.folder / "rows-7-7.jsonl").mkdir()
    with pytest.raises(MutransferError, match=r"cannot read .*rows-7-7.jsonl: Is a directory"):
        store.rows()


def test_a_full_disk_keeps_what_is_written_and_takes_more_later(full: Path) -> None:
    store, done = opened(full / "runs"), []
    (full / "others").write_bytes(b"x" * 20_000)
    with pytest.raises(MutransferError) as error:
        for number in range(100):
            store.append([row(number, curve=[0.5] * 300)])
            done.append(number)
    assert "No space left on device; free space and start the same sweep again" in str(error.value)
    assert "rows-" in str(error.value) and done
    (path,) = store.folder.glob("rows-*.jsonl")
    written = (row(number, curve=[0.5] * 300) for number in done)
    assert path.read_text() == "".join(map(shards._line, written))
    (full / "others").unlink()
    store.append([row(1000)])
    ids = [f"r{number}" for number in [*done, 1000]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [each["id"] for each in Store(store.folder).rows()] == ids


def test_a_header_that_finds_no_space_leaves_the_old_one(full: Path) -> None:
    store = opened(full / "runs")
    header, names = store.header(), sorted(store.folder.iterdir())
    (full / "others").write_bytes(b"x" * (os.statvfs(full).f_bavail * os.statvfs(full).f_bsize))
    for change in (
        lambda: store.add([f"run {number}" for number in range(10_000)]),
        lambda: store.add_way("shape", {"size": "x" * 10_000}),
    ):
        with pytest.raises(MutransferError, match=r"study.json: No space left .*; free space and"):
            change()
    assert store.header() == header and sorted(store.folder.iterdir()) == names


def test_rows_never_follow_a_line_that_could_not_be_taken_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 10:
            return whole(descriptor, data[:10])
        return full(descriptor)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.append([row(0)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        patch.setattr(os, "ftruncate", full)
        with pytest.raises(MutransferError, match="free space"):
            store.append([{"id": "r1"}])
    store.append([row(2)])
    assert len(list(store.folder.glob("rows-*.jsonl"))) == 2
    assert store.rows() == [row(0), row(2)]


@pytest.mark.parametrize("interrupted", ["write", "fsync"])
def test_ctrl_c_in_a_write_leaves_whole_lines(
    store: Store, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    whole = os.write

    def ctrl_c(descriptor: int, data: bytes = b"") -> int:
        if len(data) > 20:
            return whole(descriptor, data[:10])
        raise KeyboardInterrupt

    store.append([row(0)])
    with monkeypatch.context() as patch:
        patch.setattr(os, interrupted, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            store.append([row(1)])
    store.append([row(2)])
    kept = [row(0), row(2)] if interrupted == "write" else [row(0), row(1), row(2)]
    assert Store(store.folder).rows() == kept


def test_shards_keep_their_order_when_the_clock_jumps_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([row(0)])
    for number, clock in enumerate([10**18, 5, 5, 0], 1):
        monkeypatch.setattr(shards.time, "time_ns", lambda clock=clock: clock)
        Store(store.folder).append([row(number)])
    store.append([row(5)])
    names = [path.name for path in store.folder.glob("rows-*.jsonl")]
    assert len(set(names)) == 5
    assert [each["id"] for each in store.rows()] == ["r0", "r5", "r1", "r2", "r3", "r4"]


def test_two_writers_of_one_moment_have_two_shards(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.time, "time_ns", lambda: 7)
    # Neither sees the other's file, as on two machines.
    monkeypatch.setattr(shards, "_shards", lambda folder: [])
    for number in (0, 1):
        Store(store.folder).append([row(number)])
    assert len(list(store.folder.glob("rows-*.jsonl"))) == 2


def test_shards_are_read_in_the_order_of_their_numbers(store: Store) -> None:
    for number in (10, 9, 1):
        shard(store, lines(row(number)), f"rows-{number}-1.jsonl")
    shard(store, lines(row(11)), "rows-old.jsonl")
    assert [each["id"] for each in store.rows()] == ["r1", "r9", "r10", "r11"]


def test_nothing_to_add_makes_no_shard(store: Store) -> None:
    store.append([])
    assert not list(store.folder.glob("rows-*.jsonl"))


def test_a_read_only_record_is_read_and_not_written(full: Path) -> None:
    store = opened(full / "runs")
    store.append([row(0)])
    subprocess.run(["mount", "-o", "remount,ro", str(full)], check=True)
    again = Store(store.folder)
    assert again.rows() == [row(0)] == Runs.read(store.folder).rows
    refused = "cannot write to .*: Read-only file system; "
    elsewhere = refused + "give another folder with out="
    with pytest.raises(MutransferError, match=elsewhere), again.lock():
        pass
    with pytest.raises(MutransferError, match=refused + "start the same sweep again later"):
        again.append([row(1)])
    with pytest.raises(MutransferError, match=elsewhere):
        again.add(["r9"])
