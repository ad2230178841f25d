"""Convolution and recurrent nets: the plain form trains as explicit multipliers.

As in test_hugging_face.py: residual branches times 1/depth (CompleteP, 2505.01618, Table 1) and the
readout's inputs times 1/fan_in (Tensor Programs V, 2203.03466, Table 8) as hooks, with every tensor
at the scale, rate, eps and decay of Table 8's form.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.rules import Role
from tests.factors import warning_ids
from tests.models import Recurrent, StagedResNet, UNet, last
from tests.peers.table8 import assert_starts_at_table8, difference, groups8

CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A family of models with its data.

    Attributes:
        make: The model at multiples of the base's width and depth.
        inputs: Its inputs.
        targets: Its targets.
        roles: Roles of some tensors, by pattern.
        ends: Pattern of the modules that end its branches, where depth grows.
    """

    make: Callable[[int, int], nn.Module]
    inputs: Tensor
    targets: Tensor
    roles: dict[str, Role]
    ends: str = ""


def lstm(embedding: nn.Module, end: Callable[[Tensor], Tensor]) -> nn.Module:
    """Build an LSTM of two layers behind an embedding."""
    width = embedding.weight.shape[1 if isinstance(embedding, nn.Embedding) else 0]
    return Recurrent(width, embedding=embedding, layers=2, outputs=CLASSES, end=end)


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
RECURRENT = {"cell.weight_*": Role.HIDDEN, "readout.weight": Role.READOUT}
CASES = {
    "ResNet-18": Case(lambda n, d: StagedResNet(8 * n, 2, *BASIC), IMAGES, chosen(8), RESNET),
    "ResNet-50": Case(lambda n, d: StagedResNet(4 * n, 2, *BOTTLENECK), IMAGES, chosen(8), RESNET),
    "ResNet-50, deeper": Case(
        lambda n, d: StagedResNet(4 * n, d, *BOTTLENECK),
        IMAGES,
        chosen(8),
        RESNET,
        ends="stages.?.?.norms.2",
    ),
    "ResNet v2, deeper": Case(
        lambda n, d: StagedResNet(4 * n, d, *BOTTLENECK, before=True),
        IMAGES,
        chosen(8),
        RESNET,
        ends="stages.?.?.convs.2",
    ),
    "U-Net": Case(lambda n, d: UNet(8 * n), IMAGES[:4], chosen(4, 8, 8), UNET),
    "LSTM, tokens": Case(
        lambda n, d: lstm(nn.Embedding(CLASSES, 16 * n), lambda x: x.mT),
        chosen(4, 12),
        chosen(4, 12),
        RECURRENT | {"embedding.weight": Role.EMBEDDING},
    ),
    "LSTM, features": Case(
        lambda n, d: lstm(nn.Linear(3, 16 * n), last),
        drawn(8, 12, 3),
        chosen(8),
        RECURRENT | {"embedding.weight": Role.INPUT},
    ),
}

STEPS, WIDER, DEEPER = 10, 3, 2
"""Every stage of 2 blocks has 4; a branch beside a projected shortcut counts as the others do."""
LR, EPS, DECAY = 5e-3, 1e-4, 0.1


@cache
def plain(name: str) -> tuple[mt.Plan, nn.Module, Tensor]:
    """Return the plan of a case, its initial model, and its outputs in training."""
    case = CASES[name]
    torch.manual_seed(0)
    model, base = case.make(WIDER, 2 * DEEPER).double(), case.make(1, 2).double()
    plan = mt.plan(model, base)
    plan.initialize(model)
    trained = copy.deepcopy(model)
    groups = plan.param_groups(trained, LR, eps=EPS, weight_decay=DECAY)
    return plan, model, train(trained, groups, case)


def explicit(name: str, *, branch: float = 1 / DEEPER, logits: float = 1 / WIDER) -> Tensor:
    """Return the outputs in training with multipliers in the forward pass."""
    plan, model, _ = plain(name)
    other = copy.deepcopy(model)
    for tensor_name, parameter in other.named_parameters():
        parameter.data /= plan[tensor_name].factor("multiplier")
    for module_name, module in other.named_modules():
        if (ends := CASES[name].ends) and fnmatchcase(module_name, ends):
            module.register_forward_hook(lambda module, inputs, output: output * branch)
    readout = other.get_submodule("readout" if "LSTM" in name else "head")
    readout.register_forward_pre_hook(lambda module, inputs: (inputs[0] * logits,))
    return train(other, groups8(plan, other, LR, EPS, DECAY), CASES[name])


def train(model: nn.Module, groups: list[dict[str, Any]], case: Case) -> Tensor:
    """Return the outputs before each step."""
    optimizer, outputs = torch.optim.AdamW(groups), []
    for _ in range(STEPS):
        output = model(case.inputs)
        outputs.append(output.detach())
        optimizer.zero_grad()
        nn.functional.cross_entropy(output, case.targets).backward()
        optimizer.step()
    return torch.stack(outputs)


@pytest.mark.parametrize("name", CASES)
def test_planned_without_a_hint(name: str) -> None:
    plan, deep = plain(name)[0], bool(CASES[name].ends)
    assert plan.rule == ("completep" if deep else "mup")
    assert plan.depth[1] == plan.depth[0] * (DEEPER if deep else 1)
    assert ("unproven-recurrent" in warning_ids(plan)) == ("LSTM" in name)
    for pattern, role in CASES[name].roles.items():
        names = [tensor for tensor in plan.tensors if fnmatchcase(tensor, pattern)]
        assert {plan[tensor].role for tensor in names} == {role}, pattern


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
def test_tensors_start_at_the_scale_of_table_8(name: str) -> None:
    plan, model, _ = plain(name)
    assert_starts_at_table8(plan, model, rel=1e-9)
