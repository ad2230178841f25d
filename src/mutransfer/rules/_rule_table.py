"""A rule's table as a result: for people, as JSON and in LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..core import MutransferError, Result, columns, parsed, parsing
from ._citations import bibtex
from ._family import Family
from ._forms import PAPER_TABLES, check_form
from ._listing import Row, listing, signals
from ._names import family, parametrization
from ._notation import latex, latex_table, printed
from ._paper import COLUMNS, PaperRow, jumps, paper_table
from ._parametrization import Parametrization
from ._powers import Powers
from ._quantities import QUANTITIES


@dataclass(frozen=True, kw_only=True, repr=False)
class RuleTable(Result):
    """The table of one rule: the powers by which every quantity of every role scales.

    Attributes:
        rule: The parametrization.
        optimizer: The family that trains the tensors.
        form: "plain", "table3", "table8", "table9" or "unit".
    """

    rule: Parametrization
    optimizer: Family
    form: str

    def __post_init__(self) -> None:
        check_form(self.form)
        # What cannot be derived, such as another decay for SGD, is refused here, not in print.
        _ = self.rows, self.paper

    @property
    def rows(self) -> list[Row]:
        """One row for each role and place."""
        return listing(self.rule, self.optimizer, self.form)

    @property
    def multipliers(self) -> dict[str, Powers]:
        """Multipliers of signals, such as the attention logits."""
        return signals(self.rule, self.form)

    @property
    def paper(self) -> list[PaperRow]:
        """The rows as Tensor Programs V prints them; empty where it has no such table."""
        known = self.rule.laws.keys() >= set(COLUMNS.values())
        if self.form == "plain" or self.rule.one_rate or not known:
            return []
        return paper_table(self.rule, self.optimizer, self.form)

    @property
    def source(self) -> str:
        """The source of the rule; of the form's own table where one paper has them all."""
        table = PAPER_TABLES.get(self.form, "")
        has_it = self.paper and self.rule.source == PAPER_TABLES["table3"] and self.form != "unit"
        return table if has_it else self.rule.source

    def cite(self) -> str:
        """Return BibTeX of the papers that the rule and the optimizer's rule come from."""
        return bibtex(self.rule.cites + self.optimizer.cites)

    def __str__(self) -> str:
        rule, optimizer = self.rule, self.optimizer
        head = f"{rule.name}: {rule.title}\n{self.source}; {optimizer.name}, form {self.form}"
        relative = (
            "Each entry is relative to the base size: "
            "fan_in, fan_out and depth are ratios, target over base."
        )
        notes = [relative, *(f"{at} are multiplied by {p}" for at, p in self.multipliers.items())]
        if optimizer.caveat:
            notes.append(f"{optimizer.name}: {optimizer.caveat}")
        parts = [head, columns([["role", *QUANTITIES], *self._cells(str)]), "\n".join(notes)]
        if paper := self._paper_cells(printed, "{}"):
            brackets = "In brackets: standard parametrization, where it differs."
            heading = [title] if (title := PAPER_TABLES[self.form]) != self.source else []
            parts[1:1] = [*heading, columns([["", *COLUMNS], *paper]), brackets]
            ways = f"How to get to {self.form} from the other tables"
            parts += [ways, jumps(rule, self.form)]
        return "\n\n".join(parts)

    def to_latex(self) -> str:
        """Return the table in LaTeX for the package booktabs.

        It is the paper's table where the paper prints one.
        """
        if paper := self._paper_cells(latex, "${}$"):
            return latex_table(["", *(column.replace("&", r"\&") for column in COLUMNS)], paper)
        return latex_table(["role", *QUANTITIES], self._cells(lambda power: f"${latex(power)}$"))

    def to_json(self) -> dict[str, Any]:
        """Return the table as data, exact.

        A rule or a family of one's own, which no name gives back, travels whole.
        """
        rule, optimizer = self.rule, self.optimizer
        data: dict[str, Any] = {
            "rule": rule.name,
            "source": self.source,
            "optimizer": optimizer.name,
            "form": self.form,
            "roles": {row.label: row.quantities.to_json() for row in self.rows},
            "multipliers": {name: power.to_json() for name, power in self.multipliers.items()},
        }
        if _named(parametrization, rule.name) != rule:
            data["parametrization"] = rule.to_json()
        if _named(family, optimizer.name) != optimizer:
            data["family"] = optimizer.to_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the table that `to_json` wrote.

        Raises:
            MutransferError: the data is no table, or its rule has other powers in this version.
        """
        with parsing("a table written by RuleTable.to_json"):
            fields = parsed(data)
            rule, optimizer = fields.get("parametrization"), fields.get("family")
            table = cls(
                rule=Parametrization.from_json(rule) if rule else parametrization(fields["rule"]),
                optimizer=Family.from_json(optimizer) if optimizer else family(fields["optimizer"]),
                form=fields["form"],
            )
            current = table.to_json()
            for key in ("roles", "multipliers"):
                if fields[key] != current[key]:
                    raise ValueError(f"the {key} of {table.rule.name!r} are others in this version")
            return table

    def _cells(self, notation: Callable[[Powers], str]) -> list[list[str]]:
        return [
            [row.label, *(notation(getattr(row.quantities, name)) for name in QUANTITIES)]
            for row in self.rows
        ]

    def _paper_cells(self, notation: Callable[[Powers], str], frame: str) -> list[list[str]]:
        """Return the paper's cells, in brackets standard parametrization."""

        def cell(power: Powers, standard: Powers) -> str:
            text, other = (frame.format(notation(each)) for each in (power, standard))
            return text if power == standard else f"{text} ({other})"

        return [[name, *(cell(*pair) for pair in pairs)] for name, pairs in self.paper]


def rule_table(
    rule: str | Parametrization, optimizer: str | Family = "adamw", form: str = "plain"
) -> RuleTable:
    """Return the table of a rule.

    >>> table = rule_table("mup")
    >>> print(table.multipliers["attention logits"])
    head_dim^-1

    Args:
        rule: A parametrization or its name, with options and ablations after commas.
        optimizer: The family that trains the tensors, or its name.
        form: "plain", "table3", "table8", "table9" or "unit": equal training, different looks.

    Raises:
        MutransferError: there is no rule, optimizer or form of this name, or an option of the rule
            is not defined for the optimizer.
    """
    return RuleTable(rule=parametrization(rule), optimizer=family(optimizer), form=form)


def _named(lookup: Callable[[str], Any], name: str) -> Any:
    """Return what a name stands for; None where it is the name of nothing."""
    try:
        return lookup(name)
    except MutransferError:
        return None
