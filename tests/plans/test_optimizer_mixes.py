"""Several optimizers in one plan, and families of the user's own."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.rules import FAMILIES, ONE, Family, Powers, powers, shampoo
from mutransfer.tasks import mlp
from tests.models import matrices
from tests.optimizers import MINE, MIX, MUON, by_name, gpts, optim, small


def test_a_family_of_ones_own() -> None:
    """Lemma J.1, extended: the rate is constant change over gain · gradient^(1/2).

    Eps is two powers of the gradient.
    """
    plan = small(MINE)
    r = 2.0
    assert plan.optimizers == {"mine": MINE}
    assert plan["1.weight"].factor("lr") == pytest.approx(r**-0.75 * r**0.5)
    assert plan["1.weight"].factor("eps") == pytest.approx(r**-2 * r**1.5)
    assert plan["0.weight"].factor("lr") == pytest.approx(
        r**0.5
    )  # the gain over a finite fan-in is 1
    assert plan["2.weight"].factor("lr") == pytest.approx(r**-0.75)
    groups = plan.param_groups(matrices(16), 1.0, eps=1e-8)
    rates = {group["names"][0]: group["lr"] for group in groups}
    assert rates == {name: plan[name].factor("lr") for name in plan.tensors}


def test_a_family_with_a_ratio_that_no_model_has_is_refused() -> None:
    with pytest.raises(
        mt.MutransferError,
        match=r"0.weight: the rule of shampoo\(blocked\) needs the ratio blocks, "
        "which is not read off a model",
    ):
        small(shampoo(blocked=True))


@MUON
def test_a_mix_is_one_plan() -> None:
    model, base = gpts()
    plan = mt.plan(model, base, optimizer={"hidden": optim.Muon, "*": optim.AdamW})
    assert plan.optimizers == {name: FAMILIES[name] for name in ("adamw", "muon-original")}
    for tensor in plan.tensors.values():
        assert tensor.optimizer == ("muon-original" if tensor.role == "hidden" else "adamw")
    alone = mt.plan(model, base)
    assert all(
        plan[name] == alone[name] for name in plan.tensors if plan[name].optimizer == "adamw"
    )
    lines = [line for line in str(plan).splitlines()[3:] if not line.startswith("warning")]
    header, *rows = [line.split() for line in lines]
    assert header[:4] == ["tensor", "n", "role", "optimizer"]
    assert header[4:] == ["base", "model", "init", "lr", "eps", "decay"]
    shown = {row[0]: next(name for name in plan.optimizers if name in row) for row in rows}
    assert shown["blocks.*.up.weight"] == "muon-original" and shown["head.weight"] == "adamw"
    assert "optimizer" not in str(alone).splitlines()[3].split()


@MUON
@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (3, 1)])
def test_the_groups_of_a_mix_are_disjoint_and_complete(sizes: tuple[int, int]) -> None:
    model, base = gpts(*sizes)
    plan = mt.plan(model, base, optimizer=MIX | {"token.weight": "lion"} | {"*": "adamw"})
    by_family = {name: plan.param_groups(model, 0.1, optimizer=name) for name in plan.optimizers}
    groups = [group for groups in by_family.values() for group in groups]
    assert sorted(name for group in groups for name in group["names"]) == sorted(plan.tensors)
    parameters = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(parameters) == sorted(id(parameter) for parameter in model.parameters())
    for family, groups in by_family.items():
        assert {plan[name].optimizer for group in groups for name in group["names"]} == {family}


def test_the_first_key_of_a_mix_counts() -> None:
    model, base = gpts(2, 1)
    mix = {"*.query.weight": "lion", "hidden": "muon", "token.*": "sgd", "*": "adamw"}
    plan = mt.plan(model, base, optimizer=mix)
    assert plan["blocks.0.query.weight"].optimizer == "lion"
    assert plan["blocks.0.key.weight"].optimizer == "muon"
    assert plan["token.weight"].optimizer == "sgd"
    assert plan["position.weight"].optimizer == "adamw"
    mix = {"hidden": "muon", "*.query.weight": "muon", "*": "adamw"}
    reverse = mt.plan(model, base, optimizer=mix)
    assert reverse["blocks.0.query.weight"].optimizer == "muon"


@MUON
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_torchs_muon_and_adamw_train_a_gpt(scale: str) -> None:
    model, base = gpts(2, 1)
    mix = {"hidden": partial(optim.Muon, adjust_lr_fn=scale), "*": optim.AdamW}
    plan = mt.plan(model, base, optimizer=mix)
    plan.initialize(model)
    muon = next(name for name in plan.optimizers if name.startswith("muon"))
    lr = 0.02 if scale == "original" else 0.003
    steps = [
        optim.Muon(plan.param_groups(model, lr, optimizer=muon), adjust_lr_fn=scale),
        optim.AdamW(plan.param_groups(model, 2**-7, optimizer="adamw")),
    ]
    tokens = torch.randint(13, (8, 8))
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
        losses.append(loss.item())
        for step in steps:
            step.zero_grad()
        loss.backward()
        for step in steps:
            step.step()
    assert losses[-1] < 0.7 * losses[0]


MIXES_REFUSED: dict[str, tuple[Any, str]] = {
    "unknown key": (
        {"hidden": "muon", "attention": "lion", "*": "adamw"},
        r"optimizer={'attention': ...} matches no role and no tensor",
    ),
    "a role that the model has not": (
        {"embedding": "lion", "*": "adamw"},
        r"optimizer={'embedding': ...} matches no role and no tensor",
    ),
    "tensor without an optimizer": (
        {"hidden": "muon"},
        r"no optimizer was given for input.weight \(input\).*'\*' for the rest",
    ),
    "nothing": ({}, "no optimizer was given for input.weight"),
    "muon on a vector": (
        {"hidden": "muon", "bias": "muon", "*": "adamw"},
        r"muon updates matrices only, and input.bias \(bias\) has 1 dim",
    ),
    "muon alone": (
        "muon",
        r"muon updates matrices only, and input.bias .*such as optimizer='muon\+adamw'",
    ),
    "soap on a vector": ("soap", "soap updates matrices only"),
}


@pytest.mark.parametrize(("optimizer", "message"), MIXES_REFUSED.values(), ids=MIXES_REFUSED)
def test_a_mix_that_is_refused(optimizer: Any, message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message):
        mt.plan(mlp(16), mlp(8), optimizer=optimizer)


def test_two_families_of_one_name_cannot_be_told_apart() -> None:
    with pytest.raises(mt.MutransferError, match="mine"):
        small({"hidden": MINE, "*": replace(MINE, homogeneity=0)})


def test_groups_of_a_mix_are_those_of_a_named_optimizer() -> None:
    model, base = gpts()
    plan = mt.plan(model, base, optimizer=MIX)
    with pytest.raises(
        mt.MutransferError,
        match=r"plan is for adamw \+ muon-original, and none was named: .* optimizer=",
    ):
        plan.param_groups(model, 0.1)
    with pytest.raises(mt.MutransferError, match="it has no 'sgd': say whose groups"):
        plan.param_groups(model, 0.1, optimizer="sgd")
    single = mt.plan(model, base)
    with pytest.raises(mt.MutransferError, match="it has no 'sgd'"):
        single.param_groups(model, 0.1, optimizer="sgd")
    named, unnamed = (single.param_groups(model, 0.1, optimizer=n) for n in ("adamw", None))
    assert named[0]["names"] == unnamed[0]["names"]


@pytest.mark.parametrize("ratio", [2, 3, 5, Fraction(3, 2)])
@pytest.mark.parametrize("optimizer", ["muon", "muon-spectral", "muon-original"])
def test_ratios_that_cancel_leave_exactly_one(optimizer: str, ratio: Fraction) -> None:
    """Square matrices of Muon keep their rate at every width, so they share a group."""
    plan = mt.plan(matrices(int(16 * ratio)), matrices(16), optimizer=optimizer)
    assert [plan["1.weight"].factor(quantity) for quantity in ("lr", "decay")] == [1.0, 1.0]


@MUON
@pytest.mark.parametrize("wider", [2, 3, 5])
def test_a_mix_has_few_groups(wider: int) -> None:
    model, base = gpts(wider, 2)
    plan = mt.plan(model, base, optimizer=MIX)
    assert len(plan.param_groups(model, 0.1, optimizer="muon-original")) == 2
    assert "e-1" not in str(plan)


OTHER = replace(
    MINE,
    name="other",
    eps=None,
    unaligned=None,
    cites=("2512.05620",),
    homogeneity=Fraction(1, 3),
)
FAMILY_MIXES: dict[str, Any] = {
    "mine": MINE,
    "mine and adamw": {"hidden": MINE, "*": "adamw"},
    "muon and adamw": MIX,
    "shampoo, sophia and lion": {"hidden": "shampoo", "readout": "sophia", "*": "lion"},
    "no eps and exact powers": OTHER,
}


@pytest.mark.parametrize("optimizer", FAMILY_MIXES.values(), ids=FAMILY_MIXES)
def test_json_keeps_mixes_and_families(optimizer: Any) -> None:
    model, base = gpts()
    plan = mt.plan(model, base, optimizer=optimizer)
    again = mt.Plan.from_json(plan.to_json())
    assert again == plan and again.to_json() == plan.to_json() and str(again) == str(plan)
    for family in again.optimizers.values():
        assert isinstance(family, Family) and isinstance(family.homogeneity, Fraction)
    for name in plan.optimizers:
        given = {"eps": 1e-8} if plan.optimizers[name].eps is not None else {}
        rho = {"rho": 0.1} if name == "sophia" else {}
        groups = [p.param_groups(model, 0.1, optimizer=name, **given, **rho) for p in (plan, again)]
        assert by_name(groups[0]).keys() == by_name(groups[1]).keys()
        assert [group["lr"] for group in groups[0]] == [group["lr"] for group in groups[1]]


def test_powers_of_a_family_survive_json() -> None:
    again = Family.from_json(MINE.to_json())
    assert again == MINE and isinstance(again.gain, Powers)
    assert again.eps == powers(fan_in=1, fan_out="1/2") != ONE
