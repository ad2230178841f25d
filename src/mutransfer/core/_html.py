"""Results in a notebook: a summary and parts that fold, without scripts.

Colours are those of the page, so that light and dark themes both fit. A figure keeps its own white
card, because its lines are drawn for a light ground.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

LONGEST_TEXT = 50_000
"""Most characters of a text in a notebook, which saves every output with it."""

LARGEST_FIGURE = 110_000
"""Most bytes of a figure's vectors; beyond, its points are cheaper."""

_PRE = "overflow-x:auto;white-space:pre;line-height:1.35;text-align:left"
_WRAPPED = "white-space:pre-wrap;line-height:1.35;text-align:left"
_LEFT = "text-align:left"
_CARD = "background:#fff;max-width:100%;height:auto;border-radius:4px"


class Fold(NamedTuple):
    """A part of a result that opens and closes.

    Attributes:
        title: The line that is always seen, as text.
        body: The rest, as HTML; without it there is nothing to open.
        is_open: True if it is open at first.
    """

    title: str
    body: str
    is_open: bool = False

    def __str__(self) -> str:
        if not self.body:
            return f"<p>{escape(self.title)}</p>"
        state = " open" if self.is_open else ""
        title = f'<summary style="cursor:pointer">{escape(self.title)}</summary>'
        return f"<details{state}>{title}{self.body}</details>"


def as_html(text: str, folds: Sequence[Fold]) -> str:
    """Return a result as HTML.

    Args:
        text: The first line is the title; the lines up to an empty one are the summary, and the
            others a table.
        folds: Further parts.
    """
    head, _, rest = text.partition("\n\n")
    title, *lines = head.splitlines() or [""]
    summary = preformatted("\n".join(lines), wrap=True) if lines else ""
    table = preformatted(rest) if rest else ""
    first = f"<p><strong>{escape(title)}</strong></p>"
    return "".join(
        ['<div class="mutransfer-result">', first, summary, table, *map(str, folds), "</div>"]
    )


def preformatted(text: str, *, wrap: bool = False) -> str:
    """Return text as it is, in one width of characters.

    Args:
        text: The text; a very long one is cut.
        wrap: True to break long lines; tables must not.
    """
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}\n... {len(text) - LONGEST_TEXT} more characters: print it"
    # Markdown would end a block of HTML at an empty line.
    shown = escape(text).replace("\n\n", "\n&#10;")
    if wrap:
        return f'<pre style="{_WRAPPED}">{shown}</pre>'
    # What scrolls can be reached by keyboard.
    return f'<pre tabindex="0" style="{_PRE}">{shown}</pre>'


def html_table(names: Sequence[str], rows: Sequence[Sequence[str]], longest: int = 200) -> str:
    """Return a table of text.

    Args:
        names: Names of the columns.
        rows: Cells of the rows.
        longest: Most rows; the others are counted.
    """
    head = "".join(f'<th scope="col" style="{_LEFT}">{escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows[:longest])
    more = f"<p>and {len(rows) - longest} more rows</p>" if len(rows) > longest else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div tabindex="0" style="overflow-x:auto">{table}</div>{more}'


def _cells(row: Sequence[str]) -> Iterator[str]:
    return (f'<td style="{_LEFT}">{escape(cell)}</td>' for cell in row)


def picture(image: str | bytes, about: str) -> str:
    """Return an image that travels inside the page, with its alternative text.

    An image in an address of its own shares no names with the page, and cannot run anything.

    Args:
        image: SVG as text, or PNG as bytes.
        about: The alternative text.
    """
    kind, data = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    address = f"data:image/{kind};base64,{b64encode(data).decode()}"
    return f'<img alt="{escape(about)}" style="{_CARD}" src="{address}">'
