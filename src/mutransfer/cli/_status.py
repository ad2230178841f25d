"""`mutransfer status`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text
from tyro.conf import Positional

from ._show import Terminal, show

if TYPE_CHECKING:
    from ..studies import Status

_PAUSE = 0.5
"""Seconds between two looks on a terminal; each takes about one itself."""

_LINES = 10.0
"""Seconds between two looks where there is no terminal."""


def status(runs: Positional[Path], watch: bool = False, json: bool = False) -> None:
    """Say how a sweep stands, from another terminal or machine, also when it is dead.

    Shows what is done and left of each size, who is at work, which workers are slow or silent, and
    the time that is left; of a sweep that is dead, how it ended, and the command that goes on.

    Try: mutransfer status runs/gpt

    Try: mutransfer status runs/gpt --watch

    Try: mutransfer status runs/gpt --json

    Args:
        runs: Folder of the record that the sweep writes.
        watch: Go on until the sweep ends.
        json: Print JSON; an object a line with --watch.
    """
    from ..studies import status as look

    if not watch:
        show(look(runs), json=json)
        return
    # Ctrl-C ends the watching, and nothing else.
    with suppress(KeyboardInterrupt):
        _watch(partial(look, runs), json=json)


def _watch(look: Callable[[], Status], *, json: bool) -> None:
    """Look again and again until no sweep is at work."""
    console = Terminal()
    is_drawn = console.is_terminal and not json
    pause = _PAUSE if is_drawn or json else _LINES
    with Live(console=console, auto_refresh=False) as live:
        while True:
            start = time.monotonic()
            now = look()
            if is_drawn:
                live.update(Text(str(now)), refresh=True)
            else:
                print(dumps(now.to_json()) if json else f"{now}\n", flush=True)
            if not now.is_running:
                return
            # Large records take seconds to read.
            time.sleep(max(pause, 3 * (time.monotonic() - start)))
