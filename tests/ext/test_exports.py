"""A plan written out gives what the plan gives, without mutransfer."""

import ast
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import mutransfer as mt
from mutransfer import MutransferError
from mutransfer.ext import megatron_flags, snippet
from mutransfer.plan import Plan
from mutransfer.tasks import gpt, resmlp

RATE = 2**-8


def llama(width: int, depth: int, *, tied: bool = False) -> nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=depth,
            vocab_size=64,
            num_attention_heads=width // 8,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
        )
    )


class Uneven(nn.Module):
    """Layers of one pattern with two shapes, so that a star cannot stand for all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


Make = Callable[[int, int], nn.Module]
MODELS: dict[str, tuple[Make, dict[str, Any]]] = {
    "gpt": (lambda n, d: gpt(width=n, depth=d), {}),
    "gpt tied": (lambda n, d: gpt(width=n, depth=d, tied=True), {}),
    "gpt sp": (lambda n, d: gpt(width=n, depth=d), {"rule": "sp"}),
    "gpt sgd": (lambda n, d: gpt(width=n, depth=d), {"optimizer": "sgd"}),
    "llama": (llama, {}),
    "llama tied": (lambda n, d: llama(n, d, tied=True), {}),
    "uneven": (lambda n, d: Uneven(n), {"example_inputs": torch.ones(2, 8)}),
}


def drawn(make: Make, width: int = 32, depth: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return make(width, depth)


def planned(make: Make, depth: int = 4, base_depth: int = 2, **settings: Any) -> Plan:
    return mt.plan(drawn(make, depth=depth), make(16, base_depth), **settings)


def executed(text: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(text, "snippet", "exec"), space)
    return space


def assert_same(text: str, plan: Plan, make: Make, **settings: Any) -> None:
    space = executed(text)
    ours, theirs = drawn(make), drawn(make)
    plan.initialize(ours)
    space["initialize"](theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    wanted, found = plan.param_groups(ours, RATE, **settings), space["param_groups"](theirs)
    names = {id(p): name for model in (ours, theirs) for name, p in model.named_parameters()}
    plain = [[{**group, "params": [names[id(p)] for p in group["params"]]} for group in groups] for groups in (wanted, found)]
    assert plain[0] == plain[1]


@pytest.mark.parametrize("name", MODELS)
def test_the_program_gives_bitwise_the_plans_values_and_groups(name: str) -> None:
    make, settings = MODELS[name]
    plan = planned(make, **settings)
    decay = {} if "sgd" in name else {"weight_decay": 0.1, "eps": 3e-9}
    assert_same(snippet(plan, RATE, **decay), plan, make, **decay)


class OnePlus(nn.Module):
    """A gain that counts from one, as Gemma's, which can carry no multiplier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1 + self.weight)


class Sandwich(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.RMSNorm(width, elementwise_affine=False), OnePlus(width)) for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_the_program_has_the_hooks_of_the_plan() -> None:
    plan = mt.plan(drawn(Sandwich), Sandwich(16, 2), hooks=True)
    space = executed(snippet(plan, RATE))
    ours, theirs = drawn(Sandwich), drawn(Sandwich)
    with pytest.raises(ValueError, match="call attach"):
        space["initialize"](theirs)
    for model, attach, initialize in ((ours, plan.attach, plan.initialize), (theirs, space["attach"], space["initialize"])):
        attach(model)
        initialize(model)
    x = torch.randn(4, 5)
    assert torch.equal(ours(x), theirs(x))
    assert [group["lr"] for group in space["param_groups"](theirs)] == [group["lr"] for group in plan.param_groups(ours, RATE)]
    with pytest.raises(mt.MutransferError, match=r"Megatron-LM cannot multiply the output of blocks\.0"):
        megatron_flags(plan, RATE, base_head_dim=8)


def test_the_program_takes_what_param_groups_takes() -> None:
    make = MODELS["gpt"][0]
    plan = planned(make, optimizer={"hidden": "muon-match-rms", "*": "adamw"})
    for name in plan.optimizers:
        given: dict[str, Any] = {"optimizer": name, "modules": {"blocks.1.*": 0.5}, "undecayed": ["bias"]}
        assert_same(snippet(plan, RATE, **given), plan, make, **given)


def test_equal_layers_are_one_line_and_unequal_ones_have_their_names() -> None:
    text = snippet(planned(MODELS["gpt"][0]), RATE)
    assert '"blocks.*.query.weight"' in text and "blocks.0" not in text
    text = snippet(planned(MODELS["gpt"][0]), RATE, modules={"blocks.1.*": 0.5})
    assert '"blocks.1.query.weight"' in text and '"blocks.0.query.weight"' in text
    text = snippet(planned(MODELS["uneven"][0], example_inputs=torch.ones(2, 8)), RATE)
    assert '"layers.1.weight"' in text and '"layers.*.weight"' not in text


def test_the_program_imports_torch_alone_and_fits_its_lines() -> None:
    text = snippet(planned(llama), RATE)
    imports = {alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names}
    assert imports == {"math", "re", "torch"} and not any(isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(text)))
    assert max(map(len, text.splitlines())) <= 140


def test_the_program_refuses_another_size() -> None:
    space = executed(snippet(planned(MODELS["gpt"][0]), RATE))
    for other, message in ((gpt(width=48, depth=4), "shape"), (gpt(width=32, depth=3), "45"), (resmlp(32, 2), "shape")):
        for function in ("initialize", "param_groups"):
            with pytest.raises(ValueError, match=message):
                space[function](other)


def test_the_program_refuses_another_initial_law() -> None:
    space = executed(snippet(planned(MODELS["gpt"][0]), RATE))
    model = drawn(MODELS["gpt"][0])
    nn.init.zeros_(model.head.weight)
    with pytest.raises(ValueError, match=r"head\.weight starts at zero"):
        space["initialize"](model)


def test_at_base_size_the_program_leaves_the_draw() -> None:
    model = gpt(width=16, depth=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    executed(snippet(mt.plan(model, gpt(width=16, depth=2)), RATE))["initialize"](model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_the_program_cannot_know_is_refused() -> None:
    with torch.device("meta"):
        base = gpt(width=16, depth=2)
    with pytest.raises(MutransferError, match="meta device"):
        snippet(mt.plan(gpt(width=32, depth=2), base), RATE)
    plan = planned(MODELS["gpt"][0], optimizer="adafactor")
    for eps in (None, (None, 1e-3)):
        with pytest.raises(MutransferError, match="Adafactor's first eps"):
            snippet(plan, RATE, eps=eps)
    assert_same(snippet(plan, RATE, eps=(1e-30, 1e-3)), plan, MODELS["gpt"][0], eps=(1e-30, 1e-3))


def wide(n: int, d: int) -> nn.Module:
    return gpt(width=n, depth=d, heads=2)


@pytest.mark.parametrize("make", [MODELS["gpt"][0], wide, llama])
@pytest.mark.parametrize("eps", [0.0, 1e-15, None])
def test_width_alone_is_megatrons_mup(make: Make, eps: float | None) -> None:
    plan = planned(make, depth=2)
    first, *rest = megatron_flags(plan, RATE, weight_decay=0.0, eps=eps, base_head_dim=8, ignore=[] if eps == 0 else ["eps"])
    assert first == "--use-mup" and dict(zip(rest[::2], map(float, rest[1::2]), strict=True)) == {
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
        ({}, {"eps": 0.0, "weight_decay": 0.1}, r"blocks\.0\.query\.weight: decay at 2 times .* has 1;"),
        ({"depth": 4}, {"eps": 0.0}, r"blocks\.0\.out\.weight: init at .*out\.weight: multiplier at 0\.5 .* has 1;"),
        ({"depth": 4, "rule": "mup"}, {"eps": 0.0}, r"blocks\.0\.out\.weight: init at 0\.707107 .* has 0\.5;"),
        ({"rule": "sp"}, {"eps": 0.0}, r"blocks\.0\.query\.weight: .*lr at 1 .* has 0\.5"),
        ({"optimizer": "sgd"}, {}, "the plan is for sgd"),
        ({}, {"ignore": "eps"}, "give a list"),
        ({}, {"ignore": ["rate"]}, "give a list"),
    ],
)
def test_what_megatron_cannot_do_is_refused_with_tensor_and_quantity(settings: Any, given: Any, message: str) -> None:
    plan = planned(MODELS["gpt"][0], **{"depth": 2} | settings)
    with pytest.raises(MutransferError, match=message):
        megatron_flags(plan, RATE, base_head_dim=8, **{"weight_decay": 0.0} | given)


def test_other_models_are_refused() -> None:
    with pytest.raises(MutransferError, match="one readout"):
        megatron_flags(planned(MODELS["gpt tied"][0], depth=2), RATE, base_head_dim=8)
    with pytest.raises(MutransferError, match=r"layers\.0\.weight is for the role input"):
        megatron_flags(planned(MODELS["uneven"][0], example_inputs=torch.ones(2, 8)), RATE, base_head_dim=8, weight_decay=0.0, eps=0.0)
