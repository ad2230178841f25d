"""The table of a rule and the catalogue of all rules, as text, JSON and LaTeX."""

import itertools
import re
from typing import Any

import pytest

from mutransfer import MutransferError, rules
from mutransfer.rules import (
    FAMILIES,
    FORMS,
    PARAMETRIZATIONS,
    QUANTITIES,
    Law,
    Parametrization,
    Role,
)

TABLES = list(itertools.product(["sp", "mup", "u-mup"], ["adamw", "muon", "lars"], FORMS))
NARROW = Parametrization(
    name="narrow", title="one role", source="a note", laws={Role.HIDDEN: Law()}
)


def grid(text: str, head: str) -> list[list[str]]:
    """Cells of the table in a text whose first column has this head."""
    table = next(part for part in text.split("\n\n") if part.split("  ")[0] == head)
    lines = table.splitlines()
    starts = [lines[0].index(f"{name}") for name in ["role", *QUANTITIES]]
    ends = [*starts[1:], None]
    return [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines]


@pytest.mark.parametrize(("rule", "optimizer", "form"), TABLES)
def test_every_power_is_printed_whole(rule: str, optimizer: str, form: str) -> None:
    table = rules.rule_table(rule, optimizer, form)
    header, *cells = grid(str(table), "role")
    assert header == ["role", *QUANTITIES]
    expected = [
        [row.label, *(str(getattr(row.quantities, name)) for name in QUANTITIES)]
        for row in table.rows
    ]
    assert cells == expected


@pytest.mark.parametrize(("rule", "optimizer", "form"), TABLES)
def test_json_has_the_rows_and_the_signals(rule: str, optimizer: str, form: str) -> None:
    table = rules.rule_table(rule, optimizer, form)
    data = table.to_json()
    named = {key: data[key] for key in ("rule", "source", "optimizer", "form")}
    source = PARAMETRIZATIONS[rule].source
    if rule == "mup" and form != "unit":
        source = source.replace("Table 3", table.source.split(", ")[1])
    assert named == {"rule": rule, "source": source, "optimizer": optimizer, "form": form}
    assert data.keys() - named.keys() == {"roles", "multipliers"}
    rows = rules.listing(table.rule, table.optimizer, form)
    assert data["roles"] == {row.label: row.quantities.to_json() for row in rows}
    assert data["multipliers"].keys() == rules.signals(table.rule, form).keys()


@pytest.mark.parametrize(
    ("form", "parts"),
    [
        ("plain", ["Each entry is relative", "attention logits are multiplied by head_dim^-1"]),
        ("table9", ["In brackets: standard", "How to get to table9", "from table3:"]),
    ],
)
def test_the_text_has_every_part(form: str, parts: list[str]) -> None:
    text = str(rules.rule_table("mup", "adafactor", form))
    parts = ["mup: maximal update", "2203.03466", f"adafactor, form {form}", *parts]
    assert all(part in text for part in [*parts, f"adafactor: {FAMILIES['adafactor'].caveat}"])
    assert ("In brackets" in text) == (form != "plain")


def test_the_papers_table_in_latex_where_the_paper_has_one() -> None:
    paper, plain = (rules.rule_table("mup", form=form).to_latex() for form in ("table8", "plain"))
    assert r"input weights \& all biases" in paper and "init. var. & " in paper
    assert plain.splitlines()[2] == r"role & init & multiplier & lr & eps & decay \\"
    assert "In brackets" not in str(rules.rule_table("sp", form="table8"))


def test_papers_of_rule_and_optimizer() -> None:
    entries = rules.rule_table("completep", "muon").cite()
    assert all(number in entries for number in ("2505.01618", "2203.03466", "2512.05620"))


@pytest.mark.parametrize("form", FORMS)
def test_a_rule_for_one_role_has_its_row(form: str) -> None:
    table = rules.rule_table(NARROW, form=form)
    assert [row.role for row in table.rows] == [Role.HIDDEN]
    assert table.paper == [] and "hidden" in str(table) and "hidden" in table.to_latex()
    assert table.multipliers.keys() == {"attention logits"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mupp",), "unknown rule 'mupp'"),
        (("mup", "mupp"), "unknown optimizer 'mupp'"),
        (("mup", 3), "an optimizer family is named by text or given as a Family, not as 3"),
        (("mup", "adamw", "mupp"), "unknown form 'mupp'"),
        (("mup, decay=sqrt", "sgd"), "known for decoupled decay alone"),
        (("mup, self=3",), "rules have no option 'self'"),
    ],
)
def test_tables_that_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        rules.rule_table(*arguments)


def test_a_table_of_another_version_is_refused() -> None:
    data = rules.rule_table("mup").to_json()
    data["roles"]["hidden"]["lr"] = {"fan_in": "-2"}
    with pytest.raises(MutransferError, match="the roles of 'mup' are others in this version"):
        rules.RuleTable.from_json(data)


def test_the_catalogue_has_every_rule_and_every_optimizer() -> None:
    catalogue = rules.catalogue()
    expected = [(rule.name, rule.title, rule.source) for rule in PARAMETRIZATIONS.values()]
    assert [(entry.name, entry.title, entry.source) for entry in catalogue.rules] == expected
    assert catalogue.optimizers == tuple(FAMILIES)
    text = str(catalogue)
    assert all(part in text for entry in expected for part in entry)
    assert f"optimizers: {', '.join(FAMILIES)}" in text


@pytest.mark.parametrize("form", ["table3", "table8", "table9", "unit"])
@pytest.mark.parametrize("rule", ["mup", "completep", "mup, without eps"])
def test_the_heading_names_the_table_of_the_form(rule: str, form: str) -> None:
    table = rules.rule_table(rule, "adam" if rule == "completep" else "adamw", form)
    heads = str(table).split("input weights & all biases")[0]
    number = form.removeprefix("table")
    named = re.findall(r"Tensor Programs V \(2203\.03466\), Table (\d)", heads)
    if form == "unit":
        assert "\n\nUnit scaling (2407.17465)\n\n" in heads
    else:
        assert named == [number]
        if rule != "completep":
            assert table.source == f"Tensor Programs V (2203.03466), Table {number}"
            assert table.to_json()["source"] == table.source
    if rule == "completep":
        assert heads.splitlines()[1].startswith("CompleteP (2505.01618), Table 1; adam")


def test_the_plain_form_has_the_rules_source() -> None:
    table = rules.rule_table("mup")
    assert table.source == "Tensor Programs V (2203.03466), Table 3" == table.rule.source
