"""Forms of a base: model, builder, reading; reading leaves a model unchanged."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.models import (
    Caching,
    Raising,
    Recurrent,
    bare_matrix,
    multiplied,
    resnet,
    shared_layers,
)
from tests.models.hugging_face import llama

SEQUENCES, IMAGES = torch.zeros(2, 6, 5), torch.zeros(2, 3, 8, 8)
WORDS, ROWS = torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 5)


Make = Callable[[int, int], nn.Module]
MODELS: dict[str, tuple[Make, int, dict[str, Any]]] = {
    "mlp": (lambda width, depth: mlp(width, 3), 1, {}),
    "gpt": (gpt, 2, {}),
    "gpt, tied": (partial(gpt, tied=True), 2, {}),
    "gpt, growing heads": (partial(gpt, heads=2), 2, {}),
    "resnet": (resnet, 2, {"example_inputs": IMAGES}),
    "lstm": (lambda width, depth: Recurrent(width), 1, {"example_inputs": SEQUENCES}),
    "own numbers": (multiplied, 2, {}),
    "axes and inputs": (
        lambda width, depth: bare_matrix(width, inputs=2),
        1,
        {"axes": {"mix": ("in", "out")}, "example_inputs": (ROWS, ROWS)},
    ),
    "llama": (llama, 2, {}),
}


@pytest.mark.parametrize(("make", "deeper", "options"), MODELS.values(), ids=MODELS)
def test_every_form_of_a_base_gives_one_plan(
    make: Make, deeper: int, options: dict[str, Any]
) -> None:
    model, base = make(32, 2 * deeper), make(16, 2)
    reading, built = mt.read(base, **options), mt.read(lambda: base, **options)
    saved = mt.Reading.from_json(reading.to_json())
    expected = mt.plan(model, base, **options)
    assert not expected.at_base
    for form in (lambda: base, reading, saved):
        assert mt.plan(model, form, **options) == expected
    assert saved.to_json() == reading.to_json() == built.to_json()


@pytest.mark.parametrize("rule", ["sp", "mup", "depth-mup", "completep", "spectral"])
def test_a_reading_is_good_for_every_rule(rule: str) -> None:
    model, base = gpt(32, 4, tied=True), gpt(16, 2, tied=True)
    assert mt.plan(model, mt.Reading.from_json(mt.read(base).to_json()), rule=rule) == mt.plan(
        model, base, rule=rule
    )


@pytest.mark.parametrize("name", ["mlp", "gpt, tied", "own numbers", "axes and inputs"])
def test_a_base_on_the_meta_device_gives_the_plan_but_for_initial_scales(name: str) -> None:
    make, deeper, options = MODELS[name]
    with torch.device("meta"):
        base = make(16, 2)
    model = make(32, 2 * deeper)
    expected, of_values = mt.plan(model, base, **options), mt.plan(model, make(16, 2), **options)
    for form in (lambda: base, mt.Reading.from_json(mt.read(base, **options).to_json())):
        plan = mt.plan(model, form, **options)
        assert plan == expected and plan.tensors.keys() == of_values.tensors.keys()
        for tensor_name, tensor in of_values.tensors.items():
            without_scale = replace(tensor, base_rms=None, run=())
            assert replace(plan[tensor_name], run=()) == without_scale
        with pytest.raises(
            mt.MutransferError,
            match=r"does not know the initial scale of .*give a base with values",
        ):
            plan.initialize(model)


def test_the_initialization_by_a_reading_is_that_by_its_model() -> None:
    base, model = gpt(16, 2), gpt(32, 2)
    other = copy.deepcopy(model)
    mt.plan(model, base).initialize(model)
    mt.plan(other, mt.Reading.from_json(mt.read(base).to_json())).initialize(other)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_builder_that_returns_no_module_is_refused() -> None:
    for nothing in (None, "mlp", mlp):
        with pytest.raises(
            mt.MutransferError,
            match=r"is no model: give a torch\.nn.Module, what builds one without arguments, "
            "or a Reading",
        ):
            mt.plan(mlp(16), lambda nothing=nothing: nothing)


@pytest.mark.parametrize("depth", [2, 4])
def test_a_saved_reading_in_place_of_the_model_is_refused(depth: int) -> None:
    with pytest.raises(mt.MutransferError):
        mt.plan(mt.Reading.from_json(mt.read(gpt(32, depth)).to_json()), gpt(16, 2))


def partly_frozen(width: int, depth: int) -> nn.Module:
    model = gpt(width, depth, tied=True).eval()
    model.position.requires_grad_(False)
    return model


def state(model: nn.Module) -> tuple[list[Any], list[Any]]:
    """Return identities, flags, hooks and attributes, and then the values."""
    tensors = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    modules = list(model.named_modules())
    flat = [(name, w) for name, m in modules for w in getattr(m, "_flat_weights", [])]
    flags = [
        (name, id(t), t.requires_grad, t.device, t.grad, t._version) for name, t in tensors + flat
    ]
    hooks = [[len(v) for k, v in vars(m).items() if k.endswith("_hooks")] for _, m in modules]
    attributes = [(name, id(m), m.training, *vars(m)) for name, m in modules]
    return [flags, hooks, attributes], [t.detach().clone() for _, t in tensors]


UNTOUCHED: dict[str, tuple[Make, Any]] = {
    "lstm": (lambda width, depth: Recurrent(width), SEQUENCES),
    "batch norm": (resnet, IMAGES),
    "shared": (lambda width, depth: shared_layers(width), ROWS),
    "frozen": (partly_frozen, None),
}


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize(("make", "inputs"), UNTOUCHED.values(), ids=UNTOUCHED)
def test_planning_and_reading_leave_the_model_as_it_was(
    make: Make, inputs: Any, raises: bool
) -> None:
    model, base = make(32, 2), make(16, 2)
    if raises:
        inputs, model, base = WORDS if inputs is None else inputs, Raising(model), Raising(base)
    before = state(model), state(base)
    for call in (
        lambda: mt.plan(model, base, example_inputs=inputs),
        lambda: mt.read(model, example_inputs=inputs),
    ):
        if raises:
            with pytest.raises(mt.MutransferError, match="in the middle, after"):
                call()
        else:
            call()
    for (flags, values), (flags_after, after) in zip(
        before, (state(model), state(base)), strict=True
    ):
        assert flags == flags_after
        assert all(torch.equal(a, b) for a, b in zip(values, after, strict=True))


@pytest.mark.parametrize("buffer", [False, True])
def test_a_model_that_caches_in_its_forward_pass_runs_after_planning(buffer: bool) -> None:
    model = Caching(32, buffer=buffer)
    mt.plan(model, Caching(16, buffer=buffer))
    model(torch.zeros(2, 5))
