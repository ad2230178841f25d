"""Child process with two channels, from both sides."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

from ._job import search_path

_HEAD = 8
"""Bytes of the length before each message."""

_LOOK = 0.5
"""Seconds between two looks at the parent."""

_PATIENCE = 5.0
"""Seconds that a killed process is waited for; one in a broken file system may stay."""


class Channels:
    """Whole messages over two streams.

    Args:
        source: The stream to read.
        sink: The stream to write.
    """

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()

    def send(self, message: bytes) -> None:
        """Send a message.

        Raises:
            OSError: nobody reads at the other end.
        """
        with self._lock:
            self._sink.write(len(message).to_bytes(_HEAD, "little"))
            self._sink.write(message)
            self._sink.flush()

    def receive(self) -> bytes:
        """Return the next message.

        Raises:
            EOFError: the other end is gone, perhaps in the midst of one.
        """
        return self._exactly(int.from_bytes(self._exactly(_HEAD), "little"))

    def close(self) -> None:
        """Close both streams."""
        for stream in (self._sink, self._source):
            with suppress(OSError):
                stream.close()

    def _exactly(self, count: int) -> bytes:
        data = self._source.read(count)
        if len(data) < count:
            raise EOFError
        return data


class Child:
    """Child process that ends with its parent.

    Args:
        module: Module of this room whose `main` the process calls with `Channels`.
        variables: Variables of its environment.
        errors: File that takes its standard error; by default that of the parent.
        grace: Seconds that it has to end by itself when the parent is gone.
    """

    def __init__(
        self,
        module: str,
        variables: Mapping[str, str],
        errors: IO[bytes] | None = None,
        grace: float = 0.0,
    ) -> None:
        # The main module of the child is this line: that of the parent does not run again.
        line = (
            f"import sys; sys.path[:] = {search_path()!r}; "
            f"from mutransfer.engines import _child, {module}; "
            f"{module}.main(_child.begin({os.getpid()}, {grace}))"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **variables},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self.channels = Channels(self._process.stdout, self._process.stdin)

    def is_alive(self) -> bool:
        """Return True while the process is there."""
        return self._process.poll() is None

    def wait(self, seconds: float = _PATIENCE) -> None:
        """Wait for the process to end, for so long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self) -> None:
        """Kill the process, also one that is stopped."""
        self._process.kill()
        self.wait()

    def end(self) -> None:
        """Kill the process and close its channels."""
        self.kill()
        self.channels.close()

    def fate(self) -> str:
        """Return how the process ended, in words."""
        code = self._process.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def begin(parent: int, grace: float) -> Channels:
    """Set up a child process, in itself.

    What its jobs print goes to standard error, and they can read nothing: both standard streams
    are the channels.

    Args:
        parent: Process id of the parent.
        grace: Seconds between the end of the parent and that of the process, whatever it does.
    """
    # Ctrl-C in a terminal reaches every process; the sweep decides what happens to its jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    threading.Thread(target=_watch, args=(parent, grace), daemon=True).start()
    channels = Channels(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return channels


def _watch(parent: int, grace: float) -> None:
    """End this process when its parent is gone, whatever it does."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    time.sleep(grace)
    os._exit(1)
