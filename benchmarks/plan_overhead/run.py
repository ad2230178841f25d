"""What a plan costs: a training step with its groups against plain torch, and making it against microsoft/mup's set_base_shapes.

Run it with python benchmarks/plan_overhead/run.py. Both sides of each ratio are measured in turns within one run.
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
    {"width": width, "depth": 12, "vocabulary": 16384, "heads": heads} for width, heads in ((768, 12), (192, 3), (384, 6))
)


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def ratio_of_steps(rounds: int = 30) -> dict[str, float]:
    """CPU seconds of a training step, and of the optimizer's part of it, with the plan's groups and with one group."""
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

    step(model, planned), step(other, plain)
    times = [(*step(model, planned), *step(other, plain)) for _ in range(rounds)]
    whole, own, plain_whole, plain_own = (1e3 * median(column) for column in zip(*times, strict=True))
    return {"step": whole / plain_whole, "optimizer": own / plain_own, "ms": plain_whole, "groups": len(planned.param_groups)}


def measured(what: str) -> dict[str, float]:
    """Seconds and peak memory of one way to set the model up, in a process of its own."""
    answer = subprocess.run([sys.executable, __file__, what], capture_output=True, text=True, check=True).stdout
    return json.loads(answer.splitlines()[-1])


def set_up(what: str) -> None:
    """Set up the large model in one way; the bases are part of it, as a user builds them for nothing else."""
    model = gpt(**LARGE)
    if what == "mup":
        import mup

        model.head = mup.MuReadout(LARGE["width"], LARGE["vocabulary"], bias=False)
    gpt(**BASE | {"width": 64, "heads": 1, "depth": 1})
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if what == "mup":
        bases = [gpt(**sizes) for sizes in (BASE, DELTA)]
        for base, sizes in zip(bases, (BASE, DELTA), strict=True):
            base.head = nn.Linear(sizes["width"], sizes["vocabulary"], bias=False)
        mup.set_base_shapes(model, bases[0], delta=bases[1])
    else:
        mt.plan(model, gpt(**BASE))
    took, memory = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps({"seconds": took, "megabytes": memory / 1024, "parameters": parameters}))


def main() -> None:
    found = ratio_of_steps()
    print(f"training step, fused AdamW, 12 layers of width 256, {found['groups']} groups against 1: ratio {found['step']:.3f}", end=" ")
    print(f"of {found['ms']:.0f} ms; the optimizer's part alone {found['optimizer']:.3f}")
    runs = {what: [measured(what) for _ in range(3)] for what in ("mutransfer", "mup")}
    for what, each in runs.items():
        best = {key: min(run[key] for run in each) for key in each[0]}
        print(f"{what}, {best['parameters'] / 1e6:.0f}M parameters:", end=" ")
        print(f"{best['seconds']:.2f} s and {best['megabytes']:.0f} MB more, base models included")
    print(f"{platform.machine()}, torch {torch.__version__}")


if __name__ == "__main__":
    set_up(sys.argv[1]) if len(sys.argv) > 1 else main()
