"""Fence the doctests of docstrings, which Markdown would otherwise take for quotations."""

from __future__ import annotations

import re

import griffe

DOCTEST = re.compile(r"(?:^>>> .*\n(?:.*\S.*(?:\n|\Z))*)+", re.MULTILINE)
"""Lines from a prompt to the next empty one."""


class Doctests(griffe.Extension):
    """Put ```pycon around every doctest outside a section of examples."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of an object that was just read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Return a docstring with its doctests as blocks of code."""
    return DOCTEST.sub(lambda found: f"```pycon\n{found.group().rstrip()}\n```\n", text)
