"""What travels inside the page: style, scripts and data, and what it forbids itself."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ..core import plain
from ..figures import Section
from ._charts import CONFIG, charts
from ._data import record_data
from ._numbers import records

_LIBRARY = "charts.min.js"
_SCRIPTS = ("runs.js", "draw.js", "transfer.js", "page.js")


def embedded(sections: Sequence[Section]) -> dict[str, Any]:
    """Return style, scripts, data and policy of a page, as its template takes them."""
    from markupsafe import Markup

    scripts = [_asset(_LIBRARY), "\n".join(map(_asset, _SCRIPTS))]
    return {
        "style": Markup(_asset("page.css")),
        "scripts": [Markup(script) for script in scripts],
        "policy": Markup(_policy(scripts)),
        "data": Markup(_json(page_data(sections))),
    }


def page_data(sections: Sequence[Section]) -> dict[str, Any]:
    """Return the data of the page's script: records, and how charts are drawn."""
    own = [[each for each in sections if each.runs is one.runs] for one in records(sections)]
    return {"records": list(map(record_data, own)), "charts": charts(), "config": CONFIG}


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
