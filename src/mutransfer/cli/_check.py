"""`mutransfer check`."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from tyro.conf import Positional

from ..core import MutransferError
from ._live import Counting
from ._load import load
from ._show import show

_IN_PYTHON = ("axes", "batch", "branches", "example_inputs", "hooks", "loss", "roles", "train")
"""Arguments that errors advise and the command has no flags for."""


def check(
    build: Positional[str],
    width: tuple[int, ...] = (),
    depth: tuple[int, ...] = (),
    rule: str | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    task: str | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Check that features move by the same amount at every width and depth.

    Names the tensor that is wrong, and why. Trains small networks for a few steps, and those of
    standard parametrization as the negative control. Exit code 0 if the check passes, 1 if it
    fails, 3 if it cannot tell.

    Try: mutransfer check mutransfer.tasks:gpt --width 64 128 256 512 --depth 4 8 16

    Try: mutransfer check my_model.py:build --width 128 256 512 --out runs/check

    Try: mutransfer check mutransfer.tasks:gpt --width 64 128 256 --rule sp

    Every other argument of `mutransfer.coordinate_check` is at hand in Python: name a partial of
    it, such as `check = functools.partial(coordinate_check, build, width=[64, 256], joint=True)`.

    Args:
        build: The function that makes the model, as FILE.py:NAME or MODULE:NAME, called with width=
            and depth= where these are given; or a functools.partial of coordinate_check.
        width: Widths, at least 4 times wider in all; the first is the base.
        depth: Depths, the same.
        rule: A rule, such as completep; by default chosen by the model's residual branches.
        optimizer: The family that trains the model, such as adamw, adam or sgd; adamw by default.
        lr: The learning rate at base size; by default 2^-7, and 0.1 for sgd.
        task: A task for data and loss, such as digits; random data by default.
        steps: Number of training steps; 4 by default.
        seeds: Number of networks of each size; 3 by default.
        out: Folder for the table, the figure, JSON and CSV.
        json: Print JSON.
    """
    from ..checks import coordinate_check

    named = load(build)
    is_check = isinstance(named, partial) and named.func is coordinate_check
    run = named if is_check else partial(coordinate_check, named)
    settings: dict[str, Any] = {
        "width": width,
        "depth": depth,
        "rule": rule,
        "optimizer": optimizer,
        "lr": lr,
        "task": task,
        "steps": steps,
        "seeds": seeds,
    }
    given = {name: value for name, value in settings.items() if value not in (None, ())}
    with Counting(Console(stderr=json), "check") as progress:
        try:
            result = run(**given, progress=progress)
        except MutransferError as error:
            raise _at_hand(error) from error
    # Written before it is printed: a reader of the text, such as `head`, may go away early.
    if out is not None:
        result.save(out)
    show(result, json=json)
    if out is not None:
        stream = sys.stderr if json else sys.stdout
        print(f"\nTable, figure, JSON and CSV are in {out}", file=stream)
    if not result.ok:
        raise SystemExit(1 if result.verdict == "fail" else 3)


def _at_hand(error: MutransferError) -> MutransferError:
    """Return an error that says how the command takes the arguments that it advises."""
    if not re.search(rf"\b({'|'.join(_IN_PYTHON)})=", str(error)):
        return error
    return MutransferError(
        f"{error} (arguments that are no flags of this command: name a partial of it, such as "
        "check = functools.partial(coordinate_check, build, width=[64, 256], batch=...))"
    )
