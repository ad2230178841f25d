"""Convolution nets and recurrent nets in plain torch: the plain form trains as explicit multipliers do.

As in test_hugging_face.py: residual branches times 1/depth (CompleteP, 2505.01618, Table 1) and the readout's inputs times 1/fan_in
(Tensor Programs V, 2203.03466, Table 8) as hooks, with every tensor at the scale, rate, eps and decay of Table 8's form.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.plan import Plan
from mutransfer.rules import Quantities, Role, family, parametrization

CLASSES = 10


class Block(nn.Module):
    """A block of ResNet with a convolution for each kernel; projected where the stream's shape changes."""

    def __init__(self, channels: int, inner: int, out: int, stride: int, kernels: tuple[int, ...], before: bool) -> None:
        super().__init__()
        sizes = [channels, *[inner] * (len(kernels) - 1), out]
        strides = [stride if i == kernels.index(3) else 1 for i in range(len(kernels))]
        self.convs = nn.ModuleList(nn.Conv2d(sizes[i], sizes[i + 1], k, strides[i], k // 2, bias=False) for i, k in enumerate(kernels))
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, sizes[:-1] if before else sizes[1:]))
        shortcut = [nn.Conv2d(channels, out, 1, stride=stride, bias=False), *([] if before else [nn.BatchNorm2d(out)])]
        self.shortcut = nn.Sequential(*shortcut if channels != out or stride != 1 else [])
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = conv(torch.relu(norm(y))) if self.before else norm(conv(torch.relu(y) if i else y))
        return self.shortcut(x) + y if self.before else torch.relu(self.shortcut(x) + y)


class ResNet(nn.Module):
    def __init__(self, width: int, blocks: int, kernels: tuple[int, ...], expansion: int, *, before: bool = False) -> None:
        super().__init__()
        self.stem, channels = nn.Conv2d(3, width, 3, padding=1, bias=False), width
        self.stages = nn.ModuleList()
        for inner in (width, 2 * width):
            stage = nn.Sequential()
            for i in range(blocks):
                stage.append(Block(channels, inner, expansion * inner, 2 if inner > width and not i else 1, kernels, before))
                channels = expansion * inner
            self.stages.append(stage)
        self.norm = nn.BatchNorm2d(channels if before else width)
        self.head, self.before = nn.Linear(channels, CLASSES), before

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) if self.before else torch.relu(self.norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        return self.head((torch.relu(self.norm(x)) if self.before else x).mean((-2, -1)))


class UNet(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width]
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(sizes))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(sizes))
        self.joins = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a in sizes[:-1])
        self.norms = nn.ModuleList(nn.GroupNorm(4, a) for a in [*sizes, *sizes[:-1]])
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [torch.relu(self.norms[0](self.stem(x)))]
        for i, down in enumerate(self.downs):
            skips.append(torch.relu(self.norms[i + 1](down(skips[-1]))))
        x = skips[-1]
        for i in reversed(range(len(self.ups))):
            x = torch.relu(self.norms[i + 3](self.joins[i](torch.cat([skips[i], self.ups[i](x)], 1))))
        return self.head(x)


class LSTM(nn.Module):
    """A language model, or a classifier of sequences of features; classes are the second dimension of what it returns."""

    def __init__(self, width: int, *, tokens: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, width) if tokens else nn.Linear(3, width)
        self.lstm, self.head = nn.LSTM(width, width, 2, batch_first=True), nn.Linear(width, CLASSES)
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        x = self.lstm(self.embedding(x))[0]
        return self.head(x).mT if self.tokens else self.head(x[..., -1, :])


@dataclass(frozen=True)
class Case:
    """A family of width and depth, its data, roles of some of its tensors, and the modules that end its branches where depth grows."""

    make: Callable[[int, int], nn.Module]
    inputs: Tensor
    targets: Tensor
    roles: dict[str, Role]
    ends: str = ""


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def chosen(*shape: int) -> Tensor:
    return torch.randint(CLASSES, shape, generator=torch.Generator().manual_seed(2))


BASIC, BOTTLENECK = ((3, 3), 1), ((1, 3, 1), 4)
IMAGES = drawn(8, 3, 8, 8)
RESNET = {
    "stem.weight": Role.INPUT,
    "stages.*.convs.*": Role.HIDDEN,
    "stages.*.shortcut.0.weight": Role.HIDDEN,
    "*norm*.weight": Role.GAIN,
    "*norm*.bias": Role.BIAS,
    "head.weight": Role.READOUT,
}
UNET = {
    "stem.weight": Role.INPUT,
    "downs.*.weight": Role.HIDDEN,
    "ups.*.weight": Role.HIDDEN,
    "joins.*.weight": Role.HIDDEN,
    "norms.*.weight": Role.GAIN,
    "head.weight": Role.READOUT,
}
RECURRENT = {"lstm.weight_*": Role.HIDDEN, "head.weight": Role.READOUT}
CASES = {
    "ResNet-18": Case(lambda n, d: ResNet(8 * n, 2, *BASIC), IMAGES, chosen(8), RESNET),
    "ResNet-50": Case(lambda n, d: ResNet(4 * n, 2, *BOTTLENECK), IMAGES, chosen(8), RESNET),
    "ResNet-50, deeper": Case(lambda n, d: ResNet(4 * n, 1 + d, *BOTTLENECK), IMAGES, chosen(8), RESNET, ends="stages.?.[!0].norms.2"),
    "ResNet v2, deeper": Case(
        lambda n, d: ResNet(4 * n, 1 + d, *BOTTLENECK, before=True), IMAGES, chosen(8), RESNET, ends="stages.?.[!0].convs.2"
    ),
    "U-Net": Case(lambda n, d: UNet(8 * n), IMAGES[:4], chosen(4, 8, 8), UNET),
    "LSTM, tokens": Case(
        lambda n, d: LSTM(16 * n, tokens=True), chosen(4, 12), chosen(4, 12), RECURRENT | {"embedding.weight": Role.EMBEDDING}
    ),
    "LSTM, features": Case(
        lambda n, d: LSTM(16 * n, tokens=False), drawn(8, 12, 3), chosen(8), RECURRENT | {"embedding.weight": Role.INPUT}
    ),
}

STEPS, WIDER, DEEPER = 10, 3, 3
LR, EPS, DECAY = 5e-3, 1e-4, 0.1


@cache
def plain(name: str) -> tuple[Plan, nn.Module, Tensor]:
    """The plan of a case, its model before training, and its outputs while it trains."""
    case = CASES[name]
    torch.manual_seed(0)
    model, base = case.make(WIDER, DEEPER).double(), case.make(1, 1).double()
    own = mt.plan(model, base)
    own.initialize(model)
    trained = copy.deepcopy(model)
    return own, model, train(trained, own.param_groups(trained, LR, eps=EPS, weight_decay=DECAY), case)


def table8(own: Plan, name: str) -> Quantities:
    return parametrization(own.rule).quantities(own[name].role, family("adamw"), own[name].place, form="table8")


def explicit(name: str, *, branch: float = 1 / DEEPER, logits: float = 1 / WIDER) -> Tensor:
    """The outputs of the model with its multipliers in the forward pass, and its tensors without them, while it trains."""
    own, model, _ = plain(name)
    other = copy.deepcopy(model)
    for each, parameter in other.named_parameters():
        parameter.data /= own[each].factor("multiplier")
    for each, module in other.named_modules():
        if (ends := CASES[name].ends) and fnmatchcase(each, ends):
            module.register_forward_hook(lambda module, inputs, output: output * branch)
    other.get_submodule("head").register_forward_pre_hook(lambda module, inputs: (inputs[0] * logits,))
    return train(other, groups8(own, other), CASES[name])


def groups8(own: Plan, model: nn.Module) -> list[dict[str, Any]]:
    def group(name: str, parameter: Tensor) -> dict[str, Any]:
        q = table8(own, name)
        values = {"lr": (LR, q.lr), "eps": (EPS, q.eps), "weight_decay": (DECAY, q.decay)}
        return {"params": [parameter]} | {key: base * power.evaluate(own[name].ratios) for key, (base, power) in values.items()}

    return [group(name, parameter) for name, parameter in model.named_parameters()]


def train(model: nn.Module, groups: list[dict[str, Any]], case: Case) -> Tensor:
    optimizer, outputs = torch.optim.AdamW(groups), []
    for _ in range(STEPS):
        output = model(case.inputs)
        outputs.append(output.detach())
        optimizer.zero_grad()
        nn.functional.cross_entropy(output, case.targets).backward()
        optimizer.step()
    return torch.stack(outputs)


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / (a - a[0]).norm()).item()


@pytest.mark.parametrize("name", CASES)
def test_planned_without_a_hint(name: str) -> None:
    own, deep = plain(name)[0], bool(CASES[name].ends)
    assert own.rule == ("completep" if deep else "mup")
    assert own.depth[1] == own.depth[0] * (DEEPER if deep else 1)
    assert ("unproven-recurrent" in {warning.id for warning in own.warnings}) == ("LSTM" in name)
    for pattern, role in CASES[name].roles.items():
        assert {tensor.role for tensor in own.tensors.values() if fnmatchcase(tensor.name, pattern)} == {role}, pattern


@pytest.mark.parametrize("name", CASES)
def test_the_plain_form_trains_as_explicit_multipliers(name: str) -> None:
    assert difference(explicit(name), plain(name)[2]) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_a_readout_without_its_multiplier_is_seen(name: str) -> None:
    assert difference(explicit(name, logits=1.0), plain(name)[2]) > 1e-2


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.ends])
def test_a_branch_without_its_multiplier_is_seen(name: str) -> None:
    assert difference(explicit(name, branch=1.0), plain(name)[2]) > 1e-2


@pytest.mark.parametrize("name", CASES)
def test_tensors_start_at_the_scale_that_table_8_says(name: str) -> None:
    own, model, _ = plain(name)
    for tensor in own.tensors.values():
        start = torch.cat([(model.get_parameter(each) / own[each].factor("multiplier")).flatten() for each in tensor.run])
        wanted = (tensor.base_rms or 0.0) * table8(own, tensor.name).init.evaluate(tensor.ratios)
        assert start.square().mean().sqrt().item() == pytest.approx(wanted, rel=1e-9), tensor.name
