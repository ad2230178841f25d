"""Questions to workers before training, whose loss costs no more than an answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines import Executor, Future, Resources
from . import _dispatch
from ._interrupts import Interrupts
from ._live import Beat, Live

ATTEMPTS = 3
"""Workers that a question may lose before there is no answer."""

_POLL, _LOOK = 0.05, 0.5
"""Seconds between two looks for answers, and for signs of life."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A function that a worker calls.

    Attributes:
        about: What `status` shows of it: `size` and number of `runs`.
        resources: What its worker needs.
        function: The function.
        arguments: Its arguments.
    """

    about: Mapping[str, Any]
    resources: Resources
    function: Callable[..., Any]
    arguments: Sequence[Any]


@dataclass(eq=False)
class _Asked:
    """A question at a worker, with its last sign of life."""

    number: int
    name: str
    alive: int = -1
    silent: float = 0.0


def answer(
    live: Path, name: str, about: Mapping[str, Any], function: Callable[..., Any], *arguments: Any
) -> Any:
    """Answer a question in a worker, with signs of life."""
    with Beat(live, name, about):
        return function(*arguments)


def answers(
    executor: Executor, questions: Sequence[Question], *, live: Live, interrupts: Interrupts
) -> list[Any]:
    """Return the answers of workers, None where they were lost or hang.

    Raises:
        KeyboardInterrupt: the user asked to end.
    """
    waiting = deque((number, 1) for number in range(len(questions)))
    asked: dict[Future, _Asked] = {}
    found: list[Any] = [None] * len(questions)
    attempts, looked = [0] * len(questions), time.monotonic()
    try:
        while waiting or asked:
            while waiting and len(asked) < (executor.workers or len(questions)):
                number, attempt = waiting.popleft()
                each, name = questions[number], f"question-{number:04d}-{attempt}"
                about = {**each.about, "sweep": live.sweep}
                sent = (live.folder, name, about, each.function, *each.arguments)
                future = executor.submit(each.resources, answer, *sent)
                asked[future], attempts[number] = _Asked(number, name), attempt
            lost = []
            for future in [future for future in asked if future.done()]:
                number = asked.pop(future).number
                try:
                    found[number] = future.result()
                except (Exception, futures.CancelledError):
                    lost.append(number)
            if time.monotonic() - looked >= _LOOK:
                passed, looked = time.monotonic() - looked, time.monotonic()
                for future in _hanging(asked, live, min(passed, 10 * _LOOK)):
                    lost.append(asked.pop(future).number)
                    executor.discard(future)
            waiting.extend((n, attempts[n] + 1) for n in lost if attempts[n] < ATTEMPTS)
            interrupts.check()
            time.sleep(_POLL)
    except BaseException:
        executor.close(at_once=True)
        raise
    return found


def _hanging(asked: Mapping[Future, _Asked], live: Live, passed: float) -> list[Future]:
    """Return the questions whose workers gave no sign of life for long."""
    beats = live.beats()
    for each in asked.values():
        # Without one it waits in a queue, or its machine has no shared folder.
        beat = beats.get(each.name)
        if beat is not None:
            each.silent = each.silent + passed if beat.alive == each.alive else 0.0
            each.alive = beat.alive
    return [future for future, each in asked.items() if each.silent > _dispatch.FROZEN]
