"""Seconds to read a table of a million runs, against pandas.read_csv alone.

Both sides take turns within one process. What pandas returns are columns; what `Runs.from_table`
returns was checked for units, states and repeated runs, and is a row a run:

    python benchmarks/read_table/run.py
"""

import argparse
import gc
import platform
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from mutransfer import Runs, transfer

WIDTHS, DEPTHS, RATES, SEEDS = (64, 128, 256, 512, 1024), (2, 4, 8, 16, 32), 40, 1000
HEADER = "name,state,width,depth,learning_rate,weight_decay,seed,batch,val_loss,train_loss"


def write(path: Path, seeds: int) -> int:
    """Write a table with optima at 2^-7, and return its number of runs."""
    noise, runs = random.Random(0), 0
    with path.open("w") as file:
        print(HEADER, file=file)
        for width in WIDTHS:
            for depth in DEPTHS:
                for rate in range(RATES):
                    power = rate / 4 - 12
                    for seed in range(seeds):
                        loss = 2 + 0.01 * (power + 7) ** 2 + noise.gauss(0, 0.01)
                        size = f"run-{runs},finished,{width},{depth}"
                        cells = f"{size},{2.0**power},0.1,{seed},512,{loss:.6f},{loss - 0.1:.6f}"
                        print(cells, file=file)
                        runs += 1
    return runs


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of a call, which other work on the machine hardly changes."""
    gc.collect()
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print the seconds of both, and their ratio."""
    import pandas

    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=SEEDS)
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        runs = write(path, seeds)
        size = path.stat().st_size / 1e6
        times = [
            (seconds(lambda: Runs.from_table(path)), seconds(lambda: pandas.read_csv(path)))
            for _ in range(3)
        ]
        ours, theirs = (median(column) for column in zip(*times, strict=True))
        record = Runs.from_table(path)
        found = seconds(lambda: transfer(record))
    print(f"{runs} runs, {size:.0f} MB of CSV, {len(HEADER.split(','))} columns")
    print(f"Runs.from_table: {ours:.2f} s")
    print(f"pandas.read_csv alone: {theirs:.2f} s, ratio {ours / theirs:.1f}")
    print(f"mutransfer.transfer of them: {found:.2f} s")
    print(f"{platform.machine()}, Python {platform.python_version()}, pandas {pandas.__version__}")


if __name__ == "__main__":
    main()
