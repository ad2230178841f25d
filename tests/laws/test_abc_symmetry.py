"""The abc symmetry (Tensor Programs V, Lemma J.1, with eps and weight decay): one training, written in many forms."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lion_pytorch import Lion
from torch import Tensor

from mutransfer import rules
from mutransfer.rules import FAMILIES, ONE, Powers, Quantities, Role, powers

QUANTITIES = [field.name for field in fields(Quantities)]
UNIT = Quantities(init=ONE, lr=ONE, eps=ONE, decay=ONE)
STEPS, INPUTS, WIDTH, OUTPUTS, SAMPLES = 20, 5, 8, 3, 7


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A real optimizer with values at which its eps and weight decay matter."""

    family: str
    make: Callable[[list[dict]], torch.optim.Optimizer]
    lr: float
    eps: float = 0.0
    decay: float = 0.0


TRAINERS = {
    "sgd": Trainer(family="sgd", make=lambda groups: torch.optim.SGD(groups), lr=0.1),
    "sgd, momentum": Trainer(family="sgd", make=lambda groups: torch.optim.SGD(groups, momentum=0.9), lr=0.02),
    "sgd, nesterov": Trainer(family="sgd", make=lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True), lr=0.02),
    "sgd, decay": Trainer(family="sgd", make=lambda groups: torch.optim.SGD(groups, momentum=0.9), lr=0.02, decay=0.1),
    "adam": Trainer(family="adam", make=lambda groups: torch.optim.Adam(groups), lr=0.02, eps=1e-2, decay=0.1),
    "adamw": Trainer(family="adamw", make=lambda groups: torch.optim.AdamW(groups), lr=0.02, eps=1e-2, decay=1.0),
    "lion": Trainer(family="lion", make=lambda groups: Lion(groups), lr=0.01, decay=1.0),
    "muon": Trainer(family="muon", make=lambda groups: torch.optim.Muon(groups), lr=0.02, eps=1.0, decay=1.0),
}


def normal(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


X, Y = normal((SAMPLES, INPUTS), (SAMPLES, OUTPUTS))


def train(trainer: Trainer, network: Callable[..., Tensor], tensors: list[Tensor], factors: list[dict[str, float]]) -> Tensor:
    """The outputs before the first and after each of 20 steps, every tensor having its own factors of the five quantities."""
    parameters = [(own["init"] * tensor).requires_grad_() for own, tensor in zip(factors, tensors, strict=True)]
    groups = [
        {"params": [parameter], "lr": own["lr"] * trainer.lr, "weight_decay": own["decay"] * trainer.decay}
        | ({"eps": own["eps"] * trainer.eps} if trainer.eps else {})
        for own, parameter in zip(factors, parameters, strict=True)
    ]
    optimizer = trainer.make(groups)
    outputs = []
    for _ in range(STEPS + 1):
        output = network(*[own["multiplier"] * parameter for own, parameter in zip(factors, parameters, strict=True)])
        outputs.append(output.detach())
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(output, Y).backward()
        optimizer.step()
    return torch.stack(outputs)


def evaluated(quantities: Quantities, **ratios: float) -> dict[str, float]:
    return {name: getattr(quantities, name).evaluate(ratios) for name in QUANTITIES}


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / a.norm()).item()


def perceptron(w1: Tensor, w2: Tensor, w3: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return torch.tanh(torch.tanh(X @ w1.T + bias) @ w2.T) @ w3.T


def perceptron_tensors(trainer: Trainer) -> list[Tensor]:
    w1, w2, w3, bias = normal((WIDTH, INPUTS), (WIDTH, WIDTH), (OUTPUTS, WIDTH), (WIDTH,))
    return [w1 / INPUTS**0.5, w2 / WIDTH**0.5, w3 / WIDTH**0.5] + ([] if trainer.family == "muon" else [bias])


def rescaled(trainer: Trainer, thetas: list[float], kept: str | None = None) -> Tensor:
    """The training in which each tensor is divided by its theta; one quantity may be kept from following."""
    moved = UNIT.rescale(powers(theta=1), FAMILIES[trainer.family])
    if kept is not None:
        moved = replace(moved, **{kept: ONE})
    tensors = perceptron_tensors(trainer)
    return train(trainer, perceptron, tensors, [evaluated(moved, theta=theta) for theta in thetas[: len(tensors)]])


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)
@settings(deadline=None, max_examples=15, derandomize=True)
@given(octaves=st.lists(st.floats(-4, 4), min_size=4, max_size=4))
def test_rescaled_tensors_train_alike(trainer: Trainer, octaves: list[float]) -> None:
    if trainer.family == "muon":  # it rounds the gradient to bfloat16, with which only powers of two commute
        octaves = [float(round(octave)) for octave in octaves]
    assert difference(rescaled(trainer, [1.0] * 4), rescaled(trainer, [2.0**octave for octave in octaves])) < 1e-12


@pytest.mark.parametrize(
    ("trainer", "kept"),
    [
        pytest.param(trainer, kept, id=f"{name}: {kept}")
        for name, trainer in TRAINERS.items()
        for kept in QUANTITIES
        if not (kept == "eps" and trainer.eps == 0) and not (kept == "decay" and trainer.decay == 0)
    ],
)
def test_every_quantity_has_to_follow(trainer: Trainer, kept: str) -> None:
    assert difference(rescaled(trainer, [1.0] * 4), rescaled(trainer, [4.0, 0.5, 2.0, 0.25], kept)) > 1e-6


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)
def test_the_trainings_compared_do_train(trainer: Trainer) -> None:
    outputs = rescaled(trainer, [1.0] * 4)
    assert difference(Y, outputs[-1]) < 0.9 * difference(Y, outputs[0])


thetas = st.fractions(-2, 2, max_denominator=6).map(lambda exponent: powers(theta=exponent, depth=exponent / 2))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(deadline=None, max_examples=15, derandomize=True)
@given(a=thetas, b=thetas)
def test_rescaling_is_a_group_action_that_folding_undoes(family: rules.Family, a: Powers, b: Powers) -> None:
    own = rules.parametrization("completep").quantities(Role.HIDDEN, family, in_branch=True)
    assert own.rescale(ONE, family) == own
    assert own.rescale(a, family).rescale(b, family) == own.rescale(a * b, family)
    assert own.rescale(a, family).fold(ONE, family) == own
    assert own.fold(a, family).multiplier == ONE
    assert own.fold(a, family).rescale(a, family) == replace(own, multiplier=a)


def residual(branch: float, w_in: Tensor, b_in: Tensor, w_up: Tensor, w_down: Tensor, b_down: Tensor, w_out: Tensor) -> Tensor:
    stream = X @ w_in.T + b_in
    stream = stream + branch * (torch.tanh(stream @ w_up.T) @ w_down.T + b_down)
    return torch.tanh(stream) @ w_out.T


RATIO, DEPTH = 4, 3
WIDE = RATIO * WIDTH
RESIDUAL = [
    # shape, role, in the branch?, last in the branch?, ratio of fan-in, ratio of fan-out
    ((WIDE, INPUTS), Role.INPUT, False, False, 1, RATIO),
    ((WIDE,), Role.BIAS, False, False, 1, RATIO),
    ((WIDE, WIDE), Role.HIDDEN, True, False, RATIO, RATIO),
    ((WIDE, WIDE), Role.HIDDEN, True, True, RATIO, RATIO),
    ((WIDE,), Role.BIAS, True, True, 1, RATIO),
    ((OUTPUTS, WIDE), Role.READOUT, False, False, RATIO, 1),
]


def in_form(form: str, rule: rules.Parametrization, trainer: Trainer) -> tuple[Tensor, list[dict[str, float]]]:
    """The residual network's training in a form, and its factors; the plain form has the branch's multiplier in its last tensors."""
    family = FAMILIES[trainer.family]
    factors = []
    for _, role, in_branch, last, fan_in, fan_out in RESIDUAL:
        quantities = rule.quantities(role, family, in_branch=in_branch, form=form)
        if last and form == "plain":
            quantities = quantities.fold(rule.branch_multiplier, family)
        factors.append(evaluated(quantities, fan_in=fan_in, fan_out=fan_out, depth=DEPTH))
    branch = 1.0 if form == "plain" else rule.branch_multiplier.evaluate({"depth": DEPTH})
    base = [tensor / WIDTH**0.5 for tensor in normal(*[row[0] for row in RESIDUAL])]
    return train(trainer, partial(residual, branch), base, factors), factors


@pytest.mark.parametrize("name", ["sgd", "sgd, decay", "adam", "adamw", "lion"])
@pytest.mark.parametrize("rule", ["mup", "depth-mup", "completep"])
@pytest.mark.parametrize("form", ["table8", "table9", "plain"])
def test_the_forms_of_a_rule_are_one_training(form: str, rule: str, name: str) -> None:
    trained, factors = in_form(form, rules.parametrization(rule), TRAINERS[name])
    reference, reference_factors = in_form("table3", rules.parametrization(rule), TRAINERS[name])
    assert difference(reference, trained) < 1e-12
    assert (factors == reference_factors) == (form == "plain" and rule == "mup")  # where the form has something to move, it did
