"""Roles read off models, and the laws that they get."""

import pytest

import mutransfer as mt
from mutransfer.rules import Role
from tests.factors import factors
from tests.models import BareAttention, attending
from tests.plans.role_cases import (
    BARE,
    CASES,
    GAINS,
    KEY_VALUE,
    SEQUENCES,
    WIDTH,
    Case,
    lawful,
    planned,
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_roles_and_their_laws(case: Case) -> None:
    plan = planned(case)
    assert {name: (plan[name].role, factors(plan, name)) for name in case.expected} == {
        name: (role, pytest.approx(values)) for name, (role, values) in case.expected.items()
    }
    lawful(plan)


@pytest.mark.parametrize("optimizer", ["sgd", "lamb", "sophia"])
@pytest.mark.parametrize(
    "name",
    [
        "shared keys and values, grouped",
        "router",
        "adapter",
        "bare parameters",
        "norm of queries and keys",
    ],
)
def test_laws_of_other_optimizers(name: str, optimizer: str) -> None:
    lawful(planned(CASES[name], optimizer=optimizer), optimizer=optimizer)


def test_shared_keys_and_values_under_sgd() -> None:
    """Rate: wanted change over fan-in times the gradient, n^-1 / (n · n^-1/2) · n."""
    plan = planned(CASES["shared keys and values, grouped"], optimizer="sgd")
    assert plan["blocks.0.key.weight"].factor("lr") == pytest.approx(4**-0.5)
    assert plan["blocks.0.query.weight"].factor("lr") == 1


@pytest.mark.parametrize("roles", [None, KEY_VALUE], ids=["read", "declared"])
def test_keys_and_values_may_grow_less_than_queries(roles: dict[str, str] | None) -> None:
    plan = mt.plan(
        attending(8 * WIDTH, shared=4),
        attending(2 * WIDTH, shared=2),
        example_inputs=SEQUENCES,
        roles=roles,
    )
    for name in ("blocks.0.key.weight", "blocks.0.value.weight"):
        assert plan[name].role == "key-value"
        assert factors(plan, name) == pytest.approx([1 / 2, 1 / 4, 4**-0.5 * 2**-0.5, 4])


def test_keys_and_values_stay_hidden_where_only_depth_grows() -> None:
    plan = mt.plan(
        attending(WIDTH, 4, shared=1), attending(WIDTH, 2, shared=1), example_inputs=SEQUENCES
    )
    assert plan.rule == "completep" and plan["blocks.3.key.weight"].role == "hidden"
    assert plan["blocks.3.key.weight"].factor("eps") == 1 / 2
    lawful(plan, "completep")


def test_layer_scales_end_their_branches() -> None:
    plan = mt.plan(BareAttention(64, 4), BareAttention(16, 2), roles=BARE, example_inputs=SEQUENCES)
    lawful(plan, "completep")
    assert plan["gammas.3"].place == "ending a branch"
    assert factors(plan, "gammas.3") == pytest.approx([1 / 2, 1 / 2, 1 / 4, 2])
    assert plan["blocks.3.out.weight"].place == "in a branch"


def test_what_is_chosen_by_role_is_the_same_at_base_and_target() -> None:
    """Keys and values are hidden matrices and gains of heads gains at every width."""
    base, model = (attending(width, shared=1, gains=GAINS) for width in (WIDTH, 4 * WIDTH))
    roles = {f"blocks.*.{name}.weight": "key-value" for name in ("key", "value")}
    mix = {"hidden": "muon", "*": "adamw"}
    small, large = (
        mt.plan(target, base, optimizer=mix, example_inputs=SEQUENCES, roles=declared)
        for target, declared in ((base, None), (model, roles))
    )
    assert large["blocks.0.key.weight"].role == Role.KEY_VALUE
    assert large["blocks.0.query_norm.weight"].role == Role.HEAD_GAIN
    assert {name: tensor.optimizer for name, tensor in small.tensors.items()} == {
        name: tensor.optimizer for name, tensor in large.tensors.items()
    }
    settings = {"weight_decay": 0.1, "optimizer": "adamw", "undecayed": ["gain"]}
    undecayed = [
        {
            name
            for group in plan.param_groups(target, 0.1, **settings)
            if not group["weight_decay"]
            for name in group["names"]
        }
        for plan, target in ((small, base), (large, model))
    ]
    assert undecayed[0] == undecayed[1] and "blocks.0.query_norm.weight" in undecayed[0]


def test_keys_behind_a_norm_are_read_too() -> None:
    plan = mt.plan(
        *(attending(n, shared=2, gains=GAINS) for n in (64, 16)), example_inputs=SEQUENCES
    )
    assert {plan[f"blocks.0.{name}.weight"].role for name in ("key", "value")} == {Role.KEY_VALUE}
    assert {plan[f"blocks.0.{name}_norm.weight"].role for name in ("query", "key")} == {
        Role.HEAD_GAIN
    }
