"""Optimizers that torch has not are those of another library, and know what they take."""

import math
from inspect import signature
from typing import Any

import pytest
import torch
from torch import nn

from mutransfer import MutransferError
from mutransfer.pytorch import torch_class
from mutransfer.rules import FAMILIES, family
from mutransfer.tasks import Task
from mutransfer.training import SOAP, UPDATES, Lion, Recipe, Shampoo
from tests.training.networks import Square, drawn, vectors

PEERS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "Lion": (Lion, {"betas": (0.8, 0.9)}, {}),
    "SOAP": (
        SOAP,
        {"betas": (0.9, 0.95), "shampoo_beta": 0.8, "precondition_frequency": 100, "eps": 1e-6},
        {},
    ),
    "Shampoo": (Shampoo, {"eps": 1e-3}, {"weight_decouple": True, "matrix_eps": 1e-3}),
}


def losses(model: nn.Module, kind: Any, steps: int = 25, **settings: Any) -> torch.Tensor:
    """Train the hidden matrices, and return the loss of every step."""
    task, matrices = vectors(), [layer.weight for layer in model.hidden]  # type: ignore[union-attr]
    optimizer = kind(matrices, lr=0.01, weight_decay=0.1, **settings)
    recorded = []
    for step in range(steps):
        inputs, targets = task.feed(0, steps, 16)[step]
        loss = task.loss(model(inputs), targets)
        recorded.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.tensor(recorded, dtype=torch.float64)


@pytest.mark.parametrize("name", PEERS)
def test_our_optimizers_are_those_of_another_library(name: str) -> None:
    peers = pytest.importorskip("pytorch_optimizer")
    kind, settings, theirs = PEERS[name]
    shared = {key: value for key, value in settings.items() if key != "eps" or not theirs}
    own = losses(drawn(Square), kind, **settings)
    other = losses(drawn(Square), getattr(peers, name), **shared, **theirs)
    torch.testing.assert_close(own, other, rtol=1e-10, atol=0)
    assert own[-1] < own[0] and own.unique().numel() == len(own)


def test_the_basis_of_soap_turns_as_that_of_another_library() -> None:
    """Theirs factorises in single precision."""
    peers = pytest.importorskip("pytorch_optimizer")
    settings = {"precondition_frequency": 2, "eps": 1e-4}
    own = losses(drawn(lambda: Square(5)), SOAP, steps=12, **settings)
    other = losses(drawn(lambda: Square(5)), peers.SOAP, steps=12, **settings)
    torch.testing.assert_close(own, other, rtol=1e-5, atol=0)
    still = losses(drawn(lambda: Square(5)), SOAP, steps=12, eps=1e-4, precondition_frequency=99)
    assert (own - still).abs().max() > 1e-4


def test_a_parameter_without_gradient_stays() -> None:
    for kind in (Lion, SOAP, Shampoo):
        matrix = nn.Parameter(torch.ones(3, 3))
        kind([matrix], weight_decay=0.5).step()
        assert torch.equal(matrix, torch.ones(3, 3))


def recipe(task: Task | None = None, **changes: Any) -> Recipe:
    values: dict[str, Any] = {"task": task or vectors(), "steps": 8, "batch": 16}
    return Recipe(**values | changes)


REFUSED = {
    *("sgdw", "sophia", "adafactor", "adafactor-fixed", "lamb", "lars"),
    *("muon", "muon-spectral"),
}


def test_every_family_trains_or_is_refused() -> None:
    assert REFUSED | UPDATES.keys() == FAMILIES.keys() and not REFUSED & UPDATES.keys()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_family_without_update_is_refused_by_name(name: str) -> None:
    words = "multiplies its update" if name.startswith("muon") else f"unknown optimizer '{name}'"
    with pytest.raises(MutransferError, match=words):
        recipe(optimizer=name)


@pytest.mark.parametrize("name", [name for name in UPDATES if torch_class(family(name))])
def test_defaults_are_those_of_torch(name: str) -> None:
    """An option that is left out is the one of the class that trains alone."""
    theirs = signature(torch_class(family(name)) or object).parameters
    own = UPDATES[name].options
    assert all(value == theirs[key].default for key, value in own.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion", "options": {"momentum": 1}}, "lion takes no option 'momentum'; it"),
        ({"optimizer": "shampoo", "options": {"a": 1}}, "takes no option 'a'; it takes none"),
        ({"optimizer": "adam", "options": {"decoupled": True}}, "takes no option 'decoupled'"),
        ({"steps": 0}, "steps is 0: give a whole number, at least 1"),
        ({"batch": 2.5}, "batch is 2.5: give a whole number"),
        ({"schedule": "fast"}, "unknown schedule 'fast'"),
        ({"warmup": -1}, "warmup is -1"),
        ({"clip": 0}, "clip is 0: give the largest norm of the gradients at base size"),
        ({"clip": math.inf}, "clip is inf"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0: give a share from 0"),
        ({"accumulate": 0}, "accumulate is 0: give a whole number"),
        ({"accumulate": 3}, "16 examples does not divide into 3 equal pieces"),
        ({"precision": "float16"}, "unknown precision 'float16'; choose one of float32, bfloat16"),
        ({"evaluate": 0}, "evaluate is 0: give a whole number"),
        (
            {"evaluate": 2, "task": vectors(validation=None)},
            "evaluate is 2, but task vectors has no validation data",
        ),
        (
            {"label_smoothing": 0.1, "task": vectors(loss=lambda output, targets: output.mean())},
            "the loss of task vectors takes no label_smoothing",
        ),
    ],
)
def test_a_recipe_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        recipe(**changes)
