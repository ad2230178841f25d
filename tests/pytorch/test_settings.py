"""Settings of optimizers: those under which a plan holds, and those that are noticed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn
from transformers.optimization import Adafactor

import mutransfer as mt
from mutransfer.pytorch import configure_optimizers
from mutransfer.rules import family
from tests.optimizers import MUON, small
from tests.pytorch.planned_training import Training, optim, step

STEPS, FACTOR = 8, 1 / 64
HOMOGENEOUS: list[Any] = [
    ("sgd", optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
    ("sgd", optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("adamw", optim.AdamW, {"amsgrad": True}),
    ("nadam", optim.NAdam, {"momentum_decay": 0.1}),
    ("adagrad", optim.Adagrad, {"lr_decay": 0.1}),
    ("rmsprop", optim.RMSprop, {"centered": True, "momentum": 0.9}),
    ("adamax", optim.Adamax, {}),
    ("adafactor", optim.Adafactor, {"d": 2.0, "beta2_decay": -0.5}),
    pytest.param("muon-original", getattr(optim, "Muon", None), {"ns_steps": 3}, marks=MUON),
]
START = {"initial_accumulator_value": 0.1}


def trained(
    cls: Any, options: dict[str, Any], factor: float, eps: float | None, steps: int = STEPS
) -> Tensor:
    """Return the change of a tensor by gradients that are multiplied by a factor."""
    torch.manual_seed(0)
    start = torch.randn(4, 6, dtype=torch.float64)
    parameter = nn.Parameter(start.clone())
    pair = cls is optim.Adafactor
    scaled = {} if eps is None else {"eps": (eps * factor, 1e-3) if pair else eps * factor}
    optimizer = cls([parameter], lr=0.01, weight_decay=0.0, **scaled, **options)
    for _ in range(steps):
        parameter.grad = factor * torch.randn(4, 6, dtype=torch.float64)
        optimizer.step()
    return parameter.detach() - start


def departure(name: str, cls: Any, options: dict[str, Any]) -> float:
    """Return how far an update is from its family's degree in the gradient, relative to it."""
    known = family(name)
    eps = None if known.eps is None else 1e-3
    plain, scaled = (trained(cls, options, factor, eps) for factor in (1.0, FACTOR))
    expected = FACTOR ** float(known.degree) * plain
    return float((scaled - expected).norm() / expected.norm())


@pytest.mark.parametrize(("name", "cls", "options"), HOMOGENEOUS)
def test_settings_of_torch_keep_the_degree_of_the_update(name: str, cls: Any, options: Any) -> None:
    # Muon computes in half precision.
    assert departure(name, cls, options) < (1e-2 if name.startswith("muon") else 1e-9)


def test_sums_that_start_at_a_number_change_the_degree() -> None:
    assert departure("adagrad", optim.Adagrad, {}) < 1e-9
    assert departure("adagrad", optim.Adagrad, START) > 0.5


def test_radam_starts_with_five_steps_of_momentum() -> None:
    """The plan's warning: they have the gradient's degree, and those after them have none."""
    for steps, degree in ((5, 1), (6, 0)):
        before, after = (
            [trained(optim.RAdam, {}, c, 1e-8, steps=n) for c in (1.0, FACTOR)]
            for n in (steps - 1, steps)
        )
        plain, scaled = (b - a for a, b in zip(before, after, strict=True))
        torch.testing.assert_close(scaled, FACTOR**degree * plain)


@pytest.mark.parametrize(
    "optimizer",
    [partial(optim.Adagrad, **START), optim.Adagrad([nn.Parameter(torch.zeros(2, 2))], **START)],
    ids=["partial", "object"],
)
def test_sums_that_start_at_a_number_are_refused(optimizer: Any) -> None:
    with pytest.raises(mt.MutransferError, match=r"Adagrad was given initial_acc.*leave it at 0"):
        small(optimizer)
    with pytest.raises(mt.MutransferError, match=r"initial_acc.*leave it at 0"):
        small({"hidden": "adamw", "*": optimizer})


def test_sums_that_start_at_zero_are_taken() -> None:
    assert small(partial(optim.Adagrad, initial_accumulator_value=0)).optimizer == "adagrad"


def test_optimizers_made_for_lightning_start_at_zero() -> None:
    t = Training("adagrad", optim.Adagrad)
    with pytest.raises(mt.MutransferError, match=r"initial_acc.*leave it at 0"):
        configure_optimizers(t.plan, t.model, 0.1, **START)


def of_family(name: str, cls: Any, groups: dict[str, Any], **options: Any) -> Callable[[], Any]:
    return partial(Training, name, cls, options=options, **groups)


DECAY, PAIR = {"weight_decay": 0.1}, {"eps": (1e-30, 1e-3)}
# Planned family, class, hyperparameters of the groups, and settings; then what is found.
SETTINGS: dict[str, tuple[Callable[[], Any], str]] = {
    "Adagrad": (of_family("adagrad", optim.Adagrad, {}), ""),
    "Adagrad from a number": (
        of_family("adagrad", optim.Adagrad, {}, **START),
        "planned for sums that start at 0, found initial_accumulator_value=0.1",
    ),
    "Yogi": (
        of_family("adamw", pytorch_optimizer.Yogi, {}, weight_decouple=True),
        "planned for sums that start at 0, found initial_accumulator=1e-06",
    ),
    "Adafactor of transformers, its own rates": (
        of_family("adafactor", Adafactor, PAIR),
        "found Adafactor with relative_step=True, which takes no rate of a group",
    ),
    "Adafactor of transformers": (
        of_family("adafactor", Adafactor, PAIR, relative_step=False),
        "",
    ),
    "Adafactor of transformers, an eps that counts": (
        of_family("adafactor", Adafactor, {"eps": (1e-9, 1e-3)}, relative_step=False),
        "adafactor's eps (the first, which this class adds to the squared gradient, torch.float32)",
    ),
    "Adafactor of transformers, the eps of torch": (
        of_family("adafactor", Adafactor, {}, relative_step=False),
        "give the groups a first eps of 1e-30, which is nothing beside a gradient",
    ),
    "Adafactor of transformers, one eps": (
        of_family(
            "adafactor-fixed", Adafactor, {"eps": 1e-9}, relative_step=False, scale_parameter=False
        ),
        "takes a pair of eps, and the group has one number, with which its first step fails",
    ),
    "Adafactor of transformers, not scaled": (
        of_family("adafactor", Adafactor, PAIR, relative_step=False, scale_parameter=False),
        "planned for adafactor, found Adafactor with scale_parameter=False",
    ),
    "AdaFactor, scaled": (
        of_family(
            "adafactor-fixed", pytorch_optimizer.AdaFactor, {"eps": 1e-9}, relative_step=False
        ),
        "planned for adafactor-fixed, found AdaFactor with scale_parameter=True",
    ),
    "AdEMAMix, L2": (
        of_family("adamw", pytorch_optimizer.AdEMAMix, DECAY),
        "planned for decoupled weight decay, found AdEMAMix with coupled one",
    ),
    "AdEMAMix, no decay": (
        of_family("adamw", pytorch_optimizer.AdEMAMix, {"weight_decay": 0.0}),
        "",
    ),
    "AdEMAMix, decoupled": (
        of_family("adamw", pytorch_optimizer.AdEMAMix, DECAY, weight_decouple=True),
        "",
    ),
    "AdaBelief": (of_family("adamw", pytorch_optimizer.AdaBelief, DECAY), ""),
    "AdaBelief, decay apart from the rate": (
        of_family("adamw", pytorch_optimizer.AdaBelief, DECAY, fixed_decay=True),
        "planned for decoupled weight decay, found AdaBelief with independent one",
    ),
    "SGDP, L2": (of_family("sgd", pytorch_optimizer.SGDP, DECAY, weight_decouple=False), ""),
    "SGDP, decoupled": (
        of_family("sgd", pytorch_optimizer.SGDP, DECAY),
        "planned for coupled weight decay, found SGDP with decoupled one; give it "
        "weight_decouple=False",
    ),
}


@pytest.mark.parametrize(("make", "found"), SETTINGS.values(), ids=SETTINGS)
def test_settings_are_audited(make: Callable[[], Any], found: str) -> None:
    audit = make().audit()
    assert len(audit.findings) == bool(found) and found in str(audit), str(audit)


def test_the_first_eps_of_transformers_is_of_the_squared_gradient() -> None:
    def change(factor: float, eps: float) -> Tensor:
        torch.manual_seed(0)
        parameter = nn.Parameter(torch.ones(4, 6, dtype=torch.float64))
        how: dict[str, Any] = {"relative_step": False, "scale_parameter": False}
        optimizer = Adafactor([parameter], lr=0.01, eps=(eps, 1e-3), **how)
        for _ in range(STEPS):
            parameter.grad = factor * torch.randn(4, 6, dtype=torch.float64)
            optimizer.step()
        return parameter.detach() - 1

    plain = change(1.0, 0.1)
    torch.testing.assert_close(change(FACTOR, 0.1 * FACTOR**2), plain)
    assert (change(FACTOR, 0.1 * FACTOR) - plain).norm() > 0.5 * plain.norm()


@pytest.mark.parametrize(("degree", "fits"), [(2, True), (1, False)])
def test_an_eps_set_by_its_squared_factor_is_as_planned(degree: int, fits: bool) -> None:
    t = Training("adafactor", Adafactor, options={"relative_step": False}, eps=(1e-9, 1e-3))
    for group in t.groups:
        first, second = group["eps"]
        group["eps"] = (1e-9 * (first / 1e-9) ** degree, second)
    assert len({group["eps"][0] for group in t.groups}) > 1
    assert t.audit().ok == fits


def test_a_pair_set_for_an_unscaled_adafactor_is_as_planned() -> None:
    how = {"relative_step": False, "scale_parameter": False}
    plan = Training("adafactor-fixed", Adafactor, options=how, eps=1e-9)
    for group in plan.groups:
        group["eps"] = (group["eps"], 1e-3)
    assert plan.audit().ok
    step(plan)
    plan.groups[0]["eps"] = (1e-3, 1e-3)
    assert not plan.audit().ok


def test_a_guard_sees_a_setting_that_changes() -> None:
    t = Training("adafactor", Adafactor, options={"relative_step": False}, **PAIR)
    t.plan.guard(t.model, *t.optimizers)
    step(t)
    t.groups[0]["relative_step"] = True
    with pytest.raises(mt.MutransferError, match="relative_step=False"):
        step(t)


def test_rates_of_groups_that_adafactor_does_not_take() -> None:
    """The rate at base size is multiplied by 1000, and training stays as it is."""
    ends = []
    for lr in (1e-3, 1.0):
        torch.manual_seed(0)
        t = Training("adafactor", Adafactor, lr=lr, **PAIR)
        torch.manual_seed(1)
        step(t)
        ends.append([p.detach().clone() for p in t.model.parameters()])
        assert not t.audit().ok
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
