"""Few runs on measured curves: share of the grid's runs, and how near to its optimum.

    OMP_NUM_THREADS=1 python -m benchmarks.few_runs.run TABLE.csv [--json FILE]

TABLE.csv has a row a run, such as params, tokens, batch_sequences, learning_rate, loss. Every curve
of six rates or more is searched as if each look at a rate cost a run. "cold" starts at the centre
of the grid, "warm" at the law fitted to the optima that the search found so far, curves in the
order of their sizes; "warm, smaller models" fits it to smaller values of the first axis alone, and
scores the curves that have any. The optimum of the full grid is the vertex of the parabola in log
loss through the five points around its lowest one.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

from benchmarks.few_runs.curves import read
from benchmarks.few_runs.replay import SEARCHES, missed, scores
from benchmarks.transfer.tables import markdown
from mutransfer.core import about, text


def main() -> None:
    """Print the table, and the curves that were missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--searches", nargs="*", default=list(SEARCHES), choices=list(SEARCHES))
    arguments = parser.parse_args()
    table = read(arguments.table)
    rows, misses = [], []
    for name in arguments.searches:
        start = time.process_time()
        found = SEARCHES[name](table)
        seconds = time.process_time() - start
        rows.append({"search": name, **scores(found), "seconds": seconds})
        misses += [{"search": name, **row} for row in missed(found)]
        for value in sorted({f.curve.size[0] for f in found}):
            part = [f for f in found if f.curve.size[0] == value]
            label = f"{name}: {table.axes[0]} {2.0**value:.3g}"
            rows.append({"search": label, **scores(part), "seconds": ""})
    print(markdown(rows), "\n\nMissed:\n", markdown(misses) if misses else "none", sep="")
    if arguments.json:
        command = f"python -m benchmarks.few_runs.run {arguments.table.name}"
        origin = about() | {"machine": platform.machine(), "command": command}
        content = {"about": origin, "rows": rows, "missed": misses}
        arguments.json.write_text(text(content) + "\n")


if __name__ == "__main__":
    main()
