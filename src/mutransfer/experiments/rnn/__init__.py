"""Recurrent networks: the best rate over width, and over time steps."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...core import Size
from ...studies import Runs, Study, log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import DRIFT, drift, optima, slope
from ._models import recurrent

QUANTITY = DRIFT.format(axis="width")

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "time": [2, 4], "seeds": 1, "steps": 3, "lr": log2(-7, -4)},
    "small": {
        "width": [32, 64, 128, 256],
        "time": [4, 8, 16, 32],
        "seeds": 2,
        "steps": 100,
        "lr": log2(-12, -4),
    },
    "full": {
        "width": [64, 128, 256, 512, 1024],
        "time": [4, 8, 16, 32, 64],
        "seeds": 5,
        "steps": 2000,
        "lr": log2(-14, -3),
    },
}


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS).copy()
    widths, times = setting.pop("width"), setting.pop("time")
    task, rules = bench.digits(), ("mup", "sp")

    def swept(time: int, width: list[int], rules: tuple[str, ...]) -> Runs:
        build = partial(recurrent, time=time)
        study = Study(
            build, width=width, rules=rules, optimizer="adam", batch=32, task=task, **setting
        )
        return bench.sweep(study, f"width-{len(width)}-time-{time}")

    over_width = swept(times[1], widths, rules)
    # At base width the rules are one; a growing number of time steps is an axis of none.
    over_time = {time: swept(time, widths[:1], rules[:1]) for time in times}
    moved = slope(times, [optima(runs, "mup")[0].position for runs in over_time.values()])
    values = {rule: {QUANTITY: drift(over_width, rule, "width")} for rule in rules}
    lines = {rule: _over_width(over_width, rule) for rule in rules}
    lines["over time steps"] = [
        _curve(runs, "mup", runs.sizes("mup")[0], f"{time} time steps")
        for time, runs in over_time.items()
    ]
    remark = (
        f"Over time steps, for which there is no rule, the best rate moves by {moved.value:+.2f} "
        f"octaves per doubling [{moved.low:.2f}, {moved.high:.2f}] at width {widths[0]}."
    )
    parts = [
        Plot(title=title, x="learning rate", y="mean training loss", lines=each, log="x", top=2.5)
        for title, each in lines.items()
    ]
    return Measured(values=values, figure=plot(parts), remarks=(remark,))


def _over_width(runs: Runs, rule: str) -> list[Series]:
    sizes = runs.sizes(rule)
    return [_curve(runs, rule, size, f"width {size['width']}") for size in sizes]


def _curve(runs: Runs, rule: str, size: Size, name: str) -> Series:
    rates, losses = runs.losses(rule, size)
    return Series(name=name, x=rates, y=losses.mean(0).tolist())


EXPERIMENT = Experiment(
    title="A recurrent network's rate over width and time",
    source="2309.16620, networks without residuals over depth; Tensor Programs V, Section 3",
    shows=(
        "Plain recurrent networks read digits a few pixels at a time. One matrix is used at every "
        "time step, and nothing is added to a stream, so that no rule for depth applies. Over "
        "width muP keeps the best rate, as for any network of matrices; over time steps it is "
        "measured."
    ),
    claims=(
        Claim(
            says="Over width the best rate stays under muP, and moves under SP.",
            quantity=QUANTITY,
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.1,
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "Neither paper trains a recurrent network. At widths 32 to 256 the best rate under muP "
        "rises by 0.2 octaves per doubling, by the final loss as well, where under SP it falls by "
        "0.9, perhaps because narrow networks tolerate only smaller rates. The loss of a wider "
        "network is lower at every rate under muP."
    ),
)
