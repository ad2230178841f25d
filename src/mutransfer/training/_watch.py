"""Watches, which receive the progress of training and may end it."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[int], None]
"""A callback that receives the number of member-steps just done; it may raise `Interrupted`."""


class Interrupted(KeyboardInterrupt):
    """The end of a training after the present step; the rest is `unfinished`."""
