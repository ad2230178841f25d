"""Advice of the library, which speaks Python, as flags of a command."""

from __future__ import annotations

import re
from shlex import quote

_COLUMN = re.compile(r"""columns=\{(["'])(?P<name>[^"']+)\1: (["']?)(?P<column>[^"'}]+)\3\}""")
_METRIC = re.compile(r"""metric=(["'])(?P<name>[^"']+)\1""")


def as_flags(text: str) -> str:
    """Return a message with its keyword arguments as the command line takes them.

    >>> as_flags("name it with columns={'wd': COLUMN}, or compare by metric='final'")
    'name it with --columns wd=COLUMN, or compare by --metric final'
    >>> as_flags("columns={'lr': 'log10:my lr'} takes it")
    "--columns 'lr=log10:my lr' takes it"
    """
    text = _COLUMN.sub(lambda found: _flag("columns", f"{found['name']}={found['column']}"), text)
    return _METRIC.sub(lambda found: _flag("metric", found["name"]), text)


def _flag(name: str, value: str) -> str:
    return f"--{name} {quote(value)}"
