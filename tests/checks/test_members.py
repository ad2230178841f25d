"""A fault in one of several layers of a label is found, and names the layer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from tests.checks.planting import Edit, rate, scale, training
from tests.models.parts import Skip

X = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))
WIDTHS, DEPTHS = [64, 128, 256], [2, 4, 8, 16]
SETTINGS = {"batch": X, "seeds": 2, "control": False}


def residual(width: int = 32, depth: int = 4) -> nn.Module:
    """A residual network of pre-norm branches with two matrices each."""
    blocks = (
        Skip(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        for _ in range(depth)
    )
    return nn.Sequential(
        nn.Linear(10, width), nn.Sequential(*blocks), nn.LayerNorm(width), nn.Linear(width, 5)
    )


def multiplied(module: str, power: float) -> Callable[[nn.Module], nn.Module]:
    """Multiply a module's output by a power of the width."""

    def prepare(model: nn.Module) -> nn.Module:
        factor = (model[0].out_features / WIDTHS[0]) ** power
        model.get_submodule(module).register_forward_hook(lambda m, x, output: output * factor)
        return model

    return prepare


def deeper(power: float) -> Callable[[nn.Module], nn.Module]:
    """Multiply the last branch by a power of the depth."""

    def prepare(model: nn.Module) -> nn.Module:
        factor = (len(model[1]) / DEPTHS[0]) ** power
        model[1][-1][3].register_forward_hook(lambda m, x, output: output * factor)
        return model

    return prepare


def planted(*edits: Edit) -> dict[str, Any]:
    return {"train": training(*edits)}


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "rate, down": (planted(rate("1.2.1.weight", "fan_in", -1)), "1.2.1.weight", "learning rate"),
    "rate, half": (planted(rate("1.2.1.weight", "fan_in", -0.5)), "1.2.1.weight", "learning rate"),
    "initial scale": (
        planted(scale("1.2.1.weight", "fan_in", -1)),
        "1.2.1.weight",
        "initial scale",
    ),
    "gain": (planted(scale("1.2.0.weight", "fan_out", -1)), "1.2.0.weight", "initial scale"),
    "branch, down": ({"prepare": multiplied("1.2.3", -1)}, "1.2.3.weight", "output at init"),
    "branch, up": ({"prepare": multiplied("1.2.3", 0.5)}, "1.2.3.weight", "output at init"),
}


def squared(output: Tensor, batch: Tensor) -> Tensor:
    return (output - batch[:, :5]).square().mean()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_one_of_four_layers_is_named(name: str) -> None:
    settings, tensor, text = FAULTS[name]
    check = mt.coordinate_check(residual, width=WIDTHS, loss=squared, **SETTINGS, **settings)
    assert check.verdict == "fail"
    (finding,) = check.findings
    assert finding.name == tensor and text in finding.text


def test_the_last_branch_of_a_deep_network_is_named() -> None:
    check = mt.coordinate_check(
        lambda depth: residual(depth=depth), depth=DEPTHS, prepare=deeper(0.5), **SETTINGS
    )
    assert {finding.name for finding in check.findings} == {"1.15.3.weight"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("axes", [{"width": WIDTHS}, {"depth": DEPTHS}], ids=["width", "depth"])
def test_layers_that_scatter_are_no_fault(axes: dict[str, Any], seed: int) -> None:
    batch = torch.randn(16, 10, generator=torch.Generator().manual_seed(seed))
    check = mt.coordinate_check(residual, **axes, **SETTINGS | {"batch": batch})
    assert check.verdict == "pass", check
