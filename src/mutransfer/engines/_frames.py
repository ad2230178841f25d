"""Messages between a process and its workers: a length, then so many bytes."""

from __future__ import annotations

from typing import IO

_HEAD = 8
"""Bytes of a length."""


def write(stream: IO[bytes], data: bytes) -> None:
    """Send a message.

    Raises:
        OSError: nobody reads at the other end.
    """
    stream.write(len(data).to_bytes(_HEAD, "little"))
    stream.write(data)
    stream.flush()


def read(stream: IO[bytes]) -> bytes:
    """Return the next message, whole.

    Raises:
        EOFError: the other end is gone, perhaps in the midst of one.
    """
    return _exactly(stream, int.from_bytes(_exactly(stream, _HEAD), "little"))


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
