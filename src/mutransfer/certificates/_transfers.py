"""The outcomes of all rules of a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..core import Drawn, MutransferError, Result, Size, parsed, parsing, varying
from ..studies import Runs
from ._table import rendered, table
from ._transfer import Refusal, Transfer


@dataclass(frozen=True, kw_only=True, repr=False)
class Transfers(Result, Drawn):
    """The transfer of every rule of a record, or the reason why a rule has none.

    Iteration gives the transfers, and so does a number, `transfers[0]`; `transfers["sp"]` gives the
    outcome of one rule, whichever it is.

    Attributes:
        runs: The record.
        outcomes: What was found for each rule, in the order of the record's rules.
    """

    runs: Runs
    outcomes: tuple[Transfer | Refusal, ...]

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The outcomes that are refusals."""
        return tuple(each for each in self.outcomes if isinstance(each, Refusal))

    @property
    def ok(self) -> bool:
        """True if every rule has a transfer."""
        return not self.refusals

    def raise_if_refused(self) -> None:
        """Do nothing if every rule has a transfer.

        Raises:
            MutransferError: with the reasons of all refusals.
        """
        if not self.ok:
            reasons = dict.fromkeys(refusal.reason for refusal in self.refusals)
            raise MutransferError("; ".join(reasons))

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Every size of the record once, from small to large."""
        return tuple(sorted({size for rule in self.runs.rules for size in self.runs.sizes(rule)}))

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes along which the record's sizes differ."""
        return tuple(varying(self.sizes))

    def __iter__(self) -> Iterator[Transfer]:
        return (each for each in self.outcomes if isinstance(each, Transfer))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, rule: str | int) -> Transfer | Refusal:
        if isinstance(rule, int):
            return list(self)[rule]
        for outcome in self.outcomes:
            if outcome.rule == rule:
                return outcome
        known = ", ".join(outcome.rule for outcome in self.outcomes)
        raise MutransferError(f"the record has no rule {rule!r}; it has {known}")

    def __str__(self) -> str:
        transfers = list(self)
        rules = ", ".join(transfer.rule for transfer in transfers) or "no rule"
        refused = ", ".join(refusal.rule for refusal in self.refusals)
        axes = " and ".join(self.axes) or "size"
        head = f"transfer in {axes}: {rules}" + (f"; refused: {refused}" if refused else "")
        grid = ["", rendered(table(transfers)), ""] if transfers else []
        return "\n".join([head, *grid, *dict.fromkeys(map(str, self.outcomes))])

    def to_json(self) -> dict[str, Any]:
        """Return all outcomes, and the record that they were found in."""
        outcomes = [outcome.to_json() for outcome in self.outcomes]
        return {"outcomes": outcomes, "runs": self.runs.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the transfers that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a result written by Transfers.to_json"):
            values = parsed(data)
            outcomes = tuple(map(_outcome, values["outcomes"]))
            return cls(runs=Runs.from_json(values["runs"]), outcomes=outcomes)


def _outcome(data: Mapping[str, Any]) -> Transfer | Refusal:
    return Refusal.from_json(data) if "reason" in data else Transfer.from_json(data)
