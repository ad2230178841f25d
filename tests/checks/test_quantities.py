"""Quantities that are recorded but not judged."""

import copy
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.checks._expected import Expectations
from mutransfer.checks._slopes import Slope
from mutransfer.checks._spots import Spot
from mutransfer.checks._verdict import judged
from mutransfer.tasks import gpt
from mutransfer.testing import assert_scales
from tests.models import (
    Net,
    Residual,
    framed,
    layer_of_channels,
    merge_heads,
    split_heads,
    square,
)


def checked(build: Callable[..., nn.Module], **settings: Any) -> mt.CoordinateCheck:
    return mt.coordinate_check(build, **{"seeds": 1, "control": False} | settings)


@pytest.fixture(scope="module")
def deep() -> mt.CoordinateCheck:
    return checked(gpt, depth=[4, 8, 16], steps=1)


def test_the_share_of_a_branch_falls_with_its_multiplier(deep: mt.CoordinateCheck) -> None:
    assert deep.slope("blocks.*.down", "share", "depth", 0).slope == pytest.approx(-1, abs=0.1)
    rows = [row for row in deep.rows if (row.depth, row.step) == (16, 0)]
    values = {(row.name, row.quantity): row.value for row in rows}
    size, stream = values["blocks.3.down", "size"], values["blocks.3.mlp_norm", "input"]
    assert values["blocks.3.down", "share"] == size / stream != size


def test_independent_branches_have_the_diversity_exponent_one_half(
    deep: mt.CoordinateCheck,
) -> None:
    """At initialisation branches are a random walk over layers (2310.02244)."""
    rows = [row for row in deep.rows if row.quantity == "diversity exponent"]
    exponents = [row.value for row in rows if row.step == 0 and row.depth == 16]
    assert exponents and all(value == pytest.approx(0.5, abs=0.03) for value in exponents)


@pytest.mark.parametrize(("rule", "exponent"), [("completep", 0.0), ("depth-mup", -0.5)])
def test_layers_of_a_branch_learn_together_at_alpha_1_alone(rule: str, exponent: float) -> None:
    """Figure 6 of CompleteP (2505.01618)."""
    check = checked(gpt, depth=[4, 8, 16], rule=rule, steps=8)
    slope = check.slope("blocks.*", "nonlinearity", "depth").slope
    assert slope == pytest.approx(exponent, abs=0.12)


def test_the_nonlinear_part_of_two_matrices_is_that_of_both_changes() -> None:
    """Output is x W1 W2, so its part that is not linear in the changes is x dW1 dW2.

    Measuring moves the tensors of a block, and moves them back: the network trains as its twin.
    """
    networks: dict[int, tuple[nn.Module, nn.Module, Any]] = {}
    x, y = torch.randn(3, 5), torch.randn(3, 3)

    def build(width: int) -> nn.Module:
        return Residual(width, 2, lambda n: nn.Sequential(square(n, False), square(n, False)))

    def loss(outputs: Tensor, batch: Tensor) -> Tensor:
        return (outputs - y).square().mean()

    def train(plan: mt.Plan, model: nn.Module) -> torch.optim.Optimizer:
        twin = copy.deepcopy(model)
        optimizer, other = (
            torch.optim.AdamW(plan.param_groups(network, 2**-4)) for network in (model, twin)
        )
        networks[model.stem.out_features] = model, twin, other
        return optimizer

    check = checked(build, width=[8, 32], batch=x, loss=loss, train=train, steps=2)
    quantity = [
        row for row in check.rows if (row.name, row.quantity) == ("blocks.0", "nonlinearity")
    ]
    assert [row.width for row in quantity] == [8, 32] == list(networks)
    for row in quantity:
        model, twin, optimizer = networks[row.width]
        start, given = copy.deepcopy(twin.blocks[0]), twin.stem(x)
        for _ in range(2):
            optimizer.zero_grad()
            loss(twin(x), x).backward()
            optimizer.step()
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)
        first, second = (
            now.weight - before.weight for now, before in zip(model.blocks[0], start, strict=True)
        )
        both, change = given @ first.mT @ second.mT, model.blocks[0](given) - start(given)
        assert row.value == pytest.approx((both.norm() / change.norm()).item(), rel=1e-3)


def test_the_change_of_a_layer_without_bias_is_the_sum_of_its_parts() -> None:
    """On a linear input, the own part and the part through the input are two legs of the change."""

    def build(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(3, width, bias=False), nn.Linear(width, 1, bias=False))

    x = torch.eye(3)[:1]
    check = checked(
        build, width=[4, 16], batch=x, loss=lambda out, _: (out - 1).square().sum(), steps=4
    )
    rows = [row for row in check.rows if (row.name, row.width, row.step) == ("1", 16, 4)]
    values = {row.quantity: row.value for row in rows}
    assert values["change"] in (
        pytest.approx(values["own"] + values["through input"], rel=1e-4),
        pytest.approx(abs(values["own"] - values["through input"]), rel=1e-4),
    )


def test_entropy_and_logits_of_an_attention() -> None:
    def run(model: nn.Module, tokens: Tensor) -> Tensor:
        """Attention with queries of zero, once causal and once over all places."""
        x = model.token(tokens)
        keys, values = split_heads(model.key(x), 2), split_heads(model.value(x), 2)
        zero = torch.zeros_like(keys)
        causal = F.scaled_dot_product_attention(zero, keys, values, is_causal=True)
        full = F.scaled_dot_product_attention(zero, keys, values)
        return model.head(merge_heads(causal + full))

    def build(width: int) -> nn.Module:
        layers = {name: nn.Linear(width, width) for name in ("key", "value")}
        return Net(run, token=nn.Embedding(32, width), **layers, head=nn.Linear(width, 32))

    check = checked(build, width=[16, 64], batch=torch.randint(32, (8, 4)), steps=1)
    rows = [row for row in check.rows if (row.kind, row.width, row.step) == ("attention", 16, 0)]
    values = {(row.name, row.quantity): row.value for row in rows}
    causal = sum(math.log(n) for n in range(1, 5)) / 4
    assert values["0", "entropy"] == pytest.approx(causal)
    assert values["1", "entropy"] == pytest.approx(math.log(4))
    for name in ("0", "1"):
        assert values[name, "logits"] == 0 and values[name, "head dim"] == 8


def convolutions(width: int) -> nn.Module:
    return layer_of_channels(nn.Conv2d(width, 2 * width, 3), width, 2 * width)


def matrices(width: int) -> nn.Module:
    return framed(width, nn.Linear(width, 2 * width), nn.Linear(2 * width, width))


@pytest.mark.parametrize(("build", "shape"), [(convolutions, (8, 3, 8, 8)), (matrices, (8, 5))])
def test_spectral_norms_are_right_to_ten_percent(
    build: Callable[[int], nn.Module], shape: tuple[int, ...]
) -> None:
    start: dict[tuple[int, str], Tensor] = {}

    def train(plan: mt.Plan, model: nn.Module) -> torch.optim.Optimizer:
        width = len(model[0].weight)
        for name, tensor in model.named_parameters():
            start[width, name] = tensor.detach().clone()
        return torch.optim.AdamW(plan.param_groups(model, 2**-6))

    settings = {"batch": torch.randn(shape), "loss": lambda outputs, _: outputs.square().mean()}
    check = checked(build, width=[8, 32], train=train, steps=1, **settings)
    rows = [row for row in check.rows if row.quantity == "spectral"]
    assert len(rows) == sum(tensor.dim() > 1 for tensor in start.values())
    for row in rows:
        exact = torch.linalg.matrix_norm(start[row.width, row.name].flatten(1), 2).item()
        assert 0.9 * exact < row.value <= exact * (1 + 1e-5)


def test_the_pytest_helper_fails_with_the_report() -> None:
    check = assert_scales(gpt, width=[64, 128, 256], depth=[2, 8], seeds=2)
    assert check.axes.keys() == {"width", "depth"}
    wrong = r"wrong: blocks\.\*\.query\.weight: its own part of the change grows"
    with pytest.raises(AssertionError, match=rf"FAIL\n.*\n  {wrong}"):
        assert_scales(gpt, width=[64, 128, 256], rule="sp", seeds=2)


def test_layers_that_their_builder_freezes_need_not_train() -> None:
    def build(width: int) -> nn.Module:
        model = nn.Sequential(
            nn.Linear(8, width), nn.Tanh(), square(width), nn.Tanh(), nn.Linear(width, 4)
        )
        model[2].requires_grad_(False)
        return model

    assert not checked(build, width=[64, 256], seeds=3).findings


def test_the_default_rule_has_a_name_and_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    first, second = (checked(gpt, width=[16, 64], steps=1, rule=rule) for rule in ("default", None))
    assert first.rows == second.rows and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("step", "slope", "verdict"), [(1, -0.9, ""), (1, 0.9, "fail"), (4, -0.9, "fail")]
)
def test_a_bare_tensor_may_act_too_little_at_first_alone(
    step: int, slope: float, verdict: str
) -> None:
    found = Slope(
        axis="width",
        kind="tensor",
        name="v",
        quantity="own",
        step=step,
        slope=slope,
        low=slope - 0.1,
        high=slope + 0.1,
    )
    expectations = Expectations(spots={"v": Spot.STREAM}, alpha=Fraction(1))
    (judgement,) = judged([found], expectations, steps=4)
    assert judgement.verdict == verdict
