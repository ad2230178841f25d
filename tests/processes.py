"""A test module run as several processes at once, each of which saves what it found."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


def run_processes(module: str, folder: Path, count: int, seconds: float) -> list[Any]:
    """Run `python -m module rank folder` for every rank; load the `rank.pt` that each saves."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(rank), str(folder)],
            # Sets have another order in each process, which must not matter.
            env=os.environ | {"PYTHONHASHSEED": str(rank)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        texts = [process.communicate(timeout=seconds)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * count, "\n".join(texts)
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]
