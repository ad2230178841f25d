"""The best rate over width at the smallest depth, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..core import Estimate
from ..studies import Study
from ._bench import Bench, Measured
from ._claim import Claim
from ._plots import sweeps
from ._quantities import DRIFT, drift

WRONG = {"width": "sp", "depth": "mup"}
"""The rule under which the best rate moves, by axis."""


def cross(
    bench: Bench,
    model: Callable[..., nn.Module],
    scaled: str,
    settings: Mapping[str, Any],
    **more: Any,
) -> Measured:
    """Measure the drift of the best rate along either axis.

    Args:
        bench: The bench.
        model: Returns a network of a width and depth.
        scaled: The rule that scales width and depth.
        settings: The settings of this scale: widths, depths, rates, seeds, steps.
        more: What else the studies take, such as the task.
    """
    setting = dict(settings)
    widths, depths = setting.pop("width"), setting.pop("depth")
    along = {
        "width": [{"width": width, "depth": depths[0]} for width in widths],
        "depth": [{"width": widths[0], "depth": depth} for depth in depths],
    }
    values: dict[str, dict[str, Estimate]] = {rule: {} for rule in (scaled, *WRONG.values())}
    records = {}
    for axis, wrong in WRONG.items():
        study = Study(model, axes=along[axis], rules=(scaled, wrong), batch=32, **setting, **more)
        records[axis] = bench.sweep(study, axis)
        for rule in (scaled, wrong):
            values[rule][DRIFT.format(axis=axis)] = drift(records[axis], rule, axis)
    figures = {f"over {axis}": record for axis, record in records.items()}
    return Measured(values=values, figure=sweeps(figures))


def cross_claims(scaled: str, **says: str) -> tuple[Claim, ...]:
    """Return the claim of either axis.

    Args:
        scaled: The rule that scales width and depth.
        says: What is claimed, by axis.
    """
    return tuple(
        Claim(
            says=said,
            quantity=DRIFT.format(axis=axis),
            rule=scaled,
            wrong=WRONG[axis],
            expected=0.0,
            tolerance=0.1,
        )
        for axis, said in says.items()
    )
