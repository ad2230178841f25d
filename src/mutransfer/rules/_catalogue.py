"""Every rule and optimizer by name, as a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ..core import Result, parsed, parsing
from ._families import FAMILIES
from ._tables import PARAMETRIZATIONS


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One rule of a catalogue.

    Attributes:
        name: The rule's name.
        title: One line for people.
        source: The paper or code that it comes from.
    """

    name: str
    title: str
    source: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Catalogue(Result):
    """All rules with their sources, and the names of all optimizer families.

    Attributes:
        rules: The rules.
        optimizers: Names of the families.
    """

    rules: tuple[Entry, ...]
    optimizers: tuple[str, ...]

    def __str__(self) -> str:
        rules = [f"{rule.name:13}{rule.title}\n{'':13}{rule.source}" for rule in self.rules]
        return "\n".join(
            [
                *rules,
                f"\noptimizers: {', '.join(self.optimizers)}",
                "options and ablations follow a rule's name: 'mup, decay=sqrt, without eps'; "
                "see mutransfer rules --disagreements",
            ]
        )

    def __repr__(self) -> str:
        return f"<Catalogue: {len(self.rules)} rules, {len(self.optimizers)} optimizers>"

    def to_json(self) -> dict[str, Any]:
        """Return the rules with title and source, and the optimizers' names."""
        return {"rules": list(map(asdict, self.rules)), "optimizers": list(self.optimizers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the catalogue that `to_json` wrote.

        Raises:
            MutransferError: the data is no catalogue.
        """
        with parsing("a catalogue written by Catalogue.to_json"):
            fields = parsed(data)
            rules = tuple(Entry(**entry) for entry in fields["rules"])
            return cls(rules=rules, optimizers=tuple(fields["optimizers"]))


def catalogue() -> Catalogue:
    """Return all rules with their sources, and the names of all optimizer families."""
    rules = PARAMETRIZATIONS.values()
    entries = tuple(Entry(name=r.name, title=r.title, source=r.source) for r in rules)
    return Catalogue(rules=entries, optimizers=tuple(FAMILIES))
