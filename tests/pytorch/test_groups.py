"""Values in parameter groups: those at base size times the factors, or a refusal."""

import copy
import inspect
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.rules import FAMILIES
from mutransfer.tasks import gpt
from tests.factors import factors
from tests.models import matrices
from tests.optimizers import (
    CLASSES,
    KNOWN,
    MIX,
    MUON,
    by_name,
    gpts,
    optim,
    small,
)

VALUED: dict[str, dict[str, Any]] = {
    "sgd": {"weight_decay": 0.1},
    "sgdw": {"weight_decay": 0.1},
    "adamw": {"eps": 1e-4, "weight_decay": 0.1},
    "adam": {"eps": 1e-4},
    "nadamw": {"eps": 1e-4, "weight_decay": 0.1},
    "lion": {"weight_decay": 0.1},
    "sophia": {"eps": 1e-4, "weight_decay": 0.1, "rho": 0.04},
    "adafactor": {"eps": (1e-5, 1e-3), "weight_decay": 0.1},
    "adafactor-fixed": {"eps": 1e-4, "weight_decay": 0.1},
    "lamb": {"eps": 1e-4, "weight_decay": 0.1},
    "lars": {"eps": 1e-4, "weight_decay": 0.1},
}


@pytest.mark.parametrize("optimizer", VALUED)
def test_values_are_those_at_base_times_the_factors(optimizer: str) -> None:
    model, base = gpts()
    plan, given = mt.plan(model, base, optimizer=optimizer), VALUED[optimizer]
    groups = plan.param_groups(model, 0.3, **given)
    for group in groups:
        for name in group["names"]:
            init, lr, eps, decay = factors(plan, name)
            assert group["lr_factor"] == lr and group["lr"] == 0.3 * lr
            assert group["weight_decay"] == given.get("weight_decay", 0) * decay
            if optimizer == "adafactor":  # its second eps is a floor of the tensor's own size
                assert group["eps"] == (1e-5 * eps, 1e-3 * init)
            elif "eps" in given:
                assert group["eps"] == 1e-4 * eps
            else:
                assert "eps" not in group
            assert group.get("rho") == (0.04 / eps if "rho" in given else None)


@MUON
def test_muons_values() -> None:
    model, base = gpts()
    plan = mt.plan(model, base, optimizer=MIX)
    given = {"eps": 1e-5, "weight_decay": 0.2}
    for group in plan.param_groups(model, 0.3, **given, optimizer="muon-original"):
        for name in group["names"]:
            _, lr, eps, decay = factors(plan, name)
            values = (group["lr"], group["eps"], group["weight_decay"])
            assert values == (0.3 * lr, 1e-5 * eps, 0.2 * decay)


is_decoupled = "decoupled_weight_decay" in inspect.signature(optim.Adam).parameters
DECOUPLED = {"decoupled_weight_decay": True, "weight_decay": 0.01}
AS_TORCH = {
    **{name: (getattr(optim, name), {}) for name in CLASSES},
    # Adam has had the option since torch 2.7.
    **({"Adam, decoupled": (optim.Adam, DECOUPLED)} if is_decoupled else {}),
    "NAdam, decoupled": (optim.NAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "RAdam, decoupled": (optim.RAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
}


def steps_of(model: nn.Module, step: torch.optim.Optimizer) -> list[torch.Tensor]:
    x, y = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    for _ in range(3):
        step.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(("cls", "settings"), AS_TORCH.values(), ids=AS_TORCH)
def test_at_base_the_defaults_are_torchs(cls: Any, settings: dict[str, Any]) -> None:
    model, base = matrices(8), matrices(8)
    given = {"weight_decay": settings["weight_decay"]} if settings else {}
    others = {key: value for key, value in settings.items() if key not in given}
    plan = mt.plan(model, base, optimizer=partial(cls, **others))
    groups = plan.param_groups(model, 0.01, **given)
    signature = inspect.signature(cls).parameters
    for group in groups:
        assert group["weight_decay"] == settings.get(
            "weight_decay", signature["weight_decay"].default
        )
        if "eps" in signature:
            adafactor = (torch.finfo(torch.float32).eps, 1e-3)
            default = adafactor if cls is optim.Adafactor else signature["eps"].default
            assert group["eps"] == default
    other = copy.deepcopy(model)
    planned = steps_of(model, cls(groups, **settings))
    plain = steps_of(other, cls(other.parameters(), lr=0.01, **settings))
    assert all(torch.equal(a, b) for a, b in zip(planned, plain, strict=True))


OF_TORCH = {*KNOWN.values(), "muon-match-rms", "amsgrad", "nadamw", "radamw"}
OUTSIDE = [name for name, plan in FAMILIES.items() if plan.eps is not None and name not in OF_TORCH]


@pytest.mark.parametrize("optimizer", OUTSIDE)
def test_families_outside_torch_need_eps(optimizer: str) -> None:
    plan = small(optimizer)
    with pytest.raises(
        mt.MutransferError,
        match=f"{optimizer}'s eps has to scale, and its default is not known here: give eps=",
    ):
        plan.param_groups(matrices(16), 0.1)
    rho = {"rho": 0.04} if optimizer == "sophia" else {}
    groups = plan.param_groups(matrices(16), 0.1, eps=1e-8, **rho)
    assert all(group["weight_decay"] == 0 for group in groups)


HYPERPARAMETERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "sophia without rho": (
        "sophia",
        {"eps": 1e-8},
        "sophia's rho has to scale, and its default is not known here: give rho=",
    ),
    "rho of adamw": ("adamw", {"rho": 0.1}, "adamw has no rho"),
    "eps of sgd": ("sgd", {"eps": 1e-8}, "sgd has no eps"),
    "eps of lion": ("lion", {"eps": 1e-8}, "lion has no eps"),
    "one eps for adafactor": ("adafactor", {"eps": 1e-8}, "eps"),
    "two eps for adamw": ("adamw", {"eps": (1e-8, 1e-3)}, "eps"),
    "module that is not there": (
        "adamw",
        {"modules": {"mlp.*": 2.0}},
        r"modules={'mlp.\*': ...} matches no parameter",
    ),
    "undecayed tensor that is not there": (
        "adamw",
        {"undecayed": ("bias", "mlp.*")},
        r"undecayed has 'mlp.\*', which is no role and matches",
    ),
}


@pytest.mark.parametrize(
    ("optimizer", "options", "message"), HYPERPARAMETERS.values(), ids=HYPERPARAMETERS
)
def test_hyperparameters_that_are_refused(
    optimizer: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(mt.MutransferError, match=message):
        small(optimizer).param_groups(matrices(16), 0.1, **options)


@pytest.mark.parametrize(
    "optimizer", ["adam", "amsgrad", "nadam", "radam", "adagrad", "rmsprop", "adamax"]
)
def test_decay_that_is_normalised_away_is_refused(optimizer: str) -> None:
    plan = small(optimizer)
    with pytest.raises(
        mt.MutransferError,
        match=f"{optimizer} adds weight decay to .* gradient .* normalises.*decoupled",
    ):
        plan.param_groups(matrices(16), 0.1, weight_decay=0.1)
    assert all(
        group["weight_decay"] == 0
        for group in plan.param_groups(matrices(16), 0.1, weight_decay=0.0)
    )
    assert all(group["weight_decay"] == 0 for group in plan.param_groups(matrices(16), 0.1))


DECAYED = ["sgd", "adamw", "nadamw", "radamw", "lion", "lamb", "lars", "adafactor"]


@pytest.mark.parametrize("optimizer", DECAYED)
def test_decay_that_a_rule_scales_correctly_is_taken(optimizer: str) -> None:
    eps = {} if optimizer in {"sgd", "adamw", "lion", "adafactor"} else {"eps": 1e-8}
    groups = small(optimizer).param_groups(matrices(16), 0.1, weight_decay=0.1, **eps)
    assert all(group["weight_decay"] > 0 for group in groups)


def test_modules_have_rates_of_their_own() -> None:
    model, base = gpts()
    plan = mt.plan(model, base)
    modules = {"blocks.0.*": 3.0, "*.up.weight": 2.0, "head.*": 0.25}
    groups = by_name(plan.param_groups(model, 0.5, weight_decay=0.1, modules=modules))
    plain = by_name(plan.param_groups(model, 0.5, weight_decay=0.1))
    assert groups.keys() == plain.keys()
    for name, group in groups.items():
        factor = next((modules[key] for key in modules if fnmatchcase(name, key)), 1.0)
        assert group["lr"] == pytest.approx(factor * plain[name]["lr"], rel=1e-15)
        assert group["lr"] == 0.5 * group["lr_factor"]
        assert all(group[key] == plain[name][key] for key in ("eps", "weight_decay"))


def test_undecayed_tensors_get_no_decay() -> None:
    model, base = gpts()
    plan = mt.plan(model, base)
    undecayed = ("bias", "gain", "token.*")
    groups = by_name(plan.param_groups(model, 0.5, weight_decay=0.1, undecayed=undecayed))
    plain = by_name(plan.param_groups(model, 0.5, weight_decay=0.1))
    for name, group in groups.items():
        bare = plan[name].role in {"bias", "gain"} or name == "token.weight"
        assert group == plain[name] | {
            key: group[key] for key in ("params", "names", "weight_decay")
        }
        assert group["weight_decay"] == (0 if bare else plain[name]["weight_decay"])
    assert any(group["weight_decay"] for group in groups.values())


def test_roles_that_the_model_has_not_may_be_undecayed() -> None:
    """One setting serves models with and without norms."""
    groups = small("adamw").param_groups(matrices(16), 0.1, undecayed=("position", "gain"))
    assert all(group["weight_decay"] > 0 for group in groups)


def test_a_bare_word_is_no_list_of_undecayed_letters() -> None:
    with pytest.raises(mt.MutransferError, match="undecayed"):
        small("adamw").param_groups(matrices(16), 0.1, undecayed="bias")


def test_a_rate_that_is_a_tensor_is_not_shared() -> None:
    model, base = gpts()
    lr = torch.tensor(0.5)
    groups = mt.plan(model, base).param_groups(model, lr)
    rates = [group["lr"] for group in groups]
    assert all(isinstance(rate, torch.Tensor) for rate in rates)
    assert any(group["lr_factor"] == 1 for group in groups)
    assert len({rate.data_ptr() for rate in [lr, *rates]}) == 1 + len(rates)
    rates[0].fill_(7.0)
    assert lr == 0.5
    for rate, group in zip(rates[1:], groups[1:], strict=True):
        assert rate == 0.5 * group["lr_factor"]


def test_frozen_integers_have_no_eps_of_adafactor() -> None:
    model = gpt(width=16)
    model.register_parameter(
        "table", torch.nn.Parameter(torch.ones(4, dtype=torch.int8), requires_grad=False)
    )
    plan = mt.plan(model, model, optimizer="adafactor", roles={"table": "frozen"})
    groups = plan.param_groups(model, 0.1)
    assert groups and all("table" not in group["names"] for group in groups)
