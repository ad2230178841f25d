"""Against microsoft/mup 1.0.0: the same rates, weight decays and initial values.

`test_both_train_the_same_network` checks the form in which they are compared: networks prepared by
the two libraries stay equal while they train. Depth is not compared: mup has no rule for it.
"""

import pytest
import torch

import mutransfer as mt
from tests.peers.two_libraries import (
    Make,
    Sizes,
    drawn,
    every_case,
    every_optimizer,
    expected_table,
    mlp,
    other_rates,
    other_values,
    pair,
    rms,
    trained_apart,
    values,
)


@every_optimizer
@every_case
def test_rates_and_decays(make: Make, sizes: Sizes, optimizer: str) -> None:
    assert other_rates(pair(make, sizes, optimizer), optimizer) == {}


@every_case
def test_initial_values(make: Make, sizes: Sizes) -> None:
    assert other_values(pair(make, sizes)).keys() == expected_table(make)


@every_case
def test_initial_values_of_torchs_own_draw(make: Make, sizes: Sizes) -> None:
    """The two differ as one draw from another: a plan keeps the base's measured RMS."""
    ours, theirs = values(pair(make, sizes, exactly=False))
    base = dict(drawn(make, sizes[0], exactly=False).named_parameters())
    for name in ours.keys() - expected_table(make):
        ratio = (theirs[name] / ours[name])[ours[name] != 0]
        error = 3 * (ours[name].numel() ** -0.5 + base[name].numel() ** -0.5)
        assert torch.allclose(ratio, ratio.mean(), rtol=1e-12) or not ratio.numel()
        assert rms(theirs[name]) == pytest.approx(rms(ours[name]), rel=error)


@every_optimizer
@every_case
def test_both_train_the_same_network(make: Make, sizes: Sizes, optimizer: str) -> None:
    """Five steps with weight decay; Adam's eps, which is difference 2, is tiny."""
    both = pair(make, sizes, optimizer)
    with torch.no_grad():
        for name in expected_table(make):
            both.theirs.get_parameter(name).div_((sizes[1][0] / sizes[0][0]) ** 0.5)
    assert trained_apart(both, optimizer) < 1e-10


@every_optimizer
@every_case
def test_standard_parametrization_differs(make: Make, sizes: Sizes, optimizer: str) -> None:
    """It differs in the readout, and under Adam in the hidden matrices.

    A tied readout has its factor in the norm before it.
    """
    both = pair(make, sizes, optimizer, rule="sp")
    differing = other_rates(both, optimizer).keys()
    matrices = {name: t for name, t in both.plan.tensors.items() if len(t.shape) > 1}
    shapes = {name: (t.shape[:2], t.base_shape[:2]) for name, t in matrices.items()}
    hidden = {
        name
        for name, (shape, base) in shapes.items()
        if shape[0] != base[0] and shape[1] != base[1]
    }
    assert hidden and both.theta.keys() <= differing
    assert hidden <= differing or optimizer == "sgd"
    assert both.theta.keys() & other_values(both).keys()
    assert trained_apart(both, optimizer) > 1e-2


def test_another_base_differs() -> None:
    both = pair(mlp, ((16, 16), (64, 64)))
    other = both._replace(plan=mt.plan(both.ours, drawn(mlp, (32, 32))))
    assert other_rates(other, "adamw").keys() == {"hidden.weight", "readout.weight"}
