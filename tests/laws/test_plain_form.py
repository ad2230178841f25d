"""The plain form is the same training as explicit multipliers in the forward pass.

A plan writes every multiplier into init, rate, eps and decay of the tensors (the abc symmetry, Tensor Programs V, Lemma J.1, extended to
eps and decay). Here the multipliers stand in the forward pass instead, where CompleteP (2505.01618, Table 1), Depth-muP (2310.02244) and
Tensor Programs V (Table 8, Definition 4.1) put them, and the tensors are trained as the rule says in that form.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mutransfer.plan import Plan, plan
from mutransfer.rules import FAMILIES, ONE, Place, Powers, Quantities, Role, parametrization, powers
from mutransfer.tasks._models import gpt

STEPS, WIDER, DEEPER = 20, 3, 3
TOKENS = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(3, (16,), generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


def residual_mlp(width: int, depth: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.Sequential(*[Block(width) for _ in range(depth)]), nn.Linear(width, 3))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, the role of its tensors by name pattern, and where its explicit multipliers stand.

    Attributes:
        make: The model at a width and a depth relative to base.
        inputs: Its data, and what it is trained to say.
        roles: Role, ratio of fan-in, ratio of fan-out, and whether it lies in a branch; the first pattern that matches.
        ends: Patterns of the modules that end a branch.
        logits: Name of the module whose output is multiplied by 1/n, and patterns of the tensors that carry it in the plain form.
        heads: Whether the head dimension grows with width.
    """

    make: Callable[[int, int], nn.Module]
    inputs: tuple[Tensor, Tensor]
    roles: dict[str, tuple[Role, int, int, bool]]
    ends: tuple[str, ...]
    logits: tuple[str, str] | None = None
    head_dim: bool = False

    def multipliers(self, rule: str) -> dict[str, Powers]:
        """Pattern of the tensors that carry a multiplier in the plain form, and the multiplier."""
        own = parametrization(rule)
        carried = {f"{end}.*": own.branch_multiplier for end in self.ends}
        if self.logits:
            carried[self.logits[1]] = powers(fan_in=-1)
        if self.head_dim:
            carried["blocks.*.query.weight"] = powers(head_dim="-1/2")
        return {pattern: multiplier for pattern, multiplier in carried.items() if multiplier != ONE}


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
    "residual mlp": Case(make=lambda n, d: residual_mlp(8 * n, d), inputs=(ROWS, LABELS), roles=MLP, ends=("1.*.down",)),
    "gpt": Case(make=lambda n, d: gpt(16 * n, d, vocabulary=11, context=6), inputs=TEXT, roles=GPT, ends=ENDS),
    "gpt, tied": Case(
        make=lambda n, d: gpt(16 * n, d, vocabulary=11, context=6, tied=True),
        inputs=TEXT,
        roles=GPT | {"token.weight": (Role.TIED, 1, N, False)},
        ends=ENDS,
        logits=("head", "norm.*"),
    ),
    "gpt, head dimension grows": Case(
        make=lambda n, d: gpt(16 * n, d, heads=2, vocabulary=11, context=6), inputs=TEXT, roles=GPT, ends=ENDS, head_dim=True
    ),
}
LR = {"adamw": 5e-3, "adam": 5e-3, "sgd": 0.05}
SETTINGS: dict[str, dict[str, float]] = {"adamw": {"eps": 1e-4, "weight_decay": 0.1}, "adam": {"eps": 1e-4}, "sgd": {"weight_decay": 0.1}}
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
QUANTITY = {"lr": "lr", "eps": "eps", "weight_decay": "decay"}


def first(patterns: dict[str, Any], name: str, default: Any = None) -> Any:
    return next((value for pattern, value in patterns.items() if fnmatchcase(name, pattern)), default)


def ratios(role: tuple[Role, int, int, bool]) -> dict[str, int]:
    return {"fan_in": role[1], "fan_out": role[2], "depth": DEEPER, "head_dim": WIDER}


def explicit(case: Case, rule: str, optimizer: str, name: str) -> tuple[Quantities, dict[str, int]]:
    """What the rule says about a tensor where all multipliers stand in the forward pass."""
    role = first(case.roles, name)
    return parametrization(rule).quantities(role[0], FAMILIES[optimizer], Place.BRANCH if role[3] else Place.OUTSIDE), ratios(role)


def explicit_groups(case: Case, rule: str, optimizer: str, model: nn.Module) -> list[dict[str, Any]]:
    groups = []
    for name, parameter in model.named_parameters():
        quantities, sizes = explicit(case, rule, optimizer, name)
        values = {"lr": LR[optimizer]} | SETTINGS[optimizer]
        groups.append({"params": [parameter]} | {k: v * getattr(quantities, QUANTITY[k]).evaluate(sizes) for k, v in values.items()})
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
    """The attention logits are q·k/d, and at base size what torch makes them: sqrt(d0)/d."""
    attend = F.scaled_dot_product_attention
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, **kw: attend(q, k, v, scale=base**0.5 / q.shape[-1], **kw))
        yield


def trained(model: nn.Module, case: Case, optimizer: str, groups: list[dict[str, Any]]) -> Tensor:
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


def planned(case: Case, rule: str, optimizer: str) -> tuple[nn.Module, Plan]:
    torch.manual_seed(0)
    base, model = case.make(1, 1).double(), case.make(WIDER, DEEPER).double()
    own = plan(model, base, rule=rule, optimizer=optimizer, example_inputs=case.inputs[0])
    own.initialize(model)
    return model, own


def with_multipliers(case: Case, rule: str, model: nn.Module) -> nn.Module:
    """The same function with its multipliers in the forward pass and its tensors divided by them."""
    other = copy.deepcopy(model)
    multiply(other, case, rule)
    carried = case.multipliers(rule)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            multiplier: Powers = first(carried, name, ONE)
            parameter.div_(multiplier.evaluate({"fan_in": WIDER, "depth": DEEPER, "head_dim": WIDER}))
    return other


def explicit_training(case: Case, rule: str, optimizer: str, model: nn.Module) -> Tensor:
    other = with_multipliers(case, rule, model)
    with attention_over_head_dim(8) if case.head_dim else nullcontext():
        return trained(other, case, optimizer, explicit_groups(case, rule, optimizer, other))


@pytest.mark.parametrize(
    ("name", "rule", "optimizer"),
    [(name, "completep", "adamw") for name in CASES]
    + [("residual mlp", rule, optimizer) for rule, optimizer in [("mup", "sgd"), ("depth-mup", "adam"), ("depth-mup", "sgd")]]
    + [("gpt, tied", "completep", "sgd"), ("gpt, head dimension grows", "mup", "adam")],
)
def test_the_plain_form_is_the_training_with_explicit_multipliers(name: str, rule: str, optimizer: str) -> None:
    case = CASES[name]
    model, own = planned(case, rule, optimizer)
    reference = explicit_training(case, rule, optimizer, model)
    plain = trained(model, case, optimizer, own.param_groups(model, LR[optimizer], **SETTINGS[optimizer]))
    assert difference(reference, plain) < 1e-12
    assert difference(reference[0], reference[-1]) > 1e-2  # it did train


@pytest.mark.parametrize("quantity", ["lr", "eps", "weight_decay"])
@pytest.mark.parametrize("name", ["gpt, tied", "gpt, head dimension grows"])
def test_every_quantity_has_to_follow(name: str, quantity: str) -> None:
    """Negative control: one quantity of the tensors that carry a multiplier is left as in the explicit form."""
    case, rule, optimizer = CASES[name], "completep", "adamw"
    model, own = planned(case, rule, optimizer)
    reference = explicit_training(case, rule, optimizer, model)
    wrong = {
        name: replace(own[name], **{QUANTITY[quantity]: getattr(explicit(case, rule, optimizer, name)[0], QUANTITY[quantity])})
        for name in own.tensors
    }
    groups = replace(own, tensors=wrong).param_groups(model, LR[optimizer], **SETTINGS[optimizer])
    assert difference(reference, trained(model, case, optimizer, groups)) > 1e-6


@pytest.mark.parametrize("name", CASES)
def test_the_explicit_form_starts_at_the_scale_that_the_rule_says(name: str) -> None:
    case = CASES[name]
    model, own = planned(case, "completep", "adamw")
    other = with_multipliers(case, "completep", model)
    for name in own.tensors:
        quantities, sizes = explicit(case, "completep", "adamw", name)
        together = torch.cat([other.get_parameter(run).flatten() for run in own[name].run])
        assert together.square().mean().sqrt().item() == pytest.approx(own[name].base_rms * quantities.init.evaluate(sizes), rel=1e-9)
