"""Weights computed from parameters: refused, or planned as the weight itself."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import remove_parametrizations

import mutransfer as mt
from mutransfer.tasks import mlp
from tests.pytorch.lifecycle import assert_close, planned, reference, trained, uses


def small(width: int) -> nn.Module:
    return mlp(width, 3, inputs=6, outputs=3)


def applied(to: Callable[[nn.Module], object], model: nn.Module, *names: str) -> nn.Module:
    for name in names:
        to(model.get_submodule(name))
    return model


REPARAMETRIZED: dict[str, Callable[[nn.Module], object]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old spectral_norm": nn.utils.spectral_norm,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", 0.25),
}
"""Computations between parameter and weight: the parameter has a scale of its own."""


@pytest.mark.parametrize("layer", ["readout", "input", "hidden.0"])
@pytest.mark.parametrize("to", REPARAMETRIZED.values(), ids=REPARAMETRIZED)
def test_reparametrized_weights_are_refused_or_planned_correctly(
    to: Callable[[nn.Module], object], layer: str
) -> None:
    """If planned at all, the weight itself has the law of the plain model."""
    model, base = (applied(to, small(width), layer) for width in (64, 16))
    wanted = mt.plan(small(64), small(16))[f"{layer}.weight"]
    try:
        plan = mt.plan(model, base)
    except mt.MutransferError as error:
        assert layer.replace("0", "*") in str(error) or layer in str(error), error
        return
    plan.initialize(model)
    with torch.no_grad():
        # A spectral norm is known after some passes only: each one is a step of its iteration.
        for _ in range(50):
            model(torch.randn(4, 6)), base(torch.randn(4, 6))
    weights = (m.get_submodule(layer).weight.detach() for m in (model, base))
    scales = [weight.square().mean().sqrt() for weight in weights]
    assert (scales[0] / scales[1]).item() == pytest.approx(wanted.factor("init"), rel=0.1)
    names = [n for n in plan.tensors if n.startswith(f"{layer}.") and "bias" not in n]
    rates = {plan[name].factor("lr") for name in names}
    assert wanted.factor("lr") in rates


@pytest.mark.parametrize("to", REPARAMETRIZED.values(), ids=REPARAMETRIZED)
def test_a_weight_reparametrized_after_planning_is_noticed(
    to: Callable[[nn.Module], object],
) -> None:
    model, plan = planned("mlp")
    applied(to, model, "readout")
    for use in uses(plan):
        with pytest.raises(mt.MutransferError, match="readout"):
            use(model)


def test_a_permanent_parametrization_is_a_plain_weight() -> None:
    model, plan = planned("mlp")
    parametrizations.weight_norm(model.readout)
    remove_parametrizations(model.readout, "weight")
    assert_close(trained(model, plan, "mlp"), reference("mlp"))
