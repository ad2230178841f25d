"""Weights of a spectral norm of one: orthogonal maps, and weights over their norm."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import mutransfer as mt
from mutransfer import MutransferError
from tests.factors import factors
from tests.models import Net

Change = Callable[[nn.Module], object]

ORIGINAL = "parametrizations.weight.original"

exponential: Change = partial(parametrizations.orthogonal, orthogonal_map="matrix_exp")
reflections: Change = partial(parametrizations.orthogonal, orthogonal_map="householder")
cayley: Change = partial(parametrizations.orthogonal, orthogonal_map="cayley")
plain: Change = partial(parametrizations.orthogonal, use_trivialization=False)


def build(width: int, change: Change, *names: str, norm: bool = False) -> nn.Module:
    """Build a perceptron whose named layers are changed."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.stem(x)
        for name in ("first", "second"):
            h = getattr(m, name)(torch.relu(F.layer_norm(h, (width,)) if norm else h))
        return m.readout(torch.relu(h))

    parts = {"stem": nn.Linear(5, width, bias=not norm), "readout": nn.Linear(width, 3)}
    parts |= {name: nn.Linear(width, width) for name in ("first", "second")}
    model = Net(forward, **parts)
    for name in names:
        change(parts[name])
    return model


def planned(change: Change, *names: str, norm: bool = False) -> mt.Plan:
    models = (build(width, change, *names, norm=norm) for width in (64, 16))
    return mt.plan(*models, optimizer="adam", example_inputs=torch.randn(8, 5))


@pytest.mark.parametrize("names", [("first",), ("second",), ("first", "second")])
@pytest.mark.parametrize(
    "change",
    [exponential, plain, parametrizations.orthogonal, parametrizations.spectral_norm],
    ids=["exponential", "plain", "default", "spectral norm"],
)
def test_a_square_matrix_is_hidden_and_all_else_as_usual(
    change: Change, names: tuple[str, ...]
) -> None:
    plan, usual = planned(change, *names), planned(change)
    for name in usual.tensors:
        layer, _, kind = name.rpartition(".")
        own = f"{layer}.{ORIGINAL}" if kind == "weight" and layer in names else name
        assert factors(plan, own) == factors(usual, name)


def test_a_map_of_cayley_is_refused_with_one_that_is_planned() -> None:
    with pytest.raises(MutransferError, match=r'linalg_solve.*orthogonal_map="matrix_exp" of a sq'):
        planned(cayley, "first")


def test_a_solution_of_signals_is_refused_as_no_orthogonal_map() -> None:
    def build(width: int) -> nn.Module:
        def forward(m: Net, x: Tensor) -> Tensor:
            h = m.stem(x)
            return m.readout(torch.linalg.solve(h.T @ h + torch.eye(width), h.T).T)

        return Net(forward, stem=nn.Linear(5, width), readout=nn.Linear(width, 3))

    with pytest.raises(MutransferError, match=r"linalg_solve.*with this operation written out"):
        mt.plan(build(64), build(16), example_inputs=torch.randn(8, 5))


@pytest.mark.parametrize("name", ["stem", "first", "readout"])
@pytest.mark.parametrize("trivial", [True, False])
def test_reflections_are_refused_whose_parameter_holds_signs(name: str, trivial: bool) -> None:
    with pytest.raises(MutransferError, match=rf"{name}\..*whole numbers.*matrix_exp"):
        planned(partial(reflections, use_trivialization=trivial), name)


@pytest.mark.parametrize(("name", "ratio"), [("stem", "0.5"), ("readout", "2")])
@pytest.mark.parametrize(
    "change",
    [exponential, parametrizations.spectral_norm, nn.utils.spectral_norm],
    ids=["exponential", "spectral norm", "old spectral norm"],
)
def test_an_input_or_output_of_spectral_norm_one_is_refused(
    change: Change, name: str, ratio: str
) -> None:
    """Entries of either fall as 1/sqrt(width), as those of no other input or readout do."""
    with pytest.raises(MutransferError, match=rf"{name} is {ratio} times .*learned gain"):
        planned(change, name)


@pytest.mark.parametrize("change", [exponential, parametrizations.spectral_norm])
def test_a_norm_undoes_the_size_of_an_input(change: Change) -> None:
    plan = planned(change, "stem", norm=True)
    assert plan[f"stem.{ORIGINAL}"].role == "input"
    assert factors(plan, "first.weight") == factors(planned(change, norm=True), "first.weight")
