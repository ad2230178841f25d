"""Rules without one of their quantities, roles or multipliers."""

from typing import Any

import pytest
import torch

import mutransfer as mt
from mutransfer.rules import (
    PARAMETRIZATIONS,
    Place,
    Quantities,
    powers,
)
from tests.factors import ALL_QUANTITIES, QUANTITIES, table
from tests.models import skips
from tests.plans.planned_gpt import MUON_MIX, planned_gpt


def assert_equal(plan: mt.Plan, other: mt.Plan, but: set[str]) -> None:
    """Check that the factors are equal but for those of some tensors."""
    rows, others = table(plan), table(other)
    assert all(rows[name] == others[name] for name in rows.keys() - but)


@pytest.mark.parametrize("quantity", QUANTITIES[1:])
@pytest.mark.parametrize("rule", ["completep", "u-mup"])
@pytest.mark.parametrize(
    ("optimizer", "tied"),
    [("adamw", False), ("adamw", True), ("sgd", True), (MUON_MIX, False)],
    ids=str,
)
def test_without_a_quantity_it_stays_at_base(
    rule: str, optimizer: Any, quantity: str, tied: bool
) -> None:
    settings = {"optimizer": optimizer, "tied": tied}
    full, plan = (planned_gpt(r, **settings) for r in (rule, f"{rule}, without {quantity}"))
    for name, tensor in plan.tensors.items():
        carried = Quantities().fold(tensor.multiplier, plan.optimizers[tensor.optimizer])
        assert getattr(tensor, quantity) == getattr(carried, quantity), name
    others = tuple(other for other in ALL_QUANTITIES if other != quantity)
    assert table(plan, others) == table(full, others)
    assert {full[name].factor(quantity) for name in full.tensors} != {1.0} or (
        quantity,
        optimizer,
    ) == ("eps", "sgd")


def test_without_init_the_law_is_that_of_standard_parametrization() -> None:
    full, plan, standard = (
        planned_gpt("completep"),
        planned_gpt("completep, without init"),
        planned_gpt("sp"),
    )
    for name, tensor in plan.tensors.items():
        assert tensor.init == standard[name].init * tensor.multiplier
    assert table(plan, ALL_QUANTITIES[1:]) == table(full, ALL_QUANTITIES[1:])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_without_a_role_it_is_as_under_standard_parametrization(optimizer: str) -> None:
    rules = ("completep", "completep, without embedding")
    full, plan = (planned_gpt(r, optimizer=optimizer) for r in rules)
    changed = {"token.weight", "position.weight"}
    assert {table(plan)[name] for name in changed} == {(1.0,) * 5}
    assert_equal(plan, full, changed)


def test_without_the_readouts_role_nothing_else_moves() -> None:
    full, plan = planned_gpt("completep"), planned_gpt("completep, without readout")
    assert table(plan, QUANTITIES)["head.weight"] == (2**-0.5, 1, 1, 1)
    assert_equal(plan, full, {"head.weight"})


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", MUON_MIX])
@pytest.mark.parametrize("rule", ["completep", "depth-mup", "u-mup"])
def test_without_branch_the_ends_carry_nothing(rule: str, optimizer: Any) -> None:
    rules = (rule, f"{rule}, without branch")
    full, plan = (planned_gpt(r, optimizer=optimizer) for r in rules)
    ends = {name for name in plan.tensors if plan[name].place == Place.BRANCH_END}
    assert ends == {f"blocks.{i}.{end}.weight" for i in range(2) for end in ("out", "down")}
    assert_equal(plan, full, ends)
    for name in ends:
        inside = name.replace("out", "value").replace("down", "up")
        assert plan[name].multiplier == powers() and full[name].multiplier != powers()
        assert (
            plan[name].factor("init")
            == plan[inside].factor("init")
            == pytest.approx(2**0.5 * 1 / 2)
        )
        if name.endswith("out.weight"):
            assert table(plan)[name] == table(plan)[inside]


def test_without_branch_nothing_needs_to_carry_it() -> None:
    """A branch that ends in an activation is refused only because of its multiplier."""
    model, base = (skips(*size, function=torch.tanh) for size in ((16, 4), (8, 2)))
    with pytest.raises(mt.MutransferError, match="does not end in learned tensors"):
        mt.plan(model, base, rule="depth-mup")
    assert mt.plan(model, base, rule="depth-mup, without branch").depth == (2, 4)


@pytest.mark.parametrize("tied", [False, True])
def test_without_attention_the_queries_carry_nothing(tied: bool) -> None:
    rules = ("completep", "completep, without attention")
    full, plan = (planned_gpt(r, tied=tied) for r in rules)
    queries = {name for name in plan.tensors if "query" in name}
    assert_equal(plan, full, queries)
    for name in queries:
        assert table(plan)[name] == table(plan)[name.replace("query", "key")] != table(full)[name]
        assert plan[name].multiplier == powers() and full[name].multiplier == powers(
            head_dim="-1/2"
        )


def test_factors_are_switched_off_together() -> None:
    text = planned_gpt("completep, without eps, without branch, without attention")
    assert text.rule == "completep, without eps, without branch, without attention"
    rule = PARAMETRIZATIONS["completep"].without("eps", "branch", "attention")
    assert planned_gpt(rule).tensors == text.tensors
    mup = planned_gpt("mup, without eps, without attention")
    assert table(text) == table(mup)
