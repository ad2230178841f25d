"""Tensor Programs V, Section 5: a linear network, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core import Estimate
from ...rules import Role, family, parametrization
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly
from .._plots import Plot, Series, plot
from .._quantities import exponent

FIRST = "exponent of n in the output after step 1"
LAST = "exponent of n in the output after step 4"
SECOND = "exponent of n in the output after step 2"
FEATURES = "exponent of n in the change of the first layer"
ERROR = "largest distance of the output from the limit, relative, after steps 1 to 4"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"sizes": [2**k for k in (4, 6, 8)], "draws": 4},
    "small": {"sizes": [2**k for k in (8, 10, 12, 14, 16, 18)], "draws": 10},
    "full": {"sizes": [2**k for k in range(8, 25, 2)], "draws": 10},
}

STEPS = 4
THETA = 1.0
"""The loss is -f, whose gradient in f is -1."""


@dataclass(frozen=True)
class Variant:
    """Rules of the two tensors, and the bug of the reader's code.

    Attributes:
        first: Rule of U, the first layer.
        second: Rule of V, the readout.
        swapped: True if the step returns V and U where U and V are expected.
    """

    first: str
    second: str
    swapped: bool = False


VARIANTS = {
    "sp": Variant("sp", "sp"),
    "mup": Variant("mup", "mup"),
    "mup, tensors swapped": Variant("mup", "mup", swapped=True),
    "mup for V alone": Variant("sp", "mup"),
}


def _scales(rule: str, role: Role, fan_in: int, fan_out: int) -> tuple[float, float]:
    quantities = parametrization(rule).quantities(role, family("sgd"))
    sizes = {"fan_in": fan_in, "fan_out": fan_out}
    return quantities.init.evaluate(sizes), quantities.lr.evaluate(sizes)


def _trained(variant: Variant, n: int, seed: int) -> tuple[list[float], float]:
    """Return the output after each step, and the first change of U's entries."""
    (std_u, lr_u), (std_v, lr_v) = (
        _scales(variant.first, Role.INPUT, 1, n),
        _scales(variant.second, Role.READOUT, n, 1),
    )
    generator = torch.Generator().manual_seed(1000 * seed + n.bit_length())
    drawn = torch.randn(2, n, generator=generator, dtype=torch.float64)
    u, v = std_u * drawn[0], std_v * drawn[1]
    outputs, change = [], math.nan
    for step in range(STEPS):
        stepped: tuple[Tensor, Tensor] = u + lr_u * THETA * v, v + lr_v * THETA * u
        if step == 1:
            # The change of U is that of the second step: in the first V has its initial size.
            change = float((stepped[0] - u).square().mean().sqrt())
        u, v = stepped[::-1] if variant.swapped else stepped
        outputs.append(float(u @ v))
    return outputs, change


def _limit(step: int) -> float:
    """Return muP's output at infinite width: U + nV and U - nV grow geometrically."""
    return float(((1 + THETA) ** (2 * step) - (1 - THETA) ** (2 * step)) / 2)


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    sizes, draws = setting["sizes"], range(setting["draws"])
    values: dict[str, dict[str, Estimate]] = {}
    panels = []
    for name, variant in VARIANTS.items():
        runs = [[_trained(variant, n, seed) for seed in draws] for n in sizes]
        outputs = [
            [math.sqrt(sum(run[0][t] ** 2 for run in each) / len(each)) for t in range(STEPS)]
            for each in runs
        ]
        changes = [sum(run[1] for run in each) / len(each) for each in runs]
        fits = {
            FIRST: [row[0] for row in outputs],
            SECOND: [row[1] for row in outputs],
            LAST: [row[-1] for row in outputs],
            FEATURES: changes,
        }
        values[name] = {quantity: exponent(sizes, line) for quantity, line in fits.items()}
        errors = [abs(f / _limit(t + 1) - 1) for t, f in enumerate(outputs[-1])]
        values[name][ERROR] = exactly(max(errors))
        lines = [
            Series(name=f"step {t + 1}", x=sizes, y=[row[t] for row in outputs])
            for t in range(STEPS)
        ]
        panels.append(Plot(title=name, x="width n", y="output f", lines=lines, log="xy"))
    return Measured(values=values, figure=plot(panels, columns=2))


EXPERIMENT = Experiment(
    title="The instructive example: one hidden linear layer",
    source="Tensor Programs V, Section 5",
    shows=(
        "The network f = Vᵀ U x with n hidden units takes steps of SGD on the loss -f. Under "
        "standard parametrization its output after one step is proportional to n, so that no rate "
        "is right for two widths; under muP it is the same at every width, step after step. Two "
        "bugs are shown, too: a step that returns V and U where the caller expects U and V looks "
        "right at step 1 and grows as n² at step 2; and a first layer without muP's rate has a "
        "flat output, but learns no features."
    ),
    claims=(
        Claim(
            says="Under SP the output after one step is proportional to n.",
            quantity=FIRST,
            rule="sp",
            wrong="mup",
            expected=1.0,
            tolerance=0.1,
        ),
        Claim(
            says="Under muP the output after four steps does not depend on n.",
            quantity=LAST,
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.05,
        ),
        Claim(
            says="Under muP the first layer moves by the same amount at every n.",
            quantity=FEATURES,
            rule="mup",
            wrong="mup for V alone",
            expected=0.0,
            tolerance=0.05,
        ),
        Claim(
            says="At the largest width muP is within 2% of its infinite-width limit.",
            quantity=ERROR,
            rule="mup",
            wrong="mup, tensors swapped",
            expected=0.0,
            tolerance=0.02,
        ),
        Claim(
            says="Swapped tensors hide until step 2, and then the output grows as n².",
            quantity=SECOND,
            rule="mup, tensors swapped",
            wrong="mup",
            expected=2.0,
            tolerance=0.1,
        ),
    ),
    measure=_measure,
    minutes=0.5,
)
