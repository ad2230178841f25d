"""Branches outside a growing stack, and layers of it that keep their index."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.checks._findings import failures
from mutransfer.checks._slopes import Slope
from tests.models.parts import Net, Skip

DEPTHS = [2, 4, 8, 16]
X = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))
SETTINGS: dict[str, Any] = {"batch": X, "seeds": 2, "control": False}


def branch(width: int, kind: type[Skip] = Skip) -> Skip:
    return kind(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


def surrounded(depth: int, place: str, width: int = 32) -> nn.Module:
    """A residual network with one branch more, before its stack or after the last norm."""

    def run(model: nn.Module, x: Tensor) -> Tensor:
        x = model.input(x)
        x = model.extra(x) if place == "before" else x
        x = model.norm(model.blocks(x))
        return model.out(model.extra(x) if place == "after the norm" else x)

    blocks = nn.Sequential(*(branch(width) for _ in range(depth)))
    ends = {"input": nn.Linear(10, width), "norm": nn.LayerNorm(width)}
    return Net(run, **ends, extra=branch(width), blocks=blocks, out=nn.Linear(width, 4))


class _First(Skip):
    """A branch of a class of its own."""


def first_apart(depth: int, width: int = 10) -> nn.Module:
    """A residual network on its data, whose first block differs from the others in kind."""
    blocks = [branch(width, _First), *(branch(width) for _ in range(depth - 1))]
    return nn.Sequential(nn.Sequential(*blocks), nn.LayerNorm(width), nn.Linear(width, 4))


@pytest.mark.parametrize("place", ["before", "after the norm"])
def test_a_branch_outside_the_stack_needs_no_multiplier(place: str) -> None:
    check = mt.coordinate_check(partial(surrounded, place=place), depth=DEPTHS, **SETTINGS)
    assert check.verdict == "pass", check


def test_a_branch_outside_the_stack_that_grows_is_named() -> None:
    def prepare(model: nn.Module) -> nn.Module:
        factor = len(model.blocks) / DEPTHS[0]
        model.extra[3].register_forward_hook(lambda m, x, output: output * factor)
        return model

    build = partial(surrounded, place="before")
    check = mt.coordinate_check(build, depth=DEPTHS, prepare=prepare, **SETTINGS)
    assert "extra.3.weight" in {finding.name for finding in check.findings}


def test_a_first_block_of_its_own_kind_may_change_by_one_branch() -> None:
    check = mt.coordinate_check(first_apart, depth=DEPTHS, **SETTINGS)
    assert check.slope("0.0", "change", "depth").slope == pytest.approx(-1, abs=0.3)
    assert check.verdict == "pass", check
    others = check.slope("0.*", "change", "depth")
    assert abs(others.slope) < 0.4 and others.verdict == "pass"


def test_a_first_block_that_grows_is_named() -> None:
    def prepare(model: nn.Module) -> nn.Module:
        factor = len(model[0]) / DEPTHS[0]
        model[0][0][3].register_forward_hook(lambda m, x, output: output * factor)
        return model

    check = mt.coordinate_check(first_apart, depth=DEPTHS, prepare=prepare, **SETTINGS)
    assert "0.0.3.weight" in {finding.name for finding in check.findings}


def test_a_stream_that_grows_blames_the_ends_and_names_its_place() -> None:
    stream = Slope(
        axis="depth",
        kind="module",
        name="norm",
        quantity="change",
        step=4,
        slope=0.8,
        low=0.7,
        high=0.9,
        expected=0.0,
        verdict="fail",
    )
    (finding,) = failures([stream], ["norm"], {"norm": "norm.weight"}, ["blocks.*.3.weight"])
    assert finding.name == "blocks.*.3.weight"
    assert finding.text.startswith("measured at norm: the change of its output grows as depth^0.80")
    assert finding.text.endswith("the residual stream grows: branches lack a factor depth^-0.8")
