"""Tuned plans train as the model with the multipliers in its forward pass does.

The explicit model is trained under the untuned plan: its initial values, rates, eps and decays.
Readout and embedding are multiplied as Tensor Programs V defines it (2203.03466, Section 4.2), the
attention in its scale, branches by a hook on the module that ends them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import mutransfer as mt
from mutransfer.reading import matching
from mutransfer.tasks import gpt, resmlp
from tests.models.hugging_face import llama

STEPS = 6
TOKENS = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(12, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(10, (12,), generator=torch.Generator().manual_seed(1))

OPTIMIZERS: dict[str, tuple[str, Callable[..., Any], dict[str, float]]] = {
    "sgd": ("sgd", torch.optim.SGD, {"lr": 0.05}),
    "sgd, momentum, decay": (
        "sgd",
        partial(torch.optim.SGD, momentum=0.9),
        {"lr": 0.02, "weight_decay": 0.1},
    ),
    "adamw": ("adamw", torch.optim.AdamW, {"lr": 0.01, "eps": 1e-3, "weight_decay": 1.0}),
}
SIZES = {"base": (32, 2), "larger": (64, 3)}


def small_gpt(width: int, depth: int, tied: bool = False) -> nn.Module:
    return gpt(width, depth, heads=2, vocabulary=11, context=6, tied=tied)


MODELS: dict[str, tuple[Callable[[int, int], nn.Module], str, dict[str, str]]] = {
    # builder, end of a branch, modules whose outputs (or inputs) are multiplied
    "gpt": (
        small_gpt,
        "blocks.*.out blocks.*.down",
        {"token": "embedding", "position": "embedding"},
    ),
    "gpt, tied": (
        partial(small_gpt, tied=True),
        "blocks.*.out blocks.*.down",
        {"token": "embedding", "position": "embedding"},
    ),
    "resmlp": (resmlp, "down.*", {}),
    "llama": (llama, "*.o_proj *.down_proj", {"model.embed_tokens": "embedding"}),
    "llama, tied": (
        partial(llama, tied=True),
        "*.o_proj *.down_proj",
        {"model.embed_tokens": "embedding"},
    ),
}
HEADS = {"resmlp": "readout", "gpt": "head", "llama": "lm_head"}
TUNED = {"readout": 4.0, "embedding": 3.0, "attention": 0.7, "branch": 0.5}


def multiplied_attention(factor: float) -> Callable[..., Tensor]:
    """Return the attention with its scale times a factor."""
    original = F.scaled_dot_product_attention

    def attention(query: Tensor, *args: Any, scale: float | None = None, **settings: Any) -> Tensor:
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return original(query, *args, scale=factor * scale, **settings)

    return attention


@contextmanager
def explicit(model: nn.Module, kind: str, tuning: dict[str, float]) -> Iterator[None]:
    """Put the multipliers into the forward pass."""
    _, ends, tables = MODELS[kind]
    modules = dict(model.named_modules())

    def times(factor: float) -> Callable[..., Tensor]:
        return lambda module, inputs, output: factor * output

    hooks = [
        modules[name].register_forward_hook(times(tuning.get(signal, 1.0)))
        for name, signal in tables.items()
    ]
    for name in (name for glob in ends.split() for name in matching(modules, glob)):
        hooks.append(modules[name].register_forward_hook(times(tuning.get("branch", 1.0))))
    head = modules[HEADS[kind.split(",")[0]]]
    readout = tuning.get("readout", 1.0)
    hooks.append(head.register_forward_pre_hook(lambda module, inputs: (readout * inputs[0],)))
    with pytest.MonkeyPatch.context() as patch:
        attention = multiplied_attention(tuning.get("attention", 1.0))
        patch.setattr(F, "scaled_dot_product_attention", attention)
        yield
    for hook in hooks:
        hook.remove()


def losses(model: nn.Module, optimizer: Any) -> Tensor:
    """Return the loss of each step."""
    x, y = (ROWS, LABELS) if hasattr(model, "readout") else (TOKENS, TOKENS.roll(1, -1))
    found = []
    with sdpa_kernel(SDPBackend.MATH):
        for _ in range(STEPS):
            output = model(x)
            logits = getattr(output, "logits", output)
            loss = F.cross_entropy(logits.flatten(0, -2), y.flatten())
            found.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.stack(found)


def built(kind: str, size: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[kind][0](*SIZES[size]).double()


def planned(kind: str, size: str, optimizer: str) -> tuple[nn.Module, mt.Plan]:
    inputs = ROWS if kind == "resmlp" else TOKENS
    model = built(kind, size)
    family = OPTIMIZERS[optimizer][0]
    return model, mt.plan(model, built(kind, "base"), optimizer=family, example_inputs=inputs)


def trained(plan: mt.Plan, model: nn.Module, optimizer: str) -> Tensor:
    _, make, hyperparameters = OPTIMIZERS[optimizer]
    return losses(model, make(plan.param_groups(model, **hyperparameters)))


def trained_explicitly(
    kind: str, size: str, optimizer: str, tuning: dict[str, float]
) -> tuple[Tensor, mt.Plan]:
    """Train the model with explicit multipliers under the untuned plan."""
    model, plan = planned(kind, size, optimizer)
    plan.initialize(model)
    with explicit(model, kind, tuning):
        return trained(plan, model, optimizer), plan


def trained_folded(plan: mt.Plan, kind: str, size: str, optimizer: str) -> Tensor:
    model = built(kind, size)
    plan.initialize(model)
    return trained(plan, model, optimizer)


def signals(kind: str) -> dict[str, float]:
    """Return a number for each signal that the model has."""
    return {k: v for k, v in TUNED.items() if kind != "resmlp" or k in ("readout", "branch")}


def difference(a: Tensor, b: Tensor) -> float:
    return float(((a - b) / a).abs().max())


@pytest.mark.parametrize(("kind", "size", "optimizer"), [*product(MODELS, SIZES, OPTIMIZERS)])
def test_folded_multipliers_train_as_explicit_ones(kind: str, size: str, optimizer: str) -> None:
    tuning = signals(kind)
    expected, plan = trained_explicitly(kind, size, optimizer, tuning)
    found = trained_folded(plan.tuned(**tuning), kind, size, optimizer)
    assert difference(expected, found) < 1e-12
    assert difference(expected, trained_folded(plan, kind, size, optimizer)) > 1e-3


@pytest.mark.parametrize("signal", TUNED)
@pytest.mark.parametrize("kind", ["gpt", "gpt, tied", "llama, tied"])
def test_each_multiplier_alone_is_folded(kind: str, signal: str) -> None:
    tuning = {signal: TUNED[signal]}
    expected, plan = trained_explicitly(kind, "larger", "adamw", tuning)
    found = trained_folded(plan.tuned(**tuning), kind, "larger", "adamw")
    assert difference(expected, found) < 1e-12
    assert difference(expected, trained_folded(plan, kind, "larger", "adamw")) > 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_scales_and_rates_of_single_tensors_are_those_of_the_groups(size: str) -> None:
    model, plan = planned("gpt", size, "adamw")
    plan.initialize(model)
    scaled = {"blocks.*.up.weight": 0.5, "head.weight": 3.0}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for glob, factor in scaled.items():
                parameter *= factor if matching([name], glob) else 1.0
    rates = {"blocks.*.up.weight": 2.0, "token.weight": 0.25}
    _, make, hyperparameters = OPTIMIZERS["adamw"]
    groups = plan.param_groups(model, **hyperparameters, modules=rates)
    expected = losses(model, make(groups))
    tuning = {f"init.{glob}": factor for glob, factor in scaled.items()}
    tuning |= {f"lr.{glob}": factor for glob, factor in rates.items()}
    tuned = plan.tuned(**{"init.readout": 3.0, **tuning, "init.head.weight": 1.0})
    assert difference(expected, trained_folded(tuned, "gpt", size, "adamw")) < 1e-12


def trained_by_muon(plan: mt.Plan, model: nn.Module) -> Tensor:
    hidden = torch.optim.Muon(plan.param_groups(model, 0.02, optimizer="muon-original", eps=0.0))
    rest = torch.optim.AdamW(plan.param_groups(model, 0.01, optimizer="adamw", eps=1e-3))
    return losses(model, Both(hidden, rest))


class Both:
    """Two optimizers that step together."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


def test_each_tensor_carries_by_the_family_that_trains_it() -> None:
    # Powers of two: torch's Muon computes its update in bfloat16.
    tuning = {"readout": 4.0, "embedding": 2.0, "attention": 0.5, "branch": 0.25}
    family = {"hidden": "muon-original", "*": "adamw"}
    model, other = built("gpt", "larger"), built("gpt", "larger")
    plan = mt.plan(model, built("gpt", "base"), optimizer=family, example_inputs=TOKENS)
    plan.initialize(model)
    with explicit(model, "gpt", tuning):
        expected = trained_by_muon(plan, model)
    tuned = plan.tuned(**tuning)
    tuned.initialize(other)
    assert difference(expected, trained_by_muon(tuned, other)) < 1e-12


def test_adafactor_has_the_floor_of_the_planned_size() -> None:
    tuning = {"readout": 4.0, "branch": 0.5}

    def trained_by_adafactor(plan: mt.Plan, model: nn.Module) -> Tensor:
        # The floor is what counts at the zero start of the branches' ends.
        for name, parameter in model.named_parameters():
            if matching([name], "down.*"):
                nn.init.zeros_(parameter)
        return losses(model, torch.optim.Adafactor(plan.param_groups(model, 0.1, eps=(1e-30, 0.2))))

    model, other, scaled = (built("resmlp", "larger") for _ in range(3))
    plan = mt.plan(model, built("resmlp", "base"), optimizer="adafactor", example_inputs=ROWS)
    plan.initialize(model)
    with explicit(model, "resmlp", tuning):
        expected = trained_by_adafactor(plan, model)
    tuned = plan.tuned(**tuning)
    tuned.initialize(other)
    assert difference(expected, trained_by_adafactor(tuned, other)) < 1e-12
    # A zero start has no scale to tune.
    larger = tuned.tuned(**{"init.down.*": 3.0})
    larger.initialize(scaled)
    assert difference(expected, trained_by_adafactor(larger, scaled)) < 1e-12


@pytest.mark.parametrize("size", SIZES)
def test_clipping_sees_the_gradients_of_explicit_multipliers(size: str) -> None:
    tuning = signals("gpt, tied")
    model, plan = planned("gpt, tied", size, "adamw")
    plan.initialize(model)
    other = built("gpt, tied", size)
    tuned = plan.tuned(**tuning)
    tuned.initialize(other)
    with explicit(model, "gpt, tied", tuning):
        backward(model)
    backward(other)
    expected = plan.clip_grad_norm_(model, 0.1)
    assert difference(expected, tuned.clip_grad_norm_(other, 0.1)) < 1e-12
    assert difference(expected, plan.clip_grad_norm_(other, 0.1)) > 1e-3


def backward(model: nn.Module) -> None:
    with sdpa_kernel(SDPBackend.MATH):
        F.cross_entropy(model(TOKENS).flatten(0, -2), TOKENS.roll(1, -1).flatten()).backward()
