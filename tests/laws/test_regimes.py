"""The regimes that rules are classified as, and what is measured of them in the first step."""

import math

import pytest
import torch
from pytorch_optimizer import Lamb
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.rules import FAMILIES, LAYERS, depth_regime, parametrization, width_regime
from mutransfer.tasks import gpt
from tests.factors import warning_ids
from tests.models import OneMatrix, Residual


def slope(changes: dict[int, float]) -> float:
    """Return the exponent between the first size and the last."""
    (small, first), *_, (large, last) = changes.items()
    return math.log(last / first) / math.log(large / small)


WIDTH = {
    "sp-layerwise": "unstable",
    "ntk": "kernel regime",
    "mup": "feature learning, maximal update",
    "mean-field": "feature learning, maximal update",
    "spectral": "feature learning, maximal update",
    "completep": "feature learning, maximal update",
    "mup, alignment=none": "unstable",
    "mup, without lr": "unstable",
    "mup, without readout": "unstable",
}


@pytest.mark.parametrize("rule", WIDTH)
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "lamb"])
def test_regimes_in_width(rule: str, optimizer: str) -> None:
    layers = dict.fromkeys(LAYERS, FAMILIES[optimizer])
    assert width_regime(parametrization(rule), layers).verdict == WIDTH[rule]


@pytest.mark.parametrize("optimizer", FAMILIES)
def test_maximal_update_is_maximal_with_every_optimizer(optimizer: str) -> None:
    layers = dict.fromkeys(LAYERS, FAMILIES[optimizer])
    assert width_regime(parametrization("mup"), layers).maximal_update
    assert width_regime(parametrization("ntk"), layers).kernel


DEPTH = {
    ("sqrt-depth", "adamw"): "unstable in training",
    ("sqrt-depth", "muon"): "unstable in training",
    ("sqrt-depth", "sgd"): "feature learning, diverse: Depth-muP",
    ("depth-mup", "adamw"): "feature learning, diverse: Depth-muP",
    ("depth-mup", "sgd"): "feature learning, diverse: Depth-muP",
    ("u-mup", "adamw"): "feature learning, diverse: Depth-muP",
    ("completep", "lamb"): "feature learning, redundant",
    ("completep, alpha=3/4", "sgd"): "feature learning, redundant",
    ("completep, without branch", "adamw"): "unstable at initialisation",
    ("completep, without lr", "sgd"): "trivial",
}


@pytest.mark.parametrize(("rule", "optimizer"), DEPTH)
def test_regimes_in_depth(rule: str, optimizer: str) -> None:
    regime = depth_regime(parametrization(rule), FAMILIES[optimizer])
    assert regime.verdict == DEPTH[rule, optimizer]


def change_at_depth(rule: str, depth: int) -> float:
    """Return the RMS change of the output in the first step of AdamW, over three seeds."""
    changes = []
    for seed in range(3):
        torch.manual_seed(seed)
        model, base = (Residual(64, layers, OneMatrix) for layers in (depth, 4))
        plan = mt.plan(model, base, rule=rule)
        plan.initialize(model)
        optimizer = torch.optim.AdamW(plan.param_groups(model, 2**-8))
        x = torch.randn(32, 5)
        before = model(x)
        F.cross_entropy(before, torch.arange(32) % 3).backward()
        optimizer.step()
        changes.append((model(x) - before).square().mean().item())
    return math.sqrt(math.fsum(changes) / len(changes))


@pytest.mark.parametrize(("rule", "exponent"), [("sqrt-depth", 0.5), ("depth-mup", 0.0)])
def test_the_change_in_depth_is_that_of_the_regime(rule: str, exponent: float) -> None:
    changes = {depth: change_at_depth(rule, depth) for depth in (4, 16, 64)}
    assert slope(changes) == pytest.approx(exponent, abs=0.15)
    model, base = (Residual(64, depth, OneMatrix) for depth in (8, 4))
    assert ("depth-regime" in warning_ids(mt.plan(model, base, rule=rule))) == (exponent > 0)


def change_at_width(width: int, *, tied: bool) -> float:
    """Return by how much a step of LAMB on the last bias, which starts at zero, moves logits."""
    torch.manual_seed(0)
    model, base = (gpt(size, 2, tied=tied, vocabulary=64) for size in (width, 32))
    plan = mt.plan(model, base, rule="mup", optimizer="lamb")
    assert ("relative-to-zero" in warning_ids(plan)) == (tied and width > 32)
    plan.initialize(model)
    groups = plan.param_groups(model, 2**-6, eps=1e-8)
    tokens = torch.randint(64, (16, 8))
    before = model(tokens)
    F.cross_entropy(before.flatten(0, 1), tokens.roll(1, 1).flatten()).backward()
    for name, parameter in model.named_parameters():
        if name != "norm.bias":
            parameter.grad = None
    Lamb(groups).step()
    return (model(tokens) - before).square().mean().sqrt().item()


def test_a_zero_that_carries_a_tied_heads_multiplier_moves_logits_too_much() -> None:
    """LAMB's step on it is of size lr, not lr times its size: n times too much."""
    changes = {width: change_at_width(width, tied=True) for width in (64, 256, 1024)}
    untied = {width: change_at_width(width, tied=False) for width in (64, 256, 1024)}
    assert slope(changes) - slope(untied) == pytest.approx(1, abs=0.2)
    model, base = (gpt(width, 2, tied=True, vocabulary=64) for width in (128, 32))
    (warning,) = [
        w for w in mt.plan(model, base, optimizer="lamb").warnings if w.id == "relative-to-zero"
    ]
    assert warning.text.startswith("1 tensors such as norm.bias start at zero")
    assert warning.text.endswith("4 times those planned")


def test_a_floor_keeps_steps_on_zeros_as_planned() -> None:
    model, base = (gpt(width, 2, tied=True, vocabulary=64) for width in (64, 32))
    assert "relative-to-zero" not in warning_ids(mt.plan(model, base, optimizer="adafactor"))
    assert "relative-to-zero" not in warning_ids(mt.plan(model, base, optimizer="adamw"))
