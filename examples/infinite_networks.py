"""Networks of infinite width and depth, and how finite ones approach them: the pictures of docs/limits.md. Run it with

python examples/infinite_networks.py --out docs

It solves the limits, trains finite networks beside them, and prints every number that it draws.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mutransfer import limits
from mutransfer.report import ACCENT, FAINT, INK, drawing, lay_out, save, shades
from mutransfer.tasks import digits

INPUTS, TARGETS = limits.two_classes("digits", 4)
PROBLEM = limits.Problem(inputs=INPUTS, targets=TARGETS, lr=0.05, steps=20)


def dynamics(widths: Sequence[int] = (32, 128, 512), depths: Sequence[int] = (1, 2, 4, 8, 16), seeds: int = 20):
    """Loss over time: widths beside the limit of infinite width; depths beside the limit of infinite depth; features over layer time."""
    print("loss after the last step")
    limit = limits.linear(PROBLEM, 4)
    by_width = {width: PROBLEM.losses(limits.simulate(PROBLEM, width, 4, seeds)) for width in widths}
    for width, losses in by_width.items():
        print(f"  width {width:4}, depth 4   {losses[:, -1].mean():.4f} +- {losses[:, -1].std(ddof=1) / seeds**0.5:.4f}")
    print(f"  width  inf, depth 4   {limit.losses[-1]:.4f}")
    by_depth = {depth: limits.linear(PROBLEM, depth) for depth in (*depths, math.inf)}
    for depth, found in by_depth.items():
        print(f"  width  inf, depth {depth:<4g}{found.losses[-1]:.4f}")
    lazy = limits.lazy(PROBLEM, math.inf)
    print(f"  width  inf, depth inf, lazy (gamma0 = 0)   {lazy.losses[-1]:.4f}")

    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10.2, 3.2))
        left, middle, right = figure.subplots(1, 3)
        for colour, (width, losses) in zip(shades(len(widths)), by_width.items(), strict=True):
            left.plot(losses.mean(0), color=colour, label=f"{width}")
            left.fill_between(range(losses.shape[1]), *np.percentile(losses, [10, 90], axis=0), color=colour, alpha=0.25, linewidth=0)
        left.plot(limit.losses, color=INK, linestyle=(0, (4, 2)), label="∞")
        left.legend(title="width (depth 4)", alignment="left")
        for colour, depth in zip([*shades(len(depths)), INK], by_depth, strict=True):
            middle.plot(by_depth[depth].losses, color=colour, label="∞" if math.isinf(depth) else f"{depth}")
        middle.plot(lazy.losses, color=FAINT, linestyle=(0, (1, 1.5)), label="∞, lazy")
        middle.legend(title="depth (width ∞)", alignment="left")
        infinite = by_depth[math.inf]
        times = range(0, PROBLEM.steps + 1, 5)
        y = TARGETS / len(TARGETS) ** 0.5
        for colour, t in zip(shades(len(times)), times, strict=True):
            right.plot(infinite.layers, np.einsum("lmn,m,n->l", infinite.features[:, t, :, t, :], y, y), color=colour, label=f"{t}")
        right.legend(title="step", alignment="left")
        for axes, title, x in (
            (left, "wider", "step"),
            (middle, "deeper", "step"),
            (right, "features along the targets", "layer time, layer / depth"),
        ):
            axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
            axes.set_xlabel(x)
        left.set_ylabel("training loss")
        right.set_ylabel("y · <h h> · y / |y|²")
        lay_out(figure)
    return figure


class PostNonlinear(nn.Module):
    """x + L^-alpha MS(phi(W x)), the block of Tensor Programs VI, on the digits; input and readout stay as they were drawn."""

    def __init__(self, width: int, depth: int, alpha: float, phi) -> None:
        super().__init__()
        self.scale, self.phi = depth**-alpha, phi
        self.input = nn.Linear(64, width, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.readout = nn.Linear(width, 10, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.normal_(self.readout.weight, std=1 / width)
        self.input.requires_grad_(False)
        self.readout.requires_grad_(False)

    def forward(self, x):
        x = self.input(x)
        for block in self.blocks:
            z = self.phi(block(x))
            x = x + self.scale * (z - z.mean(-1, keepdim=True))
        return self.readout(x)


def trained(width: int, depth: int, alpha: float, phi, steps: int, seed: int):
    """The stream of a torch network after Adam has trained it, with the rate of hidden weights times depth^(alpha - 1)."""
    torch.manual_seed(seed)
    task, model = digits(), PostNonlinear(width, depth, alpha, phi)
    optimizer = torch.optim.Adam(model.blocks.parameters(), lr=0.003 * depth ** (alpha - 1), eps=1e-12)
    for rows in task.batches(seed, steps, 64):
        optimizer.zero_grad()
        task.loss(model(task.inputs[rows]), task.targets[rows]).backward()
        optimizer.step()
    return limits.model_stream(model, ["blocks.*", "readout"], task.inputs[:256])


def diversity(limit_depths: Sequence[int] = (16, 32, 64), depths: Sequence[int] = (16, 32, 64, 128), steps: int = 150, seeds: int = 3):
    """The feature diversity exponent after training, over depth: 1/2 stays only where branches are scaled by 1/sqrt(depth)."""
    inputs, targets = limits.two_classes("digits", 2)
    problem = limits.Problem(inputs=inputs, targets=targets, lr=0.1, steps=8, block="post")
    print("feature diversity exponent after training, and its change as the depth doubles")
    found = {}
    for name, phi in (("relu", torch.relu), ("abs", torch.abs)):
        for alpha in (0.5, 1.0):
            own = replace(problem, activation=name, alpha=alpha)
            found["limit", name, alpha] = limits.diversity_trend({n: [limits.limit_stream(own, n)[:, -1]] for n in limit_depths})
            streams = {n: [trained(64, n, alpha, phi, steps, seed) for seed in range(seeds)] for n in depths}
            found["torch", name, alpha] = limits.diversity_trend(streams)
            for kind in ("limit", "torch"):
                trend = found[kind, name, alpha]
                exponents = "  ".join(f"{d}: {k:.3f}" for d, k in zip(trend.depths, trend.exponents, strict=True))
                print(f"  {kind} {name:4} alpha {alpha:g}   {exponents}   per doubling {trend.per_doubling:+.3f}", flush=True)
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 3.1))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, kind, title in zip(panels, ("limit", "torch"), ("infinite width, SGD", "width 64, Adam (torch)"), strict=True):
            for name, style in (("relu", "-"), ("abs", (0, (4, 2)))):
                for alpha, colour in ((0.5, INK), (1.0, ACCENT)):
                    trend = found[kind, name, alpha]
                    label = f"{name}, 1/{'√' if alpha == 0.5 else ''}depth"
                    axes.errorbar(trend.depths, trend.exponents, np.nan_to_num(trend.errors), color=colour, linestyle=style, marker="o",
                                  markersize=3.5, label=label)  # fmt: skip
            axes.set_xscale("log", base=2)
            axes.set_xticks(trend.depths, [str(depth) for depth in trend.depths])
            axes.minorticks_off()
            axes.axhline(0.5, color=FAINT, linewidth=0.8)
            axes.set_xlabel("depth")
            axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
        panels[0].set_ylabel("diversity exponent after training")
        panels[1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), handlelength=2.6)
        lay_out(figure)
    return figure


def finite_size(widths: Sequence[int] = (32, 64, 128, 256), depths: Sequence[int] = (4, 8, 16), seeds: int = 200):
    """Errors of finite networks against the limit, and the smallest proxy."""
    found = limits.finite_size(PROBLEM, widths=widths, depths=depths, seeds=seeds)
    print(found)
    print(limits.how_small(found, 0.05))
    return found.figure()


def errors_by_width(widths: Sequence[int] = (64, 128, 256, 512, 1024, 2048), networks: int = 400):
    """N times the mean square error of one network's outputs, with its standard error: the same at every width N."""
    random = np.random.default_rng(0)
    problem = limits.Problem(inputs=random.normal(size=(4, 6)), targets=[1, -1, 1, -1], lr=0.05, steps=15)
    print("width x mean square error of one network, depth 4")
    for name in ("linear", "tanh", "relu"):
        own, row = replace(problem, activation=name), []
        limit = limits.solve(own, 4, accuracy=0.002)
        for width in widths:
            outputs = limits.simulate(own, width, 4, max(16, networks * widths[0] // width))
            errors = width * ((outputs - limit.outputs) ** 2).mean((1, 2))
            row.append(f"{width}: {errors.mean():.2f} +- {errors.std(ddof=1) / len(errors) ** 0.5:.2f}")
        print(f"  {name:6} " + "   ".join(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the pictures")
    out = parser.parse_args().out
    for name, draw in (("dynamics", dynamics), ("finite-size", finite_size), ("diversity", diversity)):
        save(draw(), out / f"limits-{name}")
        print()
    errors_by_width()


if __name__ == "__main__":
    main()
