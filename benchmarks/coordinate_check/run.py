"""What a coordinate check costs: the default one by itself, and ours against microsoft/mup's get_coord_data for the same work.

Run it with python benchmarks/coordinate_check/run.py. Both sides of the ratio are measured in turns within one process.
"""

import os
import platform
import time
from collections.abc import Callable
from functools import partial
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
    """The GPT with a row for each token, as mup's cross-entropy wants it, and mup's readout."""

    def __init__(self, width: int, *, readout: bool = True) -> None:
        super().__init__()
        self.gpt = make(width)
        if readout:
            self.gpt.head = mup.MuReadout(width, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.gpt(tokens).flatten(0, -2)


def prepared(width: int) -> nn.Module:
    """A model that mup can train, its base and delta included: mup plans every network anew, as we do."""
    base, delta = (Flat(size, readout=False) for size in (WIDTHS[0], 2 * WIDTHS[0]))
    return mup.set_base_shapes(Flat(width), base, delta=delta)


def theirs(batch: tuple[Tensor, Tensor]) -> None:
    models = {width: partial(prepared, width) for width in WIDTHS}
    settings = {"nsteps": STEPS + 1, "nseeds": SEEDS, "cuda": False, "show_progress": False}
    get_coord_data(models, [batch], optimizer="adamw", lr=LR, mup=True, **settings)


def ours(batch: tuple[Tensor, Tensor], *, control: bool) -> None:
    def loss(output: Tensor, _: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.flatten(0, -2), batch[1])

    mt.coordinate_check(make, width=WIDTHS, seeds=SEEDS, steps=STEPS, lr=LR, batch=batch[0], loss=loss, control=control)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compared(rounds: int = 7) -> dict[str, float]:
    """Median seconds of each side, measured in turns."""
    draw = torch.Generator().manual_seed(0)
    batch = torch.randint(VOCABULARY, (EXAMPLES, TOKENS), generator=draw), torch.randint(VOCABULARY, (EXAMPLES * TOKENS,), generator=draw)
    sides = {"mup": partial(theirs, batch), "ours": partial(ours, batch, control=False), "control": partial(ours, batch, control=True)}
    times = [{name: seconds(side) for name, side in sides.items()} for _ in range(rounds)]
    return {name: median(each[name] for each in times) for name in sides}


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} on {torch.get_num_threads()} threads, mup 1.0.0")
    start, cpu = time.perf_counter(), time.process_time()
    check = mt.coordinate_check(gpt, width=WIDTHS, depth=DEPTHS, seeds=SEEDS)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"default check, {len({row[1:4] for row in check.rows})} networks and the control: {took:.1f} s of wall time", end=" ")
    print(f"({cpu:.0f} s of CPU), {'within' if took <= LIMIT else 'OVER'} {LIMIT:.0f} s; {check.verdict}", flush=True)
    found = compared()
    print(f"widths {WIDTHS} at depth {DEPTHS[0]}, {SEEDS} seeds, {STEPS + 1} recorded passes:", end=" ")
    print(f"mup {found['mup']:.2f} s", end=", ")
    print(f"ours {found['ours']:.2f} s, ratio {found['ours'] / found['mup']:.2f};", end=" ")
    print(f"with control {found['control']:.2f}, ratio {found['control'] / found['mup']:.2f}")


if __name__ == "__main__":
    main()
