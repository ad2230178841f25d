"""Parametrizations of one's own, and derivations in words."""

import re
from fractions import Fraction

import pytest

from mutransfer import MutransferError, rules
from mutransfer.rules import (
    ONE,
    PARAMETRIZATIONS,
    QUANTITIES,
    Law,
    Parametrization,
    Place,
    Powers,
    Quantities,
    Role,
    laws,
    parametrization,
    powers,
)
from tests.rules.tables import DEPTH, FAN_IN, FAN_OUT, table

SIZED = [name for name, rule in PARAMETRIZATIONS.items() if not rule.one_rate]


def small_readout() -> Parametrization:
    """MuP, but the readout starts at fan_in^-2 and the rate of positions falls with width."""
    return Parametrization(
        name="small-readout",
        title="maximal update with a smaller readout",
        source="this test",
        laws={
            **laws(),
            Role.READOUT: Law(init=powers(fan_in=-2), sums_over_width=True),
            Role.POSITION: Law(gradient=powers(fan_out=-1), change=powers(fan_out="-1/2")),
        },
        alpha=Fraction(1),
    )


def test_a_parametrization_of_ones_own() -> None:
    own, adamw = small_readout(), rules.family("adamw")
    assert own.quantities(Role.READOUT, adamw) == Quantities(
        init=FAN_IN**-2, lr=ONE / FAN_IN, decay=FAN_IN
    )
    assert own.quantities(Role.POSITION, adamw).lr == FAN_OUT ** "-1/2"
    rows, known = table(own), table(parametrization("completep"))
    different = {role for role, place in rows if rows[role, place] != known[role, place]}
    assert different == {Role.READOUT, Role.POSITION}
    listed = {(row.role, row.place): row.quantities for row in rules.listing(own, adamw, "table8")}
    assert listed[Role.READOUT, Place.OUTSIDE].init == ONE / FAN_IN
    assert (Role.HIDDEN, Place.BRANCH) in listed and (Role.READOUT, Place.BRANCH) not in listed
    assert parametrization(own) is own
    assert own.using(decay="sqrt").without("eps").name == "small-readout, decay=sqrt, without eps"
    assert own.branch_multiplier == ONE / DEPTH and own.logit_multiplier == FAN_IN**-2


def test_a_role_that_a_rule_does_not_know() -> None:
    only = {Role.HIDDEN: laws()[Role.HIDDEN]}
    rule = Parametrization(name="narrow", title="hidden only", source="a note", laws=only)
    adamw = rules.family("adamw")
    assert [row.role for row in rules.listing(rule, adamw)] == [Role.HIDDEN]
    for ask in (rule.quantities, rule.disagreements, rule.derivation):
        refusal = (
            r"rule 'narrow' says nothing about the role bias \(a note\); give it a Law in laws="
        )
        with pytest.raises(MutransferError, match=refusal):
            ask(Role.BIAS, adamw)


def stated(sentences: list[str]) -> dict[str, str]:
    """Quantities that a derivation ends with, after the changes by options and ablations."""
    numbers = dict(re.findall(r"^(init|lr|eps|decay) ([^:]+):", "\n".join(sentences), re.MULTILINE))
    if changes := [sentence for sentence in sentences if sentence.startswith("then ")]:
        numbers |= dict(re.findall(r"(init|lr|eps|decay) ([^,]+),", changes[0]))
    return numbers


@pytest.mark.parametrize(
    "text",
    [
        *SIZED,
        "completep, without hidden",
        "completep, without lr",
        "mup, decay=constant",
        "mup, alignment=none",
    ],
)
def test_derivations_state_the_numbers(text: str) -> None:
    undefined = {"mup, alignment=none": "muon", "mup, decay=constant": "sgd"}
    for optimizer in {"adamw", "sgd", "muon", "lion"} - {undefined.get(text)}:
        rule, family = parametrization(text), rules.family(optimizer)
        own = rule.quantities(Role.HIDDEN, family, Place.BRANCH)
        sentences = [str(each) for each in rule.derivation(Role.HIDDEN, family, Place.BRANCH)]
        assert sentences[0] == rule.source
        absent = {"multiplier"} | ({"eps"} if family.eps is None else set())
        assert stated(sentences) == {q: str(getattr(own, q)) for q in QUANTITIES if q not in absent}


def test_the_derivation_of_standard_parametrization() -> None:
    source, *_ = parametrization("sp").derivation(Role.HIDDEN, rules.family("adamw"))
    assert str(source).startswith("Tensor Programs V (2203.03466), Table 3")


def read(text: str) -> Powers:
    """Parse a product of powers as `str` writes it."""
    factors = re.findall(r"([a-z_]+)(?:\^(\S+))?", text)
    return powers(**{name: exponent or "1" for name, exponent in factors})


@pytest.mark.parametrize(
    "text",
    [
        "completep",
        "depth-mup",
        "ntk",
        "completep, without hidden",
        "completep, without lr",
        "mup, decay=constant",
        "mup, alignment=none",
    ],
)
def test_reasons_in_a_derivation_give_its_numbers(text: str) -> None:
    """A reason leads to its number, with options and ablations, too."""
    rule, adamw = parametrization(text), rules.family("adamw")
    sentences = "\n".join(map(str, rule.derivation(Role.HIDDEN, adamw, Place.BRANCH)))

    def reason(pattern: str) -> re.Match[str] | None:
        return re.search(pattern, sentences, re.MULTILINE)

    unit_rate = r"a unit rate of adamw changes it by (.+)$"
    rate = reason(rf"^lr (.+): the output should change by (.+) a step, and {unit_rate}")
    decay = reason(r"^decay (.+): decoupled, it should shrink the tensor by (.+) a step")
    eps = reason(r"^eps (.+): entries of the gradient are (.+)$")
    assert rate and read(rate[1]) == read(rate[2]) / read(rate[3])
    assert decay and read(rate[1]) * read(decay[1]) == read(decay[2])
    assert eps and read(eps[1]) == read(eps[2])
