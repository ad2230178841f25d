"""What is recorded beside what is judged: it is what it says."""

import math

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.check._measure import spectral_norm
from mutransfer.check._nonlinear import nonlinearity
from mutransfer.check._record import recording
from mutransfer.tasks import gpt
from mutransfer.testing import assert_scales


@pytest.fixture(scope="module")
def deep() -> mt.CoordinateCheck:
    return mt.coordinate_check(gpt, depth=[4, 8, 16], seeds=1, steps=1, control=False)


def test_the_share_of_a_branch_falls_with_its_multiplier(deep: mt.CoordinateCheck) -> None:
    assert deep.slope("blocks.*.down", "share", "depth", 0).slope == pytest.approx(-1, abs=0.1)
    found = {(row.name, row.quantity): row.value for row in deep.rows if (row.depth, row.step) == (16, 0)}
    assert (
        found["blocks.3.down", "share"]
        == found["blocks.3.down", "size"] / found["blocks.3.mlp_norm", "input"]
        != found["blocks.3.down", "size"]
    )


def test_features_are_as_diverse_as_the_papers_say_at_initialisation(deep: mt.CoordinateCheck) -> None:
    """Independent branches make a random walk over layers: exponent 1/2 (2310.02244)."""
    found = [row.value for row in deep.rows if row.quantity == "diversity exponent" and row.step == 0 and row.depth == 16]
    assert found and all(value == pytest.approx(0.5, abs=0.03) for value in found)


@pytest.mark.parametrize(("rule", "exponent"), [("completep", 0.0), ("depth-mup", -0.5)])
def test_layers_of_a_branch_learn_together_at_every_depth_only_with_alpha_1(rule: str, exponent: float) -> None:
    """Figure 6 of CompleteP (2505.01618)."""
    check = mt.coordinate_check(gpt, depth=[4, 8, 16], rule=rule, seeds=1, steps=8, control=False)
    assert check.slope("blocks.*", "nonlinearity", "depth").slope == pytest.approx(exponent, abs=0.12)


def test_the_nonlinear_part_of_two_matrices_is_that_of_both_changes() -> None:
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False))
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    x = torch.randn(3, 6)
    before = model(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    change = {name: parameter.detach() - start[name] for name, parameter in model.named_parameters()}
    both = x @ change["0.weight"].mT @ change["1.weight"].mT
    after = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    found = nonlinearity(model, start, ((x,), {}))
    assert found == pytest.approx((both.norm() / (model(x) - before).norm()).item(), rel=1e-3)
    assert all(torch.equal(parameter, after[name]) for name, parameter in model.named_parameters())


def test_changes_are_the_sum_of_their_parts() -> None:
    """Of a layer without bias on a linear input, own part and what comes through the input are two legs of the change."""

    def build(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(3, width, bias=False), nn.Linear(width, 1, bias=False))

    x = torch.eye(3)[:1]
    check = mt.coordinate_check(build, width=[4, 16], batch=x, loss=lambda out, _: (out - 1).square().sum(), seeds=1, control=False)
    values = {row.quantity: row.value for row in check.rows if row.name == "1" and row.width == 16 and row.step == 4}
    assert values["change"] in (
        pytest.approx(values["own"] + values["through input"], rel=1e-4),
        pytest.approx(abs(values["own"] - values["through input"]), rel=1e-4),
    )


def test_entropy_and_logits_of_an_attention() -> None:
    query = torch.zeros(1, 2, 4, 8)
    with recording(nn.Identity()) as seen:
        nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
        nn.functional.scaled_dot_product_attention(query, query, query)
    (masked, causal), (logits, full) = seen.logits
    assert full == pytest.approx(math.log(4)) and causal == pytest.approx(sum(math.log(n) for n in range(1, 5)) / 4)
    assert not masked.any() and not logits.any() and seen.head_dims == [8, 8]


@pytest.mark.parametrize("shape", [(32, 16), (16, 32), (8, 4, 3, 3)])
def test_spectral_norms_are_right_to_some_percent(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = torch.linalg.matrix_norm(matrix.flatten(1), 2).item()
    assert 0.9 * exact < spectral_norm(matrix) <= exact * (1 + 1e-5)


def test_a_pytest_helper_fails_with_the_report() -> None:
    assert assert_scales(gpt, width=[64, 128, 256], depth=[2, 8], seeds=2).axes.keys() == {"width", "depth"}
    with pytest.raises(AssertionError, match=r"FAIL\n.*\n  wrong: blocks\.\*\.query\.weight: its own part of the change grows"):
        assert_scales(gpt, width=[64, 128, 256], rule="sp", seeds=2)


def test_what_is_frozen_by_its_builder_need_not_train() -> None:
    def build(width: int) -> nn.Module:
        model = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4))
        model[2].requires_grad_(False)
        return model

    assert not mt.coordinate_check(build, width=[64, 256], seeds=3, control=False).findings


def test_the_default_rule_has_a_name_and_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    first, second = (mt.coordinate_check(gpt, width=[16, 64], seeds=1, steps=1, rule=rule, control=False) for rule in ("default", None))
    assert first.rows == second.rows and torch.equal(torch.get_rng_state(), state)
