"""`mutransfer sweep`."""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from ..core import MutransferError, Result
from ..engines import NAMED
from ._live import JsonLines, LiveSweep, best_table
from ._load import load, load_a
from ._show import Terminal

if TYPE_CHECKING:
    from ..engines import Engine
    from ..studies import Runs, Search, Study

_SEARCHES = ("grid", "refine")


def sweep(
    study: Positional[str],
    out: Path,
    extend: int = 0,
    search: str | None = None,
    within: float | None = None,
    budget: str | None = None,
    device: str | None = None,
    engine: str = "here",
    workers: int | None = None,
    retry: str | None = None,
    estimate: bool = False,
    explain: bool = False,
    quiet: bool = False,
    json_lines: bool = False,
    tracker: str | None = None,
) -> None:
    """Train every run of a study, or few that find its optima, and resume.

    The exit code is 1 where a run failed; --retry failed trains it again. Ctrl-C ends after the
    present step and keeps what is through; twice, at once. The same command goes on.

    Try: mutransfer sweep my_study.py:study --out runs/gpt

    Try: mutransfer sweep my_study.py:study --out runs/gpt --estimate

    Try: mutransfer sweep my_study.py:study --out runs/gpt --extend 4

    Try: mutransfer sweep my_study.py:study --out runs/gpt --search refine --within 0.5

    Try: mutransfer sweep my_study.py:study --out runs/gpt --budget 10m --explain

    Try: mutransfer sweep my_study.py:study --out runs/gpt --engine processes --workers 8

    Try: mutransfer sweep my_study.py:study --out runs/gpt --engine ray --retry failed

    Args:
        study: A mutransfer.Study, as FILE.py:NAME or MODULE:NAME.
        out: Folder of the record.
        extend: Number of rates to add beyond the grid where an optimum lies at its edge.
        search: grid for every run (the default), refine for few runs that close in on each
            optimum, or a search of your own as FILE.py:NAME or MODULE:NAME.
        within: Half width of the optimum's 95% interval at which refine ends, in octaves; 0.25 by
            default. Given without --search, it asks for refine.
        budget: Most that the runs may cost: 10m, 2h, 40runs, 5000steps, or FLOPs as 1e15. Search,
            seeds, grid, sizes and steps are cut to fit, which is shown before the start.
        device: Where models train, such as cuda; by default where the builder puts them.
        engine: Where jobs run: here (this machine, in the quickest way), processes (of one thread),
            ray or ray:ADDRESS, submitit (Slurm) or submitit:local, or an object of your own with
            submit(function, *arguments), as FILE.py:NAME or MODULE:NAME.
        workers: Number of jobs at once, for engines that leave it open.
        retry: failed, to train again the runs that failed for their own reason.
        estimate: Train nothing; say how many runs are left, and their steps, FLOPs, time, memory.
        explain: Train nothing; say by which program the runs of each size train, and why.
        quiet: Print nothing but warnings and errors.
        json_lines: Print progress and outcome as JSON, an object a line.
        tracker: A mutransfer.studies.Tracker that gets every finished run, as FILE.py:NAME or
            MODULE:NAME.
    """
    from ..studies import FailedRunsWarning, Study, fit
    from ..studies import sweep as run

    console = Terminal(quiet=quiet)
    asked, how = load_a(Study, "mutransfer.Study", study), _search(search, extend, within)
    limit = None if budget is None else fit(asked, budget, out, search=how, device=device)
    if limit is not None:
        _show(console, limit, json=json_lines)
    if estimate or explain:
        wanted = asked if limit is None else limit.study(asked)
        is_refined = "refine" in {how, limit and limit.search}
        answers = _answers(wanted, out, device, is_refined, estimate=estimate, explain=explain)
        for answer in answers:
            _show(console, answer, json=json_lines)
        return
    shown: Any = nullcontext()
    if json_lines:
        shown = JsonLines()
    elif not quiet:
        # Other searches than the grid do not know beforehand how many runs they make.
        is_grid = (how or "grid") == "grid" and limit is None
        shown = LiveSweep(console, "sweep", runs=len(asked.runs()) if is_grid else 0)
    settings: dict[str, Any] = {"extend": extend, "within": within, "device": device}
    settings |= {"engine": _engine(engine), "workers": workers, "retry": retry}
    tracked: Any = None if tracker is None else load(tracker)
    with shown as live, warnings.catch_warnings():
        # The end says it.
        warnings.simplefilter("ignore", FailedRunsWarning)
        runs = run(
            asked,
            out,
            search=how or "grid",
            budget=limit,
            progress=live,
            tracker=tracked,
            **settings,
        )
    if not json_lines:
        _end(console, runs, out)
    _check(runs)


def _search(search: str | None, extend: int, within: float | None) -> str | Search | None:
    """Return the search that flags name, None where they leave it open.

    Raises:
        MutransferError: there is none, or a flag is not for it; an estimate has to say so, too.
    """
    from ..studies import search_of

    named = _named(search, extend, within)
    search_of(named or "grid", extend, within)
    return named


def _named(search: str | None, extend: int, within: float | None) -> str | Search | None:
    if search is None:
        # Each of the two is for one search alone.
        return "refine" if within is not None else "grid" if extend else None
    if search in _SEARCHES:
        return search
    if ":" not in search:
        raise MutransferError(
            f"unknown search {search!r}; give {', '.join(_SEARCHES)}, or a search of your own as "
            "FILE.py:NAME or MODULE:NAME"
        )
    own: Search = load(search)
    return own


def _engine(engine: str) -> str | Engine:
    """Return an engine's name, or the object that FILE.py:NAME or MODULE:NAME is."""
    if engine.partition(":")[0] in NAMED or ":" not in engine:
        return engine
    own: Engine = load(engine)
    return own


def _answers(
    study: Study, out: Path, device: str | None, is_refined: bool, *, estimate: bool, explain: bool
) -> Iterator[Result | str]:
    """Yield what a sweep costs, and how it trains."""
    from ..studies import cost, fit, missing
    from ..studies import explain as explained

    if estimate:
        yield cost(study, missing(study, out))
        if is_refined:
            runs = fit(study, math.inf, search="refine").runs
            yield f"refine is expected to make about {runs} runs of this kind in all"
    if explain:
        yield explained(study, out, device=device)


def _show(console: Terminal, result: Result | str, *, json: bool) -> None:
    """Print a result or a remark, as JSON on one line."""
    if json:
        data = {"note": result} if isinstance(result, str) else result.to_json()
        print(dumps(data), flush=True)
    else:
        console.print(str(result), soft_wrap=True, highlight=False, markup=False)


def _end(console: Terminal, runs: Runs, out: Path) -> None:
    """Print the best rates, and what comes next."""
    console.print(best_table(runs))
    folder = shlex.quote(str(out))
    console.print(
        f"{len(runs.rows)} runs are in {out}; "
        f"next: mutransfer transfer {folder}, mutransfer report {folder}",
        soft_wrap=True,
    )


def _check(runs: Runs) -> None:
    """Raise where runs failed."""
    failed = [row for row in runs.rows if row.get("status") == "failed"]
    if failed:
        raise FailedRuns(
            f"{len(failed)} of {len(runs.rows)} runs failed, the first with: "
            f"{failed[0].get('message')}; mutransfer status shows the traceback, --retry failed "
            "trains them again"
        )


class FailedRuns(MutransferError):
    """Some runs of a sweep failed; the others are in the record."""
