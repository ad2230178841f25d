"""`mutransfer experiment`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from rich.table import Table
from tyro.conf import Positional

from ..core import MutransferError, text
from ._live import LiveSweep
from ._show import Terminal, show


def experiment(
    action: Positional[Literal["list", "run"]],
    names: Positional[tuple[str, ...]] = (),
    scale: Literal["tiny", "small", "full"] = "small",
    out: Path = Path("runs/experiments"),
    data: Path | None = None,
    device: str | None = None,
    json: bool = False,
) -> None:
    """List the papers' experiments with what they found here, or run them.

    Each is a figure or a table of a paper, with its claims as data: what the paper states, what was
    measured, and the wrong rule under which the claim must fail. Exit code 1 if a claim does not
    hold, or holds under its wrong rule, too.

    Try: mutransfer experiment list

    Try: mutransfer experiment run width_mlp

    Try: mutransfer experiment run width_mlp --scale full --device cuda --out runs/full

    Args:
        action: list shows all; run runs those that are named.
        names: Experiments to run, or "all".
        scale: tiny to see that they run, small for minutes on two cores, full for a card.
        out: Folder for records, results and pictures; what is finished there is not run again.
        data: Folder with cifar10-train.parquet, cifar10-test.parquet and tinyshakespeare.txt;
            without it, experiments run on data that is always at hand.
        device: Where models train, such as cuda.
        json: Print JSON.
    """
    from ..experiments import names as known

    if action == "list":
        if names:
            raise MutransferError(f"list takes no name: mutransfer experiment run {names[0]}")
        _list(json=json)
        return
    if not names:
        raise MutransferError("name the experiments to run; mutransfer experiment list shows them")
    chosen = tuple(known()) if names == ("all",) else names
    good = [_run(name, scale, out, data, device, json=json) for name in chosen]
    if not all(good):
        raise SystemExit(1)


def _run(
    name: str, scale: str, out: Path, data: Path | None, device: str | None, *, json: bool
) -> bool:
    from ..experiments import run_experiment

    console = Terminal(stderr=json)
    with LiveSweep(console, name) as live:
        outcome = run_experiment(name, out, scale=scale, data=data, device=device, progress=live)
    show(outcome, json=json)
    print(f"Picture and result are in {out / name}", file=sys.stderr if json else sys.stdout)
    return outcome.is_as_stated


def _list(*, json: bool) -> None:
    from ..experiments import committed, experiment, names

    found = {name: (experiment(name), committed(name)) for name in names()}
    if json:
        rows = [
            {
                "name": name,
                "title": one.title,
                "source": one.source,
                "minutes": one.minutes,
                "status": outcome.status if outcome else "not run",
            }
            for name, (one, outcome) in found.items()
        ]
        print(text(rows))
        return
    table = Table(box=None, pad_edge=False)
    # Names are what `experiment run` takes, so they are never cut.
    table.add_column("name", no_wrap=True, min_width=max(map(len, found)))
    for column in ("shows", "source", "min", "status"):
        table.add_column(column, overflow="fold")
    for name, (one, outcome) in found.items():
        status = outcome.status if outcome else "not run"
        table.add_row(name, one.title, one.source, f"{one.minutes:g}", status)
    Terminal().print(table)
