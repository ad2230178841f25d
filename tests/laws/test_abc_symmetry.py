"""The abc symmetry (Tensor Programs V, Lemma J.1, with eps and weight decay): one training, written in many forms, with real optimizers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Any, Literal

import pytest
import pytorch_optimizer
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lion_pytorch import Lion
from torch import Tensor, optim

from mutransfer import rules
from mutransfer.rules import FAMILIES, ONE, Family, Place, Powers, Quantities, Role, powers

UNIT = Quantities(init=ONE, lr=ONE, eps=ONE, decay=ONE)
STEPS, INPUTS, WIDTH, OUTPUTS, SAMPLES = 20, 5, 8, 3, 7


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A real optimizer with values at which its eps and weight decay matter.

    Attributes:
        family: What the library says about it.
        make: The optimizer from groups that have a rate "lr", "weight_decay", and "eps", "rho" and "floor" where these are not 0.
        rho: Sophia's threshold, which scales as 1/eps.
        floor: Adafactor's second eps, a floor of the tensor's own size, which scales as init.
        gradient: Factor of the loss.
        dyadic: Whether it rounds the gradient or takes eigenvectors of what has no full rank: only powers of two commute with that.
        curvature: What Sophia estimates it from: labels sampled from the output (Gauss-Newton-Bartlett), or the Hessian (Hutchinson), of
            each tensor alone or of all tensors together.
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
    """A published algorithm at its plainest: what is subtracted from a tensor, by the tensor, its gradient, its state and its group."""

    def __init__(self, groups: list[dict[str, Any]], update: Callable[..., Tensor]) -> None:
        super().__init__(groups, {"eps": 0.0})
        self.update = update

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for tensor in group["params"]:
                tensor -= self.update(tensor, tensor.grad, self.state[tensor], **{k: v for k, v in group.items() if k != "params"})


def average(state: dict[str, Tensor], name: str, value: Tensor, beta: float) -> Tensor:
    state[name] = beta * state.get(name, torch.zeros_like(value)) + (1 - beta) * value
    return state[name]


def lamb(tensor: Tensor, gradient: Tensor, state: dict[str, Tensor], *, lr: float, eps: float, weight_decay: float) -> Tensor:
    """LAMB (1904.00962, Algorithm 2)."""
    adam = average(state, "first", gradient, 0.9) / (average(state, "second", gradient**2, 0.999).sqrt() + eps)
    update = adam + weight_decay * tensor
    return lr * tensor.norm() / update.norm() * update


def lars(tensor: Tensor, gradient: Tensor, state: dict[str, Tensor], *, lr: float, eps: float, weight_decay: float) -> Tensor:
    """LARS (1708.03888, Algorithm 1), with eps where NVIDIA's LARC has it."""
    ratio = tensor.norm() / (gradient.norm() + weight_decay * tensor.norm() + eps)
    state["momentum"] = 0.9 * state.get("momentum", 0.0) + ratio * (gradient + weight_decay * tensor)
    return lr * state["momentum"]


def muon(
    tensor: Tensor, gradient: Tensor, state: dict[str, Tensor], *, lr: float, eps: float, weight_decay: float, spectral: bool
) -> Tensor:
    """Muon in float64; its scale is 1 or, if spectral, sqrt(fan_out / fan_in)."""
    x = average(state, "momentum", gradient, 0.95)
    x = x / x.norm().clamp(min=eps)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    scale = math.sqrt(x.shape[0] / x.shape[1]) if spectral else 1.0
    return lr * (weight_decay * tensor + scale * x)


def shampoo(
    tensor: Tensor, gradient: Tensor, state: dict[str, Tensor], *, lr: float, eps: float, weight_decay: float, exponent: float
) -> Tensor:
    """Shampoo (1802.09568, Algorithm 1): L^(-exponent/2) G R^(-exponent/2)."""
    update = gradient
    for side, own in (("left", gradient), ("right", gradient.T)):
        state[side] = state.get(side, eps * torch.eye(len(own), dtype=own.dtype)) + own @ own.T
        values, vectors = torch.linalg.eigh(state[side])
        update = (vectors * values ** (-exponent / 2)) @ vectors.T @ update
        update = update.T
    return lr * (weight_decay * tensor + update)


def reference(update: Callable[..., Tensor], **options: Any) -> Callable[[list[dict[str, Any]]], Reference]:
    return lambda groups: Reference(groups, partial(update, **options))


class Several:
    """One optimizer for each group, for a class that takes its eps for all groups together."""

    def __init__(self, groups: list[dict[str, Any]], make: Callable[..., optim.Optimizer]) -> None:
        self.each = [make(**group) for group in groups]

    def zero_grad(self) -> None:
        for each in self.each:
            each.zero_grad()

    def step(self) -> None:
        for each in self.each:
            each.step()


def adafactor(groups: list[dict[str, Any]]) -> optim.Optimizer:
    return optim.Adafactor([{**group, "eps": (group["eps"], group["floor"])} for group in groups])


def adafactor_fixed(groups: list[dict[str, Any]]) -> Several:
    def make(params: list[Tensor], *, eps: float, **group: Any) -> optim.Optimizer:
        return pytorch_optimizer.AdaFactor(
            params, eps1=eps, betas=(None, 0.999), scale_parameter=False, relative_step=False, momentum_dtype=torch.float64, **group
        )

    return Several(groups, make)


def radam(groups: list[dict[str, Any]], *, skipped: int = 10, **options: Any) -> optim.Optimizer:
    """RAdam past its first steps."""
    optimizer = optim.RAdam(groups, **options)
    for group in groups:
        for tensor in group["params"]:
            moments = {"exp_avg": torch.zeros_like(tensor), "exp_avg_sq": torch.zeros_like(tensor)}
            optimizer.state[tensor] = {"step": torch.tensor(float(skipped)), **moments}
    return optimizer


def sophia(groups: list[dict[str, Any]]) -> optim.Optimizer:
    """Sophia clips m / max(rho h, eps) at 1 (2305.14342, Algorithm 3), this class m / max(h, eps') at p: the same with rho = p."""
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

TRAINERS = {
    "sgd": Trainer(family=FAMILIES["sgd"], make=optim.SGD, lr=0.1),
    "sgd, momentum": Trainer(family=FAMILIES["sgd"], make=partial(optim.SGD, momentum=0.9), lr=0.02),
    "sgd, nesterov": Trainer(family=FAMILIES["sgd"], make=partial(optim.SGD, momentum=0.9, nesterov=True), lr=0.02),
    "sgd, decay": Trainer(family=FAMILIES["sgd"], make=partial(optim.SGD, momentum=0.9), lr=0.02, decay=0.1),
    "sgdw": Trainer(family=FAMILIES["sgdw"], make=partial(pytorch_optimizer.SGDW, momentum=0.9), lr=0.02, decay=0.5),
    "adam": Trainer(family=FAMILIES["adam"], make=optim.Adam, **ADAMLIKE),
    "adamw": Trainer(family=FAMILIES["adamw"], make=optim.AdamW, **ADAMWLIKE),
    "amsgrad": Trainer(family=FAMILIES["amsgrad"], make=partial(optim.Adam, amsgrad=True), **ADAMLIKE),
    "nadam": Trainer(family=FAMILIES["nadam"], make=optim.NAdam, **ADAMLIKE),
    "nadamw": Trainer(family=FAMILIES["nadamw"], make=partial(optim.NAdam, decoupled_weight_decay=True), **ADAMWLIKE),
    "radam": Trainer(family=FAMILIES["radam"], make=radam, **ADAMLIKE),
    "radamw": Trainer(family=FAMILIES["radamw"], make=partial(radam, decoupled_weight_decay=True), **ADAMWLIKE),
    "adagrad": Trainer(family=FAMILIES["adagrad"], make=optim.Adagrad, **ADAMLIKE | {"lr": 0.05}),
    "rmsprop": Trainer(family=FAMILIES["rmsprop"], make=optim.RMSprop, **ADAMLIKE),
    "rmsprop, centered": Trainer(family=FAMILIES["rmsprop"], make=partial(optim.RMSprop, centered=True, momentum=0.5), **ADAMLIKE),
    "adamax": Trainer(family=FAMILIES["adamax"], make=optim.Adamax, **ADAMLIKE),
    "lion": Trainer(family=FAMILIES["lion"], make=Lion, lr=0.01, decay=1.0),
    "sophia": Trainer(family=FAMILIES["sophia"], make=sophia, lr=0.02, eps=2e-3, decay=1.0, rho=0.2),
    "sophia, hessian": Trainer(family=FAMILIES["sophia"], make=sophia, lr=0.02, eps=2e-3, decay=1.0, rho=0.2, curvature="each"),
    "adafactor": Trainer(family=FAMILIES["adafactor"], make=adafactor, lr=0.1, eps=100.0, decay=0.5, floor=0.5, gradient=1e4),
    "adafactor-fixed": Trainer(family=FAMILIES["adafactor-fixed"], make=adafactor_fixed, lr=0.03, eps=1e-3, decay=1.0),
    "lamb": Trainer(family=FAMILIES["lamb"], make=reference(lamb), lr=0.02, eps=1e-2, decay=0.5),
    # this class adds eps to the norm of the update too, which has no scale, and clamps the tensor's norm: without both it is LAMB
    "lamb, no eps": Trainer(family=FAMILIES["lamb"], make=unclamped_lamb, lr=0.01, decay=0.5),
    "lars": Trainer(family=FAMILIES["lars"], make=reference(lars), lr=0.01, eps=0.1, decay=0.1),
    "lars, no eps": Trainer(
        family=replace(FAMILIES["lars"], matrices=True),  # this class leaves vectors to SGD
        make=partial(pytorch_optimizer.LARS, trust_coefficient=1.0),
        lr=0.01,
        decay=0.1,
    ),
    "muon": Trainer(family=FAMILIES["muon"], make=reference(muon, spectral=False), lr=0.02, eps=1.0, decay=1.0),
    "muon-spectral": Trainer(family=FAMILIES["muon-spectral"], make=reference(muon, spectral=True), lr=0.02, eps=1.0, decay=1.0),
    "muon-original": Trainer(family=FAMILIES["muon-original"], make=optim.Muon, lr=0.02, eps=1.0, decay=1.0, dyadic=True),
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
            [{"matrix_eps" if k == "eps" else k: v for k, v in group.items()} for group in groups], weight_decouple=True
        ),
        lr=0.1,
        eps=1e-2,
        decay=0.2,
    ),
    "shampoo(1)": Trainer(family=rules.shampoo(1), make=reference(shampoo, exponent=1.0), lr=0.05, eps=1e-2, decay=0.5),
    "soap": Trainer(
        family=FAMILIES["soap"], make=partial(pytorch_optimizer.SOAP, precondition_frequency=5), lr=0.02, eps=1e-2, decay=1.0, dyadic=True
    ),
    "padam, declared here": Trainer(
        family=PADAM,
        make=partial(pytorch_optimizer.PAdam, partial=0.25, weight_decouple=True, fixed_decay=True),
        lr=0.02,
        eps=1e-2,
        decay=0.02,
    ),
}
KEYS = {"lr": "lr", "eps": "eps", "weight_decay": "decay", "rho": "rho", "floor": "floor"}
QUANTITIES = [*[field.name for field in fields(Quantities)], "rho", "floor"]


def normal(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


X, Y = normal((SAMPLES, INPUTS), (SAMPLES, OUTPUTS))


def train(trainer: Trainer, network: Callable[..., Tensor], tensors: list[Tensor], factors: list[dict[str, float]]) -> tuple[Tensor, Any]:
    """The outputs before the first and after each of 20 steps, every tensor having its own factors; and the optimizer."""
    parameters = [(own["init"] * tensor).requires_grad_() for own, tensor in zip(factors, tensors, strict=True)]
    needed = [key for key, name in KEYS.items() if key in ("lr", "weight_decay") or getattr(trainer, name)]
    groups = [
        {"params": [parameter]} | {key: own[KEYS[key]] * getattr(trainer, KEYS[key]) for key in needed}
        for own, parameter in zip(factors, parameters, strict=True)
    ]
    optimizer, outputs = trainer.make(groups), []
    torch.manual_seed(0)
    for _ in range(STEPS + 1):
        output = network(*[own["multiplier"] * parameter for own, parameter in zip(factors, parameters, strict=True)])
        outputs.append(output.detach())
        optimizer.zero_grad()
        step(trainer, optimizer, output, parameters)
    return torch.stack(outputs), optimizer


def step(trainer: Trainer, optimizer: Any, output: Tensor, parameters: list[Tensor]) -> None:
    loss = trainer.gradient * torch.nn.functional.mse_loss(output, Y)
    gradients = torch.autograd.grad(loss, parameters, create_graph=trainer.family.curvature)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if trainer.family.curvature and trainer.curvature != "together":  # which is what the class does itself
        optimizer.step(hessian=curvature(trainer, output, parameters, gradients))
    else:
        optimizer.step()


def curvature(trainer: Trainer, output: Tensor, parameters: list[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    if trainer.curvature == "labels":
        labels = output.detach() + torch.randn_like(output)
        return [SAMPLES * g**2 for g in torch.autograd.grad(torch.nn.functional.mse_loss(output, labels), parameters)]
    noises = [torch.randn_like(parameter) for parameter in parameters]
    return [
        noise * torch.autograd.grad(gradient, parameter, noise, retain_graph=True)[0]
        for noise, gradient, parameter in zip(noises, gradients, parameters, strict=True)
    ]


def evaluated(quantities: Quantities, **ratios: float) -> dict[str, float]:
    own = {field.name: getattr(quantities, field.name).evaluate(ratios) for field in fields(Quantities)}
    return own | {"rho": 1 / own["eps"], "floor": own["init"]}


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / a.norm()).item()


def perceptron(w1: Tensor, w2: Tensor, w3: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return torch.tanh(torch.tanh(X @ w1.T + bias) @ w2.T) @ w3.T


def perceptron_tensors(trainer: Trainer) -> list[Tensor]:
    w1, w2, w3, bias = normal((WIDTH, INPUTS), (WIDTH, WIDTH), (OUTPUTS, WIDTH), (WIDTH,))
    return [w1 / INPUTS**0.5, w2 / WIDTH**0.5, w3 / WIDTH**0.5] + ([] if trainer.family.matrices else [bias])


def rescaled(trainer: Trainer, thetas: Sequence[float], wrong: str | None = None) -> tuple[Tensor, Any]:
    """The training in which each tensor is divided by its theta.

    One quantity may be wrong: left as it was where it has to follow theta, following where it has to stay.
    """
    moved = UNIT.rescale(powers(theta=1), trainer.family)
    tensors = perceptron_tensors(trainer)
    factors = [evaluated(moved, theta=theta) for theta in thetas[: len(tensors)]]
    if wrong is not None:
        factors = [own | {wrong: theta if own[wrong] == 1 else 1.0} for own, theta in zip(factors, thetas, strict=False)]
    return train(trainer, perceptron, tensors, factors)


@cache
def original(name: str) -> Tensor:
    return rescaled(TRAINERS[name], [1.0] * 4)[0]


def test_every_family_has_a_real_trainer() -> None:
    assert {trainer.family.name for trainer in TRAINERS.values()} >= set(FAMILIES)


@pytest.mark.parametrize("name", TRAINERS)
@settings(deadline=None, max_examples=4, derandomize=True)
@given(octaves=st.lists(st.floats(-4, 4), min_size=4, max_size=4))
def test_rescaled_tensors_train_alike(name: str, octaves: list[float]) -> None:
    thetas = [2.0 ** (round(octave) if TRAINERS[name].dyadic else octave) for octave in octaves]
    assert difference(original(name), rescaled(TRAINERS[name], thetas)[0]) < 1e-12


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        pytest.param(name, quantity, id=f"{name}: {quantity}")
        for name, trainer in TRAINERS.items()
        for quantity in QUANTITIES
        if getattr(trainer, quantity, 1.0)
    ],
)
def test_every_quantity_has_to_follow_as_the_family_says(name: str, wrong: str) -> None:
    assert difference(original(name), rescaled(TRAINERS[name], [4.0, 0.5, 2.0, 0.25], wrong)[0]) > 1e-6


@pytest.mark.parametrize("name", TRAINERS)
def test_the_trainings_compared_do_train(name: str) -> None:
    outputs = original(name)
    assert difference(Y, outputs[-1]) < 0.9 * difference(Y, outputs[0])


@pytest.mark.parametrize("name", ["sophia", "sophia, hessian"])
def test_some_entries_of_sophia_are_clipped_and_some_have_curvature_below_eps(name: str) -> None:
    optimizer = rescaled(TRAINERS[name], [4.0, 0.5, 2.0, 0.25])[1]
    found = [(group, optimizer.state[tensor]) for group in optimizer.param_groups for tensor in group["params"]]
    low = torch.cat([(state["hessian_moment"] < group["eps"]).flatten() for group, state in found])
    clipped = torch.cat(
        [(state["momentum"].abs() > group["p"] * state["hessian_moment"].clamp(min=group["eps"])).flatten() for group, state in found]
    )
    for kind in (clipped, ~clipped, low, ~low):
        assert kind.float().mean() > 0.1


@pytest.mark.parametrize(
    "trainer",
    [
        pytest.param(replace(TRAINERS["radam"], make=optim.RAdam), id="radam: its first steps are plain momentum"),
        pytest.param(replace(TRAINERS["sophia"], curvature="together"), id="sophia: one tensor's noise is in another's estimate"),
        pytest.param(replace(TRAINERS["adafactor"], eps=1e-2, gradient=1.0), id="adafactor: torch has eps and its square in one formula"),
    ],
)
def test_where_the_symmetry_ends(trainer: Trainer) -> None:
    assert difference(rescaled(trainer, [1.0] * 4)[0], rescaled(trainer, [4.0, 0.5, 2.0, 0.25])[0]) > 1e-6


@pytest.mark.parametrize(
    ("name", "make"), [("lars, no eps", reference(lars)), ("shampoo", reference(shampoo, exponent=0.5))], ids=["lars", "shampoo"]
)
def test_the_references_are_the_published_implementations(name: str, make: Callable[..., Any]) -> None:
    own = replace(TRAINERS[name], make=make)
    assert difference(original(name), rescaled(own, [1.0] * 4)[0]) < 1e-12


thetas = st.fractions(-2, 2, max_denominator=6).map(lambda exponent: powers(theta=exponent, depth=exponent / 2))
DECLARED = {trainer.family.name: trainer.family for trainer in TRAINERS.values()} | FAMILIES


@pytest.mark.parametrize("family", DECLARED.values(), ids=DECLARED)
@settings(deadline=None, max_examples=8, derandomize=True)
@given(a=thetas, b=thetas)
def test_rescaling_is_a_group_action_that_folding_undoes(family: Family, a: Powers, b: Powers) -> None:
    own = rules.parametrization("completep").quantities(Role.HIDDEN, family, Place.BRANCH)
    assert own.rescale(ONE, family) == own
    assert own.rescale(a, family).rescale(b, family) == own.rescale(a * b, family)
    assert own.rescale(a, family).fold(ONE, family) == own
    assert own.fold(a, family).multiplier == ONE
    assert own.fold(a, family).rescale(a, family) == replace(own, multiplier=a)


def residual(branch: float, w_in: Tensor, w_up: Tensor, w_down: Tensor, w_out: Tensor, *biases: Tensor) -> Tensor:
    b_in, b_down = biases or (0.0, 0.0)
    stream = X @ w_in.T + b_in
    stream = stream + branch * (torch.tanh(stream @ w_up.T) @ w_down.T + b_down)
    return torch.tanh(stream) @ w_out.T


RATIO, DEPTH = 4, 4
WIDE = RATIO * WIDTH
RESIDUAL = [
    # shape, role, place, ratios of fan-in, fan-out and max(1, fan_out / fan_in)
    ((WIDE, INPUTS), Role.INPUT, Place.OUTSIDE, 1, RATIO, RATIO),
    ((WIDE, WIDE), Role.HIDDEN, Place.BRANCH, RATIO, RATIO, 1),
    ((WIDE, WIDE), Role.HIDDEN, Place.BRANCH_END, RATIO, RATIO, 1),
    ((OUTPUTS, WIDE), Role.READOUT, Place.OUTSIDE, RATIO, 1, 1),
    ((WIDE,), Role.BIAS, Place.OUTSIDE, 1, RATIO, RATIO),
    ((WIDE,), Role.BIAS, Place.BRANCH_END, 1, RATIO, RATIO),
]


@cache
def in_form(form: str, rule: str, name: str) -> tuple[Tensor, list[dict[str, float]]]:
    """The residual network's training in a form, and its factors; in the plain form the last tensors carry the branch's multiplier."""
    own, trainer = rules.parametrization(rule), TRAINERS[name]
    rows = [row for row in RESIDUAL if len(row[0]) == 2 or not trainer.family.matrices]
    factors = [
        evaluated(
            own.quantities(role, trainer.family, place, form=form),
            fan_in=fan_in,
            fan_out=fan_out,
            expansion=expansion,
            fan_max=RATIO,
            depth=DEPTH,
        )
        for _, role, place, fan_in, fan_out, expansion in rows
    ]
    branch = 1.0 if form == "plain" else own.branch_multiplier.evaluate({"depth": DEPTH})
    base = [tensor / WIDTH**0.5 for tensor in normal(*[row[0] for row in rows])]
    return train(trainer, partial(residual, branch), base, factors)[0], factors


FORMS = ["table8", "table9", "unit", "plain"]
FIRST = {trainer.family.name: name for name, trainer in reversed(TRAINERS.items())}.values()  # trainer of each family


@pytest.mark.parametrize(
    ("form", "rule", "name"),
    [(form, "completep", name) for form in FORMS for name in FIRST]
    + [(form, rule, name) for form in FORMS for rule in ("mup", "depth-mup") for name in ("sgd, decay", "adamw")],
)
def test_the_forms_of_a_rule_are_one_training(form: str, rule: str, name: str) -> None:
    trained, factors = in_form(form, rule, name)
    expected, expected_factors = in_form("table3", rule, name)
    assert difference(expected, trained) < 1e-12
    assert (factors == expected_factors) == (form == "plain" and rule == "mup")  # where the form has something to move, it did
