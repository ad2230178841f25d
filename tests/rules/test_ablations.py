"""Ablations: factors and roles of a rule, switched off one by one."""

from dataclasses import replace

import pytest

from mutransfer import MutransferError, rules
from mutransfer.rules import FORMS, ONE, Place, Role, parametrization, powers
from tests.rules.tables import table

BASE = {"init": None, "lr": ONE, "eps": ONE, "decay": ONE}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("quantity", BASE)
@pytest.mark.parametrize("name", ["mup", "depth-mup", "completep"])
def test_a_quantity_is_switched_off(name: str, quantity: str, form: str) -> None:
    """With explicit multipliers it stays as in plain PyTorch and the others do not move.

    Every form is the same training.
    """
    rule, adamw = parametrization(name), rules.family("adamw")
    off, standard = rule.without(quantity), table(parametrization("sp"))
    explicit = {
        cell: replace(row, **{quantity: getattr(standard[cell], quantity)})
        for cell, row in table(rule, form="table8").items()
    }
    values = {getattr(row, quantity) for row in explicit.values()}
    assert BASE[quantity] is None or values == {BASE[quantity]}
    for (role, place), row in table(off, form=form).items():
        carried = rule.branch_multiplier if form == "plain" and place == Place.BRANCH_END else ONE
        theta = rule.multiplier(role, form) / rule.multiplier(role, "table8") / carried
        rescaled = explicit[role, place].rescale(theta, adamw)
        assert row == replace(rescaled, multiplier=row.multiplier), (role, place)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", ["mup", "completep", "u-mup"])
def test_a_role_is_switched_off(name: str, role: Role) -> None:
    """Its row is standard parametrization's, and the others stay."""
    rule, standard = parametrization(name), table(parametrization("sp"))
    expected = {
        cell: standard[cell] if cell[0] == role else row for cell, row in table(rule).items()
    }
    assert table(rule.without(role)) == expected
    assert (rule.without(role).logit_multiplier == ONE) == (role == Role.TIED)


def test_the_branches_multiplier_is_switched_off() -> None:
    rule = parametrization("completep")
    off = rule.without("branch")
    assert off.branch_multiplier == ONE
    assert rules.signals(off, "table3")["outputs of residual branches"] == ONE
    assert table(off) == table(rule)
    assert table(off, form="plain") == table(rule)
    assert table(rule, form="plain") != table(rule)


def test_the_attention_scale_is_switched_off() -> None:
    off = parametrization("mup").without("attention")
    assert off.attention_scale == parametrization("sp").attention_scale == powers(head_dim="-1/2")
    assert table(off) == table(parametrization("mup"))


def test_several_factors_are_switched_off() -> None:
    off = parametrization("mup").without("lr", "eps").without("embedding")
    assert off.name == "mup, without lr, without eps, without embedding"
    assert off.off == {"lr", "eps", Role.EMBEDDING}
    assert {(row.lr, row.eps) for row in table(off, form="table8").values()} == {(ONE, ONE)}


@pytest.mark.parametrize("factor", ["multiplier", "weight", "", "LR", "lr eps"])
def test_unknown_factors_are_refused(factor: str) -> None:
    refusal = (
        f"a rule has no factor {factor!r} to switch off; choose one of init, lr, eps, decay, branch"
    )
    with pytest.raises(MutransferError, match=refusal):
        parametrization("mup").without(factor)
