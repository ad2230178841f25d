"""u-muP: weights, activations and gradients start at a scale of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core import Estimate
from ...pytorch import plan
from ...tasks import resmlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly
from .._plots import Plot, Series, plot
from .models import UnitLinear, unit_resmlp

RULES = ("u-mup", "mup")
KINDS = ("weights", "gradients of weights", "activations", "gradients of activations")

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (64, 128), "depth": 2, "batch": 32},
    "small": {"widths": (64, 128, 256, 512, 1024), "depth": 4, "batch": 256},
    "full": {"widths": (64, 256, 1024, 4096), "depth": 8, "batch": 1024},
}

FARTHEST = "largest distance of an RMS from 1, octaves: {kind}"


def _model(rule: str, width: int, depth: int, base: int) -> nn.Module:
    torch.manual_seed(0)
    if rule == "u-mup":
        return unit_resmlp(width, depth)
    model = resmlp(width, depth)
    plan(model, resmlp(base, depth), rule=rule).initialize(model)
    return model


def _scales(model: nn.Module, batch: int) -> dict[str, dict[str, float]]:
    """Return the RMS of every tensor, by kind and name of its layer."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 64, generator=generator)
    classes = torch.randint(10, (batch,), generator=generator)
    outputs: dict[str, Tensor] = {}
    layers = dict(_layers(model))
    for name, layer in layers.items():
        layer.register_forward_hook(partial(_kept, outputs, name))
    F.cross_entropy(model(x), classes).backward()  # type: ignore[no-untyped-call]
    # muP makes the logits start as 1/sqrt(width), in unit scaling, too.
    inside = {name: output for name, output in outputs.items() if name != "readout"}
    tensors = {
        "weights": {name: layer.weight for name, layer in layers.items()},
        "gradients of weights": {name: layer.weight.grad for name, layer in layers.items()},
        "activations": inside,
        "gradients of activations": {name: output.grad for name, output in inside.items()},
    }
    return {
        kind: {name: _rms(tensor) for name, tensor in named.items()}
        for kind, named in tensors.items()
    }


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if isinstance(module, UnitLinear | nn.Linear):
            yield name, module


def _kept(outputs: dict[str, Tensor], name: str, layer: nn.Module, x: Any, output: Tensor) -> None:
    output.retain_grad()
    outputs[name] = output


def _rms(tensor: Any) -> float:
    return float(tensor.detach().square().mean().sqrt())


def _measure(bench: Bench) -> Measured:
    widths, depth, batch = bench.pick(SETTINGS).values()
    scales = {
        rule: [_scales(_model(rule, width, depth, widths[0]), batch) for width in widths]
        for rule in RULES
    }
    values: dict[str, dict[str, Estimate]] = {
        rule: {
            FARTHEST.format(kind=kind): exactly(
                max(abs(math.log2(rms)) for at in each for rms in at[kind].values())
            )
            for kind in KINDS
        }
        for rule, each in scales.items()
    }
    panels = [
        Plot(
            title=rule,
            x="width",
            y="RMS, of the layer farthest from 1",
            lines=[_line(kind, widths, [at[kind] for at in each]) for kind in KINDS],
            log="xy",
        )
        for rule, each in scales.items()
    ]
    return Measured(values=values, figure=plot(panels))


def _line(kind: str, widths: tuple[int, ...], each: list[dict[str, float]]) -> Series:
    farthest = [max(at.values(), key=lambda rms: abs(math.log2(rms))) for at in each]
    return Series(name=kind, x=widths, y=farthest)


EXPERIMENT = Experiment(
    title="Unit scaling: every tensor starts at a scale of one",
    source="u-muP (2407.17465), Section 3 and Figure 6",
    shows=(
        "A residual MLP in unit scaling has matrices of standard deviation 1, explicit multipliers "
        "forwards, others for the two gradients, and the residual weights of u-muP. At "
        "initialisation the RMS of every weight, activation and gradient is near 1 at every width, "
        "which formats of few bits need. The same network under muP is far from it."
    ),
    claims=tuple(
        Claim(
            says=f"In u-muP all {kind} start within a factor 2 of scale 1; in muP they do not.",
            quantity=FARTHEST.format(kind=kind),
            rule="u-mup",
            wrong="mup",
            expected=1.0,
            sense="at most",
        )
        for kind in KINDS[1:]
    ),
    measure=_measure,
    minutes=0.5,
    remark=(
        "Logits are left out: in u-muP, too, they start as 1/sqrt(width). Weights, in the picture, "
        "have scale 1 by construction, so that nothing is claimed of them."
    ),
)
