"""2309.16620: kernels stay where gamma0 is small, and move where it is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...limits import Limit, Problem, lazy, linear, network_stream, problem_of
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly
from .._plots import Plot, Series, plot

SMALL, LARGE = 2.0**-5, 1.0
NAMES = {SMALL: "gamma0 = 1/32", LARGE: "gamma0 = 1"}

MOVED = "movement of the last layer's kernel in training, as a share"
CURVE = "largest distance of the loss from that of fixed kernels, as a share"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16, "seeds": 1, "steps": 5, "gamma0": [SMALL, LARGE]},
    "small": {
        "width": 512,
        "seeds": 8,
        "steps": 20,
        "gamma0": [2.0**power for power in range(-5, 2)],
    },
    "full": {
        "width": 4096,
        "seeds": 20,
        "steps": 60,
        "gamma0": [2.0**power for power in range(-8, 3)],
    },
}

DEPTH = 4
"""Branches of the finite networks."""

LEAST = 0.25
"""Smallest gamma0 of finite networks.

Their outputs before training are noise of order 1 / (gamma0 sqrt(width)).
"""


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    gammas = setting["gamma0"]
    problems = {
        gamma: problem_of("digits", examples=4, lr=0.05, steps=setting["steps"], gamma0=gamma)
        for gamma in gammas
    }
    solved = {gamma: linear(problem, math.inf) for gamma, problem in problems.items()}
    fixed = lazy(problems[SMALL], math.inf).losses
    values = {
        NAMES[gamma]: {
            MOVED: exactly(_moved(solved[gamma].covariance)),
            CURVE: exactly(float(np.abs(solved[gamma].losses - fixed).max() / fixed[0])),
        }
        for gamma in NAMES
    }
    shown = {gamma: solved[gamma] for gamma in gammas if gamma in NAMES or gamma >= LEAST}
    figure = plot([_losses(shown, fixed.tolist()), _features(setting, problems, solved)])
    return Measured(values=values, figure=figure)


def _losses(solved: dict[float, Limit], fixed: list[float]) -> Plot:
    steps = list(range(len(fixed)))
    lines = [
        Series(name=f"gamma0 = {gamma:g}", x=steps, y=limit.losses.tolist())
        for gamma, limit in solved.items()
    ]
    end = Series(name="fixed kernels", x=steps, y=fixed, style="dashed")
    return Plot(title="loss", x="step", y="training loss", lines=[*lines, end])


def _features(
    setting: dict[str, Any], problems: dict[float, Problem], solved: dict[float, Limit]
) -> Plot:
    gammas, width = list(problems), setting["width"]
    finite = [gamma for gamma in gammas if gamma >= LEAST]
    networks = [_of_networks(problems[gamma], setting) for gamma in finite]
    movement = [_moved(limit.covariance) for limit in solved.values()]
    at_depth = [_moved(linear(problem, DEPTH).covariance) for problem in problems.values()]
    square = [movement[0] * (gamma / gammas[0]) ** 2 for gamma in gammas]
    return Plot(
        title="features",
        x="gamma0",
        y="movement of the kernel",
        lines=[
            Series(name="infinite depth", x=gammas, y=movement),
            Series(name=f"depth {DEPTH}", x=gammas, y=at_depth),
            Series(name=f"depth {DEPTH}, width {width}", x=finite, y=networks, style="dots"),
            Series(name="gamma0 squared", x=gammas, y=square, style="dashed"),
        ],
        log="xy",
    )


def _moved(kernels: np.ndarray[Any, Any]) -> float:
    """Return the movement of the last time's kernel against the first's."""
    return float(np.linalg.norm(kernels[-1] - kernels[0]) / np.linalg.norm(kernels[0]))


def _of_networks(problem: Problem, setting: dict[str, Any]) -> float:
    width = setting["width"]
    last = [network_stream(problem, width, DEPTH, seed)[-1] for seed in range(setting["seeds"])]
    kernels = np.mean([each @ np.swapaxes(each, -1, -2) / width for each in last], axis=0)
    return _moved(kernels)


def _claim(says: str, quantity: str, largest: float) -> Claim:
    return Claim(
        says=says,
        quantity=quantity,
        rule=NAMES[SMALL],
        wrong=NAMES[LARGE],
        expected=largest,
        sense="at most",
    )


EXPERIMENT = Experiment(
    title="Lazy and rich training: the dial gamma0",
    source="2309.16620, Proposition 2 and the richness gamma0",
    shows=(
        "The limit of infinite width and depth is solved for several gamma0. Where it is small, "
        "the kernels of features stay as they were drawn, and training is that of a fixed kernel; "
        "at gamma0 = 1 they move by a good part of their size, and the loss takes another course."
    ),
    claims=(
        _claim("With a small gamma0 the kernel of features stays in training.", MOVED, 0.02),
        _claim("With a small gamma0 the loss is that of fixed kernels.", CURVE, 0.02),
    ),
    measure=_measure,
    minutes=0.5,
)
