"""Models with their plans, operations on them, and a few steps of training."""

import io
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import mutransfer as mt
from mutransfer.tasks import gpt, mlp

TOKENS = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HYPERPARAMETERS = {"eps": 1e-2, "weight_decay": 0.5}
"""Values at which both matter to every step."""


def new_gpt(scale: int, tied: bool) -> nn.Module:
    """Build a GPT whose queries, ends of branches and last norm carry factors.

    The queries do so because heads grow in size.
    """
    return gpt(16 * scale, scale, heads=2, vocabulary=11, context=6, tied=tied).double()


MODELS: dict[str, tuple[Callable[[int], nn.Module], Tensor]] = {
    "gpt": (partial(new_gpt, tied=False), TOKENS),
    "tied gpt": (partial(new_gpt, tied=True), TOKENS),
    "mlp": (lambda scale: mlp(8 * scale, 3, inputs=6, outputs=3).double(), ROWS),
}


@cache
def plan_of(kind: str, optimizer: str) -> mt.Plan:
    torch.manual_seed(1)
    make, x = MODELS[kind]
    return mt.plan(make(2), make(1), optimizer=optimizer, example_inputs=x)


def planned(
    kind: str, optimizer: str = "adamw", initialize: bool = True
) -> tuple[nn.Module, mt.Plan]:
    """Return a model with its plan, the same at each call."""
    torch.manual_seed(0)
    model, plan = MODELS[kind][0](2), plan_of(kind, optimizer)
    if initialize:
        plan.initialize(model)
    return model, plan


def loss(model: Callable[[Tensor], Tensor], kind: str) -> Tensor:
    logits = model(MODELS[kind][1]).flatten(0, -2)
    return F.cross_entropy(logits.double(), torch.arange(len(logits)) % logits.shape[-1])


def train(model: nn.Module, optimizer: torch.optim.Optimizer, kind: str, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model, kind).backward()
        optimizer.step()


def trained(
    model: nn.Module, plan: mt.Plan, kind: str, lr: float | Tensor = 0.05
) -> dict[str, Tensor]:
    """Return the planned tensors after a few steps with the plan's groups."""
    groups = plan.param_groups(model, lr, **HYPERPARAMETERS)
    tensors = {
        name: tensor
        for group in groups
        for name, tensor in zip(group["names"], group["params"], strict=True)
    }
    train(model, torch.optim.AdamW(groups), kind)
    return {name: tensors[name].detach() for name in plan.tensors}


@cache
def reference(kind: str) -> dict[str, Tensor]:
    """Return what training gives if nothing was done between planning and training."""
    return trained(*planned(kind), kind)


def values(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def hyperparameters(plan: mt.Plan, model: nn.Module) -> dict[str, tuple[float, ...]]:
    """Return rate, eps, decay and factor of the rate by name, as the groups have them."""
    groups = plan.param_groups(model, 0.05, **HYPERPARAMETERS)
    keys = ("lr", "eps", "weight_decay", "lr_factor")
    return {name: tuple(group[k] for k in keys) for group in groups for name in group["names"]}


def assert_close(
    tensors: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-12
) -> None:
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            tensors[name],
            tensor,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def through_bytes(thing: object, weights_only: bool) -> object:
    file = io.BytesIO()
    torch.save(thing, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=weights_only)


def tied(model: nn.Module) -> bool:
    return hasattr(model, "token") and model.head.weight is model.token.weight


def new(model: nn.Module) -> nn.Module:
    """Return a model of the same sizes with other values."""
    kind = ("tied gpt" if tied(model) else "gpt") if hasattr(model, "token") else "mlp"
    return MODELS[kind][0](2)


def retied(model: nn.Module, like: nn.Module) -> nn.Module:
    """Tie the model if another one is tied."""
    if tied(like):
        model.head.weight = model.token.weight
    return model


def checkpointed(model: nn.Module, use_reentrant: bool = False) -> nn.Module:
    for block in getattr(model, "blocks", getattr(model, "hidden", ())):
        block.forward = partial(checkpoint, block.forward, use_reentrant=use_reentrant)
    return model


def uses(plan: mt.Plan) -> list[Callable[[nn.Module], object]]:
    """Return the plan's verbs for a model."""
    groups, clip = partial(plan.param_groups, lr=0.1), partial(plan.clip_grad_norm_, max_norm=1.0)
    return [plan.initialize, groups, clip]


def assert_same(model: nn.Module, other: nn.Module) -> None:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
