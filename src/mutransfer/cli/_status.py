"""`mutransfer status`."""

from __future__ import annotations

import sys
import time
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text
from tyro.conf import Positional

from ._show import Terminal, show

if TYPE_CHECKING:
    from ..studies import Status

_PAUSE = 1.0
"""Least seconds between two looks; a look that takes long has longer pauses."""

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
    console = Terminal()
    is_drawn = console.is_terminal and not json
    with Live(console=console, auto_refresh=False) as live:
        while True:
            start = time.monotonic()
            now = look(runs)
            if is_drawn:
                live.update(Text(str(now)), refresh=True)
            else:
                _print(now, json=json)
            if not now.is_running:
                return
            took = time.monotonic() - start
            time.sleep(max(_PAUSE if is_drawn or json else _LINES, 4 * took) - took)


def _print(now: Status, *, json: bool) -> None:
    print(dumps(now.to_json()) if json else f"{now}\n", file=sys.stdout, flush=True)
