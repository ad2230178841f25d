"""`mutransfer limit`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Literal

from rich.console import Console
from tyro.conf import Positional

from ._live import Counting
from ._load import load_a
from ._show import show


def limit(
    problem: Positional[str] = "digits",
    depth: tuple[float, ...] = (),
    over: Literal["lr", "momentum", "weight_decay", "gamma0", "beta0"] = "lr",
    values: tuple[float, ...] = (),
    metric: Literal["mean", "final"] = "mean",
    width: tuple[int, ...] = (),
    seeds: int = 4,
    accuracy: float = 0.02,
    seconds: float = 200.0,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Solve for networks of infinite width: the best learning rate at each depth.

    A residual network in mean-field scaling is trained on a few examples of two classes. With a
    finite depth or more, branches without depth scaling are solved, too: the same network at the
    smallest depth, whose best rate runs away.

    Try: mutransfer limit

    Try: mutransfer limit digits --depth inf

    Try: mutransfer limit "digits, activation=tanh, steps=10" --depth 2 4 --values 0.25 0.5 1 2

    Try: mutransfer limit "digits, activation=relu" --seconds 60

    Try: mutransfer limit --over momentum --values 0 0.3 0.6 0.8 0.9 0.95 --json

    Try: mutransfer limit my_problem.py:problem --width 64 --out runs/limit

    A limits.Problem of your own needs three lines of Python, in which every setting is at hand:
    `from mutransfer.limits import problem_of`, then
    `problem = problem_of("digits", activation="tanh", block="post", loss="logistic", steps=50)`.

    Args:
        problem: A task with classes, such as digits, with settings of the problem after commas; or
            a limits.Problem, as FILE.py:NAME or MODULE:NAME.
        depth: Depths, inf is infinite depth; 2 4 8 16 inf by default.
        over: The hyperparameter that is varied.
        values: Its values, ascending; 2^-11 to 1 for lr by default.
        metric: The mean loss over all steps, or the final loss.
        width: Widths of finite networks to train as well.
        seeds: Number of finite networks of each size.
        accuracy: Accuracy of sampled limits, those of an activation that is not linear: half the
            95% interval of the loss, as a share of the initial loss.
        seconds: Time that sampled limits may take. What it is too short for is named below the
            table, with the error that was reached; inf for no end but the accuracy.
        out: Folder for the figure, JSON and CSV.
        json: Print JSON.
    """
    from ..limits import Problem, depth_transfer

    named = load_a(Problem, "mutransfer.limits.Problem", problem) if ":" in problem else problem
    with Counting(Console(stderr=True), "limit") as progress:
        landscapes = depth_transfer(
            named,
            depth=depth,
            over=over,
            values=values,
            metric=metric,
            width=width,
            seeds=seeds,
            accuracy=accuracy,
            seconds=None if math.isinf(seconds) else seconds,
            progress=progress,
        )
    # Written before it is printed: a reader of the text, such as `head`, may go away early.
    if out is not None:
        landscapes.save(out)
    show(landscapes, json=json)
    if out is not None:
        print(f"Figure, JSON and CSV are in {out}", file=sys.stderr if json else sys.stdout)
