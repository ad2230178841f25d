"""Optimizers that a plan recognises, and those that it refuses."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.rules import FAMILIES, Family, family, powers
from mutransfer.tasks import mlp
from tests.factors import table
from tests.optimizers import CLASSES, MUON, REST, Descendant, Foreign, optim, small


def one(cls: type, **settings: Any) -> Any:
    return cls([nn.Parameter(torch.zeros(2, 2))], **settings)


def variants() -> dict[str, tuple[Any, str]]:
    """Return every way to give an optimizer, and its family."""
    forms: dict[str, tuple[Any, str]] = {f"name {name}": (name.upper(), name) for name in FAMILIES}
    for name, known in CLASSES.items():
        cls = getattr(optim, name)
        forms |= {
            name: (cls, known),
            f"{name} instance": (one(cls), known),
            f"{name} partial": (partial(cls, foreach=False), known),
        }
    settings: list[tuple[str, dict[str, Any], str]] = [
        ("Adam", {"decoupled_weight_decay": True}, "adamw"),
        ("Adam", {"amsgrad": True}, "adam"),
        ("AdamW", {"amsgrad": True}, "adamw"),
        ("NAdam", {"decoupled_weight_decay": True}, "nadamw"),
        ("RAdam", {"decoupled_weight_decay": True}, "radamw"),
        ("RAdam", {"decoupled_weight_decay": False}, "radam"),
        ("SGD", {"momentum": 0.9, "nesterov": True}, "sgd"),
        ("Muon", {"adjust_lr_fn": "match_rms_adamw"}, "muon-match-rms"),
        ("Muon", {"adjust_lr_fn": "original"}, "muon-original"),
    ]
    for name, options, known in settings:
        if name in CLASSES:
            cls = getattr(optim, name)
            forms |= {
                f"{name} {options} instance": (one(cls, **({"lr": 0.1} | options)), known),
                f"{name} {options} partial": (partial(cls, **options), known),
            }
    nested = partial(partial(optim.Adam, decoupled_weight_decay=True), betas=(0.9, 0.95))
    return forms | {"partial of a partial": (nested, "adamw"), "family": (family("lamb"), "lamb")}


VARIANTS = variants()


@pytest.mark.parametrize(("optimizer", "known"), VARIANTS.values(), ids=VARIANTS)
def test_an_optimizer_is_recognised(optimizer: Any, known: str) -> None:
    plan = small(optimizer)
    assert plan.optimizer == known and plan.optimizers == {known: FAMILIES[known]}
    assert table(plan, ("lr", "eps", "decay")) == table(small(known), ("lr", "eps", "decay"))


DECLARED = "mutransfer.rules.Family"
UNKNOWN: dict[str, tuple[Any, str]] = {
    **{name: (getattr(optim, name), f"no scaling rule is known for {name}") for name in REST},
    "LBFGS instance": (one(optim.LBFGS), "no scaling rule is known for LBFGS"),
    "Rprop partial": (partial(optim.Rprop, lr=0.1), "no scaling rule is known for Rprop"),
    "foreign": (Foreign, "no scaling rule is known for Foreign"),
    "foreign instance": (one(Foreign), "no scaling rule is known for Foreign"),
    "descendant": (Descendant, "no scaling rule is known for Descendant"),
    "function": (lambda params: optim.AdamW(params), "no scaling rule is known for <lambda>"),
    "name": ("adamwx", "unknown optimizer 'adamwx'"),
    "none": (None, "no scaling rule is known for None"),
    "list": (["adamw"], "no scaling rule is known for"),
    "in a mix": ({"hidden": optim.LBFGS, "*": "adamw"}, "no scaling rule is known for LBFGS"),
}


@pytest.mark.parametrize(("optimizer", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_optimizer_is_refused_with_how_to_declare_it(
    optimizer: Any, message: str
) -> None:
    with pytest.raises(mt.MutransferError, match=message) as error:
        small(optimizer)
    assert DECLARED in str(error.value) and "\n" not in str(error.value)


def test_the_rest_of_torch_is_tested() -> None:
    assert {"LBFGS", "Rprop", "ASGD", "Adadelta", "SparseAdam"} <= set(REST)


@MUON
def test_an_unknown_scale_of_muon_is_refused() -> None:
    with pytest.raises(
        mt.MutransferError,
        match="Muon with adjust_lr_fn='mine' has no scaling rule; name the convention",
    ):
        small(partial(optim.Muon, adjust_lr_fn="mine"))


def test_a_family_without_homogeneity_is_refused() -> None:
    with pytest.raises(
        mt.MutransferError, match=r"'mine' does not declare .*homogeneity=1.*0 if the same"
    ):
        Family(name="mine", gain=powers(fan_in=1), decay="decoupled")


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(optim.AdamW, weight_decay=0.3),
        partial(optim.AdamW, eps=1e-5),
        partial(optim.SGD, lr=0.1),
        optim.AdamW([torch.nn.Parameter(torch.zeros(1))], weight_decay=0.3),
    ],
    ids=["decay", "eps", "rate", "object"],
)
def test_hyperparameters_that_the_groups_would_override_are_refused(optimizer: Any) -> None:
    with pytest.raises(
        mt.MutransferError,
        match="which the plan's parameter groups set for each tensor: "
        "give the plan the class alone",
    ):
        mt.plan(mlp(16), mlp(8), optimizer=optimizer)
