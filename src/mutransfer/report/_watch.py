"""The page of a sweep that runs: it is written again whenever runs were added."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core import MutransferError
from ..studies import Status, status
from ._page import Page

Write = Callable[[float | None, str], Page]
"""Writes the page, given the seconds after which it reads itself again, and a line on the sweep."""

_SHORTEST = 5.0
"""Least seconds between two pages."""

_SHARE = 0.1
"""Largest share of the time that is spent on writing pages, as the sweep needs the processors."""


def watched(
    records: Sequence[Path],
    write: Write,
    *,
    show: Callable[[str], None] = print,
    sleep: Callable[[float], None] = time.sleep,
) -> Page:
    """Write the page until every sweep has ended, and return the last one.

    Args:
        records: Folders of the records.
        write: Writes the page.
        show: Receives a line for every page.
        sleep: Waits for so many seconds.

    Raises:
        MutransferError: there is no record, or one ends without any run.
    """
    written, pause = -1, _SHORTEST
    while True:
        states = [status(each) for each in records]
        if not any(each.is_running for each in states):
            return write(None, "")
        done = sum(each.total.done for each in states)
        if done and done != written:
            start = time.monotonic()
            # A record of few runs may not have what a page needs yet: it will.
            try:
                show(f"{_line(states)} The page is {write(pause, _line(states)).path}")
            except MutransferError as error:
                show(f"{_line(states)} There is no page yet: {error}")
            written, pause = done, max(_SHORTEST, (time.monotonic() - start) / _SHARE)
        sleep(pause)


def _line(states: Sequence[Status]) -> str:
    """Return a sentence on how far the sweeps are."""
    done = sum(each.total.done for each in states)
    known = [each.total.runs for each in states]
    of = "" if None in known else f" of {sum(each or 0 for each in known)}"
    return f"The sweep is running: {done}{of} runs are done."
