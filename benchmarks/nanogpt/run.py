"""The published nanoGPT sweep in its shape, as one study.

Widths 256 to 2048, 2 layers, heads of 64, context 1024, batch 8, 12 rates, 3 seeds, 122 steps of
AdamW (0.9, 0.95) at a constant rate, on the bytes of a text:

    python -m benchmarks.nanogpt.run --text FILE [--device cuda] [--json FILE]

Printed are the time of the whole sweep in a process of its own with nothing compiled, the optimum
of each width, the way that was chosen, the share of the measured peak of matrix products, and the
pace of a smaller GPT with 32 members against loops. At most 5 minutes for the sweep, and as much
for the rest, are meant for one GPU; `--tiny` tries the script on a processor in seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import mutransfer as mt
from mutransfer.core import Progress, about, text

from ..sweep_throughput.whole import cold
from ..whole_job.run import optima
from . import members
from .model import decoder, flops, peak

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DEPTH, GOAL = 2, 300.0
"""Layers, and wanted seconds of the sweep."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of the sweep.

    Attributes:
        widths: Widths.
        context: Bytes of a window.
        batch: Windows a step.
        rates: Number of rates, at a distance of one octave.
        seeds: Number of seeds.
        steps: Optimizer steps of a run.
        watched: Width whose share of the peak is shown.
        product: Rows of the matrices whose product is the peak.
    """

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    context: int = 1024
    batch: int = 8
    rates: int = 12
    seeds: int = 3
    steps: int = 122
    watched: int = 1024
    product: int = 8192

    def study(self, path: Path, precision: str) -> mt.Study:
        """Return the study on the text of a file."""
        return mt.Study(
            decoder,
            width=list(self.widths),
            depth=[DEPTH],
            context=self.context,
            lr=[2.0 ** -(14 - i) for i in range(self.rates)],
            seeds=self.seeds,
            steps=self.steps,
            batch=self.batch,
            task=f"text:{path}",
            optimizer="adamw",
            options={"betas": (0.9, 0.95)},
            precision=precision,
        )


TINY = Shape(
    widths=(16, 32), context=32, batch=2, rates=3, seeds=1, steps=3, watched=32, product=128
)


def swept(shape: Shape, arguments: argparse.Namespace, folder: str) -> tuple[float, mt.Runs]:
    """Return the seconds of the sweep in a process of its own, and its runs."""
    given = {
        "--text": arguments.text,
        "--device": arguments.device,
        "--precision": arguments.precision,
        "--search": arguments.search,
        "--out": folder,
    }
    flags = [part for name, value in given.items() for part in (name, str(value))]
    end = ["--tiny"] if arguments.tiny else []
    seconds = cold([sys.executable, "-m", __spec__.name, *flags, *end])
    return seconds, mt.Runs.read(folder)


def shares(shape: Shape, runs: mt.Runs, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the peak, and the shares of it in the steady state and over whole runs."""
    most = peak(arguments.device, DTYPES[arguments.precision], shape.product)
    work = flops(shape.watched, DEPTH, shape.context, shape.batch)
    rows = [row for row in runs.rows if row["width"] == shape.watched]
    seconds = sum(row["seconds"] for row in rows) / (len(rows) * shape.steps)
    found = {"peak": most, "whole runs": work / seconds / most}
    for way in runs.header.get("ways", {}).values():
        if f"width {shape.watched}" in way["size"] and way["seconds"]:
            found["steady state"] = work / way["seconds"] / most
    return found


def sweep_figures(shape: Shape, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the sweep, print its figures, and return them."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, runs = swept(shape, arguments, folder)
    print(f"{len(runs.rows)} runs of {shape.steps} steps: {seconds:.0f} s cold (goal {GOAL:.0f})")
    best = optima(runs)
    for width, each in best.items():
        low, high = each["interval"]
        print(
            f"  width {width}: log2 of the best rate {each['log2_lr']:.2f} [{low:.2f}, {high:.2f}]"
        )
    ways = runs.header.get("ways", {})
    for way in ways.values():
        print(f"  {way['size']}: {way}")
    found = shares(shape, runs, arguments)
    print(f"  peak {found['peak'] / 1e12:.3g} TFLOP/s; shares at width {shape.watched}: {found}")
    seconds_of = {
        str(width): sum(row["seconds"] for row in runs.rows if row["width"] == width)
        for width in shape.widths
    }
    print(f"  seconds of training by width: {seconds_of}", flush=True)
    return {
        "seconds": seconds,
        "runs": len(runs.rows),
        "optima": best,
        "ways": ways,
        "shares": found,
        "seconds by width": seconds_of,
    }


def report(progress: Progress) -> None:
    """Print remarks of the sweep, such as the ways that it chose."""
    if progress.note:
        print(progress.note, file=sys.stderr, flush=True)


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="the text to train on")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=DTYPES, help="bfloat16 on cuda by default")
    parser.add_argument("--search", choices=("grid", "refine"), default="grid")
    parser.add_argument("--part", choices=("sweep", "members"), help="only this part")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the script")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    usual = "bfloat16" if arguments.device == "cuda" else "float32"
    arguments.precision = arguments.precision or usual
    arguments.text = arguments.text.resolve()
    return arguments


def main() -> None:
    """Measure both parts, or run the sweep where a folder is given."""
    arguments = parsed()
    shape = TINY if arguments.tiny else Shape()
    device = None if arguments.device == "cpu" else arguments.device
    if arguments.out:
        study = shape.study(arguments.text, arguments.precision)
        mt.sweep(study, arguments.out, search=arguments.search, device=device, progress=report)
        return
    figures: dict[str, Any] = {}
    if arguments.part != "members":
        figures["sweep"] = sweep_figures(shape, arguments)
    if arguments.part != "sweep":
        figures["members"] = members.measured(arguments.device, tiny=arguments.tiny)
        members.show(figures["members"])
    machine = about()
    if device:
        machine |= {"gpu": torch.cuda.get_device_name()}
    print(machine)
    if arguments.json:
        arguments.json.write_text(text({"about": machine, **figures}) + "\n")


if __name__ == "__main__":
    main()
