"""Costs of the limits, against finite networks and against the fixed-point method.

Both sides of every ratio are measured in turns within one process:

    python benchmarks/limits/run.py [--only PART ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from fixed_point import fixed_point
from torch import Tensor

from mutransfer import limits
from mutransfer.core import about

Array = np.ndarray[Any, np.dtype[np.float64]]
Result = dict[str, Any]
LR = {"linear": 0.2, "tanh": 0.3, "relu": 0.3}
TASK = {"examples": 4, "steps": 15}
DEPTH, WIDTH, NETWORKS = 4, 128, 100
LARGE_DEPTH, LARGE_STEPS, LARGE_WIDTH = 16, 30, 4096
PRECISE, VERY_PRECISE = 0.002, {"tanh": 0.0015, "relu": 0.003}


def problem(
    activation: str = "linear", *, examples: int, steps: int, lr: float | None = None
) -> limits.Problem:
    """Return a problem of random inputs, twice as many dimensions as examples, and random signs."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((examples, 2 * examples))
    targets = np.sign(random.standard_normal(examples))
    return limits.Problem(
        inputs=inputs, targets=targets, lr=lr or LR[activation], steps=steps, activation=activation
    )


clock = time.perf_counter


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call, and its result."""
    start = clock()
    result = call()
    return clock() - start, result


def in_turns(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of every side, after a first call that is not counted."""
    next(iter(sides.values()))()
    times = [{name: timed(side)[0] for name, side in sides.items()} for _ in range(rounds)]
    return {name: median(row[name] for row in times) for name in sides}


def rms(values: Array) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(values**2)))


# Cost exponents


def site_run(examples: int, times: int, depth: int, samples: int) -> None:
    """Train sampled sites of a tanh network once."""
    given = problem("tanh", examples=examples, steps=times - 1, lr=0.05)
    limits.train(given, depth, limits.SiteDraw(given, depth, samples, 0))


def linear_run(
    method: Literal["imbedding", "march"], examples: int, times: int, depth: int
) -> None:
    """Solve a linear network once."""
    limits.linear(problem(examples=examples, steps=times - 1, lr=0.05), depth, method=method)


COSTS: dict[str, tuple[Callable[..., None], dict[str, int], dict[str, tuple[int, list[int]]]]] = {
    "linear, imbedding": (
        partial(linear_run, "imbedding"),
        {"examples": 4, "times": 16, "depth": 2},
        {"times": (3, [48, 96, 192]), "examples": (3, [16, 32, 64]), "depth": (1, [8, 16, 32, 64])},
    ),
    "linear, march": (
        partial(linear_run, "march"),
        {"examples": 4, "times": 16, "depth": 2},
        {"times": (3, [48, 96, 144]), "examples": (3, [16, 32, 48]), "depth": (2, [16, 32, 64])},
    ),
    "nonlinear, fixed samples": (
        site_run,
        {"examples": 4, "times": 16, "depth": 2, "samples": 1600},
        {
            "times": (2, [16, 32, 64]),
            "examples": (2, [4, 8, 16]),
            "depth": (2, [2, 4, 8]),
            "samples": (1, [1600, 3200, 6400]),
        },
    ),
}


def costs() -> Result:
    """Measure seconds over the size of a problem, and fit their exponents."""
    exponents: Result = {}
    for name, (call, base, ranges) in COSTS.items():
        for what, (theory, values) in ranges.items():
            times = in_turns({str(v): partial(call, **{**base, what: v}) for v in values}, rounds=1)
            slope = float(np.polyfit(np.log(values), np.log(list(times.values())), 1)[0])
            last = float(
                np.log(times[str(values[-1])] / times[str(values[-2])])
                / np.log(values[-1] / values[-2])
            )
            exponents[f"{name}: {what}"] = {
                "theory": theory,
                "fit": slope,
                "last two": last,
                "seconds": times,
            }
            shown = ", ".join(f"{value}: {taken:.3f}" for value, taken in times.items())
            print(
                f"{name}, exponent in {what}: {slope:.2f} (last two {last:.2f}), "
                f"in theory {theory}; seconds {shown}",
                flush=True,
            )
    return exponents


# Finite networks in torch


class Networks:
    """One network, or a batch of them, trained by autograd and torch.optim.SGD.

    The initial weights are given; they are N(0, 1).
    """

    def __init__(self, given: limits.Problem, weights: Sequence[Tensor]) -> None:
        self.given, width = given, weights[-1].shape[-1]
        self.input, *self.hidden, self.readout = self.weights = [
            tensor.clone().requires_grad_() for tensor in weights
        ]
        self.width, self.branch = width, given.branch(len(self.hidden))
        self.phi = {"linear": lambda x: x, "tanh": torch.tanh, "relu": torch.relu}[given.phi.name]
        self.x, self.y = (
            torch.tensor(array, dtype=self.input.dtype) for array in (given.inputs, given.targets)
        )
        self.optimizer = torch.optim.SGD(self.weights, lr=given.lr * given.gamma0**2 * width)

    def forward(self) -> Tensor:
        """Return the outputs of all examples."""
        h = self.x @ self.input.mT / self.x.shape[1] ** 0.5
        for weights in self.hidden:
            h = h + self.branch / self.width**0.5 * (self.phi(h) @ weights.mT)
        return (h @ self.readout[..., None])[..., 0] / (self.given.gamma0 * self.width)

    def train(self) -> Array:
        """Train, and return the outputs at every time."""
        outputs = []
        for _ in range(self.given.steps):
            self.optimizer.zero_grad()
            f = self.forward()
            outputs.append(f.detach())
            (0.5 * (f - self.y) ** 2).mean(-1).sum().backward()
            self.optimizer.step()
        with torch.no_grad():
            outputs.append(self.forward())
        return torch.stack(outputs, -2).double().numpy()


def drawn(
    given: limits.Problem, width: int, depth: int, networks: int, dtype: torch.dtype
) -> list[Tensor]:
    """Return the weights that limits.simulate draws for its first seeds."""
    draw = limits.FiniteDraw.of(given, width, depth, range(networks))
    arrays = (draw.input, *draw.hidden, draw.output)
    return [torch.tensor(array, dtype=dtype) for array in arrays]


def large() -> Result:
    """Compare the linear limit with one wide finite network."""
    given = problem(examples=4, steps=LARGE_STEPS)
    random = torch.Generator().manual_seed(0)
    shapes = [
        (LARGE_WIDTH, given.inputs.shape[1]),
        *[(LARGE_WIDTH, LARGE_WIDTH)] * LARGE_DEPTH,
        (LARGE_WIDTH,),
    ]
    weights = [torch.randn(shape, generator=random) for shape in shapes]
    network = f"network of width {LARGE_WIDTH}"
    solvers = {
        method: partial(limits.linear, given, LARGE_DEPTH, method=method)
        for method in ("imbedding", "march")
    }
    solved = {name: side() for name, side in solvers.items()}
    taken: dict[str, list[float]] = {name: [] for name in (*solvers, network)}
    for _ in range(2):
        for name, side in solvers.items():
            taken[name] += [timed(side)[0] for _ in range(3)]
        seconds, outputs = timed(Networks(given, weights).train)
        taken[network].append(seconds)
    times = {name: median(rounds) for name, rounds in taken.items()}
    apart = rms(outputs - solved["imbedding"].outputs)
    print(
        f"linear, 4 examples, {LARGE_STEPS} steps, {LARGE_DEPTH} branches; "
        f"outputs {apart:.3f} (rms) from the network's:"
    )
    for name, seconds in times.items():
        print(
            f"  {name}: {seconds:.3f} s, "
            f"{times[network] / seconds:.1f} times as fast as the network",
            flush=True,
        )
    return {
        "seconds": times,
        "ratio": {name: times[network] / seconds for name, seconds in times.items()},
        "rms difference": apart,
    }


def one_by_one(given: limits.Problem, weights: list[Tensor]) -> tuple[float, Array]:
    """Return the seconds of training without construction, and the outputs."""
    count = len(weights[0])
    networks = [Networks(given, [tensor[i] for tensor in weights]) for i in range(count)]
    return timed(lambda: np.stack([network.train() for network in networks]))


def batched(given: limits.Problem, weights: list[Tensor]) -> tuple[float, Array]:
    """Return the same of all networks in one batch."""
    networks = Networks(given, weights)
    return timed(networks.train)


def hundred() -> Result:
    """Compare the limit of tanh to 1% with a hundred finite networks."""
    given = problem("tanh", **TASK)
    weights = {
        str(dtype)[6:]: drawn(given, WIDTH, DEPTH, NETWORKS, dtype)
        for dtype in (torch.float64, torch.float32)
    }
    simulated = limits.simulate(given, WIDTH, DEPTH, NETWORKS)
    sides: dict[str, Callable[[], tuple[float, Any]]] = {
        "nonlinear to 1%": lambda: timed(lambda: limits.nonlinear(given, DEPTH).outputs)
    }
    for dtype, tensors in weights.items():
        sides[f"torch, one by one, {dtype}"] = partial(one_by_one, given, tensors)
        sides[f"torch, batched, {dtype}"] = partial(batched, given, tensors)
    sides["limits.simulate, with its draw"] = lambda: timed(
        lambda: limits.simulate(given, WIDTH, DEPTH, NETWORKS)
    )
    agreement = {
        name: float(np.abs(side()[1] - simulated).max())
        for name, side in sides.items()
        if name != "nonlinear to 1%"
    }
    taken = [{name: side()[0] for name, side in sides.items()} for _ in range(3)]
    times = {name: median(row[name] for row in taken) for name in sides}
    first, *others = times
    samples = limits.nonlinear(given, DEPTH).samples
    print(
        f"tanh, 4 examples, 15 steps, {DEPTH} branches: {first} (8 repetitions of {samples} "
        f"samples) takes {times[first]:.3f} s; {NETWORKS} networks of width {WIDTH}:"
    )
    for name in others:
        print(
            f"  {name}: {times[name]:.3f} s, ours takes {times[first] / times[name]:.2f} of it; "
            f"outputs agree to {agreement[name]:.0e}"
        )
    return {
        "seconds": times,
        "ratio": {name: times[first] / times[name] for name in others},
        "errors": errors_of_networks(given, simulated),
    }


def errors_of_networks(given: limits.Problem, outputs: Array) -> Result:
    """Return distances of networks' mean losses from the limit's, of the worst step.

    They are shares of the initial loss.
    """
    seconds, precise = timed(lambda: limits.nonlinear(given, DEPTH, accuracy=PRECISE, seed=1))
    quick = limits.nonlinear(given, DEPTH)
    losses, first = given.losses(outputs), precise.losses[0]
    interval = 1.96 * losses.std(0, ddof=1) / np.sqrt(len(losses)) / first
    errors = {
        "precise limit, seconds": seconds,
        "precise limit, 95% interval": float((1.96 * precise.losses_error).max() / first),
        "nonlinear to 1%: error": float(np.abs(quick.losses - precise.losses).max() / first),
        "networks: 95% interval of the mean loss": float(interval.max()),
        "networks: error of the mean loss": float(
            np.abs(losses.mean(0) - precise.losses).max() / first
        ),
        "networks: error of the mean loss, after training": float(
            (losses.mean(0) - precise.losses)[-1] / first
        ),
        "networks: error of the loss of the mean output": float(
            np.abs(given.losses(outputs.mean(0)) - precise.losses).max() / first
        ),
        "outputs, rms: nonlinear to 1%": rms(quick.outputs - precise.outputs),
        "outputs, rms: mean of the networks": rms(outputs.mean(0) - precise.outputs),
        "outputs, rms: one network": float(np.sqrt(np.mean((outputs - precise.outputs) ** 2))),
    }
    for name, value in errors.items():
        print(f"  {name}: {value:.4f}", flush=True)
    return errors


# The reference method

OWN_SAMPLES = [777, 1554, 3108]
STEIN = [(1000, 1e-2), (4000, 1e-2), (16000, 1e-2), (16000, 1e-3)]
SEEDS = 3
Side = Callable[[int], Array]


def repetition(given: limits.Problem, samples: int, seed: tuple[int, int]) -> Array:
    """Train sampled sites once, as `limits.nonlinear` does, with the kernels of all layers."""
    run = limits.train(given, DEPTH, limits.SiteDraw(given, DEPTH, samples, seed))
    for fields in (*run.features, *run.gradients):
        _ = fields.T @ fields / samples
    return run.outputs


def sides_of(given: limits.Problem) -> Iterator[tuple[str, str, int, Side]]:
    """Yield method, setting, seeds, and the call."""
    for samples in OWN_SAMPLES:
        yield (
            "ours",
            f"{samples} samples",
            SEEDS,
            lambda seed, s=samples: repetition(given, s, (100 + seed, 0)),
        )
    for samples, tolerance in STEIN:
        yield (
            "fixed point, Stein",
            f"{samples} samples, tolerance {tolerance:g}",
            SEEDS,
            lambda seed, s=samples, t=tolerance: (
                fixed_point(given, DEPTH, s, tolerance=t, seed=seed).outputs
            ),
        )
    if given.phi.name == "tanh":
        yield (
            "fixed point, Jacobian",
            "250 samples, tolerance 0.01",
            1,
            lambda seed: (
                fixed_point(
                    given, DEPTH, 250, seed=seed, responses="jacobian", iterations=20
                ).outputs
            ),
        )
        yield (
            "fixed point, as published (Jacobian, drawn anew)",
            "250 samples, 10 iterations",
            1,
            lambda seed: (
                fixed_point(
                    given, DEPTH, 250, seed=seed, responses="jacobian", redraw=True, iterations=10
                ).outputs
            ),
        )


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (seconds, error) that no other beats in both, by time."""
    kept: list[tuple[float, float]] = []
    for seconds, error in sorted(points):
        if not kept or error < kept[-1][1]:
            kept.append((seconds, error))
    return kept


def seconds_at(points: list[tuple[float, float]], error: float) -> float | None:
    """Return the seconds to this error, log-log between measured points; None outside them."""
    seconds, errors = np.log(np.array(frontier(points))).T
    if not errors.min() <= np.log(error) <= errors.max():
        return None
    return float(np.exp(np.interp(np.log(error), errors[::-1], seconds[::-1])))


def compared(activation: str) -> Result:
    """Compare times and errors, in turns over the seeds, and the ratio at equal errors."""
    given = problem(activation, **TASK)
    checks = [
        limits.nonlinear(given, DEPTH, accuracy=VERY_PRECISE[activation], seed=seed, repetitions=8)
        for seed in (11, 12)
    ]
    reference = (checks[0].outputs + checks[1].outputs) / 2
    apart = rms(checks[0].outputs - checks[1].outputs) / 2
    print(
        f"{activation}: the reference's rms error of outputs is about {apart:.1e} (two seeds of "
        f"{checks[0].samples} and {checks[1].samples} samples, 8 repetitions each)",
        flush=True,
    )
    sides = list(sides_of(given))
    rows: list[list[tuple[float, float]]] = [[] for _ in sides]
    for seed in range(SEEDS):
        for (_, _, seeds, call), row in zip(sides, rows, strict=True):
            if seed < seeds:
                taken, outputs = timed(partial(call, seed))
                row.append((taken, rms(outputs - reference)))
    table = []
    for (method, setting, _, _), row in zip(sides, rows, strict=True):
        seconds, error = (median(column) for column in zip(*row, strict=True))
        table.append(
            {
                "method": method,
                "setting": setting,
                "seeds": len(row),
                "seconds": seconds,
                "rms error": error,
            }
        )
        print(
            f"  {method}, {setting}: {seconds:.3f} s, rms error {error:.4f} (median of {len(row)})",
            flush=True,
        )
    points = {
        name: [(row["seconds"], row["rms error"]) for row in table if row["method"] == method]
        for name, method in (("ours", "ours"), ("stein", "fixed point, Stein"))
    }
    ratios = {}
    for error in (row["rms error"] for row in table):
        ours, theirs = (seconds_at(points[name], error) for name in ("ours", "stein"))
        if ours and theirs:
            ratios[f"{error:.4f}"] = theirs / ours
    for error, ratio in sorted(ratios.items()):
        print(
            f"  at an rms error of {error}: the fixed point by Stein takes {ratio:.2f} of our time",
            flush=True,
        )
    if not ratios:
        print("  the measured errors do not overlap")
    by_cost = {}
    smallest = points["ours"][0]
    for row in table:
        # Outside the measured range errors fall as the root of the time.
        ours = seconds_at(points["ours"], row["rms error"]) or max(
            smallest[0], smallest[0] * (smallest[1] / row["rms error"]) ** 2
        )
        if row["method"] != "ours":
            by_cost[f"{row['method']}, {row['setting']}"] = row["seconds"] / ours
    for name, ratio in by_cost.items():
        print(f"  {name}: {ratio:.2f} of what ours takes to be at least as accurate", flush=True)
    return {
        "reference error": apart,
        "table": table,
        "ratio at equal error": ratios,
        "over ours": by_cost,
    }


def compared_linear() -> Result:
    """Compare all methods on the linear network, whose march is exact."""
    given = problem("linear", **TASK)
    exact = limits.linear(given, DEPTH, method="march").outputs
    sides: dict[str, Callable[[], Array]] = {
        "linear, imbedding": lambda: limits.linear(given, DEPTH).outputs,
        "nonlinear, one repetition of 777 samples": lambda: repetition(given, 777, (0, 0)),
        **{
            f"fixed point, Stein, {s} samples, tolerance {t:g}": lambda s=s, t=t: (
                fixed_point(given, DEPTH, s, tolerance=t).outputs
            )
            for s, t in ((1000, 1e-2), (16000, 1e-2))
        },
    }
    taken = in_turns(sides, 1)
    costs_and_errors = {
        name: {"seconds": taken[name], "rms error": rms(side() - exact)}
        for name, side in sides.items()
    }
    imbedding = taken["linear, imbedding"]
    print("linear, 4 examples, 15 steps, 4 branches; errors against the march:")
    for name, row in costs_and_errors.items():
        print(
            f"  {name}: {row['seconds']:.3f} s ({row['seconds'] / imbedding:.1f}), "
            f"rms error {row['rms error']:.1e}",
            flush=True,
        )
    return costs_and_errors


PARTS: dict[str, Callable[[], Result]] = {
    "costs": costs,
    "large": large,
    "hundred": hundred,
    "reference-linear": compared_linear,
    "reference-tanh": partial(compared, "tanh"),
    "reference-relu": partial(compared, "relu"),
}


def record(path: str, part: str, origin: Result, result: Result) -> None:
    """Write one part of the record, and keep the others."""
    file = Path(path)
    parts = json.loads(file.read_text()) if file.exists() else {}
    parts[part] = {"about": origin, "result": result}
    file.write_text(json.dumps(parts, indent=1) + "\n")


def main() -> None:
    """Measure the chosen parts, print them, and record them where a file is given."""
    global clock
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", help="file to write the figures to, part by part")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="measure CPU time, for a busy machine; set OMP_NUM_THREADS=1",
    )
    arguments = parser.parse_args()
    if arguments.cpu:
        clock = time.process_time
    threads = (
        os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or "default"
    )
    origin = {
        **about(),
        "numpy": np.__version__,
        "threads of numpy": threads,
        "seconds": "CPU" if arguments.cpu else "wall",
    }
    print(origin, flush=True)
    for part in arguments.only:
        start = time.perf_counter()
        result = PARTS[part]()
        print(f"({part}: {time.perf_counter() - start:.0f} s)\n", flush=True)
        if arguments.json:
            record(arguments.json, part, origin, result)


if __name__ == "__main__":
    main()
