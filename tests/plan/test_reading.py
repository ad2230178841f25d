"""A base may be a model, what builds it, or what was read of it; reading leaves a model as it was."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from operator import getitem
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.tasks._models import gpt, mlp

SEQUENCES, IMAGES, WORDS = torch.zeros(2, 6, 5), torch.zeros(2, 3, 8, 8), torch.zeros(2, 6, dtype=torch.long)


class ConvBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))


def resnet(width: int, depth: int) -> nn.Module:
    blocks = (ConvBlock(width) for _ in range(depth))
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


class Recurrent(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.cell, self.readout = nn.LSTM(5, width, batch_first=True), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.cell(x)[0])


class Numbers(nn.Module):
    """Multiplies its embedding by sqrt(width) and its branches by 1/depth."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.width, self.token, self.norm, self.head = width, nn.Embedding(11, width), nn.LayerNorm(width), nn.Linear(width, 11)
        self.up, self.down = (nn.ModuleList(nn.Linear(width, width) for _ in range(depth)) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) * self.width**0.5
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(F.gelu(up(x))) / len(self.up)
        return self.head(self.norm(x))


class Bare(nn.Module):
    """A matrix whose axes no rule knows, between layers of two inputs."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.readout, self.mix = nn.Linear(5, width), nn.Linear(width, 3), nn.Parameter(torch.eye(width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.readout(torch.relu(self.stem(x) + self.stem(y)) @ self.mix)


def llama(width: int, depth: int) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": depth, "num_attention_heads": width // 8}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, vocab_size=64, num_key_value_heads=2))


Make = Callable[[int, int], nn.Module]
MODELS: dict[str, tuple[Make, int, dict[str, Any]]] = {
    "mlp": (lambda width, depth: mlp(width, 3), 1, {}),
    "gpt": (gpt, 2, {}),
    "gpt, tied": (partial(gpt, tied=True), 2, {}),
    "gpt, growing heads": (partial(gpt, heads=2), 2, {}),
    "resnet": (resnet, 2, {"example_inputs": IMAGES}),
    "lstm": (Recurrent, 1, {"example_inputs": SEQUENCES}),
    "own numbers": (Numbers, 2, {}),
    "axes and inputs": (Bare, 1, {"axes": {"mix": ("in", "out")}, "example_inputs": (torch.zeros(2, 5), torch.zeros(2, 5))}),
    "llama": (llama, 2, {}),
}


@pytest.mark.parametrize(("make", "deeper", "options"), MODELS.values(), ids=MODELS)
def test_every_form_of_a_base_gives_one_plan(make: Make, deeper: int, options: dict[str, Any]) -> None:
    model, base = make(32, 2 * deeper), make(16, 2)
    read, built = mt.read(base, **options), mt.read(lambda: base, **options)
    saved = mt.Reading.from_json(read.to_json())
    expected = mt.plan(model, base, **options)
    assert not expected.at_base
    for form in (lambda: base, read, saved):
        assert mt.plan(model, form, **options) == expected
    assert saved.to_json() == read.to_json() == built.to_json()


@pytest.mark.parametrize("rule", ["sp", "mup", "depth-mup", "completep", "spectral"])
def test_a_reading_is_good_for_every_rule(rule: str) -> None:
    model, base = gpt(32, 4, tied=True), gpt(16, 2, tied=True)
    assert mt.plan(model, mt.Reading.from_json(mt.read(base).to_json()), rule=rule) == mt.plan(model, base, rule=rule)


@pytest.mark.parametrize("name", ["mlp", "gpt, tied", "own numbers", "axes and inputs"])
def test_a_base_on_the_meta_device_gives_the_plan_but_for_initial_scales(name: str) -> None:
    make, deeper, options = MODELS[name]
    with torch.device("meta"):
        base = make(16, 2)
    model = make(32, 2 * deeper)
    own, expected = mt.plan(model, base, **options), mt.plan(model, make(16, 2), **options)
    bare = {name: replace(tensor, base_rms=None, run=()) for name, tensor in expected.tensors.items()}
    for form in (lambda: base, mt.Reading.from_json(mt.read(base, **options).to_json())):
        read = mt.plan(model, form, **options)
        assert read == own and {name: replace(tensor, run=()) for name, tensor in read.tensors.items()} == bare
        with pytest.raises(mt.MutransferError, match=r"does not know the initial scale of .*give a base with values"):
            read.initialize(model)


def test_the_initialization_by_a_reading_is_that_by_its_model() -> None:
    base, models = gpt(16, 2), [gpt(32, 2)]
    models.append(copy.deepcopy(models[0]))
    for model, form in zip(models, (base, mt.Reading.from_json(mt.read(base).to_json())), strict=True):
        mt.plan(model, form).initialize(model)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_a_reading_holds_no_weights() -> None:
    assert len(mt.read(gpt(256)).to_json()) < 100_000


def test_a_builder_that_returns_no_module_is_refused() -> None:
    for nothing in (None, "mlp", mlp):
        with pytest.raises(
            mt.MutransferError, match=r"is no model: give a torch\.nn.Module, what builds one without arguments, or a Reading"
        ):
            mt.plan(mlp(16), lambda nothing=nothing: nothing)


TEXT = mt.read(Numbers(16, 2)).to_json()
NO_READING = r"this is not a reading written by Reading\.to_json"
PATHS = [(key,) for key in json.loads(TEXT)] + [("tensors", i, key) for i in (0, 3) for key in json.loads(TEXT)["tensors"][0]]


def damaged(path: str, value: Any) -> str:
    """The reading with one value replaced."""
    data = json.loads(TEXT)
    keys = [int(key) if key.isdigit() else key for key in path.split(".")]
    reduce(getitem, keys[:-1], data)[keys[-1]] = value
    return json.dumps(data)


@given(st.sets(st.sampled_from(PATHS), min_size=1))
@settings(deadline=None, max_examples=25)
def test_a_reading_without_some_keys_is_refused(paths: set[tuple[Any, ...]]) -> None:
    data = json.loads(TEXT)
    for path in sorted(paths, key=len, reverse=True):
        del reduce(getitem, path[:-1], data)[path[-1]]
    with pytest.raises(mt.MutransferError, match=NO_READING):
        mt.Reading.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "5", "null", "[]", "{}", '"reading"', "not json", TEXT[:-9], b"\xff\xff", None])
def test_text_that_is_no_reading_is_refused(text: Any) -> None:
    with pytest.raises(mt.MutransferError, match=NO_READING):
        mt.Reading.from_json(text)


DAMAGES = {"tensors": 5, "branches": None, "attention": [3], "factors": [[1.0]], "head_dims": 4}
DAMAGES |= {"tensors.0.shape": None, "tensors.0.layer": 3, "tensors.0.axes": 5}


@pytest.mark.parametrize("path", DAMAGES)
def test_a_reading_with_a_wrong_type_is_refused(path: str) -> None:
    with pytest.raises(mt.MutransferError, match=NO_READING):
        mt.Reading.from_json(damaged(path, DAMAGES[path]))


UNSEEN = {
    "tensors.0.scale": "x",
    "tensors.0.shape": "ab",
    "tensors.0.name": 5,
    "factors": [["x", None, None]],
    "branches": [None, None],
}


@pytest.mark.parametrize("path", UNSEEN)
def test_a_reading_with_a_wrong_type_inside_is_refused(path: str) -> None:
    with pytest.raises(mt.MutransferError):
        mt.plan(Numbers(32, 4), mt.Reading.from_json(damaged(path, UNSEEN[path])))


@pytest.mark.parametrize("depth", [2, 4])
def test_a_saved_reading_in_place_of_the_model_is_refused(depth: int) -> None:
    with pytest.raises(mt.MutransferError):
        mt.plan(mt.Reading.from_json(mt.read(gpt(32, depth)).to_json()), gpt(16, 2))


class Shared(nn.Module):
    """One layer under two names, whose weight a third has, too."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.first, self.third, self.readout = (nn.Linear(*s) for s in ((5, width), (width, width), (width, width), (width, 3)))
        self.second, self.third.weight = self.first, self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.third(torch.relu(self.second(torch.relu(self.first(self.stem(x)))))))


class Raising(nn.Module):
    """A model that gives up in the middle of its forward pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(f"in the middle, after {self.inner(x).shape}")


def partly_frozen(width: int, depth: int) -> nn.Module:
    model = gpt(width, depth, tied=True).eval()
    model.position.requires_grad_(False)
    return model


def state(model: nn.Module) -> tuple[list[Any], list[Any]]:
    """What a model is, without its values: identities, flags and hooks; and its values."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    flat = [(name, weight) for name, m in model.named_modules() for weight in getattr(m, "_flat_weights", [])]
    hooks = [[len(v) for k, v in vars(m).items() if k.endswith("_hooks")] for m in model.modules()]
    own = [(name, id(t), t.requires_grad, t.device, t.grad, t._version) for name, t in tensors + flat]
    return [own, hooks, [(name, id(m), m.training, *vars(m)) for name, m in model.named_modules()]], [
        t.detach().clone() for _, t in tensors
    ]


UNTOUCHED: dict[str, tuple[Make, Any]] = {
    "lstm": (Recurrent, SEQUENCES),
    "batch norm": (resnet, IMAGES),
    "shared": (Shared, torch.zeros(2, 5)),
    "frozen": (partly_frozen, None),
}


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize(("make", "inputs"), UNTOUCHED.values(), ids=UNTOUCHED)
def test_planning_and_reading_leave_the_model_as_it_was(make: Make, inputs: Any, raises: bool) -> None:
    model, base = make(32, 2), make(16, 2)
    if raises:
        inputs, model, base = WORDS if inputs is None else inputs, Raising(model), Raising(base)
    before = state(model), state(base)
    for call in (lambda: mt.plan(model, base, example_inputs=inputs), lambda: mt.read(model, example_inputs=inputs)):
        if raises:
            with pytest.raises(mt.MutransferError, match="in the middle, after"):
                call()
        else:
            call()
    for (own, values), (now, after) in zip(before, (state(model), state(base)), strict=True):
        assert own == now and all(torch.equal(a, b) for a, b in zip(values, after, strict=True))


class Caching(nn.Module):
    """Keeps what its first forward pass made, in an attribute or in a buffer, as rotary embeddings do."""

    def __init__(self, buffer: bool, width: int) -> None:
        super().__init__()
        self.buffer, self.stem, self.readout, self.cosines = buffer, nn.Linear(5, width), nn.Linear(width, 3), None

    def forward(self, x: Tensor) -> Tensor:
        if self.cosines is None:
            cosines = torch.arange(x.shape[-1], device=x.device).cos()
            if self.buffer:
                del self.cosines
                self.register_buffer("cosines", cosines)
            self.cosines = cosines
        return self.readout(self.stem(x * self.cosines))


@pytest.mark.parametrize("buffer", [False, True])
def test_a_model_that_caches_in_its_forward_pass_runs_after_planning(buffer: bool) -> None:
    model = Caching(buffer, 32)
    mt.plan(model, Caching(buffer, 16))
    model(torch.zeros(2, 5))
