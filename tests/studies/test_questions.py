"""Questions to workers: a worker that dies or hangs costs an answer at most."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mutransfer.engines import Resources
from mutransfer.studies import _dispatch
from mutransfer.studies._interrupts import Interrupts
from mutransfer.studies._live import Live
from mutransfer.studies._questions import Question, answers
from mutransfer.training import Interrupted


class Workers(ThreadPoolExecutor):
    """Threads of this process, of which some are lost, and some hang after a sign of life.

    Attributes:
        lost: Says by the name of a job if its worker is lost.
        hangs: Says so if it hangs.
        given_up: Jobs whose workers were ended.
        most: Most jobs that ran at once.
    """

    name, workers, shortest = "threads", 2, 0.0
    lost: Callable[[str], bool]
    hangs: Callable[[str], bool]

    def __init__(self) -> None:
        super().__init__(8)
        self.lost = self.hangs = lambda name: False
        self.given_up, self.most, self.now, self.is_closed = 0, 0, 0, False
        self.lock = threading.Lock()

    def submit(self, resources: Any, function: Any, /, *arguments: Any) -> Any:
        live, name = arguments[:2]
        future: Future[Any] = Future()
        if self.lost(name):
            future.set_exception(ConnectionError("the node is gone"))
            return future
        if self.hangs(name):
            beat = {"job": name, "alive": 1, "steps": 0, "host": "far", "pid": 7}
            (live / "jobs" / f"{name}.json").write_text(json.dumps(beat))
            return future
        return super().submit(self.counted, function, *arguments)

    def counted(self, function: Any, *arguments: Any) -> Any:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return function(*arguments)
        finally:
            with self.lock:
                self.now -= 1

    def discard(self, future: Any) -> None:
        self.given_up += 1

    def close(self, *, at_once: bool = False) -> None:
        self.is_closed = at_once


def double(number: int) -> int:
    time.sleep(0.05)
    return 2 * number


def questions(count: int) -> list[Question]:
    """Questions for the double of each number."""
    about = {"size": "width 8", "runs": 2}
    resources = Resources()
    return [
        Question(about=about, resources=resources, function=double, arguments=(number,))
        for number in range(count)
    ]


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Two workers."""
    with Workers() as workers:
        yield workers


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """Signs of life."""
    with Live(tmp_path) as live:
        yield live


def test_answers_come_in_order_from_no_more_workers_than_there_are(
    workers: Workers, live: Live
) -> None:
    with Interrupts(print) as interrupts:
        found = answers(workers, questions(8), live=live, interrupts=interrupts)
    assert found == [0, 2, 4, 6, 8, 10, 12, 14] and workers.most == 2


def test_a_lost_worker_is_asked_again(workers: Workers, live: Live) -> None:
    workers.lost = lambda name: name == "question-0001-1" or name.startswith("question-0002")
    with Interrupts(print) as interrupts:
        found = answers(workers, questions(4), live=live, interrupts=interrupts)
    assert found == [0, 2, None, 6]


def test_a_worker_that_hangs_is_given_up(
    workers: Workers, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dispatch, "FROZEN", 0.5)
    workers.hangs = lambda name: name.endswith("-1")
    with Interrupts(print) as interrupts:
        found = answers(workers, questions(2), live=live, interrupts=interrupts)
    assert found == [0, 2] and workers.given_up == 2


def test_ctrl_c_does_not_wait_for_answers(workers: Workers, live: Live) -> None:
    workers.hangs = lambda name: True
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with Interrupts(print) as interrupts, pytest.raises(Interrupted):
        timer.start()
        answers(workers, questions(2), live=live, interrupts=interrupts)
    assert workers.is_closed
