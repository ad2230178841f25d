"""Ctrl-C: once to end after the present step, twice to end at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..training import Interrupted


class Interrupts:
    """Ctrl-C during a sweep; a context manager.

    The first one is noted, so that what is finished can be recorded; the second one is Python's.
    In threads other than the main one, and where a handler of one's own is set, it does nothing.

    Args:
        say: Receives what to tell the user.

    Attributes:
        is_asked: True once the user asked to end.
        is_at_once: True once the user asked twice.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.is_asked, self.is_at_once, self._say = False, False, say
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise `Interrupted` where the user asked to end."""
        if self.is_asked:
            raise Interrupted

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            self.is_at_once = True
            signal.default_int_handler(number, frame)
        self.is_asked = True
        self._say("ending after the present step; Ctrl-C once more ends at once")
