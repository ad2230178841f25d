"""Listings of a rule, and names that are refused."""

import pytest

from mutransfer import MutransferError, rules
from mutransfer.rules import FAMILIES, FORMS, ONE, PARAMETRIZATIONS, Place, Quantities, Role, powers
from tests.rules.tables import DEPTH, FAN_IN, FAN_OUT, quantities

FULL = powers(head_dim=-1)
COMPLETEP = rules.parametrization("completep")


def test_signals_of_a_listing() -> None:
    """The plain form carries the branch's multiplier in the tensors.

    The norm of the gradient is ∝ depth^(1/2 - alpha).
    """
    completep = rules.parametrization("completep, clip=derived")
    shared = {
        "attention logits": FULL,
        "logits of a tied head": ONE / FAN_IN,
        "thresholds of the gradient norm": DEPTH ** "-1/2",
    }
    assert rules.signals(completep, "plain") == shared
    branches = {"outputs of residual branches": ONE / DEPTH}
    assert rules.signals(completep, "table8") == shared | branches
    assert "thresholds of the gradient norm" not in rules.signals(
        rules.parametrization("completep")
    )


def test_names_of_optimizers_ignore_case() -> None:
    assert rules.family("AdamW") is rules.family("adamw") is FAMILIES["adamw"]


@pytest.mark.parametrize(
    ("ask", "choices"),
    [
        (lambda: rules.parametrization("mupp"), PARAMETRIZATIONS),
        (lambda: rules.family("mupp"), FAMILIES),
        (lambda: quantities("mup", Role.HIDDEN, "adam", form="mupp"), FORMS),
        (lambda: quantities("sp", Role.HIDDEN, "adam", form="mupp"), FORMS),
        (lambda: rules.listing(COMPLETEP, rules.family("adam"), "mupp"), FORMS),
        (lambda: rules.jumps(rules.parametrization("mup"), "mupp"), FORMS),
    ],
    ids=["rule", "optimizer", "form", "form of sp", "form of a listing", "form of jumps"],
)
def test_an_unknown_name_is_refused_with_the_choices(ask, choices) -> None:
    with pytest.raises(MutransferError, match="'mupp'") as caught:
        ask()
    offered = str(caught.value).partition("choose one of ")[2].partition(", or declare")[0]
    assert offered == ", ".join(choices)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", PARAMETRIZATIONS)
def test_a_listing_has_every_role_where_it_can_stand(rule: str, form: str) -> None:
    own, adamw = rules.parametrization(rule), rules.family("adamw")
    rows = rules.listing(own, adamw, form)
    places = {place: [row.role for row in rows if row.place == place] for place in Place}
    assert places[Place.OUTSIDE] == [role for role in Role if role != Role.FROZEN]
    assert bool(places[Place.BRANCH]) == (own.alpha is not None)
    assert bool(places[Place.BRANCH_END]) == (own.alpha is not None and form == "plain")
    outside = {Role.EMBEDDING, Role.READOUT, Role.INPUT, Role.TIED}
    assert not outside & {*places[Place.BRANCH], *places[Place.BRANCH_END]}
    assert {Role.HIDDEN, Role.BIAS, Role.GAIN} <= set(places[Place.BRANCH]) or own.alpha is None
    for row in rows:
        assert row.quantities == own.quantities(row.role, adamw, row.place, form=form)
    assert len({row.label for row in rows}) == len(rows)


def test_a_branch_end_carries_the_multiplier_in_the_plain_form() -> None:
    """Tensor Programs V, Lemma J.1: Adam's rate and AdamW's decay follow the smaller tensor."""
    ours = quantities("completep", Role.HIDDEN, "adamw", Place.BRANCH_END, form="plain")
    assert ours == Quantities(
        init=FAN_IN ** "-1/2" / DEPTH,
        lr=ONE / (FAN_IN * DEPTH),
        eps=ONE / FAN_OUT,
        decay=FAN_IN * DEPTH,
    )
    plain, table3 = (
        quantities("completep", Role.HIDDEN, "adamw", Place.BRANCH, form=form)
        for form in ("plain", "table3")
    )
    assert plain == table3
