"""Real optimizers and plain published algorithms, with values that matter."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import pytorch_optimizer
import torch
from lion_pytorch import Lion
from torch import Tensor, optim

from mutransfer import rules
from mutransfer.rules import FAMILIES, ONE, Family, powers


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A real optimizer with values at which its eps and weight decay matter.

    Attributes:
        family: Its family in the library.
        make: The optimizer from groups that have "lr", "weight_decay", and "eps", "rho" and "floor"
            where these are not 0.
        lr: Its rate.
        eps: Its eps.
        decay: Its weight decay.
        rho: Sophia's threshold, which scales as 1/eps.
        floor: Adafactor's second eps, a floor of the tensor's own size, which scales as init.
        gradient: Factor of the loss.
        dyadic: Whether it rounds the gradient or takes eigenvectors of a singular matrix: only
            powers of two commute with that.
        curvature: Sophia's estimate, from labels sampled from the output (Gauss-Newton-Bartlett) or
            from the Hessian (Hutchinson), of each tensor alone or of all tensors together.
    """

    family: Family
    make: Callable[[list[dict[str, Any]]], Any]
    lr: float
    eps: float = 0.0
    decay: float = 0.0
    rho: float = 0.0
    floor: float = 0.0
    gradient: float = 1.0
    dyadic: bool = False
    curvature: Literal["labels", "each", "together"] = "labels"


class Reference(optim.Optimizer):
    """A published algorithm at its plainest.

    Args:
        groups: The groups of tensors.
        update: What is subtracted from a tensor, from it, its gradient, its state and its group.
    """

    def __init__(self, groups: list[dict[str, Any]], update: Callable[..., Tensor]) -> None:
        super().__init__(groups, {"eps": 0.0})
        self.update = update

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            settings = {key: value for key, value in group.items() if key != "params"}
            for tensor in group["params"]:
                tensor -= self.update(tensor, tensor.grad, self.state[tensor], **settings)


def average(state: dict[str, Tensor], name: str, value: Tensor, beta: float) -> Tensor:
    state[name] = beta * state.get(name, torch.zeros_like(value)) + (1 - beta) * value
    return state[name]


def lamb(
    tensor: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    *,
    lr: float,
    eps: float,
    weight_decay: float,
) -> Tensor:
    """Return the update of LAMB (1904.00962, Algorithm 2)."""
    adam = average(state, "first", gradient, 0.9) / (
        average(state, "second", gradient**2, 0.999).sqrt() + eps
    )
    update = adam + weight_decay * tensor
    return lr * tensor.norm() / update.norm() * update


def lars(
    tensor: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    *,
    lr: float,
    eps: float,
    weight_decay: float,
) -> Tensor:
    """Return the update of LARS (1708.03888, Algorithm 1), with LARC's eps."""
    ratio = tensor.norm() / (gradient.norm() + weight_decay * tensor.norm() + eps)
    state["momentum"] = 0.9 * state.get("momentum", 0.0) + ratio * (
        gradient + weight_decay * tensor
    )
    return lr * state["momentum"]


def muon(
    tensor: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    *,
    lr: float,
    eps: float,
    weight_decay: float,
    spectral: bool,
) -> Tensor:
    """Return the update of Muon, of scale 1 or, if spectral, sqrt(fan_out / fan_in)."""
    x = average(state, "momentum", gradient, 0.95)
    x = x / x.norm().clamp(min=eps)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    scale = math.sqrt(x.shape[0] / x.shape[1]) if spectral else 1.0
    return lr * (weight_decay * tensor + scale * x)


def shampoo(
    tensor: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    *,
    lr: float,
    eps: float,
    weight_decay: float,
    exponent: float,
) -> Tensor:
    """Return the update of Shampoo (1802.09568, Algorithm 1): L^(-e/2) G R^(-e/2)."""
    update = gradient
    for side, matrix in (("left", gradient), ("right", gradient.T)):
        state[side] = (
            state.get(side, eps * torch.eye(len(matrix), dtype=matrix.dtype)) + matrix @ matrix.T
        )
        values, vectors = torch.linalg.eigh(state[side])
        update = (vectors * values ** (-exponent / 2)) @ vectors.T @ update
        update = update.T
    return lr * (weight_decay * tensor + update)


def reference(
    update: Callable[..., Tensor], **options: Any
) -> Callable[[list[dict[str, Any]]], Reference]:
    return lambda groups: Reference(groups, partial(update, **options))


class Several:
    """An optimizer for each group, of a class that has one eps for all its groups."""

    def __init__(self, groups: list[dict[str, Any]], make: Callable[..., optim.Optimizer]) -> None:
        self.optimizers = [make(**group) for group in groups]

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


def adafactor(groups: list[dict[str, Any]]) -> optim.Optimizer:
    return optim.Adafactor([{**group, "eps": (group["eps"], group["floor"])} for group in groups])


def adafactor_fixed(groups: list[dict[str, Any]]) -> Several:
    def make(params: list[Tensor], *, eps: float, **group: Any) -> optim.Optimizer:
        return pytorch_optimizer.AdaFactor(
            params,
            eps1=eps,
            betas=(None, 0.999),
            scale_parameter=False,
            relative_step=False,
            momentum_dtype=torch.float64,
            **group,
        )

    return Several(groups, make)


def radam(groups: list[dict[str, Any]], *, skipped: int = 10, **options: Any) -> optim.Optimizer:
    """Return RAdam after its first steps."""
    optimizer = optim.RAdam(groups, **options)
    for group in groups:
        for tensor in group["params"]:
            moments = {"exp_avg": torch.zeros_like(tensor), "exp_avg_sq": torch.zeros_like(tensor)}
            optimizer.state[tensor] = {"step": torch.tensor(float(skipped)), **moments}
    return optimizer


def sophia(groups: list[dict[str, Any]]) -> optim.Optimizer:
    """Return Sophia in the form of this class.

    Sophia clips m / max(rho h, eps) at 1 (2305.14342, Algorithm 3), this class m / max(h, eps')
    at p: the same with rho = p.
    """
    return pytorch_optimizer.SophiaH(
        [
            {
                "params": group["params"],
                "p": group["rho"],
                "lr": group["lr"] / group["rho"],
                "eps": group["eps"] / group["rho"],
                "weight_decay": group["weight_decay"] * group["rho"],
            }
            for group in groups
        ],
        update_period=3,
    )


def unclamped_lamb(groups: list[dict[str, Any]]) -> optim.Optimizer:
    optimizer = pytorch_optimizer.Lamb(groups, weight_decouple=False, eps=0.0)
    optimizer.clamp = math.inf
    return optimizer


PADAM = Family(name="padam", homogeneity="1/2", gain=powers(fan_in=1), eps=ONE, decay="independent")
ADAMLIKE: dict[str, Any] = {"lr": 0.02, "eps": 1e-2, "decay": 0.1}
ADAMWLIKE: dict[str, Any] = {"lr": 0.02, "eps": 1e-2, "decay": 1.0}

SOPHIA = Trainer(family=FAMILIES["sophia"], make=sophia, lr=0.02, eps=2e-3, decay=1.0, rho=0.2)

TRAINERS = {
    "sgd": Trainer(family=FAMILIES["sgd"], make=optim.SGD, lr=0.1),
    "sgd, momentum": Trainer(
        family=FAMILIES["sgd"], make=partial(optim.SGD, momentum=0.9), lr=0.02
    ),
    "sgd, nesterov": Trainer(
        family=FAMILIES["sgd"], make=partial(optim.SGD, momentum=0.9, nesterov=True), lr=0.02
    ),
    "sgd, decay": Trainer(
        family=FAMILIES["sgd"], make=partial(optim.SGD, momentum=0.9), lr=0.02, decay=0.1
    ),
    "sgdw": Trainer(
        family=FAMILIES["sgdw"],
        make=partial(pytorch_optimizer.SGDW, momentum=0.9),
        lr=0.02,
        decay=0.5,
    ),
    "adam": Trainer(family=FAMILIES["adam"], make=optim.Adam, **ADAMLIKE),
    "adamw": Trainer(family=FAMILIES["adamw"], make=optim.AdamW, **ADAMWLIKE),
    "amsgrad": Trainer(
        family=FAMILIES["amsgrad"], make=partial(optim.Adam, amsgrad=True), **ADAMLIKE
    ),
    "nadam": Trainer(family=FAMILIES["nadam"], make=optim.NAdam, **ADAMLIKE),
    "nadamw": Trainer(
        family=FAMILIES["nadamw"],
        make=partial(optim.NAdam, decoupled_weight_decay=True),
        **ADAMWLIKE,
    ),
    "radam": Trainer(family=FAMILIES["radam"], make=radam, **ADAMLIKE),
    "radamw": Trainer(
        family=FAMILIES["radamw"], make=partial(radam, decoupled_weight_decay=True), **ADAMWLIKE
    ),
    "adagrad": Trainer(family=FAMILIES["adagrad"], make=optim.Adagrad, **ADAMLIKE | {"lr": 0.05}),
    "rmsprop": Trainer(family=FAMILIES["rmsprop"], make=optim.RMSprop, **ADAMLIKE),
    "rmsprop, centered": Trainer(
        family=FAMILIES["rmsprop"],
        make=partial(optim.RMSprop, centered=True, momentum=0.5),
        **ADAMLIKE,
    ),
    "adamax": Trainer(family=FAMILIES["adamax"], make=optim.Adamax, **ADAMLIKE),
    "lion": Trainer(family=FAMILIES["lion"], make=Lion, lr=0.01, decay=1.0),
    "sophia": SOPHIA,
    "sophia, hessian": replace(SOPHIA, curvature="each"),
    "adafactor": Trainer(
        family=FAMILIES["adafactor"],
        make=adafactor,
        lr=0.1,
        eps=100.0,
        decay=0.5,
        floor=0.5,
        gradient=1e4,
    ),
    "adafactor-fixed": Trainer(
        family=FAMILIES["adafactor-fixed"], make=adafactor_fixed, lr=0.03, eps=1e-3, decay=1.0
    ),
    "lamb": Trainer(family=FAMILIES["lamb"], make=reference(lamb), lr=0.02, eps=1e-2, decay=0.5),
    # This class adds eps to the norm of the update too, which has no scale, and clamps the tensor's
    # norm: without both it is LAMB.
    "lamb, no eps": Trainer(family=FAMILIES["lamb"], make=unclamped_lamb, lr=0.01, decay=0.5),
    "lars": Trainer(family=FAMILIES["lars"], make=reference(lars), lr=0.01, eps=0.1, decay=0.1),
    "lars, no eps": Trainer(
        family=replace(FAMILIES["lars"], matrices=True),  # this class leaves vectors to SGD
        make=partial(pytorch_optimizer.LARS, trust_coefficient=1.0),
        lr=0.01,
        decay=0.1,
    ),
    "muon": Trainer(
        family=FAMILIES["muon"], make=reference(muon, spectral=False), lr=0.02, eps=1.0, decay=1.0
    ),
    "muon-spectral": Trainer(
        family=FAMILIES["muon-spectral"],
        make=reference(muon, spectral=True),
        lr=0.02,
        eps=1.0,
        decay=1.0,
    ),
    "muon-original": Trainer(
        family=FAMILIES["muon-original"], make=optim.Muon, lr=0.02, eps=1.0, decay=1.0, dyadic=True
    ),
    "muon-match-rms": Trainer(
        family=FAMILIES["muon-match-rms"],
        make=partial(optim.Muon, adjust_lr_fn="match_rms_adamw"),
        lr=0.05,
        eps=1.0,
        decay=1.0,
        dyadic=True,
    ),
    "shampoo": Trainer(
        family=FAMILIES["shampoo"],
        make=lambda groups: pytorch_optimizer.Shampoo(
            [{"matrix_eps" if k == "eps" else k: v for k, v in group.items()} for group in groups],
            weight_decouple=True,
        ),
        lr=0.1,
        eps=1e-2,
        decay=0.2,
    ),
    "shampoo(1)": Trainer(
        family=rules.shampoo(1), make=reference(shampoo, exponent=1.0), lr=0.05, eps=1e-2, decay=0.5
    ),
    "soap": Trainer(
        family=FAMILIES["soap"],
        make=partial(pytorch_optimizer.SOAP, precondition_frequency=5),
        lr=0.02,
        eps=1e-2,
        decay=1.0,
        dyadic=True,
    ),
    "padam, declared here": Trainer(
        family=PADAM,
        make=partial(pytorch_optimizer.PAdam, partial=0.25, weight_decouple=True, fixed_decay=True),
        lr=0.02,
        eps=1e-2,
        decay=0.02,
    ),
}
