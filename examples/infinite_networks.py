"""Networks of infinite width and depth, and the approach of finite ones.

These are the pictures of docs/limits.md:

    python examples/infinite_networks.py --out docs

The script solves the limits, trains finite networks, and prints every number that it draws.
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
from mutransfer.figures import ACCENT, FAINT, INK, drawing, lay_out, save, shades
from mutransfer.tasks import digits

PROBLEM = limits.problem_of("digits")
TITLE = {"loc": "left", "fontsize": 9.5, "fontweight": "bold"}
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))


def dynamics(
    widths: Sequence[int] = (32, 128, 512),
    depths: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: int = 20,
):
    """Draw loss over time by width and by depth, and features over layer time."""
    print("loss after the last step")
    limit = limits.linear(PROBLEM, 4)
    by_width = {
        width: PROBLEM.losses(limits.simulate(PROBLEM, width, 4, seeds)) for width in widths
    }
    for width, losses in by_width.items():
        error = losses[:, -1].std(ddof=1) / seeds**0.5
        print(f"  width {width:4}, depth 4   {losses[:, -1].mean():.4f} +- {error:.4f}")
    print(f"  width  inf, depth 4   {limit.losses[-1]:.4f}")
    by_depth = {depth: limits.linear(PROBLEM, depth) for depth in (*depths, math.inf)}
    for depth, solution in by_depth.items():
        print(f"  width  inf, depth {depth:<4g}{solution.losses[-1]:.4f}")
    lazy = limits.lazy(PROBLEM, math.inf)
    print(f"  width  inf, depth inf, lazy (gamma0 = 0)   {lazy.losses[-1]:.4f}")

    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10.2, 3.2))
        left, middle, right = figure.subplots(1, 3)
        draw_widths(left, by_width, limit)
        draw_depths(middle, by_depth, lazy)
        draw_features(right, by_depth[math.inf])
        lay_out(figure)
    return figure


def draw_widths(axes, by_width, limit) -> None:
    """Draw the mean loss and 80% of the networks of each width, and the limit."""
    for colour, (width, losses) in zip(shades(len(by_width)), by_width.items(), strict=True):
        axes.plot(losses.mean(0), color=colour, label=f"{width}")
        low, high = np.percentile(losses, [10, 90], axis=0)
        axes.fill_between(range(losses.shape[1]), low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(limit.losses, color=INK, linestyle=DASHED, label="∞")
    axes.legend(title="width (depth 4)", alignment="left")
    axes.set_title("wider", **TITLE)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")


def draw_depths(axes, by_depth, lazy) -> None:
    """Draw the loss of infinite width at every depth, and in the lazy limit."""
    colours = [*shades(len(by_depth) - 1, darkest=0.8), INK]
    for colour, (depth, limit) in zip(colours, by_depth.items(), strict=True):
        axes.plot(limit.losses, color=colour, label="∞" if math.isinf(depth) else f"{depth}")
    axes.plot(lazy.losses, color=FAINT, linestyle=DOTTED, label="∞, lazy")
    axes.legend(title="depth (width ∞)", alignment="left")
    axes.set_title("deeper", **TITLE)
    axes.set_xlabel("step")


def draw_features(axes, limit) -> None:
    """Draw the overlap of features with the targets over layer time, at several steps."""
    times = range(0, PROBLEM.steps + 1, 5)
    y = PROBLEM.targets / len(PROBLEM.targets) ** 0.5
    for colour, t in zip(shades(len(times)), times, strict=True):
        overlap = np.einsum("lmn,m,n->l", limit.features[:, t, :, t, :], y, y)
        axes.plot(limit.layers, overlap, color=colour, label=f"{t}")
    axes.legend(title="step", alignment="left")
    axes.set_title("features along the targets", **TITLE)
    axes.set_xlabel("layer time, layer / depth")
    axes.set_ylabel("y · <h h> · y / |y|²")


class PostNonlinear(nn.Module):
    """The block of Tensor Programs VI, x + L^-alpha MS(phi(W x)), on the digits.

    Input and readout stay as they were drawn.
    """

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
    """Return the stream of a torch network after training by Adam.

    The rate of hidden weights is multiplied by depth^(alpha - 1).
    """
    torch.manual_seed(seed)
    task, model = digits(), PostNonlinear(width, depth, alpha, phi)
    rate = 0.003 * depth ** (alpha - 1)
    optimizer = torch.optim.Adam(model.blocks.parameters(), lr=rate, eps=1e-12)
    for rows in task.batches(seed, steps, 64):
        optimizer.zero_grad()
        task.loss(model(task.inputs[rows]), task.targets[rows]).backward()
        optimizer.step()
    return limits.model_stream(model, ["blocks.*", "readout"], task.inputs[:256])


def diversity(
    limit_depths: Sequence[int] = (16, 32, 64),
    depths: Sequence[int] = (16, 32, 64, 128),
    steps: int = 150,
    seeds: int = 3,
):
    """Draw the feature diversity exponent after training, over depth.

    1/2 stays only where branches are scaled by 1/sqrt(depth).
    """
    problem = limits.problem_of("digits", examples=2, lr=0.1, steps=8, block="post")
    print("feature diversity exponent after training, and its change as the depth doubles")
    trends = {}
    for name, phi in (("relu", torch.relu), ("abs", torch.abs)):
        for alpha in (0.5, 1.0):
            varied = replace(problem, activation=name, alpha=alpha)
            trends["limit", name, alpha] = limits.diversity_trend(
                {depth: [limits.limit_stream(varied, depth)[:, -1]] for depth in limit_depths}
            )
            trends["torch", name, alpha] = limits.diversity_trend(
                {
                    depth: [trained(64, depth, alpha, phi, steps, seed) for seed in range(seeds)]
                    for depth in depths
                }
            )
            for kind in ("limit", "torch"):
                print(f"  {kind} {name:4} alpha {alpha:g}   {row(trends[kind, name, alpha])}")
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 3.1))
        left, right = figure.subplots(1, 2, sharey=True)
        draw_trends(left, trends, "limit", "infinite width, SGD")
        draw_trends(right, trends, "torch", "width 64, Adam (torch)")
        left.set_ylabel("diversity exponent after training")
        right.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), handlelength=2.6)
        lay_out(figure)
    return figure


def row(trend: limits.DiversityTrend) -> str:
    """Return a trend as one line."""
    pairs = zip(trend.depth, trend.exponents, strict=True)
    exponents = "  ".join(f"{depth}: {exponent:.3f}" for depth, exponent in pairs)
    return f"{exponents}   per doubling {trend.per_doubling:+.3f}"


def draw_trends(axes, trends, kind: str, title: str) -> None:
    """Draw the exponents of one kind of network over depth."""
    for name, style in (("relu", "-"), ("abs", DASHED)):
        for alpha, colour in ((0.5, INK), (1.0, ACCENT)):
            trend = trends[kind, name, alpha]
            axes.errorbar(
                trend.depth,
                trend.exponents,
                np.nan_to_num(trend.errors),
                color=colour,
                linestyle=style,
                marker="o",
                markersize=3.5,
                label=f"{name}, 1/{'√' if alpha == 0.5 else ''}depth",
            )
    axes.set_xscale("log", base=2)
    axes.set_xticks(trend.depth, [str(depth) for depth in trend.depth])
    axes.minorticks_off()
    axes.axhline(0.5, color=FAINT, linewidth=0.8)
    axes.set_xlabel("depth")
    axes.set_title(title, **TITLE)


def finite_size(
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (4, 8, 16),
    seeds: int = 200,
):
    """Draw errors of finite networks against the limit, and print the smallest proxy."""
    errors = limits.finite_size(PROBLEM, width=widths, depth=depths, seeds=seeds)
    print(errors)
    print(limits.how_small(errors, 0.05))
    return errors.figure()


def errors_by_width(
    widths: Sequence[int] = (64, 128, 256, 512, 1024, 2048), networks: int = 400
) -> None:
    """Print N times the mean square error of one network's outputs: equal at every width N."""
    inputs = np.random.default_rng(0).normal(size=(4, 6))
    problem = limits.Problem(inputs=inputs, targets=[1, -1, 1, -1], lr=0.05, steps=15)
    print("width x mean square error of one network, depth 4")
    for name in ("linear", "tanh", "relu"):
        varied, cells = replace(problem, activation=name), []
        limit = limits.solve(varied, 4, accuracy=0.002)
        for width in widths:
            seeds = max(16, networks * widths[0] // width)
            outputs = limits.simulate(varied, width, 4, seeds)
            errors = width * ((outputs - limit.outputs) ** 2).mean((1, 2))
            spread = errors.std(ddof=1) / len(errors) ** 0.5
            cells.append(f"{width}: {errors.mean():.2f} +- {spread:.2f}")
        print(f"  {name:6} " + "   ".join(cells), flush=True)


def main() -> None:
    """Draw and print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the pictures")
    out = parser.parse_args().out
    pictures = {"dynamics": dynamics, "finite-size": finite_size, "diversity": diversity}
    for name, draw in pictures.items():
        save(draw(), out / f"limits-{name}")
        print()
    errors_by_width()


if __name__ == "__main__":
    main()
