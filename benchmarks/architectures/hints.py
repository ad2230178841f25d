"""Hints that a refusal prints: arguments of `mutransfer.plan`, read off the message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

CALLS = ("axes", "roles", "branches")


def hints(message: str, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a message names, as they are to be given to `plan`.

    Where the message leaves a value to the user, as in roles={'gate.weight': ...}, the answer is
    that of the entry; without one there is no hint.

    Args:
        message: The message of a refusal.
        answers: The entry's own hints.
    """
    arguments: dict[str, Any] = {}
    for name in CALLS:
        for mapping in literals(message, name):
            filled = answered(mapping, answers.get(name) or {})
            if filled:
                arguments.setdefault(name, {}).update(filled)
    if "hooks=True" in message:
        arguments["hooks"] = True
    return arguments


def literals(message: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the dictionaries that follow a name and an equals sign."""
    for match in re.finditer(rf"\b{name}=\{{", message):
        depth, start = 0, match.end() - 1
        for end in range(start, len(message)):
            depth += {"{": 1, "}": -1}.get(message[end], 0)
            if depth == 0:
                break
        try:
            value = ast.literal_eval(message[start : end + 1])
        except (SyntaxError, ValueError):
            continue
        if isinstance(value, dict):
            yield value


def answered(mapping: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping with the entry's answers for what it leaves open."""
    filled = {}
    for key, value in mapping.items():
        given = [answer for name, answer in answers.items() if name == key or fits(key, name)]
        if value is not Ellipsis:
            filled[key] = value
        elif given:
            filled[key] = given[0]
    return filled


def fits(key: str, pattern: str) -> bool:
    """Return True if the pattern matches the key, which may itself be a pattern."""
    return fnmatchcase(key, pattern)


def merged(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of two hints together; the later ones count first."""
    both = dict(before)
    for key, value in more.items():
        both[key] = {**value, **(before.get(key) or {})} if isinstance(value, dict) else value
    return both
