"""One experiment, run and written down."""

from __future__ import annotations

import math
import time
from pathlib import Path

from ..core import MutransferError, OnProgress, about, text, writing
from ..figures import as_png, as_svg
from ._bench import SCALES, Bench
from ._catalogue import RESULT, experiment
from ._outcome import Outcome, findings

FIGURE = "figure"
"""Name of the picture, beside the result."""


def run_experiment(
    name: str,
    out: str | Path,
    *,
    scale: str = "small",
    data: str | Path | None = None,
    device: str | None = None,
    progress: OnProgress | None = None,
) -> Outcome:
    """Run an experiment, write result and picture, and return the outcome.

    Args:
        name: Its name.
        out: Folder of all experiments; this one's is named after it. An interrupted experiment
            goes on from its finished runs.
        scale: "tiny" to see that it runs, "small" for minutes on two cores, "full" for a card.
        data: Folder with CIFAR-10 as parquet and tinyshakespeare.txt.
        device: Where models train, such as "cuda".
        progress: Receives the progress of sweeps.

    Raises:
        MutransferError: there is no such experiment or scale, or the folder cannot be written.
    """
    if scale not in SCALES:
        raise MutransferError(f"unknown scale {scale!r}; choose one of {', '.join(SCALES)}")
    if data is not None and not Path(data).is_dir():
        raise MutransferError(f"there is no folder {data}: give one with the experiments' data")
    one, folder = experiment(name), Path(out) / name
    with writing("the experiment", folder):
        folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        scale=scale,
        folder=folder / scale,
        data=None if data is None else Path(data),
        device=device,
        progress=progress,
    )
    start = time.monotonic()
    measured = one.measure(bench)
    outcome = Outcome(
        name=name,
        title=one.title,
        source=one.source,
        scale=scale,
        findings=findings(one.claims, measured.values),
        remarks=tuple(filter(None, (one.remark, *measured.remarks))),
        data=tuple(bench.used),
        runs=sum(bench.counts.values()),
        seconds=math.ceil(time.monotonic() - start),
        about={**about(), "command": _command(name, scale, data, device)},
    )
    with writing("the experiment", folder):
        (folder / RESULT).write_text(f"{text(outcome)}\n", encoding="utf-8")
        (folder / f"{FIGURE}.svg").write_text(as_svg(measured.figure), encoding="utf-8")
        (folder / f"{FIGURE}.png").write_bytes(as_png(measured.figure))
    return outcome


def _command(name: str, scale: str, data: str | Path | None, device: str | None) -> str:
    """Return the command that makes the result again, whoever called the function."""
    # The folder of the data is another one on every machine.
    given = {
        "scale": None if scale == "small" else scale,
        "data": data and "DATA",
        "device": device,
    }
    flags = (f"--{flag} {value}" for flag, value in given.items() if value is not None)
    return " ".join(["mutransfer experiment run", name, *flags])
