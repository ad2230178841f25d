"""Tensor Programs V, Figure 5: what grows with width in a few steps of Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn

from ...checks import Row, coordinate_check
from ...core import Estimate
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import exponent

EXPONENT = "exponent of width in the change of {what} after 4 steps"
UNDER_SP = "exponent of width in the change under sp after 4 steps"
SIGNALS = {
    "output logits": ("head", "change"),
    "attention logits": ("*", "change of logits"),
    "word embeddings": ("token", "change"),
}
"""Label and quantity of what the figure shows."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16, 64], "seeds": 1, "context": 8},
    "small": {"width": [64, 128, 256], "seeds": 3, "context": 32},
    "full": {"width": [64, 128, 256, 512, 1024, 2048], "seeds": 5, "context": 128},
}

STEPS = 4
RATE = 2**-10
"""About the paper's 0.001; a larger one overshoots within the four steps."""

HEADS = 4


def transformer(width: int = 64, context: int = 64) -> nn.Module:
    """Return a GPT of four heads, whose dimension grows with width.

    Args:
        width: Size of the residual stream.
        context: Longest sequence.
    """
    return gpt(width, heads=HEADS, context=context)


def _by_network(rows: Iterable[Row]) -> dict[tuple[int, int], float]:
    """Return the RMS over modules, by width and seed."""
    squares: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        squares.setdefault((row.width, row.seed), []).append(row.value**2)
    return {key: math.sqrt(sum(each) / len(each)) for key, each in sorted(squares.items())}


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    context = setting["context"]
    rows = {
        rule: coordinate_check(
            partial(transformer, context=context),
            width=setting["width"],
            rule=rule,
            optimizer="adam",
            lr=RATE,
            seeds=setting["seeds"],
            steps=STEPS,
            task=bench.text(context),
            control=False,
        ).rows
        for rule in ("sp", "mup")
    }
    values: dict[str, dict[str, Estimate]] = {rule: {} for rule in rows}
    panels = []
    for what, (label, quantity) in SIGNALS.items():
        lines = []
        for rule, measured in rows.items():
            wanted = (
                row
                for row in measured
                if (row.label, row.quantity, row.step) == (label, quantity, STEPS)
                and row.kind in ("module", "attention")
            )
            found = _by_network(wanted)
            widths, sizes = [width for width, _ in found], list(found.values())
            values[rule][EXPONENT.format(what=what)] = exponent(widths, sizes)
            lines.append(Series(name=rule, x=widths, y=sizes, style="dots"))
        values[what] = {UNDER_SP: values["sp"][EXPONENT.format(what=what)]}
        panels.append(Plot(title=what, x="width", y="RMS change", lines=lines, log="xy"))
    return Measured(values=values, figure=plot(panels))


def _grows(what: str) -> tuple[Claim, Claim]:
    quantity = EXPONENT.format(what=what)
    return (
        Claim(
            says=f"Under SP the {what} blow up with width.",
            quantity=quantity,
            rule="sp",
            wrong="mup",
            expected=0.5,
            sense="at least",
        ),
        Claim(
            says=f"Under muP the {what} move by the same amount at every width.",
            quantity=quantity,
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.3,
        ),
    )


EXPERIMENT = Experiment(
    title="What blows up with width after a few steps of Adam",
    source="Tensor Programs V, Figure 5",
    shows=(
        "Transformers of several widths take four steps of Adam at one rate. Under standard "
        "parametrization the changes of the output logits and of the attention logits grow with "
        "width, while the word embeddings move alike, so that no single rate is right for all of "
        "them. Under muP all three move alike at every width."
    ),
    claims=(
        *_grows("output logits"),
        *_grows("attention logits"),
        Claim(
            says="Under SP word embeddings do not blow up, unlike logits.",
            quantity=UNDER_SP,
            rule="word embeddings",
            wrong="output logits",
            expected=0.0,
            tolerance=0.1,
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark=(
        "Exponents depend on the rate. At this one the changes of muP's logits shrink with width, "
        "perhaps as updates align less in wide networks at first. At 2^-7 muP's exponent is 0, "
        "but SP overshoots within the four steps, and its exponent is 0.5."
    ),
)
