"""The abc symmetry (Tensor Programs V, Lemma J.1): one training in many forms.

The lemma is extended to eps and weight decay.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, optim

from mutransfer import rules
from mutransfer.rules import FAMILIES, ONE, Family, Place, Powers, Quantities, Role, powers
from tests.laws.trainers import TRAINERS, Trainer, lars, reference, shampoo

UNIT = Quantities(init=ONE, lr=ONE, eps=ONE, decay=ONE)
STEPS, INPUTS, WIDTH, OUTPUTS, SAMPLES = 20, 5, 8, 3, 7
KEYS = {"lr": "lr", "eps": "eps", "weight_decay": "decay", "rho": "rho", "floor": "floor"}
QUANTITIES = [*[field.name for field in fields(Quantities)], "rho", "floor"]


def normal(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


X, Y = normal((SAMPLES, INPUTS), (SAMPLES, OUTPUTS))


def train(
    trainer: Trainer,
    network: Callable[..., Tensor],
    tensors: list[Tensor],
    factors: list[dict[str, float]],
) -> tuple[Tensor, Any]:
    """Train for 20 steps, each tensor with factors of its own.

    Returns:
        The outputs before the first and after each step, and the optimizer.
    """
    pairs = list(zip(factors, tensors, strict=True))
    parameters = [(row["init"] * tensor).requires_grad_() for row, tensor in pairs]
    always = ("lr", "weight_decay")
    needed = {k: name for k, name in KEYS.items() if k in always or getattr(trainer, name)}
    groups = []
    for row, parameter in zip(factors, parameters, strict=True):
        settings = {key: row[name] * getattr(trainer, name) for key, name in needed.items()}
        groups.append({"params": [parameter]} | settings)
    multipliers = [row["multiplier"] for row in factors]
    optimizer, outputs = trainer.make(groups), []
    torch.manual_seed(0)
    for _ in range(STEPS + 1):
        output = network(*(m * p for m, p in zip(multipliers, parameters, strict=True)))
        outputs.append(output.detach())
        optimizer.zero_grad()
        step(trainer, optimizer, output, parameters)
    return torch.stack(outputs), optimizer


def step(trainer: Trainer, optimizer: Any, output: Tensor, parameters: list[Tensor]) -> None:
    loss = trainer.gradient * torch.nn.functional.mse_loss(output, Y)
    gradients = torch.autograd.grad(loss, parameters, create_graph=trainer.family.curvature)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    # The class estimates the curvature of all tensors together itself.
    if trainer.family.curvature and trainer.curvature != "together":
        optimizer.step(hessian=curvature(trainer, output, parameters, gradients))
    else:
        optimizer.step()


def curvature(
    trainer: Trainer, output: Tensor, parameters: list[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor]:
    """Return Sophia's estimate of the curvature of each tensor."""
    if trainer.curvature == "labels":
        labels = output.detach() + torch.randn_like(output)
        loss = torch.nn.functional.mse_loss(output, labels)
        return [SAMPLES * gradient**2 for gradient in torch.autograd.grad(loss, parameters)]
    noises = [torch.randn_like(parameter) for parameter in parameters]
    return [
        noise * torch.autograd.grad(gradient, parameter, noise, retain_graph=True)[0]
        for noise, gradient, parameter in zip(noises, gradients, parameters, strict=True)
    ]


def evaluated(quantities: Quantities, **ratios: float) -> dict[str, float]:
    names = [field.name for field in fields(Quantities)]
    factors = {name: getattr(quantities, name).evaluate(ratios) for name in names}
    return factors | {"rho": 1 / factors["eps"], "floor": factors["init"]}


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / a.norm()).item()


def perceptron(w1: Tensor, w2: Tensor, w3: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return torch.tanh(torch.tanh(X @ w1.T + bias) @ w2.T) @ w3.T


def perceptron_tensors(trainer: Trainer) -> list[Tensor]:
    w1, w2, w3, bias = normal((WIDTH, INPUTS), (WIDTH, WIDTH), (OUTPUTS, WIDTH), (WIDTH,))
    matrices = [w1 / INPUTS**0.5, w2 / WIDTH**0.5, w3 / WIDTH**0.5]
    return matrices if trainer.family.matrices else [*matrices, bias]


def rescaled(
    trainer: Trainer, thetas: Sequence[float], fault: str | None = None
) -> tuple[Tensor, Any]:
    """Train with each tensor divided by its theta.

    One quantity may be at fault: left where it has to follow theta, following where it has to stay.
    """
    moved = UNIT.rescale(powers(theta=1), trainer.family)
    tensors = perceptron_tensors(trainer)
    factors = [evaluated(moved, theta=theta) for theta in thetas[: len(tensors)]]
    if fault is not None:
        for row, theta in zip(factors, thetas, strict=False):
            row[fault] = theta if row[fault] == 1 else 1.0
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
    ("name", "fault"),
    [
        pytest.param(name, quantity, id=f"{name}: {quantity}")
        for name, trainer in TRAINERS.items()
        for quantity in QUANTITIES
        if getattr(trainer, quantity, 1.0)
    ],
)
def test_every_quantity_has_to_follow_the_family(name: str, fault: str) -> None:
    faulty = rescaled(TRAINERS[name], [4.0, 0.5, 2.0, 0.25], fault)[0]
    assert difference(original(name), faulty) > 1e-6


@pytest.mark.parametrize("name", TRAINERS)
def test_the_trainings_compared_do_train(name: str) -> None:
    outputs = original(name)
    assert difference(Y, outputs[-1]) < 0.9 * difference(Y, outputs[0])


@pytest.mark.parametrize("name", ["sophia", "sophia, hessian"])
def test_sophia_clips_some_entries_and_some_have_little_curvature(name: str) -> None:
    optimizer = rescaled(TRAINERS[name], [4.0, 0.5, 2.0, 0.25])[1]
    low, clipped = [], []
    for group in optimizer.param_groups:
        for state in (optimizer.state[tensor] for tensor in group["params"]):
            bound = group["p"] * state["hessian_moment"].clamp(min=group["eps"])
            low.append((state["hessian_moment"] < group["eps"]).flatten())
            clipped.append((state["momentum"].abs() > bound).flatten())
    for kind in (torch.cat(low), torch.cat(clipped)):
        assert 0.1 < kind.float().mean() < 0.9


@pytest.mark.parametrize(
    "trainer",
    [
        pytest.param(
            replace(TRAINERS["radam"], make=optim.RAdam),
            id="radam: its first steps are plain momentum",
        ),
        pytest.param(
            replace(TRAINERS["sophia"], curvature="together"),
            id="sophia: one tensor's noise is in another's estimate",
        ),
        pytest.param(
            replace(TRAINERS["adafactor"], eps=1e-2, gradient=1.0),
            id="adafactor: torch has eps and its square in one formula",
        ),
    ],
)
def test_the_symmetry_ends(trainer: Trainer) -> None:
    outputs, other = (rescaled(trainer, thetas)[0] for thetas in ([1.0] * 4, [4.0, 0.5, 2.0, 0.25]))
    assert difference(outputs, other) > 1e-6


@pytest.mark.parametrize(
    ("name", "make"),
    [("lars, no eps", reference(lars)), ("shampoo", reference(shampoo, exponent=0.5))],
    ids=["lars", "shampoo"],
)
def test_the_references_are_the_published_implementations(
    name: str, make: Callable[..., Any]
) -> None:
    twin = replace(TRAINERS[name], make=make)
    assert difference(original(name), rescaled(twin, [1.0] * 4)[0]) < 1e-12


thetas = st.fractions(-2, 2, max_denominator=6).map(
    lambda exponent: powers(theta=exponent, depth=exponent / 2)
)
DECLARED = {trainer.family.name: trainer.family for trainer in TRAINERS.values()} | FAMILIES


@pytest.mark.parametrize("family", DECLARED.values(), ids=DECLARED)
@settings(deadline=None, max_examples=8, derandomize=True)
@given(a=thetas, b=thetas)
def test_rescaling_is_a_group_action_that_folding_undoes(
    family: Family, a: Powers, b: Powers
) -> None:
    quantities = rules.parametrization("completep").quantities(Role.HIDDEN, family, Place.BRANCH)
    assert quantities.rescale(ONE, family) == quantities
    assert quantities.rescale(a, family).rescale(b, family) == quantities.rescale(a * b, family)
    assert quantities.rescale(a, family).fold(ONE, family) == quantities
    assert quantities.fold(a, family).multiplier == ONE
    assert quantities.fold(a, family).rescale(a, family) == replace(quantities, multiplier=a)


def residual(
    branch: float, w_in: Tensor, w_up: Tensor, w_down: Tensor, w_out: Tensor, *biases: Tensor
) -> Tensor:
    """Return the outputs of a residual network of one branch with this multiplier."""
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
    """Return the residual network's training in a form, and its factors.

    In the plain form the last tensors carry the branch's multiplier.
    """
    parametrization, trainer = rules.parametrization(rule), TRAINERS[name]
    rows = [row for row in RESIDUAL if len(row[0]) == 2 or not trainer.family.matrices]
    factors = [
        evaluated(
            parametrization.quantities(role, trainer.family, place, form=form),
            fan_in=fan_in,
            fan_out=fan_out,
            expansion=expansion,
            fan_max=RATIO,
            depth=DEPTH,
        )
        for _, role, place, fan_in, fan_out, expansion in rows
    ]
    branch = (
        1.0 if form == "plain" else parametrization.branch_multiplier.evaluate({"depth": DEPTH})
    )
    base = [tensor / WIDTH**0.5 for tensor in normal(*[row[0] for row in rows])]
    return train(trainer, partial(residual, branch), base, factors)[0], factors


FORMS = ["table8", "table9", "unit", "plain"]
# The first trainer of each family.
FIRST = {trainer.family.name: name for name, trainer in reversed(TRAINERS.items())}.values()


@pytest.mark.parametrize(
    ("form", "rule", "name"),
    [(form, "completep", name) for form in FORMS for name in FIRST]
    + list(product(FORMS, ("mup", "depth-mup"), ("sgd, decay", "adamw"))),
)
def test_the_forms_of_a_rule_are_one_training(form: str, rule: str, name: str) -> None:
    trained, factors = in_form(form, rule, name)
    expected, expected_factors = in_form("table3", rule, name)
    assert difference(expected, trained) < 1e-12
    # Where the form has something to move, the factors differ.
    assert (factors == expected_factors) == (form == "plain" and rule == "mup")
