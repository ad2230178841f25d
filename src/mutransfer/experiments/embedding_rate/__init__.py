"""2605.21486: standard parametrization with a larger rate of the embedding alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...core import Estimate
from ...studies import Runs, Study, log2
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly
from .._plots import Plot, Series, plot

MUP, SP, MIDDLE = "mup", "sp", "sp, embedding's rate times width"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16, 32], "lr": log2(-8, -4), "seeds": 1, "steps": 3, "batch": 2},
    "small": {"width": [32, 64, 128], "lr": log2(-10, -3), "seeds": 2, "steps": 100, "batch": 4},
    "full": {
        "width": [128, 256, 512, 1024, 2048],
        "lr": log2(-14, -4),
        "seeds": 3,
        "steps": 5000,
        "batch": 64,
    },
}

CONTEXT = {"tiny": 16, "small": 32, "full": 256}

GAIN = "share of muP's gain over SP in the best loss of the largest width"


def _records(bench: Bench) -> dict[str, dict[int, Runs]]:
    """Return the record of every width, by rule."""
    setting, context = bench.pick(SETTINGS), bench.pick(CONTEXT)
    widths = setting["width"]
    common = {name: value for name, value in setting.items() if name != "width"} | {
        "build": partial(gpt, depth=2, context=context),
        "optimizer": "adamw",
        "task": bench.text(context),
    }
    both = bench.sweep(Study(**common, width=widths, rules=(MUP, SP)), "rules")
    records = {rule: dict.fromkeys(widths, both) for rule in (MUP, SP)}
    records[MIDDLE] = {widths[0]: both}
    for width in widths[1:]:
        faster = Study(
            **common,
            width=[width],
            base={"width": widths[0]},
            rules=(SP,),
            hyperparameters={"lr.embedding": width / widths[0]},
        )
        records[MIDDLE][width] = bench.sweep(faster, f"width-{width}")
    return records


def _measure(bench: Bench) -> Measured:
    records = _records(bench)
    widths = sorted(records[MUP])
    panels, best = [], {}
    for rule, at in records.items():
        lines, lowest = [], []
        for width, runs in at.items():
            name = SP if rule == MIDDLE else rule
            size = next(each for each in runs.sizes(name) if each["width"] == width)
            rates, losses = runs.losses(name, size)
            lines.append(Series(name=f"width {width}", x=rates, y=list(losses.mean(0))))
            lowest.append(losses.mean(0).min())
        panels.append(Plot(title=rule, x="rate", y="loss", lines=lines, log="x"))
        best[rule] = np.array(lowest)
    falls = [Series(name=rule, x=widths, y=list(lowest)) for rule, lowest in best.items()]
    panels.append(Plot(title="best rate of each width", x="width", y="loss", lines=falls, log="x"))
    gain = best[SP] - best[MUP]
    values: dict[str, dict[str, Estimate]] = {
        rule: {GAIN: exactly(float((best[SP] - best[rule])[-1] / gain[-1]))} for rule in records
    }
    lowest_of = ", ".join(f"{loss[-1]:.3f} under {rule}" for rule, loss in best.items())
    said = f"The best losses at width {widths[-1]}: {lowest_of}."
    return Measured(values=values, figure=plot(panels, columns=2), remarks=(said,))


EXPERIMENT = Experiment(
    title="How much of muP's gain is the embedding's rate",
    source="2605.21486, ablations of muP against SP under AdamW",
    shows=(
        "Under SP the best common rate falls with width, and takes the embedding's with it, which "
        "should stay. GPTs are trained under SP, under muP, and under SP with the embedding's rate "
        "times width alone. The paper finds that the last recovers most of what muP gains."
    ),
    claims=(
        Claim(
            says="SP with a faster embedding recovers most of muP's gain in the best loss.",
            quantity=GAIN,
            rule=MIDDLE,
            wrong=SP,
            expected=0.7,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=2.0,
    remark=(
        "muP shows no gain in the best loss here that could be recovered: each width's own best "
        "rate serves SP as well, and only the rate that stays is muP's. A faster embedding changes "
        "the best loss of 100 steps by less than 0.01; the paper's runs are far longer and wider."
    ),
)
