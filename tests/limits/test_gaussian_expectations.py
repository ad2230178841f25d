"""Gaussian expectations of activations, as the kernels of one branch hold them."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mutransfer.limits import ACTIVATIONS, Activation, Problem, lazy

Array = np.ndarray[Any, np.dtype[np.float64]]


class Expectations(NamedTuple):
    """Expectations of phi under Gaussians u of some covariance.

    Attributes:
        value: E[phi(u_i) phi(u_j)].
        slope: E[phi'(u_i) phi'(u_j)].
        centred: Covariance of phi(u_i) and phi(u_j).
    """

    value: Array
    slope: Array
    centred: Array

    @property
    def means(self) -> Array:
        """E[phi(u_i)] E[phi(u_j)]."""
        return self.value - self.centred


def expectations(phi: Activation, root: Array) -> Expectations:
    """Return the expectations for the covariance `root @ root.T`.

    A branch of one matrix adds E[phi phi] to the kernel of the features, and E[phi' phi'] to that
    of the gradients. A branch whose activation comes last is centred.
    """
    data = {"inputs": root * math.sqrt(root.shape[1]), "targets": np.zeros(len(root))}
    pre, post = (
        lazy(Problem(**data, lr=0.0, steps=0, activation=phi, block=block), 1)
        for block in ("pre", "post")
    )
    return Expectations(
        value=pre.nngp[1] - pre.nngp[0],
        slope=pre.gradients[0] - pre.gradients[1],
        centred=post.nngp[1] - post.nngp[0],
    )


def renamed(name: str) -> Activation:
    """A user's activation, which gets no closed form even under the library's name."""
    return Activation(name, ACTIVATIONS[name].value, ACTIVATIONS[name].slope)


def pair(correlation: float, first: float, second: float) -> Array:
    """Root of the covariance of two variables with these variances."""
    along, across = correlation * math.sqrt(second), math.sqrt((1 - correlation**2) * second)
    return np.array([[math.sqrt(first), 0.0], [along, across]])


def polar(phi: Activation, root: Array) -> tuple[Array, Array]:
    """Both expectations of a positively homogeneous activation.

    Each is one integral over the angle of (u, v) whitened.
    """
    kinks = np.sort(
        [(np.arctan2(-row[0], row[1]) + turn) % (2 * np.pi) for row in root for turn in (0, np.pi)]
    )
    nodes, weights = np.polynomial.legendre.leggauss(40)
    value = slope = np.zeros((2, 2))
    for start, end in zip(kinks, [*kinks[1:], kinks[0] + 2 * np.pi], strict=True):
        angle = start + (end - start) * (nodes + 1) / 2
        along = root @ [np.cos(angle), np.sin(angle)]
        share = weights * (end - start) / 2 / (2 * np.pi)
        value = value + 2 * np.einsum("ia,ja,a->ij", phi.value(along), phi.value(along), share)
        slope = slope + np.einsum("ia,ja,a->ij", phi.slope(along), phi.slope(along), share)
    return value, slope


@pytest.mark.parametrize("name", ["relu", "abs"])
@pytest.mark.parametrize("correlation", [-0.999, -0.5, 0.0, 0.3, 0.99])
def test_arc_cosine_kernels_are_integrals_over_the_angle(name: str, correlation: float) -> None:
    root = pair(correlation, 0.7, 2.5)
    closed = expectations(ACTIVATIONS[name], root)
    value, slope = polar(ACTIVATIONS[name], root)
    mean = np.sqrt(np.array([0.7, 2.5]) / (2 * np.pi)) * (2 if name == "abs" else 1)
    np.testing.assert_allclose(closed.value, value, atol=1e-13)
    np.testing.assert_allclose(closed.slope, slope, atol=1e-13)
    np.testing.assert_allclose(closed.means, np.outer(mean, mean), atol=1e-13)


@pytest.mark.parametrize("name", ["linear", "erf"])
@pytest.mark.parametrize("correlation", [-1.0, -0.6, 0.0, 0.9, 1.0])
def test_closed_forms_are_the_series(name: str, correlation: float) -> None:
    root = pair(correlation, 0.3, 9.0)
    forms = expectations(ACTIVATIONS[name], root), expectations(renamed(name), root)
    for closed, summed in zip(*forms, strict=True):
        np.testing.assert_allclose(closed, summed, atol=1e-11)


@pytest.mark.parametrize("name", ["tanh", "gelu"])
@pytest.mark.parametrize("variance", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("correlation", [-1.0, -0.7, 0.2, 0.99, 1.0])
def test_series_are_double_integrals(name: str, variance: float, correlation: float) -> None:
    phi = ACTIVATIONS[name]
    nodes = np.linspace(-9.5, 9.5, 700)
    weights = np.exp(-(nodes**2) / 2) * (nodes[1] - nodes[0]) / math.sqrt(2 * math.pi)
    u = math.sqrt(variance) * nodes[:, None]
    other = correlation * nodes[:, None] + math.sqrt(1 - correlation**2) * nodes
    v = math.sqrt(variance / 2) * other
    series = expectations(phi, pair(correlation, variance, variance / 2))
    value = weights @ (phi.value(u) * phi.value(v)) @ weights
    slope = weights @ (phi.slope(u) * phi.slope(v)) @ weights
    np.testing.assert_allclose(series.value[0, 1], value, atol=1e-10)
    np.testing.assert_allclose(series.slope[0, 1], slope, atol=1e-10)
    np.testing.assert_allclose(series.means[0, 0], (weights @ phi.value(u)[:, 0]) ** 2, atol=1e-12)


def test_an_unknown_kink_is_summed_to_the_promised_accuracy() -> None:
    for correlation, slopes in ((0.9, 1e-4), (0.999, 2e-2), (1.0, 1e-4)):
        root = pair(correlation, 1.0, 2.0)
        summed, closed = (expectations(phi, root) for phi in (renamed("relu"), ACTIVATIONS["relu"]))
        assert np.abs(summed.value - closed.value).max() < 1e-4
        assert np.abs(summed.slope - closed.slope).max() < slopes
        assert (summed.centred != closed.centred).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_variable_that_does_not_vary_is_zero(name: str) -> None:
    phi = ACTIVATIONS[name]
    found = expectations(phi, np.diag([0.0, math.sqrt(2)]))
    value, slope = phi.value(np.zeros(1))[0], phi.slope(np.zeros(1))[0]
    at_zero = [found.value[0, 0], found.slope[0, 0], found.means[0, 0]]
    np.testing.assert_allclose(at_zero, [value**2, slope**2, value**2])
    draws = math.sqrt(2) * np.random.default_rng(0).normal(size=100_000)
    np.testing.assert_allclose(found.slope[0, 1], slope * phi.slope(draws).mean(), atol=0.01)


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(ACTIVATIONS)),
    root=arrays(float, (4, 3), elements=st.floats(-2, 2, width=32)),
)
def test_expectations_are_kernels(name: str, root: Array) -> None:
    for kernel in expectations(ACTIVATIONS[name], root):
        np.testing.assert_array_equal(kernel, kernel.T)
        assert np.linalg.eigvalsh(kernel).min() > -1e-6
        assert (np.diag(kernel) >= -1e-12).all()


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["linear", "relu", "abs"]),
    scale=st.floats(1e-3, 1e3),
    correlation=st.floats(-1, 1),
    second=st.floats(0.01, 10),
)
def test_homogeneous_activations_scale(
    name: str, scale: float, correlation: float, second: float
) -> None:
    root = pair(correlation, 1.0, second)
    once, scaled = (expectations(ACTIVATIONS[name], factor * root) for factor in (1.0, scale))
    np.testing.assert_allclose(scaled.value, scale**2 * once.value, atol=1e-12 * scale**2)
    np.testing.assert_allclose(scaled.slope, once.slope, atol=1e-7)
    np.testing.assert_allclose(scaled.means, scale**2 * once.means, atol=1e-12 * scale**2)
