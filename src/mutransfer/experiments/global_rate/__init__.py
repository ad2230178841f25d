"""Tensor Programs V, Section 5: one rate that falls with width does not mend SP."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...core import Estimate
from ...pytorch import plan
from ...studies import Study, log2
from ...tasks import Task, mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import exponent, optima, slope

FIRST = "exponent of width in the relative change of the first layer's features"
GAIN = "fall of the lowest loss, nats per doubling of width"
RULES = ("sp", "mup")

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16, 32], "seeds": 1, "steps": 4},
    "small": {"width": [64, 128, 256, 512], "seeds": 2, "steps": 100},
    "full": {"width": [64, 256, 1024, 4096, 16384], "seeds": 5, "steps": 1000},
}


def _features(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the outputs of all layers but the readout."""
    found: list[Tensor] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)][:-1]
    handles = [
        layer.register_forward_hook(lambda _, __, output: found.append(output.detach()))
        for layer in layers
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return found


def _movement(rule: str, width: int, base: int, rate: float, task: Task, steps: int) -> list[float]:
    """Return the relative change of each layer's features in a training at this rate."""
    torch.manual_seed(0)
    model = mlp(width=width)
    made = plan(model, mlp(width=base), rule=rule, optimizer="adam")
    made.initialize(model)
    optimizer = torch.optim.Adam(made.param_groups(model, lr=rate))
    assert isinstance(task.inputs, Tensor)
    probe = task.inputs[:256]
    before = _features(model, probe)
    feed = task.feed(seed=0, steps=steps, batch=64)
    for step in range(steps):
        inputs, targets = feed[step]
        optimizer.zero_grad()
        torch.autograd.backward(task.loss(model(inputs), targets))
        optimizer.step()
    after = _features(model, probe)
    return [float((b - a).norm() / a.norm()) for a, b in zip(before, after, strict=True)]


def _measure(bench: Bench) -> Measured:
    task, setting = bench.digits(), bench.pick(SETTINGS)
    widths, steps = setting["width"], setting["steps"]
    study = Study(mlp, **setting, lr=log2(-11, -4), rules=RULES, optimizer="adam", task=task)
    runs = bench.sweep(study)
    best = {rule: [(each.value, each.loss) for each in optima(runs, rule)] for rule in RULES}
    values: dict[str, dict[str, Estimate]] = {}
    lines = []
    with torch.random.fork_rng(devices=[]):
        for rule in RULES:
            moved = [
                _movement(rule, width, widths[0], rate, task, steps)
                for width, (rate, _) in zip(widths, best[rule], strict=True)
            ]
            values[rule] = {
                FIRST: exponent(widths, [layers[0] for layers in moved]),
                GAIN: slope(widths, [-loss for _, loss in best[rule]]),
            }
            lines += [
                Series(name=f"{rule}, layer {at + 1}", x=widths, y=[each[at] for each in moved])
                for at in range(len(moved[0]))
            ]
    losses = [Series(name=rule, x=widths, y=[loss for _, loss in best[rule]]) for rule in RULES]
    rates = [Series(name=rule, x=widths, y=[rate for rate, _ in best[rule]]) for rule in RULES]
    panels = [
        Plot(title="best rate", x="width", y="learning rate", lines=rates, log="xy"),
        Plot(
            title="loss at the best rate", x="width", y="mean training loss", lines=losses, log="x"
        ),
        Plot(title="features", x="width", y="relative change", lines=lines, log="xy"),
    ]
    return Measured(values=values, figure=plot(panels))


EXPERIMENT = Experiment(
    title="The best rate of SP, and the layer that it stops",
    source="Tensor Programs V, Section 5 (and Figure 5)",
    shows=(
        "Under standard parametrization the best rate is found anew at every width. It falls, so "
        "that the last layers do not blow up, and then the first layer hardly moves: its features "
        "stay as drawn. Under muP all layers move at every width. In the paper wide networks reach "
        "a lower loss than under SP at its own best rate: no single rate makes up for a "
        "parametrization."
    ),
    claims=(
        Claim(
            says="At SP's best rate the first layer moves less in wider networks.",
            quantity=FIRST,
            rule="sp",
            wrong="mup",
            expected=-0.25,
            sense="at most",
        ),
        Claim(
            says="At muP's best rate the first layer moves alike at every width.",
            quantity=FIRST,
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.15,
        ),
        Claim(
            says="At their best rates wider networks are better under muP, and not under SP.",
            quantity=GAIN,
            rule="mup",
            wrong="sp",
            expected=0.01,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "Up to width 512 SP at its own best rate is as good as muP, and gains as much from width, "
        "although its first layer hardly moves: digits may need few learned features. Each width "
        "had to be swept for it. "
        "At the narrowest width, the base, both rules are the same network."
    ),
)
