"""A plan written out as a program gives what the plan gives, without mutransfer."""

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.pytorch import megatron_flags, snippet
from mutransfer.tasks import gpt, resmlp
from tests.models import NormWithoutGain, OnePlus, Residual, uneven
from tests.models.hugging_face import llama

RATE = 2**-8


Make = Callable[[int, int], nn.Module]
MODELS: dict[str, tuple[Make, dict[str, Any]]] = {
    "gpt": (gpt, {}),
    "gpt tied": (partial(gpt, tied=True), {}),
    "gpt sp": (gpt, {"rule": "sp"}),
    "gpt sgd": (gpt, {"optimizer": "sgd"}),
    "llama": (llama, {}),
    "llama tied": (partial(llama, tied=True), {}),
    "uneven": (lambda width, depth: uneven(width), {"example_inputs": torch.ones(2, 8)}),
}


def drawn(make: Make, width: int = 32, depth: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return make(width, depth)


def planned(make: Make, depth: int = 4, base_depth: int = 2, **settings: Any) -> mt.Plan:
    return mt.plan(drawn(make, depth=depth), make(16, base_depth), **settings)


def executed(text: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(text, "snippet", "exec"), space)
    return space


def named(groups: list[dict[str, Any]], model: nn.Module) -> list[dict[str, Any]]:
    """Return the groups with the names of their parameters."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [group | {"params": [names[id(p)] for p in group["params"]]} for group in groups]


def assert_same(text: str, plan: mt.Plan, make: Make, **settings: Any) -> None:
    """Check that the program and the plan give the same values and groups."""
    space = executed(text)
    ours, theirs = drawn(make), drawn(make)
    plan.initialize(ours)
    space["initialize"](theirs)
    states = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
    groups = plan.param_groups(ours, RATE, **settings)
    assert named(groups, ours) == named(space["param_groups"](theirs), theirs)


@pytest.mark.parametrize("name", MODELS)
def test_the_program_gives_bitwise_the_plans_values_and_groups(name: str) -> None:
    make, settings = MODELS[name]
    plan = planned(make, **settings)
    decay = {} if "sgd" in name else {"weight_decay": 0.1, "eps": 3e-9}
    assert_same(snippet(plan, RATE, **decay), plan, make, **decay)


def sandwich(width: int, depth: int) -> nn.Module:
    """Build branches that end in a gain that counts from one."""

    def block(n: int) -> nn.Module:
        return nn.Sequential(nn.Linear(n, n), NormWithoutGain(n), OnePlus(n, normed=False))

    return Residual(width, depth, block)


def test_the_program_has_the_hooks_of_the_plan() -> None:
    plan = mt.plan(drawn(sandwich), sandwich(16, 2), hooks=True)
    space = executed(snippet(plan, RATE))
    ours, theirs = drawn(sandwich), drawn(sandwich)
    with pytest.raises(ValueError, match="call attach"):
        space["initialize"](theirs)
    for step in (plan.attach, plan.initialize):
        step(ours)
    for step in (space["attach"], space["initialize"]):
        step(theirs)
    x = torch.randn(4, 5)
    assert torch.equal(ours(x), theirs(x))
    groups = plan.param_groups(ours, RATE), space["param_groups"](theirs)
    assert [group["lr"] for group in groups[0]] == [group["lr"] for group in groups[1]]
    with pytest.raises(
        mt.MutransferError, match=r"Megatron-LM cannot multiply the output of blocks\.0"
    ):
        megatron_flags(plan, RATE, base_head_dim=8)


def test_the_program_takes_what_param_groups_takes() -> None:
    make = gpt
    plan = planned(make, optimizer={"hidden": "muon-match-rms", "*": "adamw"})
    for name in plan.optimizers:
        given: dict[str, Any] = {"modules": {"blocks.1.*": 0.5}, "undecayed": ["bias"]}
        given["optimizer"] = name
        assert_same(snippet(plan, RATE, **given), plan, make, **given)


def test_equal_layers_are_one_line_and_unequal_ones_have_their_names() -> None:
    text = snippet(planned(gpt), RATE)
    assert '"blocks.*.query.weight"' in text and "blocks.0" not in text
    text = snippet(planned(gpt), RATE, modules={"blocks.1.*": 0.5})
    assert '"blocks.1.query.weight"' in text and '"blocks.0.query.weight"' in text
    text = snippet(planned(MODELS["uneven"][0], example_inputs=torch.ones(2, 8)), RATE)
    assert '"layers.1.weight"' in text and '"layers.*.weight"' not in text


def test_the_program_imports_torch_alone_and_fits_its_lines() -> None:
    text = snippet(planned(llama), RATE)
    nodes = list(ast.walk(ast.parse(text)))
    imports = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert imports == {"math", "re", "torch"}
    assert not any(isinstance(node, ast.ImportFrom) for node in nodes)
    assert max(map(len, text.splitlines())) <= 140


def test_the_program_refuses_another_size() -> None:
    space = executed(snippet(planned(gpt), RATE))
    others = ((gpt(48, 4), "shape"), (gpt(32, 3), "45"), (resmlp(32, 2), "shape"))
    for other, message in others:
        for function in ("initialize", "param_groups"):
            with pytest.raises(ValueError, match=message):
                space[function](other)


def test_the_program_refuses_another_initial_law() -> None:
    space = executed(snippet(planned(gpt), RATE))
    model = drawn(gpt)
    nn.init.zeros_(model.head.weight)
    with pytest.raises(ValueError, match=r"head\.weight starts at zero"):
        space["initialize"](model)


def test_at_base_size_the_program_leaves_the_draw() -> None:
    model = gpt(16, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    executed(snippet(mt.plan(model, gpt(16, 2)), RATE))["initialize"](model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_scale_or_eps_that_a_program_cannot_know_is_refused() -> None:
    with torch.device("meta"):
        base = gpt(16, 2)
    with pytest.raises(mt.MutransferError, match="meta device"):
        snippet(mt.plan(gpt(32, 2), base), RATE)
    plan = planned(gpt, optimizer="adafactor")
    for eps in (None, (None, 1e-3)):
        with pytest.raises(mt.MutransferError, match="Adafactor's first eps"):
            snippet(plan, RATE, eps=eps)
    assert_same(snippet(plan, RATE, eps=(1e-30, 1e-3)), plan, gpt, eps=(1e-30, 1e-3))


@pytest.mark.parametrize("make", [gpt, partial(gpt, heads=2), llama])
@pytest.mark.parametrize("eps", [0.0, 1e-15, None])
def test_width_alone_is_megatrons_mup(make: Make, eps: float | None) -> None:
    plan = planned(make, depth=2)
    given = {"weight_decay": 0.0, "eps": eps, "ignore": [] if eps == 0 else ["eps"]}
    first, *rest = megatron_flags(plan, RATE, base_head_dim=8, **given)
    assert first == "--use-mup"
    assert dict(zip(rest[::2], map(float, rest[1::2]), strict=True)) == {
        "--mup-base-hidden-size": 16,
        "--mup-base-head-dim": 8,
        "--lr": RATE,
        "--weight-decay": 0,
        "--adam-eps": 1e-8 if eps is None else eps,
    }


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({}, {}, r"token\.weight: eps at 0\.5 times .* has 1;"),
        (
            {},
            {"eps": 0.0, "weight_decay": 0.1},
            r"blocks\.0\.query\.weight: decay at 2 times .* has 1;",
        ),
        (
            {"depth": 4},
            {"eps": 0.0},
            r"blocks\.0\.out\.weight: init at .*out\.weight: multiplier at 0\.5 .* has 1;",
        ),
        (
            {"depth": 4, "rule": "mup"},
            {"eps": 0.0},
            r"blocks\.0\.out\.weight: init at 0\.707107 .* has 0\.5;",
        ),
        ({"rule": "sp"}, {"eps": 0.0}, r"blocks\.0\.query\.weight: .*lr at 1 .* has 0\.5"),
        ({"optimizer": "sgd"}, {}, "the plan is for sgd"),
        ({}, {"ignore": "eps"}, "give a list"),
        ({}, {"base_head_dim": -1}, "base_head_dim is -1: give the size of a head"),
        ({}, {"base_head_dim": 8.5}, r"base_head_dim is 8\.5"),
        ({}, {"lr": "a"}, "lr is 'a'"),
        ({}, {"lr": -0.1}, r"lr is -0\.1"),
        ({}, {"ignore": ["rate"]}, "give a list"),
    ],
)
def test_tensors_beyond_megatron_are_refused_with_their_quantity(
    settings: Any, given: Any, message: str
) -> None:
    plan = planned(gpt, **{"depth": 2} | settings)
    with pytest.raises(mt.MutransferError, match=message):
        usual = {"lr": RATE, "base_head_dim": 8, "weight_decay": 0.0}
        megatron_flags(plan, **usual | given)


def test_a_snippets_rate_is_a_number() -> None:
    with pytest.raises(mt.MutransferError, match="lr is 'x'"):
        snippet(planned(gpt), lr="x")  # type: ignore[arg-type]


def test_other_models_are_refused() -> None:
    with pytest.raises(mt.MutransferError, match="one readout"):
        megatron_flags(planned(MODELS["gpt tied"][0], depth=2), RATE, base_head_dim=8)
    with pytest.raises(mt.MutransferError, match=r"layers\.0\.weight is for the role input"):
        plan = planned(MODELS["uneven"][0], example_inputs=torch.ones(2, 8))
        megatron_flags(plan, RATE, base_head_dim=8, weight_decay=0.0, eps=0.0)
