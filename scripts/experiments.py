"""Run the papers' experiments, keep their results, and write the page about them.

Each runs as `mutransfer experiment run NAME` at small scale, as many at once as there are cores.
Its result goes into its folder in the package, its picture into docs/experiments, and
docs/experiments.md shows them all.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from queue import Queue

from mutransfer.experiments import Finding, Outcome, committed, experiment, names, shown

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ROOT / "src" / "mutransfer" / "experiments"
PICTURES = ROOT / "docs" / "experiments"
PAGE = ROOT / "docs" / "experiments.md"

PAPERS = ("Tensor Programs V", "Tensor Programs VI", "2309.16620")
"""The three papers, in the page's order; what came after stands below them."""

STATUSES = {"as the paper": "as the paper says", "in part": "in part", "differs": "otherwise"}

INTRODUCTION = """\
# Experiments: the papers beside ours

Figures and tables of the papers, made with the public API alone. Each experiment has claims: what
the paper states, the value that is wanted, and the wrong rule under which the claim must fail, as
otherwise it would prove nothing. `mutransfer experiment list` shows them, and
`mutransfer experiment run NAME` runs one again; `make experiments` runs all and writes this page.
DATA is a folder with CIFAR-10 (`cifar10-train.parquet`, `cifar10-test.parquet`) and
`tinyshakespeare.txt`; without it, experiments run on data that is always at hand.

A claim is judged by the estimate; where the 95% interval reaches beyond what is allowed, the table
says so. Networks are small: what is shown here ran in minutes on two CPU cores. Where our scale
does not show what a paper says, the experiment says so.

All ran on 30 November 2026 in 14 minutes on two cores, beside light other work, one experiment a
core; one ran once more, with more seeds, and those with optima of infinite width on 1 December,
beside much other work. Grids and settings of some were changed after a first look.
"""


def main() -> None:
    """Run what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="experiments; all of them by default")
    parser.add_argument("--out", default="runs/experiments", help="folder of records")
    parser.add_argument("--data", help="folder with CIFAR-10 and tinyshakespeare")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page alone")
    asked = parser.parse_args()
    chosen = [] if asked.page else asked.names or names()
    free = Queue[int]()
    for core in sorted(os.sched_getaffinity(0)):
        free.put(core)
    with ThreadPoolExecutor(free.qsize()) as pool:
        for text in pool.map(partial(_run, free=free, out=asked.out, data=asked.data), chosen):
            print(text, flush=True)
    PAGE.write_text(page(), encoding="utf-8")


def _run(name: str, free: Queue[int], out: str, data: str | None) -> str:
    """Run an experiment on one core, keep its result, and return what it prints."""
    command = [str(Path(sys.executable).parent / "mutransfer"), "experiment", "run", name]
    command += ["--out", out] if out != "runs/experiments" else []
    command += ["--data", data] if data else []
    result = Path(out) / name / "result.json"
    result.unlink(missing_ok=True)
    core = free.get()
    try:
        done = subprocess.run(
            ["taskset", "--cpu-list", str(core), *command],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    finally:
        free.put(core)
    # A claim that does not hold is a result, too, with exit code 1.
    if not result.is_file():
        return f"{name} ended with an error:\n{done.stderr}"
    PICTURES.mkdir(exist_ok=True)
    shutil.copy(result, FOLDERS / name / "result.json")
    shutil.copy(Path(out) / name / "figure.png", PICTURES / f"{name}.png")
    return done.stdout


def page() -> str:
    """Return the page of all experiments."""
    found = {name: committed(name) for name in names()}
    parts = [INTRODUCTION, *_summary({name: one for name, one in found.items() if one})]
    for title, members in _by_paper(list(found)).items():
        parts.append(f"## {title}\n")
        parts += [part for name in members for part in _section(name, found[name])]
    return "\n".join(parts)


def _by_paper(known: list[str]) -> dict[str, list[str]]:
    later = "What came after"
    papers: dict[str, list[str]] = {paper: [] for paper in (*PAPERS, later)}
    for name in known:
        # "Tensor Programs V" is the beginning of "Tensor Programs VI", too.
        words = re.match(r"Tensor Programs \w+|[\d.]+", experiment(name).source)
        papers[words[0] if words and words[0] in PAPERS else later].append(name)
    return {title: members for title, members in papers.items() if members}


def _summary(found: dict[str, Outcome]) -> Iterator[str]:
    counts = Counter(outcome.status for outcome in found.values())
    told = ", ".join(f"{counts[status]} {words}" for status, words in STATUSES.items())
    yield f"{len(found)} experiments: {told}.\n"
    yield "| experiment | source | outcome | claims | hold | with their whole interval |"
    yield "| ---------- | ------ | ------- | ------ | ---- | ------------------------- |"
    for name in chain.from_iterable(_by_paper(list(found)).values()):
        outcome = found[name]
        link = f"[{outcome.title}](#{name.replace('_', '-')})"
        holds = [each for each in outcome.findings if each.holds]
        sure = sum(each.is_sure for each in holds)
        yield (
            f"| {link} | {outcome.source} | {outcome.status} | {len(outcome.findings)} "
            f"| {len(holds)} | {sure} |"
        )
    yield ""


def _section(name: str, outcome: Outcome | None) -> Iterator[str]:
    one = experiment(name)
    yield f'<a id="{name.replace("_", "-")}"></a>\n\n### {one.title}\n'
    yield _wrapped(f"{one.source}. {one.shows}")
    if outcome is None:
        yield f"Not run yet: `mutransfer experiment run {name}`.\n"
        return
    yield f"![{one.title}: the figure of this experiment.](experiments/{name}.png)\n"
    yield "| claim | quantity | the paper | ours | wrong rule |"
    yield "| ----- | -------- | --------- | ---- | ---------- |"
    yield from map(_row, outcome.findings)
    yield ""
    remarks = "".join(f" {remark}" for remark in outcome.remarks)
    runs = f"{outcome.runs} runs, " if outcome.runs else ""
    data = f"{', '.join(outcome.data)}, " if outcome.data else ""
    about = outcome.about
    yield _wrapped(f"**{outcome.status.capitalize()}.**{remarks}")
    yield _wrapped(
        f"`{about['command']}`: {data}{runs}{outcome.seconds:.0f} s on {about['device']}, "
        f"mutransfer {about['mutransfer']}, torch {about.get('torch', 'not used')}, "
        f"{about['date'][:10]}."
    )


def _wrapped(paragraph: str) -> str:
    return "\n".join(textwrap.wrap(paragraph, 100, break_on_hyphens=False)) + "\n"


def _row(finding: Finding) -> str:
    claim = finding.claim
    sure = "" if finding.is_sure else " (its interval reaches beyond)"
    ours = f"{claim.rule}: {shown(finding.value)}" + (sure if finding.holds else " **(not so)**")
    wrong = f"{claim.wrong}: {shown(finding.control)}"
    wrong += "" if finding.fails_when_wrong else " **(holds, too)**"
    return f"| {claim.says} | {claim.quantity} | {claim.wanted} | {ours} | {wrong} |"


if __name__ == "__main__":
    main()
