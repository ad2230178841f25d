"""The plain form is the same training as explicit multipliers in the forward pass.

A plan writes every multiplier into init, rate, eps and decay of the tensors (the abc symmetry,
Tensor Programs V, Lemma J.1, extended to eps and decay). Here the multipliers stand in the forward
pass instead, where CompleteP (2505.01618, Table 1), Depth-muP (2310.02244) and Tensor Programs V
(Table 8, Definition 4.1) put them, and the tensors are trained by the rule in that form.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import mutransfer as mt
from mutransfer.rules import FAMILIES, ONE, Place, Powers, Quantities, Role, parametrization, powers
from mutransfer.tasks import gpt
from tests.models import TwoMatrices

STEPS, WIDER, DEEPER = 20, 3, 3
TOKENS = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(3, (16,), generator=torch.Generator().manual_seed(1))


def residual_mlp(width: int, depth: int) -> nn.Module:
    blocks = (TwoMatrices(width, 2, joined=True) for _ in range(depth))
    return nn.Sequential(nn.Linear(5, width), nn.Sequential(*blocks), nn.Linear(width, 3))


def small_gpt(width: int, depth: int, **settings: Any) -> nn.Module:
    return gpt(16 * width, depth, vocabulary=11, context=6, **settings)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, the roles of its tensors, and the places of its explicit multipliers.

    Attributes:
        make: The model at a width and a depth relative to base.
        inputs: Its inputs and targets.
        roles: Role, ratio of fan-in, ratio of fan-out, and whether it lies in a branch, by the
            first pattern that matches.
        ends: Patterns of the modules that end a branch.
        logits: Name of the module whose output is multiplied by 1/n, and the pattern of the tensors
            that carry it in the plain form.
        head_dim: Whether the head dimension grows with width.
    """

    make: Callable[[int, int], nn.Module]
    inputs: tuple[Tensor, Tensor]
    roles: dict[str, tuple[Role, int, int, bool]]
    ends: tuple[str, ...]
    logits: tuple[str, str] | None = None
    head_dim: bool = False

    def multipliers(self, rule: str) -> dict[str, Powers]:
        """Return the multipliers that tensors carry in the plain form, by pattern."""
        plan = parametrization(rule)
        carried = {f"{end}.*": plan.branch_multiplier for end in self.ends}
        if self.logits:
            carried[self.logits[1]] = powers(fan_in=-1)
        if self.head_dim:
            carried["blocks.*.query.weight"] = powers(head_dim="-1/2")
        return {pattern: power for pattern, power in carried.items() if power != ONE}


N, D = WIDER, True
GPT = {
    "token.weight": (Role.EMBEDDING, 1, N, False),
    "position.weight": (Role.EMBEDDING, 1, N, False),
    "blocks.*_norm.weight": (Role.GAIN, 1, N, D),
    "blocks.*_norm.bias": (Role.BIAS, 1, N, D),
    "blocks.*": (Role.HIDDEN, N, N, D),
    "norm.weight": (Role.GAIN, 1, N, False),
    "norm.bias": (Role.BIAS, 1, N, False),
    "head.weight": (Role.READOUT, N, 1, False),
}
MLP = {
    "0.weight": (Role.INPUT, 1, N, False),
    "0.bias": (Role.BIAS, 1, N, False),
    "1.*.norm.weight": (Role.GAIN, 1, N, D),
    "1.*.bias": (Role.BIAS, 1, N, D),
    "1.*": (Role.HIDDEN, N, N, D),
    "2.weight": (Role.READOUT, N, 1, False),
    "2.bias": (Role.BIAS, 1, 1, False),
}
TEXT = (TOKENS, TOKENS.roll(-1, 1))
ENDS = ("blocks.*.out", "blocks.*.down")
CASES = {
    "residual mlp": Case(
        make=lambda n, d: residual_mlp(8 * n, d),
        inputs=(ROWS, LABELS),
        roles=MLP,
        ends=("1.*.down",),
    ),
    "gpt": Case(make=small_gpt, inputs=TEXT, roles=GPT, ends=ENDS),
    "gpt, tied": Case(
        make=partial(small_gpt, tied=True),
        inputs=TEXT,
        roles=GPT | {"token.weight": (Role.TIED, 1, N, False)},
        ends=ENDS,
        logits=("head", "norm.*"),
    ),
    "gpt, head dimension grows": Case(
        make=partial(small_gpt, heads=2), inputs=TEXT, roles=GPT, ends=ENDS, head_dim=True
    ),
}
LR = {"adamw": 5e-3, "adam": 5e-3, "sgd": 0.05}
SETTINGS: dict[str, dict[str, float]] = {
    "adamw": {"eps": 1e-4, "weight_decay": 0.1},
    "adam": {"eps": 1e-4},
    "sgd": {"weight_decay": 0.1},
}
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
QUANTITY = {"lr": "lr", "eps": "eps", "weight_decay": "decay"}


def first(patterns: dict[str, Any], name: str, default: Any = None) -> Any:
    return next(
        (value for pattern, value in patterns.items() if fnmatchcase(name, pattern)), default
    )


def ratios(role: tuple[Role, int, int, bool]) -> dict[str, int]:
    return {"fan_in": role[1], "fan_out": role[2], "depth": DEEPER, "head_dim": WIDER}


def explicit(case: Case, rule: str, optimizer: str, name: str) -> tuple[Quantities, dict[str, int]]:
    """Return a tensor's quantities with explicit multipliers, and its ratios."""
    role = first(case.roles, name)
    place = Place.BRANCH if role[3] else Place.OUTSIDE
    return parametrization(rule).quantities(role[0], FAMILIES[optimizer], place), ratios(role)


def explicit_groups(
    case: Case, rule: str, optimizer: str, model: nn.Module
) -> list[dict[str, Any]]:
    groups = []
    for name, parameter in model.named_parameters():
        quantities, sizes = explicit(case, rule, optimizer, name)
        group: dict[str, Any] = {"params": [parameter]}
        for key, value in ({"lr": LR[optimizer]} | SETTINGS[optimizer]).items():
            group[key] = value * getattr(quantities, QUANTITY[key]).evaluate(sizes)
        groups.append(group)
    return groups


def multiply(model: nn.Module, case: Case, rule: str) -> None:
    """Put the multipliers of branches and logits into the forward pass."""
    branch = parametrization(rule).branch_multiplier.evaluate({"depth": DEEPER})
    for name, module in model.named_modules():
        if any(fnmatchcase(name, end) for end in case.ends):
            module.register_forward_hook(lambda _, __, output: output * branch)
        if case.logits and name == case.logits[0]:
            module.register_forward_hook(lambda _, __, output: output / WIDER)


@contextmanager
def attention_over_head_dim(base: int) -> Iterator[None]:
    """Let attention logits be q·k sqrt(d0)/d, torch's at the base's dimension d0."""
    attend = F.scaled_dot_product_attention

    def scaled(q: Tensor, k: Tensor, v: Tensor, **settings: Any) -> Tensor:
        return attend(q, k, v, scale=base**0.5 / q.shape[-1], **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", scaled)
        yield


def trained(model: nn.Module, case: Case, optimizer: str, groups: list[dict[str, Any]]) -> Tensor:
    """Return the outputs before each step and after the last."""
    x, y = case.inputs
    step = OPTIMIZERS[optimizer](groups)
    outputs = []
    with sdpa_kernel(SDPBackend.MATH):
        for _ in range(STEPS):
            output = model(x)
            outputs.append(output.detach())
            step.zero_grad()
            F.cross_entropy(output.flatten(0, -2), y.flatten()).backward()
            step.step()
        with torch.no_grad():
            outputs.append(model(x))
    return torch.stack(outputs)


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / a.norm()).item()


def planned(case: Case, rule: str, optimizer: str) -> tuple[nn.Module, mt.Plan]:
    torch.manual_seed(0)
    base, model = case.make(1, 1).double(), case.make(WIDER, DEEPER).double()
    plan = mt.plan(model, base, rule=rule, optimizer=optimizer, example_inputs=case.inputs[0])
    plan.initialize(model)
    return model, plan


def with_multipliers(case: Case, rule: str, model: nn.Module) -> nn.Module:
    """Return the same function with its multipliers in the forward pass."""
    other = copy.deepcopy(model)
    multiply(other, case, rule)
    carried = case.multipliers(rule)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            multiplier: Powers = first(carried, name, ONE)
            sizes = {"fan_in": WIDER, "depth": DEEPER, "head_dim": WIDER}
            parameter.div_(multiplier.evaluate(sizes))
    return other


def explicit_training(case: Case, rule: str, optimizer: str, model: nn.Module) -> Tensor:
    other = with_multipliers(case, rule, model)
    with attention_over_head_dim(8) if case.head_dim else nullcontext():
        return trained(other, case, optimizer, explicit_groups(case, rule, optimizer, other))


@pytest.mark.parametrize(
    ("name", "rule", "optimizer"),
    [(name, "completep", "adamw") for name in CASES]
    + [
        ("residual mlp", "mup", "sgd"),
        ("residual mlp", "depth-mup", "adam"),
        ("residual mlp", "depth-mup", "sgd"),
        ("gpt, tied", "completep", "sgd"),
        ("gpt, head dimension grows", "mup", "adam"),
    ],
)
def test_the_plain_form_is_the_training_with_explicit_multipliers(
    name: str, rule: str, optimizer: str
) -> None:
    case = CASES[name]
    model, plan = planned(case, rule, optimizer)
    reference = explicit_training(case, rule, optimizer, model)
    plain = trained(
        model, case, optimizer, plan.param_groups(model, LR[optimizer], **SETTINGS[optimizer])
    )
    assert difference(reference, plain) < 1e-12
    assert difference(reference[0], reference[-1]) > 1e-2  # the networks do train


@pytest.mark.parametrize("quantity", ["lr", "eps", "weight_decay"])
@pytest.mark.parametrize("name", ["gpt, tied", "gpt, head dimension grows"])
def test_every_quantity_has_to_follow(name: str, quantity: str) -> None:
    """Negative control: one quantity of the carrying tensors is that of explicit form."""
    case, rule, optimizer = CASES[name], "completep", "adamw"
    model, plan = planned(case, rule, optimizer)
    reference = explicit_training(case, rule, optimizer, model)
    attribute, faulty = QUANTITY[quantity], {}
    for tensor_name, tensor in plan.tensors.items():
        value = getattr(explicit(case, rule, optimizer, tensor_name)[0], attribute)
        faulty[tensor_name] = replace(tensor, **{attribute: value})
    other = replace(plan, tensors=faulty)
    groups = other.param_groups(model, LR[optimizer], **SETTINGS[optimizer])
    assert difference(reference, trained(model, case, optimizer, groups)) > 1e-6


@pytest.mark.parametrize("name", CASES)
def test_the_explicit_form_starts_at_the_scale_of_the_rule(name: str) -> None:
    case = CASES[name]
    model, plan = planned(case, "completep", "adamw")
    other = with_multipliers(case, "completep", model)
    for name in plan.tensors:
        quantities, sizes = explicit(case, "completep", "adamw", name)
        run = torch.cat([other.get_parameter(member).flatten() for member in plan[name].run])
        expected = plan[name].base_rms * quantities.init.evaluate(sizes)
        assert run.square().mean().sqrt().item() == pytest.approx(expected, rel=1e-9)
