"""Costs of a coordinate check: the default one, and against microsoft/mup's get_coord_data.

Both sides of the ratio do the same work, and take turns within one process:

    python benchmarks/coordinate_check/run.py
"""

import os
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from statistics import median

import mup
import torch
from mup.coord_check import get_coord_data
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import gpt

WIDTHS, DEPTHS = [64, 128, 256, 512], [4, 8, 16]
SEEDS, STEPS, LR = 3, 4, 2**-6
EXAMPLES, TOKENS, VOCABULARY = 8, 32, 256
LIMIT = 60.0
make = partial(gpt, depth=DEPTHS[0], vocabulary=VOCABULARY)


class Flat(nn.Module):
    """The GPT with mup's readout, and a row for each token, which mup's cross-entropy needs."""

    def __init__(self, width: int, *, readout: bool = True) -> None:
        super().__init__()
        self.gpt = make(width)
        if readout:
            self.gpt.head = mup.MuReadout(width, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.gpt(tokens).flatten(0, -2)


def prepared(width: int) -> nn.Module:
    """Return a model that mup can train.

    Its base and delta are built each time, because our side plans every network anew, too.
    """
    base, delta = (Flat(size, readout=False) for size in (WIDTHS[0], 2 * WIDTHS[0]))
    return mup.set_base_shapes(Flat(width), base, delta=delta)


def theirs(batch: tuple[Tensor, Tensor]) -> None:
    """Record coordinates by mup."""
    models = {width: partial(prepared, width) for width in WIDTHS}
    settings = {"nsteps": STEPS + 1, "nseeds": SEEDS, "cuda": False, "show_progress": False}
    get_coord_data(models, [batch], optimizer="adamw", lr=LR, mup=True, **settings)


def ours(batch: tuple[Tensor, Tensor], *, control: bool) -> None:
    """Check coordinates by mutransfer."""

    def loss(output: Tensor, _: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.flatten(0, -2), batch[1])

    settings = {"seeds": SEEDS, "steps": STEPS, "lr": LR, "control": control}
    mt.coordinate_check(make, width=WIDTHS, batch=batch[0], loss=loss, **settings)


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compared(rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of each side."""
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(VOCABULARY, (EXAMPLES, TOKENS), generator=random)
    targets = torch.randint(VOCABULARY, (EXAMPLES * TOKENS,), generator=random)
    batch = tokens, targets
    sides = {
        "mup": partial(theirs, batch),
        "ours": partial(ours, batch, control=False),
        "control": partial(ours, batch, control=True),
    }
    times = [{name: seconds(side) for name, side in sides.items()} for _ in range(rounds)]
    return {name: median(row[name] for row in times) for name in sides}


def default_check() -> None:
    """Print the costs of the default check with its control."""
    start, cpu = time.perf_counter(), time.process_time()
    check = mt.coordinate_check(gpt, width=WIDTHS, depth=DEPTHS, seeds=SEEDS)
    taken, cpu = time.perf_counter() - start, time.process_time() - cpu
    networks = {(row.size, row.seed) for row in check.rows}
    print(
        f"default check, {len(networks)} networks and the control: {taken:.1f} s of wall time "
        f"({cpu:.0f} s of CPU), {'within' if taken <= LIMIT else 'OVER'} {LIMIT:.0f} s; "
        f"{check.verdict}",
        flush=True,
    )


def main() -> None:
    """Print the machine, the default check's costs, and the comparison."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} "
        f"on {torch.get_num_threads()} threads, mup {version('mup')}"
    )
    default_check()
    medians = compared()
    print(
        f"widths {WIDTHS} at depth {DEPTHS[0]}, {SEEDS} seeds, {STEPS + 1} recorded passes: "
        f"mup {medians['mup']:.2f} s, "
        f"ours {medians['ours']:.2f} s, ratio {medians['ours'] / medians['mup']:.2f}; "
        f"with control {medians['control']:.2f}, ratio {medians['control'] / medians['mup']:.2f}"
    )


if __name__ == "__main__":
    main()
