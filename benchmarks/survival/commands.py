"""`mutransfer sweep` as a user starts it on a terminal, in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .studies import DIARY
from .sweeps import Place

ROOT = Path(__file__).parents[2]

INTERRUPTED = {130, -signal.SIGINT}
"""Exit codes after Ctrl-C; the second one before the command has begun to listen."""


class Command:
    """The command of a sweep.

    Args:
        place: Where it leaves its traces.
        study: Name of the study.
        small: True for the small study.
        patch: Nothing; a command cannot be patched.
        engine: The engine.
    """

    def __init__(
        self,
        place: Place,
        study: str,
        *,
        small: bool = False,
        patch: Callable[[], None] | None = None,
        engine: str = "here",
    ) -> None:
        name = f"benchmarks.survival.swept:{'small_' if small else ''}{study}"
        line = ["-m", "mutransfer", "sweep", name, "--out", str(place.folder), "--engine", engine]
        self._log = place.diary.with_suffix(".log")
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *line],
                env=os.environ | {DIARY: str(place.diary), "PYTHONPATH": path},
                stdout=log,
                stderr=log,
                # Ctrl-C reaches all processes of the group in the foreground of a terminal.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, and that of the group."""
        return self.process.pid

    def wait(self, seconds: float | None = None) -> bool:
        """Return True if the command ends within these seconds."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill it without a warning."""
        self.process.kill()
        self.process.wait()

    @property
    def outcome(self) -> dict[str, Any]:
        """What became of the sweep: its "error"."""
        code = self.process.returncode
        text = self._log.read_text()
        nothing: dict[str, Any] = {"warnings": [], "notes": []}
        if code in INTERRUPTED:
            return {"error": "interrupted", **nothing}
        return {"error": f"exit code {code}: {text[-500:]}" if code else "", **nothing}
