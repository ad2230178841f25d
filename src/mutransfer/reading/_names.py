"""Names of parameters and modules, and patterns that stand for several of them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeVar

from ..core import MutransferError

T = TypeVar("T")

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def canonical(name: str) -> str:
    """Return a name without what torch.compile and activation checkpoints put into it."""
    return name.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "")


def unwrapped(name: str, known: Container[str]) -> str:
    """Return the known name behind the prefixes of torch.compile and DDP."""
    name = canonical(name)
    while name not in known and name.startswith("module."):
        name = name.removeprefix("module.")
    return name


@cache
def pattern(name: str) -> str:
    """Return the name with a star for every layer number.

    >>> pattern("blocks.3.up.weight")
    'blocks.*.up.weight'
    """
    return _NUMBER.sub("*", name)


def first_star(name: str) -> str:
    """Return the name with a star for its first layer number alone."""
    return _NUMBER.sub("*", name, count=1)


def numbers(name: str) -> list[int]:
    """Return the layer numbers in a name, in their order."""
    return [int(number) for number in _NUMBER.findall(name)]


def parent(name: str) -> str:
    """Return the module of a parameter, or of a module inside it."""
    return name.rpartition(".")[0]


def matching(names: Iterable[str], glob: str) -> list[str]:
    """Return the names that a user's pattern matches."""
    return [name for name in names if fnmatchcase(name, glob)]


def first_match(name: str, table: Mapping[str, T]) -> T | None:
    """Return the value of the first pattern that matches the name, else None."""
    return next((value for glob, value in table.items() if fnmatchcase(name, glob)), None)


def check_matches(argument: str, glob: str, names: Iterable[str]) -> None:
    """Raise unless a user's pattern matches a parameter.

    Raises:
        MutransferError: naming the argument and the pattern.
    """
    known = list(names)
    if not matching(known, glob):
        raise MutransferError(
            f"{argument}={{{glob!r}: ...}} matches no parameter of the model; "
            f"its parameters begin with {known[:5]}"
        )
