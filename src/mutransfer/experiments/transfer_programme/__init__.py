"""Tensor Programs V, Figures 4 and 19: four hyperparameters over five axes."""

from __future__ import annotations

from dataclasses import replace

from ...core import Estimate, Size
from ...studies import Runs
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._one_at_a_time import ADVANTAGE, WORDS, hyperparameter_panels, moves, one_at_a_time
from .._plots import plot
from ._study import AXES, PLAIN, POST_NORM, ROOT, RULE, controls, sizes_along
from ._study import SETTINGS as SETTINGS
from ._study import programme as programme

IN_WORDS = {"width": "width", "depth": "depth", "batch": "batch size", "steps": "training time"}
"""The axes of claims."""

TOLERANCES = {"width": 0.1, "depth": 0.2, "batch": 0.2, "steps": 0.2}
"""Octaves per doubling; the paper calls the best values over other axes than width roughly stable.
"""


def along(runs: Runs, sizes: list[Size]) -> Runs:
    """Return the part of a record at these sizes, such as those along one axis."""
    return replace(runs, rows=[row for row in runs.rows if runs.size_of(row) in sizes])


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    lines = {axis: sizes_along(setting, axis) for axis in AXES}
    records = {RULE: bench.sweep(programme(setting, bench.text))}
    for number, (control, study) in enumerate(controls(setting, bench.text).items(), 1):
        records[control] = bench.sweep(study, f"control-{number}")
    values: dict[str, dict[str, Estimate]] = {name: {} for name in records}
    panels = []
    for axis, sizes in lines.items():
        for name, record in records.items():
            (rule,), part = record.rules, along(record, sizes)
            # A control has its own axes alone, and of others no size but the usual one.
            if len(part.sizes(rule)) == len(sizes):
                values[name] |= one_at_a_time(part, axis)[rule]
        part = along(records[RULE], sizes)
        panels += hyperparameter_panels(part, RULE, axis, _centre(part), f"{axis}: ")
    return Measured(values=values, figure=plot(panels, columns=4))


def _centre(runs: Runs) -> dict[str, object]:
    """Return the centre of a record of one-at-a-time sweeps."""
    return dict(runs.header["centre"])


def _stays(name: str, axis: str, control: str) -> Claim:
    return Claim(
        says=f"The best {WORDS[name]} stays over {IN_WORDS[axis]}.",
        quantity=moves(name, axis),
        rule=RULE,
        wrong=control,
        expected=0.0,
        tolerance=TOLERANCES[axis],
    )


def _compare_alike(axis: str, control: str) -> Claim:
    return Claim(
        says=f"Schedules compare alike over {axis}.",
        quantity=ADVANTAGE.format(axis=axis),
        rule=RULE,
        wrong=control,
        expected=0.0,
        tolerance=0.1,
        sense="at most",
    )


EXPERIMENT = Experiment(
    title="What transfers: four hyperparameters over five axes",
    source="Tensor Programs V, Figures 4 and 19",
    shows=(
        "One study has the whole programme: GPTs under muP that differ from a usual size in width, "
        "depth, batch size, context or training time, and at each size learning rate, readout "
        "multiplier, initial scale and schedule, one at a time around a centre. At full scale it "
        "has 4,200 runs; examples/transfer_programme.py is the study for the command line. The "
        "controls are trained, too: one rate for all tensors over width, norms behind the residual "
        "adds over depth, and a rate that follows √(batch / steps). Context is in the picture "
        "alone."
    ),
    claims=(
        *(_stays(name, "width", PLAIN) for name in ("lr", "readout", "init")),
        _compare_alike("width", PLAIN),
        *(_stays(name, "depth", POST_NORM) for name in ("lr", "readout")),
        _compare_alike("depth", POST_NORM),
        *(_stays("lr", axis, ROOT) for axis in ("batch", "steps")),
    ),
    measure=_measure,
    minutes=3.0,
    remark=(
        "Nearly all sizes lie below the least for which the paper calls the best values stable: "
        "width 256, batch 32, context 128, 5000 steps. Two seeds leave most drifts uncertain by "
        "half an octave. Schedules and readout multipliers differ too little to tell the rules "
        "apart; learning rates do. Over the batch size the best rate rises as the control has it."
    ),
)
