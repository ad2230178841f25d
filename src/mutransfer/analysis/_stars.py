"""Names with a star where the number counts a run of layers that grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..reading import first_star

_Numbers = dict[str, set[str]]


class Stars:
    """The containers whose number of layers differs between two models.

    Args:
        names: Names of the parameters of one model.
        others: Names of the parameters of the other one.
    """

    def __init__(self, names: Iterable[str], others: Iterable[str]) -> None:
        names, others = list(names), list(others)
        here, there = _numbers(names), _numbers(others)
        self.growing = {
            prefix
            for prefix, numbers in here.items()
            if prefix in there and len(numbers) != len(there[prefix])
        }
        self._counts = [Counter(map(self.star, each)) for each in (names, others)]

    def star(self, name: str) -> str:
        """Return the name with a star for each number that counts a growing run."""
        if not self.growing:
            return name
        parts = name.split(".")
        for i, part in enumerate(parts):
            stem = part.rstrip("0123456789")
            if stem != part and ".".join([*name.split(".")[:i], stem]) in self.growing:
                parts[i] = f"{stem}*"
        return ".".join(parts)

    def is_repeated(self, name: str) -> bool:
        """Return True if one of the models has more layers of this kind than the other."""
        here, there = (counts[self.star(name)] for counts in self._counts)
        return here != there

    def run(self, name: str) -> str:
        """Return the name with a star for each growing run, or for its first number alone."""
        starred = self.star(name)
        return starred if "*" in starred else first_star(name)

    def container(self, name: str) -> str:
        """Return the container of a layer's parameter; its own name where there is none.

        Where none of its containers grows, it is the outermost one.
        """
        starred = self.run(name)
        return starred.split("*")[0] + "*" if "*" in starred else starred


def _numbers(names: Iterable[str]) -> _Numbers:
    """Return the numbers after each prefix, as in "blocks.2" or "layer_2"."""
    found: _Numbers = {}
    for name in names:
        parts = name.split(".")
        for i, part in enumerate(parts[:-1]):
            stem = part.rstrip("0123456789")
            if stem != part:
                found.setdefault(".".join([*parts[:i], stem]), set()).add(part)
        if parts[-1].isdigit():
            found.setdefault(".".join([*parts[:-1], ""]), set()).add(parts[-1])
    return found
