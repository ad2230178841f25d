"""Lengths of a weight that is divided by its own, by row, by column and in one number."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import mutransfer as mt
from tests.factors import factors
from tests.models import Net

LENGTH, DIRECTION = (f"parametrizations.weight.original{i}" for i in (0, 1))


def network(
    hidden: Callable[[int], nn.Module],
    readout: Callable[[int], nn.Module],
    normalised: str = "",
    dim: int | None = 0,
) -> Callable[[int], nn.Module]:
    """Return a builder of convolutions of which one is normalised."""

    def build(width: int) -> nn.Module:
        parts = {"stem": nn.Conv1d(5, width, 1), "hidden": hidden(width), "readout": readout(width)}
        model = Net(lambda m, x: m.readout(m.hidden(m.stem(x).relu()).relu().mT), **parts)
        if normalised:
            parametrizations.weight_norm(parts[normalised], dim=dim)
        return model

    return build


def transposed(width: int) -> nn.Module:
    return nn.ConvTranspose1d(width, width, 4, 2, 1)


def plain(width: int) -> nn.Module:
    return nn.Conv1d(width, width, 3)


def outputs(number: int) -> Callable[[int], nn.Module]:
    return lambda width: nn.Linear(width, number)


def planned(build: Callable[[int], nn.Module]) -> mt.Plan:
    return plan_of(build(64), build(16))


def plan_of(model: nn.Module, base: nn.Module) -> mt.Plan:
    return mt.plan(model, base, optimizer="adam", example_inputs=torch.randn(2, 5, 9))


@pytest.mark.parametrize(("hidden", "dim"), [(transposed, 0), (plain, 1), (transposed, 1)])
def test_the_lengths_of_a_hidden_matrix_are_vectors(
    hidden: Callable[[int], nn.Module], dim: int
) -> None:
    plan = planned(network(hidden, outputs(3), "hidden", dim))
    length, direction = (plan[f"hidden.{name}"] for name in (LENGTH, DIRECTION))
    assert (length.role, length.factor("init"), length.factor("lr")) == ("vector", 1, 1)
    without = planned(network(hidden, outputs(3)))
    assert factors(plan, direction.name) == factors(without, "hidden.weight")


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("number", [1, 3])
def test_a_normalised_readout_starts_at_the_scale_of_a_plain_one(number: int, dim: int) -> None:
    build = network(plain, outputs(number), "readout", dim)
    model, base = build(64), build(16)
    plan_of(model, base).initialize(model)
    scales = [m.readout.weight.detach().square().mean().sqrt() for m in (model, base)]
    assert (scales[0] / scales[1]).item() == pytest.approx(1 / 4)


def test_the_direction_of_a_readout_of_one_output_is_a_readout() -> None:
    plan = planned(network(plain, outputs(1), "readout"))
    assert plan[f"readout.{DIRECTION}"].role == "readout"


def test_a_number_beside_a_readout_of_one_output_is_no_gain_of_it() -> None:
    def build(width: int) -> nn.Module:
        parts = {"stem": nn.Linear(5, width)}
        model = Net(lambda m, x: m.stem(x).relu() @ (m.gain * m.row), **parts)
        model.gain, model.row = nn.Parameter(torch.ones(1)), nn.Parameter(torch.randn(width, 1))
        return model

    plan = mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(2, 5))
    assert {name: plan[name].role for name in ("gain", "row")} == {
        "gain": "scalar",
        "row": "readout",
    }
