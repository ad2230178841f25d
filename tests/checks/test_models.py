"""The check passes on models of every kind, with every optimizer, and leaves nothing behind."""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import gpt
from tests.models import Recurrent, dropped, resnet, tuples_and_words
from tests.models.hugging_face import LANGUAGE, SIZES, depth, heads, width

pytestmark = pytest.mark.filterwarnings("ignore")

WIDTHS = [32, 64, 128]
SPECTRAL = "update spectral"
SETTINGS = {"width": WIDTHS, "seeds": 2, "steps": 3, "control": False}
Build = Callable[..., nn.Module]
Rows = Sequence[Any]


GPT2_SIZES = {"n_embd": width, "n_layer": depth, "n_head": heads, "n_positions": 32}
GPT2_WORDS = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}
IMAGES = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SMALL_IMAGES = IMAGES[..., :8, :8].contiguous()


def hugging_face(name: str, **settings: object) -> Build:
    """The class of this name from its own configuration, with functions of width and depth.

    It is drawn from the state of torch's generator: a check has a seed for every network.
    """
    model = getattr(transformers, name)
    kind = getattr(transformers, re.sub(r"(For|LMHead).*", "", name) + "Config")

    def make(width: int, depth: int = 2) -> nn.Module:
        values = {k: v(width, depth) if callable(v) else v for k, v in settings.items()}
        return model(kind(**values))

    return make


LLAMA = hugging_face("LlamaForCausalLM", **LANGUAGE)
GEMMA = hugging_face("Gemma2ForCausalLM", **LANGUAGE, num_key_value_heads=heads, head_dim=8)
GPT2 = hugging_face("GPT2LMHeadModel", **GPT2_SIZES, **GPT2_WORDS)
VIT = hugging_face("ViTForImageClassification", **SIZES, image_size=32, patch_size=8, num_labels=10)


def lstm(width: int) -> nn.Module:
    return Recurrent(width, embedding=nn.Embedding(32, width), outputs=32)


def convolutional(width: int, *, inplace: bool = False) -> nn.Module:
    return resnet(width, 2, before=True, bias=True, inplace=inplace)


MODELS: dict[str, tuple[Build, dict[str, Any]]] = {
    "Llama": (LLAMA, {"seeds": 3}),
    "GPT-2": (GPT2, {"width": [64, 256], "seeds": 3, "steps": 4, "lr": 2**-8}),
    "ViT": (VIT, {"batch": {"pixel_values": IMAGES, "labels": torch.arange(8)}, "seeds": 3}),
    "Gemma 2": (GEMMA, {"width": [64, 256], "hooks": True, "seeds": 3, "lr": 2**-8}),
    "LSTM": (lstm, {}),
    "ResNet": (convolutional, {"batch": SMALL_IMAGES, "width": [32, 128], "seeds": 6}),
    "dropout": (dropped, {"seeds": 3}),
    "nn.MultiheadAttention": (tuples_and_words, {}),
}


def check(build: Build, **settings: Any) -> mt.CoordinateCheck:
    return mt.coordinate_check(build, **SETTINGS | settings)


@pytest.mark.parametrize("name", MODELS)
def test_models_of_every_kind_pass(name: str) -> None:
    build, settings = MODELS[name]
    result = check(build, **settings)
    result.raise_if_wrong()
    assert "" in {row.name for row in result.rows}


@pytest.mark.parametrize(
    "build", [LLAMA, partial(gpt, tied=True), GEMMA], ids=["Llama", "tied", "Gemma 2"]
)
def test_models_of_every_kind_pass_in_depth(build: Build) -> None:
    settings = {"width": None, "depth": [2, 4, 8], "steps": 2, "seeds": 3}
    check(partial(build, 32), hooks=build is GEMMA, **settings).raise_if_wrong()


FALSE_ALARMS = {
    # less alignment in wider networks is taken for a fault
    "Gemma 2": (GEMMA, {"hooks": True, "seeds": 3}),
    # two seeds scatter by more than their interval
    "GPT-2": (GPT2, {"steps": 4}),
}


@pytest.mark.parametrize("name", [*FALSE_ALARMS])
def test_no_false_alarm_at_the_default_rate(name: str) -> None:
    build, settings = FALSE_ALARMS[name]
    result = check(build, width=[64, 256], **settings)
    assert result.verdict != "fail", result.findings


def test_a_bias_as_torch_draws_it_is_no_fault() -> None:
    result = check(convolutional, batch=SMALL_IMAGES, width=[64, 256], seeds=2, steps=1)
    assert "readout.bias" not in {finding.name for finding in result.findings}


def test_the_control_is_planned_as_the_model_is() -> None:
    result = check(GEMMA, hooks=True, control=True, seeds=1, steps=1)
    assert {row.width for row in result.rows if row.rule == "sp"} == set(WIDTHS)
    assert not [note for note in result.notes if "left out" in note]


def test_modules_without_tensors_are_noted() -> None:
    notes = check(tuples_and_words, seeds=1).notes
    assert [note for note in notes if "no tensor" in note and "words" in note]


def test_dropout_is_off() -> None:
    rows, others = (check(partial(dropped, rate=rate)).rows for rate in (0.5, 0.0))
    assert rows == others


def assert_same(rows: Rows, others: Rows, tolerance: float) -> None:
    """Assert that rows are equal but for rounding errors of their values."""
    assert [row[:-1] for row in rows] == [row[:-1] for row in others]
    values = [row.value for row in others]
    assert [row.value for row in rows] == pytest.approx(values, rel=tolerance)


def test_values_are_recorded_before_they_change_in_place() -> None:
    rows, others = (
        check(partial(convolutional, inplace=inplace), batch=IMAGES[..., :8, :8], seeds=1).rows
        for inplace in (False, True)
    )
    assert_same(rows, others, 1e-4)


def tokens(seed: int, step: int) -> Tensor:
    return torch.randint(32, (8, 16), generator=torch.Generator().manual_seed(100 * seed + step))


def test_fresh_data_at_every_step() -> None:
    calls = set()

    def batch(seed: int, step: int) -> Tensor:
        calls.add((seed, step))
        return tokens(seed, step)

    check(partial(gpt, vocabulary=32), batch=batch, fresh=True, seeds=3).raise_if_wrong()
    assert calls == {(seed, step) for seed in range(3) for step in range(4)}


def test_width_and_depth_vary_jointly() -> None:
    result = check(gpt, width=[32, 128], depth=[2, 4, 8], joint=True, seeds=1, steps=2)
    result.raise_if_wrong()
    assert len({(row.width, row.depth) for row in result.rows}) == 6


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimizer_passes(optimizer: str) -> None:
    check(gpt, optimizer=optimizer).raise_if_wrong()


def test_radam_is_judged_after_its_first_steps() -> None:
    result = mt.coordinate_check(gpt, width=WIDTHS, optimizer="radam", seeds=2, control=False)
    assert result.verdict == "pass" and result.steps == 12, result


def test_a_decoder_that_makes_its_tokens_of_the_labels_is_read() -> None:
    sizes: dict[str, Any] = {"d_model": width, "num_layers": depth, "num_heads": heads}
    sizes |= {"d_kv": 8, "d_ff": 64, "vocab_size": 64, "decoder_start_token_id": 0}
    build = hugging_face("T5ForConditionalGeneration", **sizes)
    words = torch.randint(64, (4, 8), generator=torch.Generator().manual_seed(0))
    for batch in ({"input_ids": words, "labels": words}, None):
        settings: dict[str, Any] = {"width": WIDTHS, "batch": batch, "seeds": 1, "steps": 1}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = mt.coordinate_check(build, control=False, **settings)
        assert {row.width for row in result.rows} == set(WIDTHS)
        # The bias of its attention is learned, and came as a mask with a gradient.
        assert not [each for each in caught if "requires_grad" in str(each.message)]


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
    first, *others = (
        check(small, train=train, width=[16, 64], seeds=1, steps=2).rows for train in forms
    )
    for rows in others:
        assert_same(rows, first, 1e-3)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("control", [False, True])
def test_muon_and_adamw(control: bool) -> None:
    def train(plan: mt.Plan, model: nn.Module) -> Any:
        muon = torch.optim.Muon(plan.param_groups(model, 0.02, optimizer="muon-original"))
        return muon, torch.optim.AdamW(plan.param_groups(model, 2**-6, optimizer="adamw"))

    small, optimizers = (
        partial(gpt, depth=1, vocabulary=64),
        {"hidden": torch.optim.Muon, "*": "adamw"},
    )
    check(small, optimizer=optimizers, train=train, control=control, steps=2).raise_if_wrong()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("muon", ["muon-original", "muon-match-rms"])
def test_two_families_share_the_work_without_a_training_function(muon: str) -> None:
    optimizer, small = f"{muon}+adamw", partial(gpt, depth=1, vocabulary=64)
    check(small, optimizer=optimizer, control=True, seeds=3, steps=4).raise_if_wrong()
    rate, size = 2**-6, WIDTHS[0]
    rows = check(small, optimizer=optimizer, lr=rate, weight_decay=0.0, seeds=1, steps=1).rows
    updates = {row.name: row.value for row in rows if (row.quantity, row.width) == (SPECTRAL, size)}
    # Muon's update of a square matrix is orthogonal, to the accuracy of its iteration; AdamW's
    # first update has all entries of one size.
    scale = 1.0 if muon == "muon-original" else 0.2 * size**0.5
    assert updates["blocks.0.query.weight"] == pytest.approx(rate * scale, rel=0.3)
    assert updates["head.weight"] > 3 * rate


def test_a_compiled_model_is_checked_as_it_is() -> None:
    plain, compiled = (
        check(gpt, prepare=prepare, width=[16, 64], seeds=1, steps=1)
        for prepare in (None, lambda model: torch.compile(model, backend="eager"))
    )
    expected = [row for row in plain.rows if row.quantity != "nonlinearity"]
    assert_same(compiled.rows, expected, 1e-4)


def test_nothing_is_left_behind() -> None:
    models: list[nn.Module] = []

    def build(width: int) -> nn.Module:
        models.append(gpt(width))
        return models[-1]

    def state() -> tuple[Any, ...]:
        mode = torch.overrides._get_current_function_mode()
        return torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), mode

    before = state()
    first, second = check(build, seeds=1), check(build, seeds=1)
    assert first.rows == second.rows and first.slopes == second.slopes
    modules = [module for model in models for module in model.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    assert state() == before
