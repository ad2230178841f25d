"""Residual schemes: the functions of plain pre-norm networks with equivalent multipliers."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError, rules
from mutransfer.rules import Residual

WIDTH = 12
modest = settings(deadline=None, max_examples=40, derandomize=True)
depths = st.integers(1, 24)
pairs = st.integers(1, 12).map(lambda half: 2 * half)
sizes = st.floats(1 / 8, 8)
seeds = st.integers(0, 2**16)


def normalised(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2))


def random_branches(seed: int, depth: int) -> list[Callable[[np.ndarray], np.ndarray]]:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((depth, 2, WIDTH, WIDTH)) / math.sqrt(WIDTH)
    return [lambda x, w=w: w[1] @ np.tanh(w[0] @ x) for w in weights]


def network(scheme: Residual, seed: int) -> np.ndarray:
    """A pre-norm network: x <- skip·x + branch·f(norm(x)) and a final norm, which is its output."""
    x = np.random.default_rng(seed + 1).standard_normal(WIDTH)
    for skip, branch, f in zip(
        scheme.skip, scheme.branch, random_branches(seed, len(scheme.skip)), strict=True
    ):
        x = skip * x + branch * f(normalised(x))
    return normalised(x)


def plain(multipliers: Sequence[float]) -> Residual:
    return Residual((1.0,) * len(multipliers), tuple(multipliers))


def assert_same_function(scheme: Residual, seed: int) -> None:
    assert network(scheme, seed) == pytest.approx(
        network(plain(scheme.as_multipliers()), seed), rel=1e-12, abs=1e-12
    )


@modest
@given(pairs, sizes, sizes, seeds)
def test_unit_scaling_is_a_plain_network(
    depth: int, multiplier: float, ratio: float, seed: int
) -> None:
    assert_same_function(rules.tau(depth, multiplier=multiplier, ratio=ratio), seed)


@modest
@given(depths, seeds)
def test_a_running_mean_is_a_plain_network(depth: int, seed: int) -> None:
    assert_same_function(rules.running_mean(depth), seed)


weights = st.lists(st.tuples(st.floats(1 / 4, 4), st.floats(-4, 4)), min_size=1, max_size=8)


@modest
@given(weights, seeds)
def test_any_scheme_is_a_plain_network(weights: list[tuple[float, float]], seed: int) -> None:
    skip, branch = zip(*weights, strict=True)
    assert_same_function(rules.weighted(skip, branch), seed)


def test_other_multipliers_are_another_function() -> None:
    scheme = rules.tau(4, multiplier=2.0)
    doubled = plain([2 * multiplier for multiplier in scheme.as_multipliers()])
    assert np.abs(network(scheme, 0) - network(doubled, 0)).max() > 1e-3
    assert np.abs(network(scheme, 0) - network(plain(scheme.branch), 0)).max() > 1e-3


@modest
@given(pairs, sizes, sizes)
def test_multipliers_of_unit_scaling(depth: int, multiplier: float, ratio: float) -> None:
    """2407.17465, Appendix G: a_mlp = a sqrt(2/(1 + ratio²)) and a_attn = ratio · a_mlp.

    Both are divided by the root of half the number of branches.
    """
    mlp = multiplier * math.sqrt(2 / (1 + ratio**2))
    share = (depth / 2) ** -0.5
    found = rules.tau(depth, multiplier=multiplier, ratio=ratio).as_multipliers()
    assert found[0::2] == pytest.approx([ratio * mlp * share] * (depth // 2), rel=1e-12)
    assert found[1::2] == pytest.approx([mlp * share] * (depth // 2), rel=1e-12)
    assert np.square(found).sum() == pytest.approx(2 * multiplier**2, rel=1e-12)


@modest
@given(pairs, sizes, sizes)
def test_weights_of_unit_scaling(depth: int, multiplier: float, ratio: float) -> None:
    """2407.17465, Appendix G: tau² = a² / (L/2 + n_attn a_attn² + n_mlp a_mlp²).

    The numbers n count the branches before.
    """
    scheme, mlp = (
        rules.tau(depth, multiplier=multiplier, ratio=ratio),
        multiplier * math.sqrt(2 / (1 + ratio**2)),
    )
    attention = ratio * mlp
    for index, (skip, branch) in enumerate(zip(scheme.skip, scheme.branch, strict=True)):
        before = depth / 2 + (index + 1) // 2 * attention**2 + index // 2 * mlp**2
        tau = (mlp if index % 2 else attention) / math.sqrt(before)
        assert (skip, branch) == pytest.approx(
            (1 / math.sqrt(1 + tau**2), tau / math.sqrt(1 + tau**2)), rel=1e-12
        )


@modest
@given(pairs, sizes, sizes)
def test_the_stream_stays_at_unit_scale(depth: int, multiplier: float, ratio: float) -> None:
    """Uncorrelated branches of unit scale add up in squares."""
    for scheme in (rules.tau(depth, multiplier=multiplier, ratio=ratio), rules.running_mean(depth)):
        size = 1.0
        for skip, branch in zip(scheme.skip, scheme.branch, strict=True):
            size = skip**2 * size + branch**2
            assert size == pytest.approx(1.0, rel=1e-12)


@modest
@given(depths)
def test_multipliers_of_a_running_mean(depth: int) -> None:
    assert rules.running_mean(depth).as_multipliers() == pytest.approx([1.0] * depth, rel=1e-12)


@modest
@given(depths)
def test_a_running_mean_weighs_the_embedding_and_all_branches_alike(depth: int) -> None:
    scheme = rules.running_mean(depth)
    shares = [math.prod(scheme.skip)] + [
        b * math.prod(scheme.skip[place + 1 :]) for place, b in enumerate(scheme.branch)
    ]
    assert shares == pytest.approx([(depth + 1) ** -0.5] * (depth + 1), rel=1e-12)


@modest
@given(depths, st.sampled_from([0.5, 0.75, 1.0]), sizes)
def test_plain_multipliers(depth: int, alpha: float, constant: float) -> None:
    scheme = rules.branch_multipliers(depth, alpha, constant)
    assert scheme.skip == (1.0,) * depth
    assert (
        scheme.as_multipliers()
        == scheme.branch
        == pytest.approx([constant * depth**-alpha] * depth, rel=1e-12)
    )
    assert scheme == plain(scheme.as_multipliers())


def test_unit_scaling_is_the_plain_scheme_at_one_half() -> None:
    for depth in (2, 8, 32):
        found = rules.tau(depth, multiplier=1.5).as_multipliers()
        assert found == pytest.approx(
            rules.branch_multipliers(depth, 0.5, 1.5 * math.sqrt(2)).branch, rel=1e-12
        )
    assert rules.branch_multipliers(4) == Residual((1.0,) * 4, (0.25,) * 4)


def test_depths_may_be_whole_floats_and_weights_arrays() -> None:
    """Depths are often quotients, and weights the result of a computation."""
    assert rules.tau(8 / 2) == rules.tau(4) and rules.running_mean(3.0) == rules.running_mean(3)
    weights = np.array([0.5, 2.0])
    assert rules.weighted(weights, weights) == rules.weighted([0.5, 2.0], [0.5, 2.0])
    assert rules.tau(2, ratio=0.0).branch[0] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rules.branch_multipliers(0), "depth is 0: give a positive number"),
        (lambda: rules.branch_multipliers(-3, 0.5), "depth is -3: give a positive number"),
        (lambda: rules.running_mean(0), "depth is 0: give a positive number"),
        (lambda: rules.tau(0), "depth is 0: give a positive number"),
        (lambda: rules.tau(-2), "depth is -2: give a positive number"),
        (
            lambda: rules.tau(3),
            "depth is 3: the scheme pairs an attention with an MLP branch, so give an even number",
        ),
        (lambda: rules.weighted([1.0], [1.0, 2.0]), "1 stream weights but 2 branch weights"),
        (lambda: rules.weighted([], []), "0 stream weights but 0 branch weights"),
        (
            lambda: rules.weighted([1.0, 0.0], [1.0, 1.0]),
            "the stream is weighted by 0.0: its weights must be positive",
        ),
        (lambda: rules.weighted([-1.0], [1.0]), "the stream is weighted by -1.0"),
        (lambda: rules.weighted([math.nan], [1.0]), "the stream is weighted by nan"),
        (lambda: rules.weighted([math.inf], [1.0]), "the stream is weighted by inf"),
        (lambda: rules.weighted([1.0], [math.nan]), "a branch is weighted by nan: its weights"),
        (lambda: rules.weighted("ab", [1.0, 1.0]), "stream weights are 'ab': give a number"),
        (lambda: rules.branch_multipliers(2.5), "depth is 2.5: give a positive number"),
        (lambda: rules.running_mean("3"), "depth is '3': give a positive number"),
        (lambda: rules.tau(math.inf), "depth is inf: give a positive number"),
        (lambda: rules.tau(4, ratio=-1), "ratio is -1: give a finite number, not negative"),
        (lambda: rules.tau(4, multiplier=math.nan), "multiplier is nan: give a finite number"),
    ],
)
def test_schemes_that_are_refused(make: Callable[[], Residual], message: str) -> None:
    with pytest.raises(MutransferError) as caught:
        make()
    assert str(caught.value).startswith(message)
