"""Problems, activations and losses: what they accept, refuse and derive."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError
from mutransfer.limits import ACTIVATIONS, LOSSES, Activation, Loss, Problem, lazy

GOOD = {"inputs": [[1.0, 2.0], [0.5, -1.0]], "targets": [1.0, -1.0], "lr": 0.1, "steps": 3}


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"inputs": np.zeros((0, 2)), "targets": []},
            r"inputs have the shape \(0, 2\).*at least one example",
            id="no examples",
        ),
        pytest.param(
            {"inputs": np.zeros((2, 0))}, r"inputs have the shape \(2, 0\)", id="no dimensions"
        ),
        pytest.param(
            {"inputs": np.zeros((2, 2, 2))}, r"inputs have the shape \(2, 2, 2\)", id="images"
        ),
        pytest.param({"inputs": 1.0}, r"inputs have the shape \(\)", id="a number"),
        pytest.param({"inputs": [[1.0], [1.0, 2.0]]}, "inputs are not numbers", id="ragged inputs"),
        pytest.param({"inputs": ["a", "b"]}, "inputs are not numbers", id="text"),
        pytest.param(
            {"inputs": [[1.0, math.nan], [0.0, 1.0]]},
            "inputs hold a number that is not finite",
            id="an input is not finite",
        ),
        pytest.param(
            {"targets": [1.0]},
            r"targets have the shape \(1,\), but there are 2 inputs: give \(2,\)",
            id="too few targets",
        ),
        pytest.param(
            {"targets": [[1.0], [1.0]]},
            r"targets have the shape \(2, 1\)",
            id="targets in a column",
        ),
        pytest.param(
            {"targets": [1.0, math.inf]},
            "targets hold a number that is not finite",
            id="a target is not finite",
        ),
        pytest.param(
            {"targets": [1.0, None]},
            "targets are not numbers|targets hold",
            id="a target is missing",
        ),
        pytest.param(
            {"loss": "logistic", "targets": [0.0, 1.0]},
            r"targets of -1 and 1, not \[0.0, 1.0\]",
            id="logistic targets",
        ),
        pytest.param(
            {"loss": "hinge"},
            "unknown loss 'hinge'; choose one of mse, logistic",
            id="unknown loss",
        ),
        pytest.param(
            {"activation": "swish"},
            "unknown activation 'swish'; choose one of linear, relu",
            id="unknown activation",
        ),
        pytest.param(
            {"activation": np.tanh},
            "an activation needs its derivative",
            id="a function without derivative",
        ),
        pytest.param({"activation": 3}, "unknown activation 3", id="activation of no kind"),
        pytest.param(
            {"block": "mid"}, "pre or post, of block depth 1 or 2, not 'mid' of 1", id="block"
        ),
        pytest.param({"block_depth": 3}, "not 'pre' of 3", id="block depth"),
        pytest.param(
            {"alpha": 0.3}, "alpha is 0.3: give it from 1/2 to 1, or 0", id="alpha between"
        ),
        pytest.param({"alpha": 1.1}, "alpha is 1.1", id="alpha above"),
        pytest.param({"alpha": -0.5}, "alpha is -0.5", id="alpha below"),
        pytest.param({"alpha": math.nan}, "alpha is nan", id="alpha is no number"),
        pytest.param(
            {"steps": -1}, "steps is -1: give a whole number, not negative", id="negative steps"
        ),
        pytest.param({"steps": 2.5}, "steps is 2.5", id="half a step"),
        pytest.param(
            {"lr": -0.1}, "lr is -0.1: it must be finite and not negative", id="negative lr"
        ),
        pytest.param({"lr": math.inf}, "lr is inf", id="infinite lr"),
        pytest.param(
            {"gamma0": 0.0}, "gamma0 is 0.0: it must be finite and positive", id="gamma0 of zero"
        ),
        pytest.param({"gamma0": -1.0}, "gamma0 is -1.0", id="negative gamma0"),
        pytest.param({"gamma0": math.nan}, "gamma0 is nan", id="gamma0 is no number"),
        pytest.param({"beta0": -1.0}, "beta0 is -1.0", id="negative beta0"),
        pytest.param({"momentum": -0.5}, "momentum is -0.5", id="negative momentum"),
        pytest.param({"weight_decay": -0.5}, "weight_decay is -0.5", id="negative decay"),
        pytest.param({"nesterov": True}, "nesterov needs a momentum above 0", id="nesterov alone"),
        pytest.param(
            {"schedule": [1.0, 2.0]},
            r"schedule has the shape \(2,\), but there are 3 steps: give \(3,\)",
            id="short schedule",
        ),
        pytest.param(
            {"schedule": lambda step: math.inf},
            "schedule hold a number that is not finite",
            id="infinite schedule",
        ),
        pytest.param({"schedule": "cosine"}, "schedule are not numbers", id="schedule by name"),
        pytest.param(
            {"batches": [[0], [1]]},
            r"batches have the shape \(2, 1\): give whole numbers, \(3, batch\)",
            id="too few batches",
        ),
        pytest.param(
            {"batches": [[], [], []]}, r"batches have the shape \(3, 0\)", id="empty batches"
        ),
        pytest.param({"batches": [0, 1, 0]}, r"batches have the shape \(3,\)", id="flat batches"),
        pytest.param(
            {"batches": [[0.0], [1.0], [0.0]]}, "give whole numbers", id="batches of floats"
        ),
        pytest.param(
            {"batches": [[0], [2], [1]]}, "batches name example 2 of 2", id="no such example"
        ),
        pytest.param(
            {"batches": [[0], [-1], [1]]}, "batches name example -1 of 2", id="negative example"
        ),
    ],
)
def test_wrong_arguments_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        Problem(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("name", "value", "slope", "message"),
    [
        ("sine", np.sin, None, "activation sine has no slope"),
        ("sine", None, np.cos, "activation sine has no value"),
        (
            "sine",
            np.sin,
            lambda x: 0.9 * np.cos(x),
            "the slope of activation sine is not its derivative: at -2.3",
        ),
        ("sine", np.sin, np.sin, "not its derivative"),
        ("root", lambda x: np.abs(x) ** 0.5, lambda x: np.sign(x), "not its derivative"),
        ("total", np.sum, np.cos, "the value of activation total changes the shape"),
        ("sine", np.sin, np.sum, "the slope of activation sine changes the shape"),
        (
            "pairs",
            lambda x: np.stack([x, x]),
            np.ones_like,
            "the value of activation pairs changes the shape",
        ),
    ],
    ids=[
        "no slope",
        "no value",
        "scaled slope",
        "another slope",
        "wrong off the kink",
        "a sum",
        "a sum as slope",
        "pairs",
    ],
)
def test_an_activation_needs_its_derivative(
    name: str, value: Any, slope: Any, message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        Activation(name, value, slope)


def test_lists_numbers_and_own_functions_are_accepted() -> None:
    loss = Loss("own", LOSSES["mse"].value, LOSSES["mse"].slope)
    p = Problem(**{**GOOD, "inputs": [1, 2], "targets": (1, -1), "loss": loss})
    assert p.inputs.shape == (2, 1) and p.inputs.dtype == p.targets.dtype == np.float64
    assert p.objective.name == "own" and p.phi.name == "linear"
    assert Problem(**GOOD, activation=Activation("sine", np.sin, np.cos)).phi.name == "sine"
    assert Problem(**{**GOOD, "steps": np.int64(2)}).rates.shape == (2,)
    assert Problem(**{**GOOD, "lr": 0.0, "steps": 0}).weights.shape == (0, 2)


def test_a_problem_keeps_its_own_numbers() -> None:
    inputs = np.array(GOOD["inputs"])
    p = Problem(**{**GOOD, "inputs": inputs})
    inputs[:] = 0
    np.testing.assert_array_equal(p.inputs, GOOD["inputs"])


# Derived numbers


def test_rates_weights_and_scales() -> None:
    schedule, batches = (lambda step: step + 1), [[0, 1], [1, 1], [0, 0]]
    p = Problem(**GOOD, schedule=schedule, batches=batches, beta0=1.5, alpha=0.75)
    np.testing.assert_allclose(p.rates, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(p.weights, [[0.5, 0.5], [0, 1], [1, 0]])
    np.testing.assert_allclose(p.gram, np.array([[5.0, -1.5], [-1.5, 1.25]]) / 2)
    assert p.branch(16) == pytest.approx(1.5 / 8) and p.branch(0) == 0.0
    assert p.hidden_rate(16) == pytest.approx(4) and p.hidden_rate(0) == 1.0
    for alpha in (0.0, 0.5):
        assert Problem(**GOOD, alpha=alpha).hidden_rate(16) == 1.0
    assert Problem(**GOOD, alpha=0.0).branch(16) == 1.0
    np.testing.assert_allclose(Problem(**GOOD).weights, np.full((3, 2), 0.5))


def test_the_pull_is_the_weighted_descent_of_the_loss() -> None:
    p = Problem(**GOOD, batches=[[0, 1], [1, 1], [0, 0]])
    f = np.array([0.3, 0.2])
    pulls = [p.pull(t, f) for t in range(4)]
    np.testing.assert_allclose(pulls, [[0.35, -0.6], [0, -1.2], [0.7, 0], [0, 0]])
    assert p.losses(f) == pytest.approx((0.7**2 + 1.2**2) / 4)
    assert p.losses(np.stack([f, f, f])).shape == (3,)
    assert p.losses(np.array([1e200, 0.0])) == math.inf


POINTS = np.array([-8.0, -3.3, -1.2, -0.4, -1e-3, 0.2, 0.7, 1.9, 4.0, 9.0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_slopes_are_those_of_torch(name: str) -> None:
    known = {"linear": lambda x: x, "gelu": torch.nn.functional.gelu}.get(name) or getattr(
        torch, name
    )
    x = torch.tensor(POINTS, requires_grad=True)
    value = known(x)
    slope = torch.autograd.grad(value.sum(), x)[0]
    np.testing.assert_allclose(ACTIVATIONS[name].value(POINTS), value.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(ACTIVATIONS[name].slope(POINTS), slope.numpy(), atol=1e-13)
    at_zero = {"relu": 0.0, "abs": 0.0, "gelu": 0.5, "erf": 2 / math.sqrt(math.pi)}
    assert ACTIVATIONS[name].slope(np.zeros(1)) == pytest.approx(at_zero.get(name, 1.0))


TORCH_LOSSES = {
    "mse": lambda f, y: 0.5 * (f - y) ** 2,
    "logistic": lambda f, y: -torch.nn.functional.logsigmoid(y * f),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", [-1.0, 1.0])
def test_losses_and_their_slopes_are_those_of_torch(name: str, target: float) -> None:
    f = torch.tensor([*POINTS, 700.0, -700.0], dtype=torch.float64, requires_grad=True)
    known = TORCH_LOSSES[name](f, target)
    slope = torch.autograd.grad(known.sum(), f)[0].numpy()
    outputs, targets = f.detach().numpy(), np.full(len(f), target)
    value = LOSSES[name].value(outputs, targets)
    np.testing.assert_allclose(value, known.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(LOSSES[name].slope(outputs, targets), slope, atol=1e-13)


# Optimizers


def torch_steps(p: Problem, start: float, gradient_at: int | None) -> list[float]:
    """Values of one weight under torch.optim.SGD, with a unit gradient at one step or at none."""
    theta = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    momentum = {"momentum": p.momentum, "nesterov": p.nesterov}
    optimizer = torch.optim.SGD([theta], lr=p.lr, weight_decay=p.weight_decay, **momentum)
    values = [theta.item()]
    for step in range(p.steps):
        theta.grad = torch.tensor(float(step == gradient_at), dtype=torch.float64)
        for group in optimizer.param_groups:
            group["lr"] = p.lr * p.schedule[step]
        optimizer.step()
        values.append(theta.item())
    return values


@settings(deadline=None, max_examples=20)
@given(
    data=st.data(),
    steps=st.integers(0, 8),
    momentum=st.sampled_from([0.0, 0.3, 0.95]),
    decay=st.floats(0, 2),
)
def test_the_lazy_limit_has_the_memory_of_torchs_optimizer(
    data: st.DataObject, steps: int, momentum: float, decay: float
) -> None:
    """SGD is linear: theta_t = kept[t] theta_0 - sum of moved[t, s] times the gradient at s.

    Without branches f(t) = sum of moved[t, s] 2 kept[t] kept[s] K^x pull(s), of input and readout.
    """
    p = Problem(
        inputs=[[0.3, -0.1], [0.1, 0.2]],
        targets=[1.0, -1.0],
        lr=data.draw(st.floats(0, 0.3)),
        steps=steps,
        momentum=momentum,
        nesterov=momentum > 0 and data.draw(st.booleans()),
        weight_decay=decay,
        schedule=data.draw(st.lists(st.floats(0, 2), min_size=steps, max_size=steps)),
    )
    kept = np.array(torch_steps(p, 1.0, None))
    moved = -np.array([torch_steps(p, 0.0, step) for step in range(steps)]).reshape(
        steps, steps + 1
    )
    outputs = np.zeros((steps + 1, 2))
    for t in range(1, steps + 1):
        for s in range(t):
            kernel = 2 * kept[t] * kept[s] * p.gram
            outputs[t] += moved[s, t] * kernel @ p.pull(s, outputs[s])
    scale = max(1.0, np.abs(moved).max(initial=0), np.abs(outputs).max())
    np.testing.assert_allclose(lazy(p, 0).outputs, outputs, atol=1e-12 * scale)


# Losses


def test_a_loss_with_a_wrong_slope_is_refused() -> None:
    with pytest.raises(MutransferError, match="the slope of loss square is not its derivative: at"):
        Loss("square", lambda f, y: (f - y) ** 2, lambda f, y: f - y)
    with pytest.raises(MutransferError, match="the value of loss mean changes the shape"):
        Loss("mean", lambda f, y: np.mean((f - y) ** 2), lambda f, y: 2 * (f - y))
    with pytest.raises(MutransferError, match="the slope of loss scalar changes the shape"):
        Loss("scalar", lambda f, y: y * f, lambda f, y: np.float64(1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": "a"}, "lr is 'a': give a number"),
        ({"steps": True}, "steps is True"),
        (
            {"steps": 2, "schedule": [1.0, -1.0]},
            "schedule has the factor -1: factors cannot be negative",
        ),
        ({"steps": 2, "batches": [[0], [0, 1]]}, "batches differ in size"),
        ({"momentum": 1.5}, "momentum is 1.5: it must be below 1"),
        ({"loss": ["mse"]}, "unknown loss"),
    ],
    ids=["lr", "steps", "schedule", "batches", "momentum", "loss"],
)
def test_wrong_types_and_values_are_refused_in_a_sentence(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        Problem(**{"inputs": np.eye(2), "targets": [1.0, -1.0], "lr": 0.1, "steps": 3, **change})
