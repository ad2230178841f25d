"""BibTeX of everything that rules and optimizer families cite."""

import re

import pytest

from mutransfer import MutransferError, rules
from mutransfer.rules import FAMILIES, PARAMETRIZATIONS

CITED = sorted(
    {key for cited in [*PARAMETRIZATIONS.values(), *FAMILIES.values()] for key in cited.cites}
)


def field(entry: str, name: str) -> str:
    return re.search(rf"^  {name} = {{(.*)}},?$", entry, re.MULTILINE)[1]


@pytest.mark.parametrize("key", CITED)
def test_what_is_cited_has_a_well_formed_entry(key: str) -> None:
    entry = rules.bibtex([key])
    assert re.match(r"@misc\{[a-z]+\d{4}[a-z0-9]+,\n", entry) and entry.endswith("\n}")
    level = 0
    for place, character in enumerate(entry):
        level += {"{": 1, "}": -1}.get(character, 0)
        assert (level > 0) == (entry.index("{") <= place < len(entry) - 1)
    assert entry.count("$") % 2 == 0
    assert (field(entry, "eprint"), field(entry, "archivePrefix")) == (key, "arXiv")
    assert len(field(entry, "title")) > 20
    assert all(" " in author for author in field(entry, "author").split(" and "))
    assert int(field(entry, "year")) == 2000 + int(key[:2])
    lines = entry.splitlines()
    assert all(line.endswith(",") for line in lines[:-2]) and not lines[-2].endswith(",")


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_a_parametrization_cites_its_source(name: str) -> None:
    rule = PARAMETRIZATIONS[name]
    assert rule.cites and rule.cites[0] in rule.source
    assert set(re.findall(r"\d{4}\.\d{5}", rule.source)) <= set(rule.cites)


def test_entries_differ() -> None:
    entries = [rules.bibtex([key]) for key in CITED]
    for part in (
        lambda entry: entry.split(",")[0],
        lambda entry: field(entry, "title"),
        lambda entry: field(entry, "eprint"),
    ):
        assert len({part(entry) for entry in entries}) == len(entries)


def test_each_paper_once_in_the_order_given() -> None:
    twice = rules.bibtex([CITED[2], CITED[0], CITED[2]])
    assert twice == rules.bibtex([CITED[2]]) + "\n\n" + rules.bibtex([CITED[0]])
    assert rules.bibtex([]) == ""


@pytest.mark.parametrize("key", ["0000.00000", "", "yang2022tp5"])
def test_an_unknown_paper(key: str) -> None:
    with pytest.raises(MutransferError, match="no BibTeX is known for"):
        rules.bibtex(["2203.03466", key])


def test_an_entry_of_ones_own() -> None:
    own = "@misc{me, title = {Mine}}"
    assert rules.bibtex([own, "2203.03466", own]).startswith(own + "\n\n@misc{yang2022tp5")
