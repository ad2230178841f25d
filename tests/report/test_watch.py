"""The page of a sweep that runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError
from mutransfer.report import Page, _watch, watched, write_report
from mutransfer.studies import Runs
from mutransfer.studies._status import Counts, Status
from tests.records import section_of


def at(state: str, done: int) -> Status:
    total = Counts(size="all", runs=90, finished=done)
    return Status(folder="runs", state=state, total=total)


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a sweep go through states."""

    def script(*sequence: Status) -> None:
        left = iter(sequence)
        monkeypatch.setattr(_watch, "status", lambda _: next(left))

    return script


def test_a_page_is_written_where_runs_were_added(states: Callable[..., None]) -> None:
    states(
        *(at("running", 0), at("running", 12), at("running", 12), at("running", 30)),
        at("finished", 90),
    )
    written: list[Any] = []
    said: list[str] = []

    def write(refresh: float | None, note: str) -> Page:
        written.append((refresh, note))
        if len(written) == 1:
            raise MutransferError("too few runs")
        return Page(path=Path("report.html"), headline="")

    assert watched([Path("runs")], write, show=said.append, sleep=lambda _: None).headline == ""
    assert [note for _, note in written] == [
        "The sweep is running: 12 of 90 runs are done.",
        "The sweep is running: 30 of 90 runs are done.",
        "",
    ]
    assert written[1][0] >= 5 and written[2][0] is None
    assert said[0].endswith("There is no page yet: too few runs")


def test_an_open_page_follows(widths: Runs, tmp_path: Path) -> None:
    page = write_report(tmp_path, [section_of(widths)], refresh=7.0, note="12 of 90 runs are done.")
    text = page.path.read_text()
    assert '<html lang="en" data-refresh="7.0">' in text
    assert '<noscript><meta http-equiv="refresh" content="7.0"></noscript>' in text
    assert "12 of 90 runs are done." in text
    write_report(tmp_path, [section_of(widths)])
    assert "data-refresh" not in page.path.read_text().partition("<style>")[0]
