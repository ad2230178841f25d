"""Tasks that do not fit a model are refused in one sentence, and the model stays as it was."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError
from mutransfer.tasks import (
    Stream,
    Task,
    accuracy,
    check_fit,
    cross_entropy,
    digits,
    gpt,
    mlp,
    pydocs,
    resnet,
    vit,
)

IMAGES = Task(
    name="images",
    inputs=torch.linspace(-1, 1, 4 * 3 * 32 * 32).view(4, 3, 32, 32),
    targets=torch.arange(4),
    loss=cross_entropy,
    metrics={"accuracy": accuracy},
)


class Named(nn.Module):
    """A model that takes tokens by name and returns an output of its own kind."""

    def __init__(self, vocabulary: int = 40) -> None:
        super().__init__()
        self.gpt = gpt(16, 1, vocabulary=vocabulary, context=8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.gpt(input_ids.view(-1, input_ids.shape[-1])))


def mapped(**changes: Any) -> Task:
    ids = torch.arange(40).view(5, 8)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    data = {"name": "mapped", "inputs": inputs, "targets": ids, "loss": cross_entropy}
    return Task(**data | changes)


def tokens(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    ids = (torch.arange(8 * size).view(size, 8) + seed + step) % 40
    return ids, ids


class Waves(nn.Module):
    """A perceptron of complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(5, 8, dtype=torch.complex64)
        self.readout = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.input(x).abs())  # type: ignore[no-any-return]


WAVES = Task(
    name="waves",
    inputs=torch.fft.rfft(torch.linspace(-1, 1, 48).view(6, 8)),
    targets=torch.arange(6) % 3,
    loss=cross_entropy,
)

STREAM = Stream(name="tokens", batch=tokens, loss=cross_entropy)


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (mlp(), digits(0.1)),
        (gpt(16, 1), pydocs()),
        (resnet(8, 1), IMAGES),
        (vit(16, 1), IMAGES),
        (mlp().double(), digits()),
        (Named(), mapped()),
        (gpt(16, 1, vocabulary=40, context=8), STREAM),
        (Waves(), WAVES),
    ],
    ids=["mlp", "gpt", "resnet", "vit", "double", "mapping", "stream", "complex"],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_task_that_fits_passes(model: nn.Module, task: Any, device: str) -> None:
    check_fit(copy.deepcopy(model).to(device), task)


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        (
            lambda: mlp(outputs=7),
            digits(),
            "task digits has classes from 0 to 9, and the model has 7",
        ),
        (
            lambda: mlp(inputs=32),
            digits(),
            "task digits does not fit the model: MLP fails on inputs",
        ),
        (vit, digits(), r"VisionTransformer fails on inputs \(2, 64\) float32: "),
        (mlp, pydocs(), r"MLP fails on inputs \(2, 64\) int64: "),
        (lambda: vit(side=16), IMAGES, "looks up row 63 of its embedding position, which has 16"),
        (lambda: resnet(channels=1), IMAGES, r"fails on inputs \(2, 3, 32, 32\) float32: "),
        (
            lambda: gpt(vocabulary=200),
            pydocs(),
            "has token 226, and the model's embedding token has",
        ),
        (
            lambda: Named(vocabulary=39),
            mapped(),
            "task mapped has token 39, and the model's embedding gpt.token has 39 rows: build",
        ),
        (mlp, mapped(), "MLP fails on inputs input_ids .2, 8. int64, attention_mask .2, 8. int64"),
        (Waves, replace(WAVES, targets=3 * WAVES.targets), "has classes from 0 to 6, and the mode"),
        (Waves, replace(WAVES, targets=WAVES.inputs[:, 0]), "the loss of task waves fails on the"),
        (lambda: gpt(vocabulary=9), STREAM, "task tokens has token 15, and the model's embedding"),
        (
            gpt,
            replace(pydocs(), targets=pydocs().targets[:, 0]),
            r"has targets \(2,\) for two examples, and the model's logits are \(2, 64, 256\)",
        ),
    ],
)
def test_a_task_that_does_not_fit_is_refused(model: Any, task: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        check_fit(model(), task)


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        (lambda: mlp(outputs=7), digits(), "classes from 0 to 9, and the model has 7 logits"),
        (lambda: mlp(inputs=32), digits(), "MLP fails on inputs"),
        (
            lambda: gpt(vocabulary=200),
            pydocs(),
            "has token 226, and the model's embedding token has",
        ),
    ],
)
def test_shapes_and_tokens_are_checked_without_values(model: Any, task: Any, message: str) -> None:
    with torch.device("meta"):
        made = model()
    with pytest.raises(MutransferError, match=message):
        check_fit(made, task)


def test_a_context_that_is_too_long_is_refused() -> None:
    with pytest.raises(
        MutransferError,
        match="has sequences of 64, for which the model looks up row 63 of its embedding position, "
        "which has 32: build the model with a longer context",
    ):
        check_fit(gpt(context=32), pydocs())


def test_classes_of_the_validation_data_count() -> None:
    kept = (IMAGES.inputs, torch.tensor([0, 1, 2, 11]))
    with pytest.raises(MutransferError, match=r"classes from 0 to 11, .* at least 12 outputs"):
        check_fit(resnet(8, 1), replace(IMAGES, validation=kept))


def test_tokens_of_the_validation_data_count() -> None:
    ids = torch.full((2, 8), 50)
    kept = ({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ids % 40)
    with pytest.raises(MutransferError, match="task mapped has token 50"):
        check_fit(Named(), mapped(validation=kept))


@pytest.mark.parametrize("ignored", [slice(0, 1), slice(None)])
def test_targets_that_the_loss_leaves_out_are_no_classes(ignored: slice) -> None:
    targets = torch.arange(40).view(5, 8)
    targets[:, ignored] = -100
    check_fit(Named(), mapped(targets=targets))
    with pytest.raises(MutransferError, match="classes from -1 to "):
        check_fit(Named(), mapped(targets=torch.full((5, 8), -1)))


def fails(output: Any, targets: Tensor) -> Tensor:
    return output.logits.mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": digits().inputs[:5]}, "has 5 rows of inputs and 1797 of targets: give one of"),
        (
            {"validation": (digits().inputs[:3], digits().targets[:2])},
            "has 3 rows of validation inputs and 2 of targets: give one of each",
        ),
        (
            {"validation": (digits().inputs[:, :3], digits().targets)},
            r"validates on inputs \(1797, 3\) float32 and trains on \(2, 64\) float32",
        ),
        (
            {"loss": fails},
            r"the loss of task digits fails on the model's output, \(2, 10\) float32",
        ),
        (
            {"metrics": {"mine": fails}},
            "the metric mine of task digits fails on the model's output",
        ),
        (
            {"loss": lambda o, t: o},
            r"the loss of task digits returns \(2, 10\) float32: return one",
        ),
        ({"metrics": {"mine": lambda o, t: 0.5}}, "the metric mine of task digits returns a float"),
    ],
)
def test_data_and_scores_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        check_fit(mlp(), replace(digits(), **change))


class Noisy(nn.Module):
    """A model that draws, keeps statistics, and has parts in different modes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.frozen = nn.BatchNorm1d(64).eval()
        self.drop = nn.Dropout()
        self.readout = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.drop(self.frozen(self.norm(x))) + torch.randn(64))


def test_the_data_stays_as_it_was() -> None:
    class Halving(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.div_(2))

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(output, targets.clamp_(max=0))

    inputs, targets = torch.ones(8, 5), torch.ones(8, dtype=torch.long)
    check_fit(Halving(5, 4), Task(name="kept", inputs=inputs, targets=targets, loss=loss))
    assert torch.equal(inputs, torch.ones(8, 5)) and targets.all()


@pytest.mark.parametrize("outputs", [10, 3])
def test_the_model_and_the_generators_stay_as_they_were(outputs: int) -> None:
    model = Noisy()
    model.readout = nn.Linear(64, outputs)
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    try:
        check_fit(model, digits())
    except MutransferError:
        assert outputs == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [m.training for m in (model, model.norm, model.frozen)] == [True, True, False]
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
