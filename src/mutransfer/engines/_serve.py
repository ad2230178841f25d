"""Worker of `Processes`: one job after another, while its parent has some."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ._child import Channels
from ._job import run


def main(channels: Channels) -> None:
    """Answer each job with its outcome."""
    with suppress(EOFError, OSError):
        while True:
            outcome = run(channels.receive())
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            channels.send(outcome)
    # Threads that a job left behind keep no process alive.
    os._exit(0)
