"""Families of models with the roles and factors of their tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.rules import FAMILIES, parametrization
from tests.factors import QUANTITIES, factors
from tests.models import BareAttention, Residual, adapted, attending, mixture, separable_net

WIDTH = 16
GAINS = (nn.RMSNorm, nn.LayerNorm)
SEQUENCES, ROWS, IMAGES = torch.zeros(2, 4, 5), torch.zeros(2, 5), torch.zeros(2, 3, 8, 8)
KEY_VALUE = {"*.key.*": "key-value", "*.value.*": "key-value"}
BARE = {"position": "position", "gammas.*": "layer-scale", "heat": "attention-scale"}
STACKS = {"*_experts": ("expert", "out", "in")}
MIXTURE = {"*.router.weight": "router", "*_experts": "expert"}
LORA = {"*.lora_A.weight": "lora-a", "*.lora_B.*": "lora-b"}
FROZEN = LORA | {"*.pretrained.*": "frozen"}


def bottlenecks(width: int) -> nn.Module:
    """A branch through two features."""
    layers = (
        nn.LayerNorm,
        lambda n: nn.Linear(n, 2),
        lambda n: nn.ReLU(),
        lambda n: nn.Linear(2, n),
    )
    return Residual(width, 1, lambda n: nn.Sequential(*(layer(n) for layer in layers)))


def lawful(plan: mt.Plan, rule: str = "mup", optimizer: str = "adamw") -> None:
    """Check that every tensor has the factors of the rule for its role and place."""
    for tensor in plan.tensors.values():
        wanted = parametrization(rule).quantities(
            tensor.role, FAMILIES[optimizer], tensor.place, form="plain"
        )
        sizes = {"experts": Fraction(1), **tensor.ratios}
        assert factors(plan, tensor.name) == pytest.approx(
            [getattr(wanted, q).evaluate(sizes) for q in QUANTITIES]
        ), tensor.name


@dataclass(frozen=True, kw_only=True)
class Case:
    """A family of models, with roles and factors of tensors at four times the width.

    Attributes:
        make: The model at a multiple of the base width.
        expected: Role and factors (init, lr, eps, decay for AdamW) by name.
        inputs: Example inputs.
        roles: Declared roles.
        axes: Declared axes.
    """

    make: Callable[[int], nn.Module]
    expected: Mapping[str, tuple[str, tuple[float, ...]]]
    inputs: Tensor
    roles: Mapping[str, str] | None = None
    axes: Mapping[str, tuple[str, ...]] | None = None


HIDDEN = ("hidden", (1 / 2, 1 / 4, 1 / 4, 4.0))
# Gradients of independent heads add up: sqrt(n) · 1/n.
SHARED = ("key-value", (1 / 2, 1 / 4, 1 / 2, 4.0))
VECTOR = (1.0, 1.0, 1 / 4, 1.0)
PLAIN = (1.0, 1.0, 1.0, 1.0)
GROUPED = {
    "blocks.0.query.weight": HIDDEN,
    "blocks.1.key.weight": SHARED,
    "blocks.1.value.weight": SHARED,
    "blocks.1.out.weight": HIDDEN,
    "blocks.1.norm.weight": ("gain", VECTOR),
}
PROPORTION = GROUPED | {"blocks.1.key.weight": HIDDEN, "blocks.1.value.weight": HIDDEN}
CASES: dict[str, Case] = {
    **{
        f"shared keys and values, {how}": Case(
            make=lambda n, how=how: attending(WIDTH * n, shared=2, how=how),
            expected=GROUPED,
            inputs=SEQUENCES,
        )
        for how in ("grouped", "repeat", "expand", "rotate")
    },
    "keys and values in proportion": Case(
        make=lambda n: attending(2 * WIDTH * n, shared=2 * n), expected=PROPORTION, inputs=SEQUENCES
    ),
    "as many keys and values as queries": Case(
        make=lambda n: attending(WIDTH * n, shared=2 * n), expected=PROPORTION, inputs=SEQUENCES
    ),
    "shared keys and values, declared behind a norm": Case(
        make=lambda n: attending(WIDTH * n, shared=2, gains=GAINS),
        expected=GROUPED,
        inputs=SEQUENCES,
        roles=KEY_VALUE,
    ),
    "norm of queries and keys": Case(
        make=lambda n: attending(WIDTH * n, shared=2 * n, gains=GAINS),
        expected={
            "blocks.0.query_norm.weight": ("head-gain", PLAIN),
            "blocks.0.key_norm.weight": ("head-gain", PLAIN),
            "blocks.0.key_norm.bias": ("bias", PLAIN),
            "blocks.0.norm.weight": ("gain", VECTOR),
            "blocks.0.key.weight": HIDDEN,
        },
        inputs=SEQUENCES,
    ),
    **{
        f"depthwise convolution in {d}D, {m} a channel": Case(
            make=lambda n, d=d, m=m: separable_net(8 * n, d, m),
            expected={
                "layer.depthwise.weight": ("depthwise", VECTOR),
                "layer.depthwise.bias": ("bias", VECTOR),
                "layer.pointwise.weight": HIDDEN,
                "stem.weight": ("input", VECTOR),
                "readout.weight": ("readout", (1 / 4, 1 / 4, 1.0, 4.0)),
            },
            inputs=IMAGES if d == 2 else IMAGES.flatten(2),
        )
        for d, m in ((1, 1), (2, 1), (2, 2))
    },
    "router": Case(
        make=lambda n: mixture(WIDTH * n),
        expected={
            "blocks.0.router.weight": ("router", (1 / 4, 1 / 4, 1.0, 4.0)),
            "blocks.0.up_experts": ("expert", HIDDEN[1]),
            "blocks.0.down_experts": ("expert", HIDDEN[1]),
        },
        inputs=ROWS,
        roles=MIXTURE,
        axes=STACKS,
    ),
    "adapter": Case(
        make=lambda n: adapted(WIDTH * n),
        expected={
            "blocks.1.lora_A.weight": ("lora-a", (1 / 2, 1 / 4, 1.0, 4.0)),
            "blocks.1.lora_B.weight": ("lora-b", VECTOR),
            "blocks.1.pretrained.weight": HIDDEN,
        },
        inputs=ROWS,
        roles=LORA,
    ),
    "adapter of a frozen matrix": Case(
        make=lambda n: adapted(WIDTH * n),
        expected={
            "blocks.1.lora_A.weight": ("lora-a", (1 / 2, 1 / 4, 1.0, 4.0)),
            "blocks.1.pretrained.weight": ("frozen", PLAIN),
            "blocks.1.pretrained.bias": ("frozen", PLAIN),
        },
        inputs=ROWS,
        roles=FROZEN,
    ),
    "bottleneck": Case(
        make=lambda n: bottlenecks(WIDTH * n),
        expected={
            "blocks.0.1.weight": ("hidden", (1 / 2, 1 / 4, 1.0, 4.0)),
            "blocks.0.3.weight": ("input", VECTOR),
        },
        inputs=ROWS,
        roles={"blocks.*.1.weight": "hidden"},
    ),
    "bare parameters, undeclared": Case(
        make=lambda n: BareAttention(WIDTH * n),
        expected={
            "position": ("vector", VECTOR),
            "gammas.1": ("vector", VECTOR),
            "heat": ("scalar", PLAIN),
        },
        inputs=SEQUENCES,
    ),
    "bare parameters": Case(
        make=lambda n: BareAttention(WIDTH * n),
        expected={
            "position": ("position", VECTOR),
            "gammas.1": ("layer-scale", VECTOR),
            "heat": ("attention-scale", PLAIN),
        },
        inputs=SEQUENCES,
        roles=BARE,
    ),
}


def planned(case: Case, wider: int = 4, **options: Any) -> mt.Plan:
    return mt.plan(
        case.make(wider),
        case.make(1),
        example_inputs=case.inputs,
        roles=case.roles,
        axes=case.axes,
        **options,
    )
