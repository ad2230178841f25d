"""2511.01734: the best rate of one step of a deep linear network, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core import Estimate
from ...pytorch import plan
from ...statistics import vertex
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import DRIFT, slope

RULES = ("mup", "sp")
INPUTS, EXAMPLES, BASE = 16, 32, 16

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (16, 32), "seeds": 2},
    "small": {"widths": (32, 64, 128, 256, 512), "seeds": 12},
    "full": {"widths": (32, 64, 128, 256, 512, 1024, 2048), "seeds": 32},
}

OCTAVES = np.arange(-11, 3, 0.25)
"""Rates that are tried, as log2."""

BEST = DRIFT.format(axis="width")


class LinearNet(nn.Module):
    """A linear network of one output: (batch, inputs) to (batch, 1)."""

    def __init__(self, width: int, depth: int = 3) -> None:
        super().__init__()
        self.input = nn.Linear(INPUTS, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.readout = nn.Linear(width, 1, bias=False)
        for layer in (self.input, *self.hidden, self.readout):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        x = self.input(x)
        for layer in self.hidden:
            x = layer(x)
        return self.readout(x)  # type: ignore[no-any-return]


def _losses(rule: str, width: int, seed: int) -> list[float]:
    """Return the loss after one step of gradient descent at every rate."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(EXAMPLES, INPUTS, generator=generator).double()
    y = x @ torch.randn(INPUTS, 1, generator=generator).double() / INPUTS**0.5
    torch.manual_seed(0)
    # One base for all draws: its RMS is what the readout's is scaled from.
    base = LinearNet(BASE)
    torch.manual_seed(seed)
    model = LinearNet(width)
    plans = plan(model, base, rule=rule, optimizer="sgd", example_inputs=x.float())
    plans.initialize(model, fresh=True)
    model.double()
    (model(x) - y).square().mean().div(2).backward()
    # As in the paper, hidden matrices learn, and input and readout stay.
    steps = [
        (tensor, tensor.grad * plans.tensors[name].factor("lr"), tensor.detach().clone())
        for name, tensor in model.named_parameters()
        if name.startswith("hidden") and tensor.grad is not None
    ]
    losses = []
    with torch.no_grad():
        for octave in OCTAVES:
            for tensor, step, start in steps:
                tensor.copy_(start - 2.0**octave * step)
            losses.append(float((model(x) - y).square().mean() / 2))
    return losses


def _measure(bench: Bench) -> Measured:
    widths, seeds = bench.pick(SETTINGS).values()
    values: dict[str, dict[str, Estimate]] = {}
    panels = []
    for rule in RULES:
        curves = np.array(
            [[_losses(rule, width, seed) for seed in range(seeds)] for width in widths]
        )
        best = vertex(OCTAVES, curves)
        values[rule] = {BEST: slope(widths, best.mean(1))}
        panels.append(_panel(rule, widths, np.median(curves, 1)))
    return Measured(values=values, figure=plot(panels))


def _panel(rule: str, widths: tuple[int, ...], losses: np.ndarray) -> Plot:
    shown = np.where(losses < 1.5 * losses[:, :1], losses, np.nan)
    lines = [
        Series(name=f"width {width}", x=list(2.0**OCTAVES), y=list(each))
        for width, each in zip(widths, shown, strict=True)
    ]
    return Plot(title=rule, x="rate", y="loss after a step, median", lines=lines, log="x")


EXPERIMENT = Experiment(
    title="The best rate of one step of a linear network",
    source="A Proof of Learning Rate Transfer under muP (2511.01734), Section 3",
    shows=(
        "Linear networks with three hidden matrices take one step of gradient descent. The loss "
        "after it is a polynomial in the rate, so that the best rate is exact but for the draw of "
        "the weights. Under muP it converges to a constant as the width grows. Under SP it falls "
        "as 1/width."
    ),
    claims=(
        Claim(
            says="Under muP the best rate of a step stays over width; under SP it falls.",
            quantity=BEST,
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.1,
        ),
        Claim(
            says="Under SP the best rate falls as 1/width.",
            quantity=BEST,
            rule="sp",
            wrong="mup",
            expected=-1.0,
            tolerance=0.1,
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark="The paper excludes NTK, too: there the best rate stays random at any width. The spread "
    "over draws at widths up to 512 does not show that apart from the noise of finite width, so it "
    "is not claimed here.",
)
