"""The report: an HTML file that needs no other, and its figures and numbers."""

from __future__ import annotations

import base64
import gc
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..certificates import Surface, cells
from ..checks import CoordinateCheck
from ..core import MutransferError, needs
from ..figures import (
    Curve,
    Section,
    as_svg,
    check_figure,
    curves_figure,
    law_figure,
    law_panels,
    panels,
    save,
    surface_figure,
    transfer_figure,
)
from ..studies import Runs
from ._certificate import certificate, comparisons
from ._embedded import embedded, page_data
from ._found import remarks, surfaces
from ._joined import JOINED
from ._numbers import records, write_numbers
from ._words import (
    advice,
    alt_text,
    caption,
    costs,
    headline,
    law_alt_text,
    law_caption,
    overs,
    warnings,
)

_FILES = {
    "transfer.png": "the figure",
    "transfer.svg": "the figure, as vectors",
    "optima.csv": "the best value of every rule and size",
    "summary.csv": "drift, regret and predicted value of every rule",
    "runs.csv": "every run",
    "report.json": "all numbers, with every run's loss curve",
}
_LAW_FILES = {"law.png": "the law across sizes", "law.svg": "the law, as vectors"}
_CURVE_FILES = {"curves.png": "the loss curves", "curves.svg": "the loss curves, as vectors"}


@dataclass(frozen=True, kw_only=True)
class Page:
    """A report that was written.

    Attributes:
        path: The page; figures and numbers are in its folder.
        headline: What was found, in a sentence for each study.
    """

    path: Path
    headline: str


def check_extras() -> None:
    """Refuse early what `write_report` would refuse after long work.

    Raises:
        MutransferError: matplotlib or jinja2 is missing.
    """
    for module in ("matplotlib", "jinja2"):
        with needs("the report", module, "report"):
            if find_spec(module) is None:
                raise ModuleNotFoundError(module)


def write_report(
    out: str | Path,
    sections: Sequence[Section],
    *,
    title: str = "Learning-rate transfer",
    about: Mapping[str, Any] | None = None,
    curves: Sequence[Curve] = (),
    checks: Sequence[CoordinateCheck] = (),
    refresh: float | None = None,
    note: str = "",
) -> Page:
    """Write `report.html`, its figures, and its numbers as CSV and JSON.

    An earlier report in the folder is replaced once the new one is complete.

    Args:
        out: Folder; made where there is none.
        sections: The studies, one row of the figure each.
        title: Heading of the page.
        about: Further facts on how it was made, such as command and date; each record has its own.
        curves: Loss curves to show below the studies.
        checks: Coordinate checks to show with them.
        refresh: Seconds after which an open page reads itself again, while a sweep runs.
        note: A line above the finding, such as how far the sweep is.

    Raises:
        MutransferError: there is no section, two have one title, the folder cannot be written, or
            matplotlib or jinja2 is missing.
    """
    check_extras()
    if not sections:
        raise MutransferError("the report has no sections: give at least one study with runs")
    titles = [section.title for section in sections]
    if twice := [name for name in titles if titles.count(name) > 1]:
        raise MutransferError(
            f"two sections of the report are called {twice[0]!r}: give each a title of its own"
        )
    folder = Path(out)
    with _draft(folder) as draft, _without_collection():
        page = _page(draft, sections, title, about or {}, curves, checks, refresh, note)
        write_numbers(draft, sections, title, about or {}, curves)
        (draft / "report.html").write_text(page, encoding="utf-8")
    return Page(path=folder / "report.html", headline=headline(sections))


@contextmanager
def _without_collection() -> Iterator[None]:
    """Leave garbage for later."""
    # To look through the objects of torch and matplotlib takes a third of a report's time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Give a folder whose files replace those of this one if all went well."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as name:
            draft = Path(name)
            yield draft
            # The page comes last, so that it never shows files that are not there yet.
            for file in sorted(draft.iterdir(), key=lambda file: file.suffix == ".html"):
                file.replace(folder / file.name)
    except OSError as error:
        raise MutransferError(
            f"cannot write the report to {folder}: {error.strerror}; give another folder"
        ) from None


def _page(
    draft: Path,
    sections: Sequence[Section],
    title: str,
    about: Mapping[str, Any],
    curves: Sequence[Curve],
    checks: Sequence[CoordinateCheck],
    refresh: float | None,
    note: str,
) -> str:
    """Write the figures, and return the page that shows them."""
    with needs("the report", "jinja2", "report"):
        from jinja2 import Environment, StrictUndefined

    source = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    first = {id(section) for section in records(sections)}
    law = _law_picture(draft, sections)
    found = {id(each.runs): surfaces([each]) for each in records(sections)}
    return template.render(
        title=title,
        headline=headline(sections),
        over=overs(sections),
        how=caption(sections, shades="pale (small) to strong (large)"),
        certificate=certificate(sections),
        comparisons=[
            {"title": one.title, **each}
            for one in records(sections)
            if (each := comparisons(one.runs))
        ],
        **embedded(page_data(sections, found, checks)),
        more=[*_surface_pictures(found.values()), *map(_check_picture, checks)],
        checks=checks,
        refresh=refresh,
        note=note,
        figure=_transfer_picture(draft, sections),
        law=law,
        proof=_curves_picture(draft, curves) if curves else None,
        sections=[_section_values(each, id(each) in first) for each in sections],
        records=[values for section in records(sections) for values in _made(section)],
        about=_facts(about),
        files=_FILES | (_LAW_FILES if law else {}) | (_CURVE_FILES if curves else {}),
    )


def _transfer_picture(draft: Path, sections: Sequence[Section]) -> dict[str, str]:
    drawn = panels(sections)
    _, svg = save(transfer_figure(drawn), draft / "transfer")
    return _picture(svg.read_text("utf-8"), " ".join(map(alt_text, drawn)), caption(sections))


def _law_picture(draft: Path, sections: Sequence[Section]) -> dict[str, str] | None:
    """Write the figure of the law, if several sizes show one."""
    drawn = law_panels(sections)
    if not drawn:
        return None
    _, svg = save(law_figure(sections), draft / "law")
    return _picture(svg.read_text("utf-8"), " ".join(map(law_alt_text, drawn)), law_caption(drawn))


def _curves_picture(draft: Path, curves: Sequence[Curve]) -> dict[str, str]:
    _, svg = save(curves_figure(curves), draft / "curves")
    alt = f"Training loss against step: {'; '.join(curve.name for curve in curves)}."
    said = "Training loss against step. A cross ends a run that diverged."
    return _picture(svg.read_text("utf-8"), alt, said)


def _surface_pictures(found: Iterable[Sequence[Surface]]) -> Iterator[dict[str, str]]:
    """Yield the surfaces of each record's largest size."""
    for surfaces_of_record in found:
        for each in surfaces_of_record:
            if each.size == surfaces_of_record[0].size:
                yield _picture(
                    as_svg(surface_figure(each)),
                    f"Loss of {each.rule} at {each.size} over {' and '.join(each.over)}.",
                    f"{each.rule} at {each.size}: {each.ridge_text}.",
                )


def _check_picture(check: CoordinateCheck) -> dict[str, str]:
    text = f"Coordinate check of {check.rule}: {check.verdict}."
    caption = " ".join([text, *(f"{remark}." for remark in remarks(check))])
    return _picture(as_svg(check_figure(check)), text, caption)


def _picture(svg: str, alt: str, caption: str) -> dict[str, str]:
    return {"source": _embedded(svg), "alt": alt, "caption": caption}


def _section_values(section: Section, is_first: bool) -> dict[str, Any]:
    """Return what the template shows of a section; a record's first has advice."""
    transfers = list(section.transfers.granted)
    return {
        "title": section.title,
        "costs": costs(section),
        "advice": advice(section) if is_first else [],
        "table": cells(transfers) if transfers else None,
        "warnings": warnings(section),
    }


def _made(section: Section) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of each record: how it was made."""
    runs = section.runs
    headers = runs.header.get(JOINED) or {section.title: runs.header}
    for title, header in headers.items():
        identity, about = (header.get(part) or {} for part in ("identity", "about"))
        # A joined record's notes bear the names of its parts, and are shown with the first.
        notes = runs.notes if title == next(iter(headers)) else ()
        made = _facts({**identity, **about})
        yield {"title": title, "notes": notes, "runs": _count(runs, title, headers), "made": made}


def _count(runs: Runs, name: str, headers: Mapping[str, Any]) -> int:
    """Return the number of runs of one of the records that were joined."""
    if len(headers) == 1:
        return len(runs.rows)
    return sum(row.get("record") == name for row in runs.rows)


def _facts(about: Mapping[str, Any]) -> dict[str, str]:
    """Return names and values as text, without values that are not set."""
    texts = {str(name).replace("_", " "): _fact(value) for name, value in about.items()}
    return {name: text for name, text in texts.items() if text}


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return "" if value is None else str(value)


def _embedded(svg: str) -> str:
    """Return a picture as an address; hundredths of a point are enough for a page."""
    line = re.sub(r"<metadata>.*?</metadata>", "", re.sub(r"\s+", " ", svg))
    # Scales of glyphs stay as they are: their digits count.
    short = re.sub(r"scale\([^)]*\)|(\.\d\d)\d+", lambda found: found[1] or found[0], line)
    return "data:image/svg+xml;base64," + base64.b64encode(short.encode()).decode()
