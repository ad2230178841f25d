"""`mutransfer rules`."""

from __future__ import annotations

from tyro.conf import Positional

from ..core import MutransferError, text
from ._show import show


def rules(
    name: Positional[str] = "",
    optimizer: str = "adamw",
    form: str = "plain",
    json: bool = False,
    latex: bool = False,
    cite: bool = False,
    disagreements: bool = False,
) -> None:
    """Print a parametrization's table: the scaling of every quantity of every role.

    In the forms table3, table8, table9 and unit, the table comes first as the paper prints it, and
    last the way there from the other forms.

    Try: mutransfer rules

    Try: mutransfer rules completep

    Try: mutransfer rules mup --optimizer adam --form table9

    Try: mutransfer rules "completep, alpha=3/4, decay=sqrt, without eps" --optimizer muon

    Try: mutransfer rules --disagreements --json

    Args:
        name: A rule, with options and ablations after commas; without one, all are listed.
        optimizer: The family that trains the tensors; `mutransfer rules` lists them. Two, such as
            muon+adamw, have a table each.
        form: plain, table3, table8 or table9 of Tensor Programs V, or unit: equal training,
            different looks.
        json: Print JSON.
        latex: Print LaTeX, for the package booktabs.
        cite: Print the BibTeX of the rule's papers.
        disagreements: List where sources disagree: each choice, its sides, its default.
    """
    from ..rules import DISAGREEMENTS, catalogue, families, rule_table

    if latex + cite + (json and (latex or cite)) > 1 or (disagreements and (latex or cite)):
        raise MutransferError(
            "--json, --latex and --cite exclude each other, "
            "and --disagreements excludes --latex and --cite: give one"
        )
    if disagreements:
        choices = DISAGREEMENTS.values()
        print(text(list(choices)) if json else "\n".join(map(str, choices)))
    elif not name and (latex or cite):
        raise MutransferError("name a rule, such as mup; mutransfer rules lists them")
    elif not name:
        show(catalogue(), json=json)
    else:
        tables = {key: rule_table(name, each, form) for key, each in families(optimizer).items()}
        if latex or cite:
            print("\n\n".join(t.to_latex() if latex else t.cite() for t in tables.values()))
        elif len(tables) == 1:
            show(tables["*"], json=json)
        elif json:
            print(text(tables))
        else:
            print("\n\n".join(f"Tensors: {key}\n\n{table}" for key, table in tables.items()))
