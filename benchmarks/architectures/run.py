"""Plan every architecture of the zoo, compare with the truth, and write the page about it.

python -m benchmarks.architectures.run
python -m benchmarks.architectures.run --only 'timm/*' --no-page
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from . import page
from .check import GOOD, Checked, Outcome, checked
from .entry import Entry
from .registry import ENTRIES, selected

HERE = Path(__file__).parent
PACKAGES = (
    *("torch", "transformers", "timm", "diffusers", "torch_geometric"),
    *("x-transformers", "vit-pytorch"),
)


def main() -> None:
    """Run the zoo."""
    options = arguments()
    silence()
    results = [result for entry in selected(options.only) for result in outcomes(entry)]
    record = {**circumstances(), "results": [as_json(result) for result in results]}
    path = options.out or HERE / "results" / f"{record['date'][:10]}.json"
    if options.only == "*" or options.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.only == "*" and not options.no_page:
        page.write(ENTRIES, results, record)
    print(summary(results))


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="*", help="names, or package/name, as a pattern")
    parser.add_argument("--out", type=Path, help="the record; results/DATE.json by default")
    parser.add_argument("--no-page", action="store_true", help="leave docs/architectures.md alone")
    return parser.parse_args()


def silence() -> None:
    """Let transformers and others print errors alone."""
    for name in ("transformers", "diffusers"):
        try:
            module = __import__(name)
        except ImportError:
            continue
        module.utils.logging.set_verbosity_error()


def outcomes(entry: Entry) -> list[Checked]:
    """Return the outcomes along every axis; whatever fails is printed and left out."""
    results = []
    for axis in entry.axes:
        try:
            results.append(checked(entry, axis))
        except Exception:
            print(f"{entry.package}/{entry.name}, {axis}: the entry itself fails", file=sys.stderr)
            traceback.print_exc()
            continue
        result = results[-1]
        print(f"{entry.package}/{entry.name}, {axis}: {result.outcome}", flush=True)
        if result.outcome not in GOOD:
            print(*(f"    {line}" for line in details(result)), sep="\n", flush=True)
    return results


def details(result: Checked) -> Sequence[str]:
    """Return the lines that explain an outcome."""
    lines = [f"refused: {result.message}"] if result.message else []
    lines += [f"with {result.hint}"] if result.hint else []
    return [*lines, *result.mismatches]


def as_json(result: Checked) -> dict[str, Any]:
    """Return an outcome as data."""
    hint = repr(result.hint) if result.hint else None
    return {**vars(result), "hint": hint, "outcome": str(result.outcome)}


def circumstances() -> dict[str, Any]:
    """Return command, versions, machine and date."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": "python -m benchmarks.architectures.run",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }


def summary(results: Sequence[Checked]) -> str:
    """Return the counts of outcomes and the time of a plan."""
    lines = []
    for axis in ("width", "depth", "both"):
        counts = Counter(result.outcome for result in results if result.axis == axis)
        parts = (f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
        lines.append(f"{axis}: {', '.join(parts) or 'none'}")
    if results:
        seconds = [result.seconds for result in results]
        lines.append(
            f"a plan: median {statistics.median(seconds):.2f} s, largest {max(seconds):.2f} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
