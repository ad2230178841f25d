"""The outcomes of all rules of a record, along each of its hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, Self

from ..core import (
    Drawn,
    Fold,
    MutransferError,
    Result,
    Size,
    as_html,
    parsed,
    parsing,
    preformatted,
    save_folder,
    varying,
)
from ..studies import Runs
from ._choice import Choice
from ._rows import optima_rows
from ._table import rendered, table
from ._transfer import Refusal, Transfer


@dataclass(frozen=True, kw_only=True, repr=False)
class Transfers(Result, Drawn, Mapping[str, "Transfer | Choice | Refusal"]):
    """The certificate of every rule of a record, or the reason why it has none.

    Attributes:
        runs: The record.
        outcomes: What was found for each rule, in the order of the record's rules.
        over: The hyperparameter.
        others: The same for each other hyperparameter that was swept.
    """

    runs: Runs
    outcomes: tuple[Transfer | Choice | Refusal, ...]
    over: str = "lr"
    others: tuple[Transfers, ...] = ()

    @property
    def granted(self) -> tuple[Transfer, ...]:
        """The outcomes that are certificates."""
        return tuple(each for each in self.outcomes if isinstance(each, Transfer))

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The outcomes that are refusals."""
        return tuple(each for each in self.outcomes if isinstance(each, Refusal))

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The outcomes of a hyperparameter that has no scale, such as the schedule."""
        return tuple(each for each in self.outcomes if isinstance(each, Choice))

    @property
    def ok(self) -> bool:
        """True if no rule is refused."""
        return not self.refusals

    def raise_if_refused(self) -> None:
        """Do nothing if no rule is refused.

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

    def __iter__(self) -> Iterator[str]:
        return (each.rule for each in self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __contains__(self, rule: object) -> bool:
        return any(each.rule == rule for each in self.outcomes)

    def __getitem__(self, rule: str) -> Transfer | Choice | Refusal:
        for outcome in self.outcomes:
            if outcome.rule == rule:
                return outcome
        known = ", ".join(outcome.rule for outcome in self.outcomes)
        raise MutransferError(f"the record has no rule {rule!r}; it has {known}")

    def __str__(self) -> str:
        own = "\n".join([self._summary(), *dict.fromkeys(map(str, self.outcomes))])
        return "\n\n".join([own, *map(str, self.others)])

    def _head(self) -> str:
        known = [outcome.rule for outcome in self.outcomes if not isinstance(outcome, Refusal)]
        refused = ", ".join(refusal.rule for refusal in self.refusals)
        axes = " and ".join(self.axes) or "size"
        what = "transfer" if self.over == "lr" else f"transfer of {self.over}"
        rules = ", ".join(known) or "no rule"
        return f"{what} in {axes}: {rules}" + (f"; refused: {refused}" if refused else "")

    def _summary(self) -> str:
        grid = ["", rendered(table(self.granted)), ""] if self.granted else []
        return "\n".join([self._head(), *grid])

    def _folds(self) -> Sequence[Fold]:
        texts = dict.fromkeys(map(str, self.outcomes))
        folds = [_fold(text, is_open=len(texts) == 1) for text in texts]
        others = (as_html(other._summary(), other._folds()) for other in self.others)
        return [*folds, *map(Fold, (other._head() for other in self.others), others)]

    def save(self, out: str | Path) -> Path:
        """Write text, JSON, CSV and figure into a folder, and return it.

        Args:
            out: The folder; it is made if it is missing.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        outcomes = [each for found in (self, *self.others) for each in found.outcomes]
        return save_folder(self, optima_rows(outcomes), out, name="transfer")

    def to_json(self) -> dict[str, Any]:
        """Return all outcomes, and the record that they were found in."""
        return {**self._found(), "runs": self.runs.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the transfers that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a result written by Transfers.to_json"):
            values = parsed(data)
            return cls._from(values, Runs.from_json(values["runs"]))

    def _found(self) -> dict[str, Any]:
        """Return the outcomes without the record."""
        return {
            "over": self.over,
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "others": [transfers._found() for transfers in self.others],
        }

    @classmethod
    def _from(cls, values: Mapping[str, Any], runs: Runs) -> Self:
        return cls(
            runs=runs,
            outcomes=tuple(map(_outcome, values["outcomes"])),
            over=values["over"],
            others=tuple(cls._from(other, runs) for other in values["others"]),
        )


def _fold(text: str, is_open: bool) -> Fold:
    """Return an outcome as a part that folds below its first line."""
    title, _, lines = text.partition("\n")
    return Fold(title, preformatted(dedent(lines), wrap=True) if lines else "", is_open)


def _outcome(data: Mapping[str, Any]) -> Transfer | Choice | Refusal:
    if "reason" in data:
        return Refusal.from_json(data)
    return Choice.from_json(data) if "best" in data else Transfer.from_json(data)
