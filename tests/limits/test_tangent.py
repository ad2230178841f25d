"""Tangent kernels of finite and infinite networks."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mutransfer.limits import Problem, lazy, linear, nonlinear
from mutransfer.limits._network import covariance
from mutransfer.limits._simulate import trained
from tests.limits.nonlinear_problems import CASES, problem

BLOCKS: dict[str, dict[str, Any]] = {
    **CASES,
    "frozen ends": {"activation": "tanh", "train_input": False, "train_readout": False},
    "smooth": {"activation": "tanh", "alpha": 0.75},
}


@pytest.mark.parametrize("case", BLOCKS)
def test_a_small_step_changes_outputs_by_kernel_times_pulls(case: str) -> None:
    """By f(t + 1) - f(t) = lr K(t) pull(t) + O(lr^2), from an output that is not 0."""
    p: Problem = replace(problem(**BLOCKS[case]), steps=2, schedule=[1.0, 1e-6])
    run = trained(p, 8, 3, [0, 1])
    for network in range(2):
        kernel, outputs = run.tangent[network, 1], run.outputs[network]
        expected = p.lr * 1e-6 * kernel @ p.pull(1, outputs[1])
        np.testing.assert_allclose(outputs[2] - outputs[1], expected, rtol=1e-3, atol=1e-12)
    assert np.abs(run.outputs[0, 1]).max() > 0.01


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_solvers_of_linear_networks_agree(depth: int) -> None:
    p = problem(steps=4, momentum=0.5)
    limits = [linear(p, depth), linear(p, depth, method="march"), nonlinear(p, depth)]
    for limit in limits[1:]:
        np.testing.assert_allclose(limit.tangent, limits[0].tangent, atol=1e-8)
    assert np.abs(limits[0].tangent[-1] - limits[0].tangent[0]).max() > 0.1


@pytest.mark.parametrize("depth", [2, math.inf])
def test_before_training_it_is_the_lazy_kernel(depth: float) -> None:
    p = problem(steps=3)
    np.testing.assert_allclose(linear(p, depth).tangent[0], lazy(p, depth).ntk, rtol=2e-3)
    sampled = nonlinear(replace(p, activation="relu"), 2)
    exact = lazy(replace(p, activation="relu"), 2).ntk
    assert (np.abs(sampled.tangent[0] - exact) < 4 * sampled.tangent_error[0] + 1e-9).all()


def test_the_covariance_is_that_of_one_time() -> None:
    limit = linear(problem(steps=3), 2)
    assert limit.covariance.shape == (4, 2, 2)
    np.testing.assert_array_equal(limit.covariance[2], limit.features[-1, 2, :, 2])
    run = trained(problem(steps=3), 8, 2, [0])
    fields = run.features[-1][0]
    np.testing.assert_allclose(covariance(fields, 2)[2], fields[:, 4:6].T @ fields[:, 4:6] / 8)
