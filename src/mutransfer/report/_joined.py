"""Several records as one, so that they stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import MutransferError
from ..studies import Runs

JOINED = "joined"
"""Key of a header that holds the headers of the records it was joined from, by name."""


def joined(records: Mapping[str, Runs]) -> Runs:
    """Return the runs of several records as one, whose rules bear the records' names.

    Rules keep their names where no two records share one.

    Args:
        records: Records by name, such as that of their folder.

    Raises:
        MutransferError: they swept different hyperparameters, have different axes, or stand at
            different centres.
    """
    (name, first), *others = records.items()
    for other_name, other in others:
        for what in ("axes", "hyperparameters"):
            own, theirs = getattr(first, what), getattr(other, what)
            if set(own) != set(theirs):
                raise MutransferError(
                    f"{name} and {other_name} cannot stand side by side: their {what} are "
                    f"{', '.join(own)} and {', '.join(theirs)}; report them one by one"
                )
        if first.header.get("centre") != other.header.get("centre"):
            raise MutransferError(
                f"{name} and {other_name} cannot stand side by side: each swept one hyperparameter "
                "at a time about a centre of its own; report them one by one"
            )
    rules = [rule for runs in records.values() for rule in runs.rules]
    shared = len(set(rules)) < len(rules)
    rows = [
        row | {"record": each, "rule": _rule(row["rule"], each, runs) if shared else row["rule"]}
        for each, runs in records.items()
        for row in runs.rows
    ]
    headers = {each: runs.header for each, runs in records.items()}
    notes = [f"{each}: {note}" for each, runs in records.items() for note in runs.notes]
    searched: dict[str, Any] = {}
    for runs in records.values():
        searched |= {key: runs.header[key] for key in ("search",) if key in runs.header}
    header = {**first.header, **searched, "notes": notes, JOINED: headers}
    return Runs(header=header, rows=rows, metric=first.metric)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each record: as many last parts of its path as it takes.

    >>> names_of([Path("runs/a"), Path("runs/b")]), names_of([Path("x/a"), Path("y/a")])
    (['a', 'b'], ['x/a', 'y/a'])
    """
    for parts in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join((*path.parts[:-1], path.stem)[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise MutransferError(f"{paths[0]} is named twice: a record cannot stand beside itself")


def _rule(rule: str, name: str, runs: Runs) -> str:
    """Return the name of a rule of one record; a rule that is alone in it is its name."""
    return name if len(runs.rules) == 1 else f"{rule}, {name}"


def pairs(runs: Runs) -> list[tuple[str, str]]:
    """Return the rules to compare: of records equal ones, else each with the first."""
    headers: Mapping[str, Any] = runs.header.get(JOINED, {})
    rules: Sequence[str] = runs.rules
    if len(headers) > 1:
        first, *others = headers
        named = [
            (rule, f"{rule.removesuffix(f', {first}')}, {other}")
            for rule in rules
            if rule.endswith(f", {first}")
            for other in others
        ]
        found = [(one, other) for one, other in named if other in rules]
        if found:
            return found
    return [(rules[0], other) for other in rules[1:]]
