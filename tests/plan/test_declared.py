"""Residual branches that are declared, where the forward pass branches on the values of its data and cannot be traced."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.tasks._models import gpt, mlp

QUANTITIES = ("init", "lr", "eps", "decay", "multiplier")
Look = Callable[[Tensor], Tensor]


def plain(x: Tensor) -> Tensor:
    return x


def by_sign(x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x * 3


def by_item(x: Tensor) -> Tensor:
    return x[: max(1, int(x.abs().max().item()))]


class Perceptron(nn.Module):
    """A branch of two matrices behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up1, self.up2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up2(F.gelu(self.up1(self.norm(x))))


class Residual(nn.Module):
    """Blocks on a stream, and data that may be looked at first."""

    def __init__(self, look: Look, width: int, depth: int) -> None:
        super().__init__()
        self.look, self.stem, self.readout = look, nn.Linear(5, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(Perceptron(width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.look(x))
        for block in self.blocks:
            x = block(x)
        return self.readout(x)


class Language(nn.Module):
    """A GPT whose tokens may be looked at first."""

    def __init__(self, look: Look, width: int, depth: int, tied: bool = False) -> None:
        super().__init__()
        self.look, self.gpt = look, gpt(width, depth, tied=tied)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.gpt(self.look(tokens))


class Staged(nn.Module):
    """Blocks numbered within stages."""

    def __init__(self, look: Look, width: int, depth: int) -> None:
        super().__init__()
        self.look, self.stem, self.readout = look, nn.Linear(5, width), nn.Linear(width, 3)
        self.stages = nn.ModuleList(nn.ModuleDict({"blocks": nn.ModuleList(Perceptron(width) for _ in range(depth))}) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.look(x))
        for stage in self.stages:
            for block in stage["blocks"]:
                x = block(x)
        return self.readout(x)


BRANCHES = {"blocks.*.up2": ("blocks.*.norm.*", "blocks.*.up1.*")}
ATTENTION = ("gpt.blocks.*.attention_norm.*", "gpt.blocks.*.query.*", "gpt.blocks.*.key.*", "gpt.blocks.*.value.*")
LANGUAGE = {"gpt.blocks.*.out": ATTENTION, "gpt.blocks.*.down": ("gpt.blocks.*.mlp_norm.*", "gpt.blocks.*.up.*")}
STAGED = {"stages.*.blocks.*.up2": ("stages.*.blocks.*.norm.*", "stages.*.blocks.*.up1.*")}

FAMILIES: dict[str, tuple[Callable[..., nn.Module], Look, dict[str, Sequence[str]]]] = {
    "a sum": (Residual, by_sign, BRANCHES),
    "an item": (Residual, by_item, BRANCHES),
    "attention and mlp": (Language, by_sign, LANGUAGE),
    "two levels of numbers": (Staged, by_sign, STAGED),
    "whole blocks": (Residual, by_sign, {"blocks.*.up2": ("blocks.*.*",)}),
}
GROWTHS = {"width": (64, 2), "depth": (16, 4), "both": (64, 4), "more than ten": (32, 11)}


def factors(own: mt.Plan) -> dict[str, tuple[Any, ...]]:
    return {n: (t.place, t.shape, t.ratios, *(t.factor(q) for q in QUANTITIES)) for n, t in own.tensors.items()}


def roles(own: mt.Plan) -> dict[str, str]:
    return {name: tensor.role.value for name, tensor in own.tensors.items()}


def ids(own: mt.Plan) -> set[str]:
    return {warning.id for warning in own.warnings}


@pytest.mark.parametrize("look", [by_sign, by_item])
def test_a_model_that_looks_at_its_data_is_refused_with_the_way_out(look: Look) -> None:
    with pytest.raises(
        mt.MutransferError, match=r"forward pass of Residual failed.*branches on the values of its data.*branches=\{"
    ) as error:
        mt.plan(Residual(look, 32, 2), Residual(look, 16, 2))
    assert "branches={} if there are none" in str(error.value)


@pytest.mark.parametrize(("width", "depth"), GROWTHS.values(), ids=GROWTHS)
@pytest.mark.parametrize(("make", "look", "branches"), FAMILIES.values(), ids=FAMILIES)
def test_declared_branches_give_the_factors_of_the_traced_twin(
    make: Callable[..., nn.Module], look: Look, branches: dict[str, Sequence[str]], width: int, depth: int
) -> None:
    torch.manual_seed(0)
    own = mt.plan(make(look, width, depth), make(look, 16, 2), branches=branches)
    twin = mt.plan(make(plain, width, depth), make(plain, 16, 2))
    assert factors(own) == factors(twin)
    assert (own.rule, own.depth, own.clip) == (twin.rule, twin.depth, twin.clip)
    assert ids(own) == ids(twin) | {"declared-branches"}
    assert width == 16 or roles(own) == roles(twin)


def test_the_first_stars_of_a_value_stand_for_those_of_its_key_and_others_stay() -> None:
    layers = {"stages.*.blocks.*.up2": ("stages.*.blocks.*.n*.*", "stages.*.blocks.*.up1.*")}
    found = mt.read(Staged(by_sign, 16, 12), branches=layers).trace.branches
    assert len(found) == 24
    assert found[13].tensors == {f"stages.1.blocks.1.{own}.{kind}" for own in ("norm", "up1", "up2") for kind in ("weight", "bias")}
    assert found[13].end.tensors == {"stages.1.blocks.1.up2.weight", "stages.1.blocks.1.up2.bias"}
    assert {branch.matrices for branch in found} == {2}


def test_a_model_without_branches() -> None:
    def make(look: Look, width: int) -> nn.Module:
        model = mlp(width, inputs=5)
        model.activation = lambda x: torch.relu(look(x))
        return model

    own, twin = mt.plan(make(by_sign, 32), make(by_sign, 16), branches={}), mt.plan(make(plain, 32), make(plain, 16))
    assert factors(own) == factors(twin) and "declared-branches" in ids(own)


def test_depth_that_grows_in_a_model_declared_without_branches_is_refused() -> None:
    with pytest.raises(mt.MutransferError, match=r"2 times as many layers like blocks..*no declared branch has them"):
        mt.plan(Residual(by_sign, 16, 4), Residual(by_sign, 16, 2), branches={})


REFUSED: dict[str, tuple[dict[str, Sequence[str]], str]] = {
    "end": ({"layers.*.up2": ()}, r"branches=\{'layers\.\*\.up2': \.\.\.\} matches no module of Residual"),
    "a star is one level": ({"*.up2": ()}, r"'\*\.up2'.* matches no module"),
    "a tensor as the end": ({"blocks.*.up2.weight": ()}, "matches no module of Residual"),
    "inside": ({"blocks.*.up2": ("blocks.*.norm.*", "blocks.*.up3.*")}, r"contains 'blocks\.0\.up3\.\*', which matches no parameter"),
    "inside, not the first": ({"blocks.*.up2": ("blocks.0.up1.*", "blocks.1*.up1.*")}, "which matches no parameter"),
    "nothing learned": ({"blocks.*": ("blocks.*.norm.*",)}, "blocks.0 ends a branch, as declared, but has no learned tensors"),
}


@pytest.mark.parametrize(("branches", "message"), REFUSED.values(), ids=REFUSED)
def test_a_declaration_that_cannot_be_meant_is_refused(branches: dict[str, Sequence[str]], message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message):
        mt.plan(Residual(by_sign, 16, 2), Residual(by_sign, 16, 2), branches=branches)


def test_a_tied_embedding_is_refused_where_width_grows_and_planned_where_depth_does() -> None:
    base = Language(by_sign, 16, 2, tied=True)
    with pytest.raises(mt.MutransferError, match=r"gpt\.token.weight is also the head.*untie it"):
        mt.plan(Language(by_sign, 32, 2, tied=True), base, branches=LANGUAGE)
    own = mt.plan(Language(by_sign, 16, 4, tied=True), base, branches=LANGUAGE)
    assert factors(own) == factors(mt.plan(Language(plain, 16, 4, tied=True), Language(plain, 16, 2, tied=True)))


@pytest.mark.parametrize(("width", "depth"), GROWTHS.values(), ids=GROWTHS)
def test_a_reading_of_a_declared_base_is_as_good(width: int, depth: int) -> None:
    model, base = Language(by_sign, width, depth), Language(by_sign, 16, 2)
    read = mt.read(base, branches=LANGUAGE)
    expected = mt.plan(model, base, branches=LANGUAGE)
    assert mt.plan(model, read, branches=LANGUAGE) == mt.plan(model, mt.Reading.from_json(read.to_json()), branches=LANGUAGE) == expected


def test_a_declared_plan_initialises_and_trains() -> None:
    torch.manual_seed(0)
    base, model, x = Residual(by_sign, 16, 2), Residual(by_sign, 64, 4), torch.randn(8, 5)
    own = mt.plan(model, base, branches=BRANCHES)
    own.initialize(model)
    optimizer = torch.optim.AdamW(own.param_groups(model, 0.01))
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(model(x).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert own.audit(model, optimizer).ok and losses[-1] < losses[0]


class Scaled(Residual):
    """Multiplies its stream by sqrt(width)."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.look(x)) * self.stem.out_features**0.5
        for block in self.blocks:
            x = block(x)
        return self.readout(x)


def test_numbers_of_a_traced_model_are_not_undone_against_a_declared_base() -> None:
    model, base = Scaled(plain, 64, 2), Scaled(plain, 16, 2)
    expected = mt.plan(model, base)["stem.weight"].factor("init")
    try:
        own = mt.plan(model, mt.read(base, branches=BRANCHES))
    except mt.MutransferError:
        return
    assert own["stem.weight"].factor("init") == expected


def test_a_kind_of_branch_that_was_forgotten_is_refused_where_depth_grows() -> None:
    with pytest.raises(mt.MutransferError):
        mt.plan(Language(by_sign, 16, 4), Language(by_sign, 16, 2), branches={"gpt.blocks.*.out": ATTENTION})


def test_depth_alone_leaves_the_roles_of_the_traced_twin() -> None:
    own = mt.plan(Residual(by_sign, 16, 4), Residual(by_sign, 16, 2), branches=BRANCHES)
    assert roles(own) == roles(mt.plan(Residual(plain, 16, 4), Residual(plain, 16, 2)))
