"""Bad input is refused in one sentence that names the tensor and the remedy."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.factors import factors
from tests.models import Net, bare_matrix, embedded, fused_queries


def two_inputs(width: int) -> nn.Module:
    ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    return Net(lambda m, x, y: m.readout(torch.relu(m.stem(x) + m.stem(y))), **ends)


def headless(width: int) -> nn.Module:
    """Build a model that begins with a norm, which says nothing about the inputs."""
    ends = {"norm": nn.LayerNorm(width), "readout": nn.Linear(width, 3)}
    return Net(lambda m, x: m.readout(m.norm(x)), **ends)


def tied_to_activation(width: int) -> nn.Module:
    return embedded(width, lambda m, x: m.head(torch.tanh(m.layer(m.token(x)))))


def several_head_sizes(width: int, depth: int) -> nn.Module:
    """Build a GPT whose last block has half as many heads, of twice the size."""
    model = gpt(width, depth, heads=4)
    model.blocks[-1].heads = 2
    return model


SENTENCES: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown rule": (
        lambda: mt.plan(mlp(8), mlp(8), rule="mupp"),
        "unknown rule 'mupp'; choose one of sp, sp-layerwise",
    ),
    "unknown optimizer": (
        lambda: mt.plan(mlp(8), mlp(8), optimizer="lbfgs"),
        "unknown optimizer 'lbfgs'.*choose one of sgd, sgdw",
    ),
    "muon": (
        lambda: mt.plan(mlp(8), mlp(8), optimizer="muon"),
        "muon updates matrices only.*optimizer=.*adamw",
    ),
    "base has more modules": (
        lambda: mt.plan(mlp(16), nn.Sequential(nn.Linear(64, 8))),
        r"the base has 0\.weight, which the model has not.*one family",
    ),
    "model has more modules": (
        lambda: mt.plan(gpt(32, tied=False), gpt(16, tied=True)),
        "the model has head.weight, which the base has not.*one family",
    ),
    "vocabulary": (
        lambda: mt.plan(gpt(32, vocabulary=50), gpt(16, vocabulary=40)),
        r"token\.weight: dimension 0 of \(50, 32\) differs.*build both with the same size",
    ),
    "context": (
        lambda: mt.plan(gpt(32, context=16), gpt(16, context=8)),
        r"position\.weight: dimension 0 of \(16, 32\) differs.*build both with the same size",
    ),
    "classes": (
        lambda: mt.plan(mlp(32, outputs=30), mlp(16, outputs=10)),
        r"readout\.(weight|bias): its number of outputs is 3 times.*the same data",
    ),
    "features": (
        lambda: mt.plan(mlp(32, inputs=15), mlp(16, inputs=5)),
        r"inputs of shapes \[\(2, 15\)\] and the base with \[\(2, 5\)\].*the same data",
    ),
    "pattern without a match": (
        lambda: mt.plan(bare_matrix(32), bare_matrix(8), axes={"mixer": ("out", "in")}),
        "'mixer'.*matches no parameter.*'stem.weight'",
    ),
    "unknown axis": (
        lambda: mt.plan(bare_matrix(32), bare_matrix(8), axes={"mix": ("out", "fan_in")}),
        r"'mix': \['fan_in'\] are no axes; say \"out\"",
    ),
    "too few axes": (
        lambda: mt.plan(bare_matrix(32), bare_matrix(8), axes={"mix": ("out",)}),
        r"mix has shape \(32, 32\), but 1 axes were declared",
    ),
    "forward of two inputs": (
        lambda: mt.plan(two_inputs(32), two_inputs(8)),
        "forward pass of Net failed.*give inputs.*example_inputs=",
    ),
    "wrong inputs": (
        lambda: mt.plan(mlp(32), mlp(8), example_inputs=torch.zeros(2, 5)),
        "forward pass of MLP failed.*example_inputs=",
    ),
    "inputs that cannot be guessed": (
        lambda: mt.plan(headless(8), headless(8)),
        "inputs of Net cannot be guessed.*example_inputs=",
    ),
    "depth without residual branches": (
        lambda: mt.plan(mlp(16, 5), mlp(8, 3)),
        r"number of layers like hidden\..* differs.*"
        "outside residual branches that repeat: no rule is known for depth without these",
    ),
    "fused queries": (
        lambda: mt.plan(fused_queries(32), fused_queries(8), example_inputs=torch.zeros(2, 3, 5)),
        "grows from 4 to 16.*head dimension.*no learned tensor.*grow the number of heads",
    ),
    "tied head after an activation": (
        lambda: mt.plan(tied_to_activation(32), tied_to_activation(8)),
        "token.weight is also the head.*put a norm with a gain before the head, or untie it",
    ),
    "several ranks": (
        lambda: mt.plan(nn.Sequential(nn.Conv1d(3, 8, 1)), nn.Sequential(nn.Linear(3, 8))),
        r"0.weight is of a Conv1d in the model and of a Linear in the base.*one family",
    ),
}


@pytest.mark.parametrize(("call", "message"), SENTENCES.values(), ids=SENTENCES)
def test_a_plan_that_cannot_be_made(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("axes", [None, {"mix": ("in", "out")}], ids=["read", "declared"])
def test_a_bare_matrix_is_a_hidden_one(axes: dict[str, tuple[str, ...]] | None) -> None:
    plan = mt.plan(bare_matrix(32), bare_matrix(8), axes=axes)
    assert plan["mix"].role == "hidden"
    assert factors(plan, "mix") == (1 / 2, 1 / 4, 1 / 4, 4)


def test_heads_of_several_sizes_each_have_their_own_scale() -> None:
    """Each of them grows by two, and torch divides its logits by the root of its own size."""
    plan = mt.plan(several_head_sizes(64, 3), several_head_sizes(32, 3))
    for i in range(3):
        query, up = (factors(plan, f"blocks.{i}.{name}.weight") for name in ("query", "up"))
        assert query == pytest.approx(
            (up[0] * 2**-0.5, up[1] * 2**-0.5, up[2] * 2**0.5, up[3] * 2**0.5)
        )


def test_heads_of_several_sizes_that_do_not_grow_need_nothing() -> None:
    plan = mt.plan(several_head_sizes(32, 3), several_head_sizes(32, 2))
    assert plan.rule == "completep"
    for i in range(3):
        assert factors(plan, f"blocks.{i}.query.weight") == factors(plan, f"blocks.{i}.up.weight")


def test_given_inputs_are_the_remedy() -> None:
    inputs = (torch.zeros(2, 5), torch.zeros(2, 5))
    plan = mt.plan(two_inputs(32), two_inputs(8), example_inputs=inputs)
    assert plan["readout.weight"].factor("lr") == 1 / 4


def applied(
    call: str,
    optimizer: str = "adamw",
    *,
    to: Callable[[], nn.Module] = lambda: mlp(16),
    base: Any = None,
    **options: Any,
) -> Any:
    plan = mt.plan(mlp(16), base or mlp(8), optimizer=optimizer)
    if call == "initialize":
        return plan.initialize(to())
    return plan.param_groups(to(), 0.1, **options)


def zeroed(model: nn.Module) -> nn.Module:
    nn.init.zeros_(model.readout.weight)
    return model


APPLICATIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "wider model": (
        lambda: applied("initialize", to=lambda: mlp(32)),
        r"input.weight has shape \(32, 64\).*plan this model",
    ),
    "wider model, groups": (
        lambda: applied("groups", to=lambda: mlp(32)),
        "input.weight has shape .*plan this model",
    ),
    "deeper model": (
        lambda: applied("groups", to=lambda: mlp(16, 4)),
        "no tensor 'hidden.2.weight'; it has input.weight",
    ),
    "shallower model": (
        lambda: applied("groups", to=lambda: mlp(16, 2)),
        "the model has no hidden.1.bias.*plan this model",
    ),
    "another model": (
        lambda: applied("groups", to=lambda: gpt(16)),
        "no tensor 'token.weight'; it has input.weight",
    ),
    "model on meta": (
        lambda: applied("initialize", to=lambda: mlp(16).to("meta")),
        "weight|bias is on the meta device.*initialise the model first",
    ),
    "base on meta": (
        lambda: applied("initialize", base=mlp(8).to("meta")),
        "does not know the initial scale of .*give a base with values",
    ),
    "zero in the model only": (
        lambda: applied("initialize", to=lambda: zeroed(mlp(16))),
        "readout.weight starts at zero in the model only: give both the same",
    ),
    "zero in the base only": (
        lambda: applied("initialize", base=zeroed(mlp(8))),
        "readout.weight starts at zero in the base only",
    ),
    "weight decay of Adam": (
        lambda: applied("groups", "adam", weight_decay=0.1),
        'adam adds weight decay.*optimizer="adamw"',
    ),
    "eps of SGD": (lambda: applied("groups", "sgd", eps=1e-8), "sgd has no eps"),
    "eps of Lion": (lambda: applied("groups", "lion", eps=1e-8), "lion has no eps"),
    "unknown tensor": (
        lambda: mt.plan(mlp(16), mlp(8)).explain("hidden.7.weight"),
        "no tensor 'hidden.7.weight'; it has",
    ),
}


@pytest.mark.parametrize(("call", "message"), APPLICATIONS.values(), ids=APPLICATIONS)
def test_a_plan_that_cannot_be_applied(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message):
        call()


def test_adam_without_weight_decay_is_fine() -> None:
    assert all(group["weight_decay"] == 0 for group in applied("groups", "adam", weight_decay=0.0))


def test_a_refused_initialization_leaves_the_model_as_it_was() -> None:
    model, base = mlp(16), zeroed(mlp(8))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(mt.MutransferError):
        mt.plan(model, base).initialize(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
