"""A plan as data: JSON, composition, its table and its explanations."""

import copy
import math
import pickle
import re
from itertools import accumulate
from operator import mul

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mutransfer as mt
from mutransfer.tasks import gpt
from tests.factors import QUANTITIES, factors


def gpts() -> tuple[nn.Module, nn.Module]:
    settings = {"vocabulary": 19, "tied": True, "heads": 2}
    return gpt(64, 4, **settings), gpt(32, 2, **settings)


def on_meta(width: int, depth: int, tied: bool, heads: int | None) -> nn.Module:
    with torch.device("meta"):
        return gpt(width, depth, heads=heads, vocabulary=7, context=4, tied=tied)


gpt_sizes = st.tuples(st.integers(1, 4), st.integers(1, 2))


@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    base=gpt_sizes,
    wider=st.integers(0, 4),
    deeper=st.integers(0, 1),
    tied=st.booleans(),
    heads=st.sampled_from([None, 1]),
)
def test_json_round_trip(
    base: tuple[int, int], wider: int, deeper: int, tied: bool, heads: int | None
) -> None:
    width, depth = base
    small = gpt(16 * width, depth, heads=heads, vocabulary=7, context=4, tied=tied)
    plan = mt.plan(on_meta(16 * (width + wider), depth + deeper, tied, heads), small)
    again = mt.Plan.from_json(plan.to_json())
    assert again == plan and again.to_json() == plan.to_json()
    assert pickle.loads(pickle.dumps(plan)) == copy.deepcopy(plan) == plan
    assert (plan.at_base, again.at_base) == ((wider, deeper) == (0, 0),) * 2


@pytest.mark.parametrize(
    ("sizes", "rule"),
    [
        (((32, 4), (16, 4)), "mup"),
        (((32, 2), (32, 4)), "completep"),
        (((32, 4), (16, 2)), "completep"),
        (((32, 2), (16, 4)), "completep"),
    ],
    ids=["narrower", "shallower", "both", "narrower and deeper"],
)
def test_a_smaller_model_has_inverse_factors(sizes: tuple[tuple[int, int], ...], rule: str) -> None:
    """Plans of base and target exchanged undo each other, tensor by tensor."""
    target, base = (gpt(*size, heads=2, vocabulary=7) for size in sizes)
    growing, shrinking = mt.plan(target, base), mt.plan(base, target)
    assert growing.rule == shrinking.rule == rule
    for name in shrinking.tensors:
        counterpart = re.sub(r"blocks\.\d", "blocks.0", name)
        undone = [1 / factor for factor in factors(growing, counterpart)]
        assert factors(shrinking, name) == pytest.approx(undone, rel=1e-12), name


@settings(deadline=None, max_examples=5, derandomize=True)
@given(
    wider=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    deeper=st.permutations([1, 1, 2]),
    tied=st.booleans(),
)
def test_plans_compose(wider: list[int], deeper: list[int], tied: bool) -> None:
    """Base to middle times middle to target is base to target."""
    sizes = zip(accumulate(wider, mul), accumulate(deeper, mul), strict=True)
    base, middle, target = (on_meta(16 * width, depth, tied, 1) for width, depth in sizes)
    steps = mt.plan(middle, base, rule="completep"), mt.plan(target, middle, rule="completep")
    whole = mt.plan(target, base, rule="completep")
    for name in steps[0].tensors:
        for quantity in QUANTITIES:
            product = math.prod(step[name].factor(quantity) for step in steps)
            assert product == pytest.approx(whole[name].factor(quantity), rel=1e-12)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"rule": "mup", "tensors": [{}]}'])
def test_other_text_is_no_plan(text: str) -> None:
    with pytest.raises(mt.MutransferError, match="not a plan written by"):
        mt.Plan.from_json(text)


def test_print_shows_every_pattern_and_its_factors() -> None:
    model, base = gpts()
    text = str(mt.plan(model, base))
    assert text.startswith("completep: ")
    assert "residual branches: 4 in the base, 8 in the model" in text
    lines = [line for line in text.splitlines()[4:] if line and not line.startswith("warning")]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    matrices = ("query", "key", "value", "out", "up", "down")
    norms = ("norm", "blocks.*.attention_norm", "blocks.*.mlp_norm")
    assert rows.keys() == {
        *("token.weight", "position.weight"),
        *(f"blocks.*.{layer}.weight" for layer in matrices),
        *(f"{norm}.{kind}" for norm in norms for kind in ("weight", "bias")),
    }
    down = "4 hidden ending a branch 32x128 64x256 2^-1.5 2^-2 2^-1 2^2"
    assert " ".join(rows["blocks.*.down.weight"]) == down


def test_explain_derives_the_factors() -> None:
    model, base = gpts()
    text = mt.plan(model, base).explain("blocks.3.query.weight")
    for part in (
        "hidden, in a branch, trained by adamw",
        "fan_in x2",
        "head_dim x2",
        "depth x2",
        "fan_in^-1 · head_dim^-1/2",
        "2505.01618",
    ):
        assert part in text
