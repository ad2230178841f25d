"""Costs of a plan: a training step with its groups, and making it.

The step is measured against the same step with one group, making the plan against microsoft/mup's
set_base_shapes. Both sides of a ratio take turns within one run:

    python benchmarks/plan_overhead/run.py
"""

import copy
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

import mutransfer as mt
from mutransfer.tasks import gpt

STEP = {"width": 256, "depth": 12, "vocabulary": 1024}
LARGE, BASE, DELTA = (
    {"width": width, "depth": 12, "vocabulary": 16384, "heads": heads}
    for width, heads in ((768, 12), (192, 3), (384, 6))
)


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def ratio_of_steps(rounds: int = 30) -> dict[str, float]:
    """Compare CPU seconds of a training step, and of its optimizer's part, with one group's."""
    torch.set_num_threads(1)
    model = gpt(**STEP)
    other = copy.deepcopy(model)
    plan = mt.plan(model, gpt(**STEP | {"width": 64, "depth": 3}))
    planned = torch.optim.AdamW(plan.param_groups(model, lr=1e-3), fused=True)
    plain = torch.optim.AdamW(other.parameters(), lr=1e-3, fused=True)
    tokens = torch.randint(STEP["vocabulary"], (4, 64))

    def step(trained: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
        def whole() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(trained(tokens).flatten(0, 1), tokens.flatten()).backward()
            optimizer.step()

        return seconds(whole), seconds(optimizer.step)

    # The first steps allocate the optimizers' states, and are not counted.
    step(model, planned), step(other, plain)
    times = [(*step(model, planned), *step(other, plain)) for _ in range(rounds)]
    medians = (1e3 * median(column) for column in zip(*times, strict=True))
    whole, optimizer, plain_whole, plain_optimizer = medians
    return {
        "step": whole / plain_whole,
        "optimizer": optimizer / plain_optimizer,
        "ms": plain_whole,
        "groups": len(planned.param_groups),
    }


def measured(library: str) -> dict[str, float]:
    """Return seconds and peak memory of one library's set-up, in a process of its own."""
    command = [sys.executable, __file__, library]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(printed.splitlines()[-1])


def peak_memory() -> int:
    """Return the largest memory of the process so far, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def set_up(library: str) -> None:
    """Set up the large model by one library, base models included, and print the costs."""
    model = gpt(**LARGE)
    if library == "mup":
        import mup

        model.head = mup.MuReadout(LARGE["width"], LARGE["vocabulary"], bias=False)
    # A small model warms up construction, which is not what is compared.
    gpt(**BASE | {"width": 64, "heads": 1, "depth": 1})
    before, start = peak_memory(), time.perf_counter()
    if library == "mup":
        bases = [gpt(**sizes) for sizes in (BASE, DELTA)]
        for base, sizes in zip(bases, (BASE, DELTA), strict=True):
            base.head = nn.Linear(sizes["width"], sizes["vocabulary"], bias=False)
        mup.set_base_shapes(model, bases[0], delta=bases[1])
    else:
        mt.plan(model, gpt(**BASE))
    taken, memory = time.perf_counter() - start, (peak_memory() - before) / 1024
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps({"seconds": taken, "megabytes": memory, "parameters": parameters}))


def main() -> None:
    """Print the ratio of steps, and the costs of both libraries' set-up."""
    ratios = ratio_of_steps()
    print(
        f"training step, fused AdamW, 12 layers of width 256, {ratios['groups']} groups against 1: "
        f"ratio {ratios['step']:.3f} of {ratios['ms']:.0f} ms; "
        f"the optimizer's part alone {ratios['optimizer']:.3f}",
        flush=True,
    )
    runs = {library: [measured(library) for _ in range(3)] for library in ("mutransfer", "mup")}
    for library, costs in runs.items():
        best = {key: min(run[key] for run in costs) for key in costs[0]}
        print(
            f"{library}, {best['parameters'] / 1e6:.0f}M parameters: {best['seconds']:.2f} s "
            f"and {best['megabytes']:.0f} MB more, base models included"
        )
    print(f"{platform.machine()}, torch {torch.__version__}")


if __name__ == "__main__":
    set_up(sys.argv[1]) if len(sys.argv) > 1 else main()
