"""`mutransfer transfer`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from ..core import text
from ._show import Terminal


def transfer(
    runs: Positional[Path],
    width: int | None = None,
    depth: int | None = None,
    json: bool = False,
) -> None:
    """Show how far the best rate drifts with size, and the rate to use at a target.

    Rules whose best rate could not be found are named with the reason, and the exit code is 2 then.

    Try: mutransfer transfer runs/gpt

    Try: mutransfer transfer runs/gpt --width 8192 --depth 64 --json

    Args:
        runs: Folder of the record that a sweep wrote.
        width: Width of the target; by default the largest of the sweep.
        depth: Depth of the target; by default the largest of the sweep.
        json: Print JSON, of rules that were refused, too: their reasons.
    """
    from ..certificates import transfer as find_transfer
    from ..report import Section, transfer_table
    from ..studies import Runs

    target = {"width": width, "depth": depth}
    at = {axis: size for axis, size in target.items() if size is not None}
    transfers = find_transfer(Runs.read(runs), at)
    if json:
        print(text(transfers.outcomes))
    elif len(transfers):
        Terminal().print(transfer_table(Section.of(transfers)))
        print("\n".join(map(str, transfers)))
    transfers.raise_if_refused()
