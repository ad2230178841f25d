"""Style, scripts and data inside the page, and the policy that forbids all else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ..certificates import Surface, optima_rows, summary_rows
from ..checks import CoordinateCheck
from ..core import plain
from ..figures import Section
from ._charts import CONFIG, charts
from ._data import record_data, sizes_of
from ._found import check_data, laws_data, regrets_data, surface_data, tables_data
from ._numbers import records

_LIBRARY = "charts.min.js"
_SCRIPTS = ("runs.js", "draw.js", "transfer.js", "found.js", "tables.js", "page.js")


def embedded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return style, scripts, data and policy of a page, as its template takes them."""
    from markupsafe import Markup

    scripts = [_asset(_LIBRARY), "\n".join(map(_asset, _SCRIPTS))]
    return {
        "style": Markup(_asset("page.css")),
        "scripts": [Markup(script) for script in scripts],
        "policy": Markup(_policy(scripts)),
        "data": Markup(_json(data)),
    }


def page_data(
    sections: Sequence[Section],
    surfaces: Mapping[int, Sequence[Surface]],
    checks: Sequence[CoordinateCheck],
) -> dict[str, Any]:
    """Return what the page's script draws: records, findings, specifications.

    Args:
        sections: The sections.
        surfaces: The surfaces of each record, by the `id` of its runs.
        checks: Coordinate checks.
    """
    own = [[each for each in sections if each.runs is one.runs] for one in records(sections)]
    return {
        "records": [_record(each, surfaces.get(id(each[0].runs), ())) for each in own],
        "tables": _tables(sections),
        "checks": list(map(check_data, checks)),
        "charts": charts(),
        "config": CONFIG,
    }


def _record(sections: Sequence[Section], surfaces: Sequence[Surface]) -> dict[str, Any]:
    sizes = sizes_of(sections[0].runs)
    return {
        **record_data(sections),
        "laws": laws_data(sections),
        "regrets": regrets_data(sections, sizes),
        "surfaces": [surface_data(each, sizes) for each in surfaces],
    }


def _tables(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Return the tables that sort; runs are made from the columns of the records."""
    found = {"optima.csv": optima_rows, "summary.csv": summary_rows}
    return tables_data(
        {
            name: [
                {"section": section.title, **row}
                for section in sections
                for row in rows(section.transfers.outcomes)
            ]
            for name, rows in found.items()
        }
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8").strip()


def _policy(scripts: Sequence[str]) -> str:
    """Return a policy by which a browser runs these scripts alone, and loads nothing."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(data: Any) -> str:
    """Return JSON that no name of a user can end, whatever is in it."""
    text = json.dumps(plain(data), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
