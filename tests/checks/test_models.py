"""The check runs and passes on models of every kind, with every optimizer, and leaves nothing behind."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import gpt
from mutransfer.tasks._models import mlp

pytestmark = pytest.mark.filterwarnings("ignore")

WIDTHS, VOCABULARY, HEAD = [32, 64, 128], 64, 8
SETTINGS = {"width": WIDTHS, "seeds": 2, "steps": 3, "control": False}
Build = Callable[..., nn.Module]


def hugging_face(name: str, **settings: object) -> Build:
    """The class `<name>` from its own configuration; settings may be functions of width and depth."""
    model, kind = getattr(transformers, name), getattr(transformers, re.sub(r"(For|LMHead).*", "", name) + "Config")

    def make(width: int, depth: int = 2) -> nn.Module:
        return model(kind(**{k: v(width, depth) if callable(v) else v for k, v in settings.items()}))

    return make


def layer(width: int, depth: int) -> int:
    return width


def inner(width: int, depth: int) -> int:
    return 2 * width


def layers(_: int, depth: int) -> int:
    return depth


def heads(width: int, depth: int) -> int:
    return width // HEAD


SIZES = {"hidden_size": layer, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads}
LANGUAGE = {**SIZES, "vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = hugging_face("LlamaForCausalLM", **LANGUAGE)
GEMMA = hugging_face("Gemma2ForCausalLM", **LANGUAGE, num_key_value_heads=heads, head_dim=HEAD)
GPT2 = hugging_face(
    "GPT2LMHeadModel", n_embd=layer, n_layer=layers, n_head=heads, vocab_size=VOCABULARY, n_positions=32, bos_token_id=0, eos_token_id=0
)
VIT = hugging_face("ViTForImageClassification", **SIZES, image_size=32, patch_size=8, num_labels=10)
IMAGES = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class LSTM(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.token, self.lstm, self.head = nn.Embedding(32, width), nn.LSTM(width, width, batch_first=True), nn.Linear(width, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.token(x))[0])


class ResNet(nn.Module):
    """Convolutions with BatchNorm; the activations and joins may be in place, as in torchvision."""

    def __init__(self, width: int, *, inplace: bool = False) -> None:
        super().__init__()
        self.stem, self.relu, self.inplace = nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=inplace), inplace
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)])
            for _ in range(2)
        )
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for first, norm, second in self.blocks:
            y = second(self.relu(norm(first(x))))
            x = y.add_(x) if self.inplace else x + y
        return self.readout(x.mean((-2, -1)))


class Dropped(nn.Module):
    def __init__(self, width: int, rate: float = 0.5) -> None:
        super().__init__()
        self.drop, self.own, self.rate = nn.Dropout(rate), mlp(width, 2), rate

    def forward(self, x: Tensor) -> Tensor:
        return self.own(nn.functional.dropout(self.drop(x), self.rate, self.training))


class Words(nn.Module):
    def forward(self, x: Tensor) -> str:
        return str(x.shape)


class Attention(nn.Module):
    """Attention modules that put out tuples, and one module that puts out none of floating type."""

    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__()
        self.token, self.words, self.head = nn.Embedding(32, width), Words(), nn.Linear(width, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.attention = nn.ModuleList(nn.MultiheadAttention(width, width // HEAD, 0.1, batch_first=True) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        self.words(x)
        x = self.token(x)
        for norm, attention in zip(self.norms, self.attention, strict=True):
            y = norm(x)
            x = x + attention(y, y, y)[0]
        return self.head(x)


MODELS: dict[str, tuple[Build, dict[str, Any]]] = {
    "Llama": (LLAMA, {"seeds": 3}),
    "GPT-2": (GPT2, {"width": [64, 256], "seeds": 3, "steps": 4, "lr": 2**-8}),
    "ViT": (VIT, {"batch": {"pixel_values": IMAGES, "labels": torch.arange(8)}, "seeds": 3}),
    "Gemma 2": (GEMMA, {"width": [64, 256], "hooks": True, "seeds": 3, "lr": 2**-8}),
    "LSTM": (LSTM, {}),
    "ResNet": (ResNet, {"batch": IMAGES[..., :8, :8].contiguous(), "width": [32, 128], "seeds": 6}),
    "dropout": (Dropped, {"seeds": 3}),
    "nn.MultiheadAttention": (Attention, {}),
}


def check(build: Build, **settings: Any) -> mt.CoordinateCheck:
    return mt.coordinate_check(build, **SETTINGS | settings)


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    build, settings = MODELS[name]
    found = check(build, **settings)
    found.raise_if_wrong()
    assert "" in {row.name for row in found.rows}


@pytest.mark.parametrize("build", [LLAMA, partial(gpt, tied=True), GEMMA], ids=["Llama", "tied", "Gemma 2"])
def test_depth(build: Build) -> None:
    found = check(partial(build, 32), width=None, depth=[2, 4, 8], hooks=build is GEMMA, steps=2, seeds=3)
    found.raise_if_wrong()


FALSE_ALARMS = {
    "Gemma 2": (GEMMA, {"hooks": True, "seeds": 3}, "at the default rate, less alignment in wider networks is taken for a fault"),
    "GPT-2": (GPT2, {"steps": 4}, "at the default rate, two seeds scatter by more than their interval says"),
}


@pytest.mark.parametrize("name", [*FALSE_ALARMS])
def test_no_false_alarm_at_the_default_rate(name: str) -> None:
    build, settings, _ = FALSE_ALARMS[name]
    found = check(build, width=[64, 256], **settings)
    assert found.verdict != "fail", found.findings


def test_a_bias_as_torch_draws_it_is_no_fault() -> None:
    found = check(ResNet, batch=IMAGES[..., :8, :8].contiguous(), width=[64, 256], seeds=2, steps=1)
    assert "readout.bias" not in {each.name for each in found.findings}


def test_the_control_is_planned_as_the_model_is() -> None:
    found = check(GEMMA, hooks=True, control=True, seeds=1, steps=1)
    assert {row.width for row in found.rows if row.rule == "sp"} == set(WIDTHS)
    assert not [note for note in found.notes if "left out" in note]


def test_modules_without_tensors_are_noted() -> None:
    assert [note for note in check(Attention, seeds=1).notes if "no tensor" in note and "words" in note]


def test_no_dropout() -> None:
    rows, others = (check(partial(Dropped, rate=rate)).rows for rate in (0.5, 0.0))
    assert rows == others


def test_values_are_noted_before_they_change_in_place() -> None:
    rows, others = (check(partial(ResNet, inplace=inplace), batch=IMAGES[..., :8, :8], seeds=1).rows for inplace in (False, True))
    assert [row[:-1] for row in rows] == [row[:-1] for row in others]
    assert [row.value for row in rows] == pytest.approx([row.value for row in others], rel=1e-4)


def tokens(seed: int, step: int) -> Tensor:
    return torch.randint(32, (8, 16), generator=torch.Generator().manual_seed(100 * seed + step))


def test_fresh_data_at_every_step() -> None:
    asked = set()

    def batch(seed: int, step: int) -> Tensor:
        asked.add((seed, step))
        return tokens(seed, step)

    found = check(partial(gpt, vocabulary=32), batch=batch, fresh=True, seeds=3)
    found.raise_if_wrong()
    assert asked == {(seed, step) for seed in range(3) for step in range(4)}


def test_joint() -> None:
    found = check(gpt, width=[32, 128], depth=[2, 4, 8], joint=True, seeds=1, steps=2)
    found.raise_if_wrong()
    assert len({row[1:3] for row in found.rows}) == 6


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers(optimizer: str) -> None:
    check(gpt, optimizer=optimizer).raise_if_wrong()


def one(plan: mt.Plan, model: nn.Module) -> Any:
    return torch.optim.AdamW(plan.param_groups(model, 2**-6))


def halves(plan: mt.Plan, model: nn.Module) -> list[torch.optim.Optimizer]:
    groups = [
        group | {"params": [parameter], "names": [name]}
        for group in plan.param_groups(model, 2**-6)
        for parameter, name in zip(group["params"], group["names"], strict=True)
    ]
    return [torch.optim.AdamW(groups[::2]), torch.optim.AdamW(groups[1::2])]


def scheduled(plan: mt.Plan, model: nn.Module) -> Any:
    optimizer = one(plan, model)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def test_train_may_return_several_optimizers_and_a_schedule() -> None:
    small = partial(gpt, depth=1, vocabulary=32)
    forms = (one, scheduled, halves, lambda plan, model: tuple(halves(plan, model)))
    first, *others = (check(small, train=train, width=[16, 64], seeds=1, steps=2).rows for train in forms)
    assert all([row[:-1] for row in each] == [row[:-1] for row in first] for each in others)
    assert all([row.value for row in each] == pytest.approx([row.value for row in first], rel=1e-3) for each in others)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("control", [False, True])
def test_muon_and_adamw(control: bool) -> None:
    def train(plan: mt.Plan, model: nn.Module) -> Any:
        muon = torch.optim.Muon(plan.param_groups(model, 0.02, optimizer="muon-original"))
        return muon, torch.optim.AdamW(plan.param_groups(model, 2**-6, optimizer="adamw"))

    small = partial(gpt, depth=1, vocabulary=64)
    check(small, optimizer={"hidden": torch.optim.Muon, "*": "adamw"}, train=train, control=control, steps=2).raise_if_wrong()


def test_a_compiled_model_is_checked_as_it_is() -> None:
    plain, compiled = (
        check(gpt, prepare=prepare, width=[16, 64], seeds=1, steps=1) for prepare in (None, lambda m: torch.compile(m, backend="eager"))
    )
    expected = [row for row in plain.rows if row.quantity != "nonlinearity"]
    assert [row[:-1] for row in compiled.rows] == [row[:-1] for row in expected]
    assert [row.value for row in compiled.rows] == pytest.approx([row.value for row in expected], rel=1e-4)


def test_nothing_is_left_behind() -> None:
    built: list[nn.Module] = []

    def build(width: int) -> nn.Module:
        built.append(gpt(width))
        return built[-1]

    def state() -> tuple[Any, ...]:
        return torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), torch.overrides._get_current_function_mode()

    before = state()
    first, second = check(build, seeds=1), check(build, seeds=1)
    assert first.rows == second.rows and first.slopes == second.slopes
    assert not any(module._forward_hooks or module._forward_pre_hooks for model in built for module in model.modules())
    assert state() == before
