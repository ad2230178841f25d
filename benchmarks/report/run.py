"""What a report costs: seconds to build it, bytes, and seconds until it shows a chart.

python -m benchmarks.report.run

Needs Chromium with its driver. Records are those of the tests: two rules, ten widths, twelve rates,
curves of 200 steps; the number of seeds makes the number of runs.
"""

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutransfer.certificates import transfer
from mutransfer.report import sections, write_report
from mutransfer.report._embedded import page_data
from mutransfer.report._page import check_extras
from mutransfer.studies import Runs
from tests.records import drifting_runs
from tests.report.browser import Browser, chromium

SEEDS = {240: 1, 960: 4, 9600: 40}
TIMES = 5


def record(seeds: int) -> Runs:
    """Return a record of this many seeds, with curves as sweeps have them."""
    sizes = [2**power for power in range(5, 15)]
    runs = drifting_runs({"sp": -0.4, "default": 0.0}, sizes=sizes, seeds=seeds)
    for row in runs.rows:
        last = row["loss"] or 9.0
        row["curve"] = [last + (2.3 - last) * 0.97**step for step in range(200)]
    return runs


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def first_chart(browser: Browser, page: Path) -> float:
    """Return the seconds from the request of a page to its last chart."""
    browser.open(page)
    return float(browser.js("return performance.getEntriesByName('drawn')[0].startTime")) / 1000


def redraw(browser: Browser) -> float:
    """Return the seconds that a change of the choice takes."""
    code = "const t = performance.now(); choose({ seeds: true }); choose({ seeds: false });"
    return float(browser.js(f"{code} return (performance.now() - t) / 2000"))


def measured(folder: Path, browser: Browser, seeds: int) -> dict[str, Any]:
    runs = record(seeds)
    certified, found = seconds(lambda: transfer(runs))
    parts = sections(found)
    own = min(seconds(lambda: page_data(parts, {}, []))[0] for _ in range(TIMES))
    written = [seconds(lambda: write_report(folder, parts)) for _ in range(TIMES)]
    page = written[0][1].path
    return {
        "runs": len(runs.rows),
        "certificates": certified,
        "data of the page": own,
        "all files": min(each for each, _ in written),
        "kilobytes": page.stat().st_size / 1000,
        "first chart": statistics.median(first_chart(browser, page) for _ in range(TIMES)),
        "a change": statistics.median(redraw(browser) for _ in range(TIMES)),
    }


def main() -> None:
    check_extras()
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        # matplotlib looks for fonts once.
        write_report(folder, sections(transfer(record(1))))
        rows = [measured(folder / str(count), browser, seeds) for count, seeds in SEEDS.items()]
    print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}))
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + " --: |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
