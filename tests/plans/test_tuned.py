"""Tuned plans: their numbers compose, travel, explain themselves, or are refused in a sentence."""

import copy
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.pytorch import megatron_flags
from mutransfer.tasks import gpt, mlp, resmlp
from tests.factors import factors
from tests.models import Net, embedded, fused_queries, mixture
from tests.plans.planned_gpt import planned_gpt

NUMBERS: dict[str, Any] = {
    "readout": 4,
    "embedding": 3,
    "attention": 0.7,
    "branch": 1 / 2,
    "init": 2,
    "init.hidden": 0.1,
    "lr.blocks.*.up.weight": 2**-0.5,
}


def tuned_gpt(tied: bool = False) -> mt.Plan:
    return planned_gpt("completep", tied=tied).tuned(**NUMBERS)


def no_head(width: int) -> nn.Module:
    layers = {"token": nn.Embedding(7, width), "norm": nn.LayerNorm(width)}
    return Net(lambda m, x: m.norm(m.token(x)), **layers)


def ends_in_a_function(width: int) -> nn.Module:
    """Build a network whose branch ends in an activation."""
    layers = {"stem": nn.Linear(5, width), "layer": nn.Linear(width, width)}
    head = nn.Linear(width, 3)

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.stem(x)
        return m.head(x + torch.tanh(m.layer(x)))  # type: ignore[no-any-return]

    return Net(forward, **layers, head=head)


def test_a_tuned_tensor_follows_its_optimizer() -> None:
    plan = mt.plan(mlp(8), mlp(8), optimizer={"readout*": "sgd", "*": "adamw"})
    tuned = plan.tuned(readout=4, init=2)
    assert factors(tuned, "readout.weight") == (8.0, 16.0, 1.0, 1 / 16)
    assert tuned["readout.weight"].factor("multiplier") == 4.0
    assert factors(tuned, "readout.bias") == factors(tuned, "input.bias") == (1.0,) * 4
    assert factors(tuned, "input.weight") == (2.0, 1.0, 1.0, 1.0)
    adam = mt.plan(mlp(8), mlp(8), optimizer="adamw").tuned(readout=4)
    assert factors(adam, "readout.weight") == (4.0, 4.0, 1 / 4, 1 / 4)


def test_the_initial_scale_leaves_vectors_alone() -> None:
    plan = planned_gpt("mup")
    tuned = plan.tuned(init=2)
    changed = {name for name in plan.tensors if tuned[name] != plan[name]}
    assert changed == {name for name, tensor in plan.tensors.items() if len(tensor.shape) > 1}
    every = plan.tuned(**{"init.*": 2})
    assert {name for name in plan.tensors if every[name] != plan[name]} == {*plan.tensors}


def test_a_tied_head_is_tuned_at_its_input() -> None:
    plan = planned_gpt("completep", tied=True)
    readout, embedding = plan.tuned(readout=4), plan.tuned(embedding=4)
    for name in ("norm.weight", "norm.bias"):
        assert readout[name].factor("init") == 4 * plan[name].factor("init")
        assert embedding[name].factor("init") == plan[name].factor("init") / 4
    assert readout["token.weight"] == plan["token.weight"]
    assert embedding["token.weight"].factor("init") == 4 * plan["token.weight"].factor("init")
    assert plan.tuned(readout=4, embedding=4)["norm.weight"].factor("multiplier") == plan[
        "norm.weight"
    ].factor("multiplier")


@pytest.mark.parametrize("tied", [False, True])
def test_numbers_tuned_again_multiply(tied: bool) -> None:
    plan = planned_gpt("completep", tied=tied)
    first = {"readout": 4, "branch": 1 / 2, "init.hidden": 0.3, "lr.*": 2}
    second = {"readout": 1 / 8, "attention": 0.1, "init.hidden": 5, "lr.*": 0.5, "init": 3}
    both = {"readout": 1 / 2, "branch": 1 / 2, "init.hidden": 1.5, "attention": 0.1, "init": 3}
    assert plan.tuned(**first).tuned(**second) == plan.tuned(**both)
    assert plan.tuned(**second).tuned(**first) == plan.tuned(**both)
    undone = {name: 1 / Fraction(str(number)) for name, number in first.items()}
    assert plan.tuned(**first).tuned(**undone) == plan
    assert plan.tuned(**first) != plan


def test_ones_change_nothing() -> None:
    plan = planned_gpt("mup")
    assert plan.tuned() is plan
    ones = {"readout": 1, "embedding": 1.0, "attention": 1, "branch": 1, "init": 1}
    assert plan.tuned(**ones, **{"init.hidden": 1, "lr.head.weight": 1}) == plan


@pytest.mark.parametrize("tied", [False, True])
def test_a_tuned_plan_travels(tied: bool) -> None:
    plan = tuned_gpt(tied)
    again = mt.Plan.from_json(plan.to_json())
    assert type(again) is type(plan) and again == plan and again.to_json() == plan.to_json()
    assert pickle.loads(pickle.dumps(plan)) == copy.deepcopy(plan) == plan
    assert again.tuned(readout=2) == plan.tuned(readout=2)


def test_a_plan_written_before_there_was_tuning_reads() -> None:
    data = planned_gpt("mup").to_json()
    old = mt.Plan.from_json({k: v for k, v in data.items() if k not in ("tunable", "tuning")})
    assert dict(old.tensors) == dict(planned_gpt("mup").tensors)
    with pytest.raises(mt.MutransferError, match="readout cannot be tuned: the plan was made"):
        old.tuned(readout=2)


def test_the_plan_says_what_is_tuned() -> None:
    plan = tuned_gpt()
    line = "tuned at base size: readout 4, embedding 3, attention 7/10, branch 1/2, init 2"
    assert line in str(plan) and line.split(": ")[1] in repr(plan)
    text = plan.explain("head.weight")
    assert "readout x4" in text
    assert "carries the multiplier tuned at base size, readout\n" in text
    assert "starts at the tuned scale init_scale\n" in text
    assert "trains at the tuned rate rate\n" in plan.explain("blocks.*.up.weight")
    undone = tuned_gpt(tied=True).explain("norm.weight")
    assert "undoes the multiplier tuned at base size, embedding^-1\n" in undone


def test_rates_alone_can_be_tuned_under_standard_parametrization() -> None:
    plan = planned_gpt("sp").tuned(**{"lr.readout": 2, "lr.blocks.*": 3})
    assert (plan["head.weight"].factor("lr"), plan["blocks.0.up.weight"].factor("lr")) == (2, 3)


def test_experts_that_a_batch_misses_carry_as_the_others() -> None:
    plan = mt.plan(mixture(16), mixture(16))
    tuned = plan.tuned(branch=2)
    ends = [t for t in tuned.tensors.values() if t.factor("init") == 2]
    assert ends and len({t.name for t in ends}) == len(ends)


def test_all_sizes_carry_alike() -> None:
    base, wide = (mt.plan(gpt(n, 2, tied=True), gpt(32, 2, tied=True)) for n in (32, 64))
    deep = mt.plan(gpt(64, 4, tied=True), gpt(32, 2, tied=True))
    assert base.tunable == wide.tunable
    assert {*wide.tunable["branch"].tensors} < {*deep.tunable["branch"].tensors}


SENTENCES: dict[str, tuple[Callable[[], Any], str]] = {
    "zero": (lambda: planned_gpt("mup").tuned(readout=0), "readout is 0: give a positive, finite"),
    "negative": (
        lambda: planned_gpt("mup").tuned(branch=-1.0),
        r"branch is -1\.0: give a positive",
    ),
    "infinite": (lambda: planned_gpt("mup").tuned(init=float("inf")), "init is inf: give a pos"),
    "not a number": (lambda: planned_gpt("mup").tuned(init=float("nan")), "init is nan: give a p"),
    "text": (lambda: planned_gpt("mup").tuned(readout="4"), "readout is '4': give a positive"),
    "truth": (lambda: planned_gpt("mup").tuned(readout=True), "readout is True: give a positive"),
    "unknown": (
        lambda: planned_gpt("mup").tuned(output=2),
        "named 'output': choose one of readout, embedding, attention, branch and init",
    ),
    "one rate": (
        lambda: planned_gpt("mup").tuned(lr=2),
        "named 'lr'.*the rate of all tensors is the lr of param_groups",
    ),
    "no pattern": (lambda: planned_gpt("mup").tuned(**{"init.": 2}), r"named 'init\.'"),
    "no match": (
        lambda: planned_gpt("mup").tuned(**{"init.layers.*": 2}),
        r"init\.layers\.\*: 'layers\.\*' is no role.*token\.weight",
    ),
    "no role here": (
        lambda: planned_gpt("mup").tuned(**{"lr.router": 2}),
        "'router' is no role of a tensor here and matches no name",
    ),
    "no attention": (
        lambda: mt.plan(mlp(8), mlp(8)).tuned(attention=2),
        "attention cannot be tuned: the model has no attention that is seen",
    ),
    "no look-up": (
        lambda: mt.plan(resmlp(8), resmlp(8)).tuned(embedding=2),
        "embedding cannot be tuned: the model looks nothing up.*init.input",
    ),
    "no branch": (
        lambda: mt.plan(mlp(8), mlp(8)).tuned(branch=2),
        "branch cannot be tuned: the model has no residual branches",
    ),
    "no readout": (
        lambda: mt.plan(no_head(8), no_head(8)).tuned(readout=2),
        "readout cannot be tuned: the model has no readout that is seen",
    ),
    "bare end": (
        lambda: mt.plan(ends_in_a_function(8), ends_in_a_function(8)).tuned(branch=2),
        r"residual branch 1 of 1 \(with layer\.\w+\) does not end in learned tensors.*end it with",
    ),
    "end shared with a matrix": (
        lambda: mt.plan(shared_end(8), shared_end(8)).tuned(branch=2),
        r"residual branch 1 of 1 \(with mix\) does not end in learned tensors.*end it with",
    ),
    "fused queries": (
        lambda: fused().tuned(attention=2),
        r"qkv\.\w+ makes more than the queries.*give the queries a linear layer of their own",
    ),
    "tied behind a function": (
        lambda: tied_behind_a_function().tuned(readout=2),
        r"token\.weight is used as the head and elsewhere.*norm with a gain.*or untie",
    ),
    "embedding tied behind a function": (
        lambda: tied_behind_a_function().tuned(embedding=2),
        r"token\.weight is used as the head and elsewhere.*norm with a gain.*or untie",
    ),
    "frozen": (
        lambda: mt.plan(gpt(16), gpt(16), roles={"head.weight": "frozen"}).tuned(readout=2),
        r"readout cannot be tuned: head\.weight would have to carry.*declared frozen",
    ),
    "standard parametrization": (
        lambda: planned_gpt("sp").tuned(readout=2),
        "readout cannot be tuned: the plan was made without a forward pass.*standard",
    ),
    "initial scale of the model's own": (
        lambda: planned_gpt("sp").tuned(init=2),
        "init cannot be tuned: under this rule the model keeps its own initial scale",
    ),
    "megatron": (
        lambda: megatron_flags(tuned_gpt(), 0.1, base_head_dim=8),
        "flags of Megatron-LM cannot say what is tuned.*snippet",
    ),
}


def shared_end(width: int) -> nn.Module:
    """Build a network whose branch ends, in one operation with the sum, in a shared matrix."""
    ends = {"stem": nn.Linear(5, width), "up": nn.Linear(width, width)}

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.stem(x)
        x = torch.addmm(x, torch.tanh(m.up(x)), m.mix)
        return m.head(torch.tanh(x @ m.mix))  # type: ignore[no-any-return]

    net = Net(forward, **ends, head=nn.Linear(width, 3))
    net.mix = nn.Parameter(torch.randn(width, width) / width**0.5)
    return net


def fused() -> mt.Plan:
    example = torch.zeros(2, 4, 5)
    return mt.plan(fused_queries(16), fused_queries(16), example_inputs=example)


def tied_behind_a_function() -> mt.Plan:
    def build() -> nn.Module:
        return embedded(16, lambda m, x: m.head(torch.tanh(m.layer(m.token(x)))))

    return mt.plan(build(), build())


@pytest.mark.parametrize(("call", "message"), SENTENCES.values(), ids=SENTENCES)
def test_what_cannot_be_tuned_is_said(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
