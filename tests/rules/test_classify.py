"""Classifications in width and depth.

Published points, the formulas written again, symmetry, uniqueness, and a measurement.
"""

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError
from mutransfer.rules import ABC, Classification, classify, classify_depth, known_points

H = Fraction(1, 2)

modest = settings(deadline=None, max_examples=150, derandomize=True)


def verdicts(found: Classification) -> tuple[bool, bool, bool, bool]:
    return found.stable, found.trivial, found.feature_learning, found.kernel


UNSTABLE, TRIVIAL, FEATURES, KERNEL = (
    (False,) * 4,
    (True, True, False, False),
    (True, False, True, False),
    (True, False, False, True),
)

# Tensor Programs IV (2011.14522): name, L, a, b, c, regime, r of every hidden layer.
POINTS = [
    ("sp", 2, (0, 0, 0), (0, H, H), 0, UNSTABLE, (0, -1)),
    ("sp", 4, (0,) * 5, (0, H, H, H, H), 0, UNSTABLE, (0, -1, -1, -1)),
    ("sp-1/n", 2, (0, 0, 0), (0, H, H), 1, KERNEL, (3 * H, H)),
    ("sp-1/n", 3, (0,) * 4, (0, H, H, H), 1, KERNEL, (3 * H, H, H)),
    ("ntk", 1, (0, H), (0, 0), 0, KERNEL, (H,)),
    ("ntk", 3, (0, H, H, H), (0,) * 4, 0, KERNEL, (H, H, H)),
    ("mean-field", 1, (0, 1), (0, 0), -1, FEATURES, (0,)),
    ("mup", 1, (-H, H), (H, H), 0, FEATURES, (0,)),
    ("mup", 2, (-H, 0, H), (H, H, H), 0, FEATURES, (0, 0)),
    ("mup", 4, (-H, 0, 0, 0, H), (H,) * 5, 0, FEATURES, (0, 0, 0, 0)),
]


@pytest.mark.parametrize(("name", "hidden", "a", "b", "c", "regime", "r_layers"), POINTS)
def test_known_points(
    name: str, hidden: int, a: tuple, b: tuple, c: int, regime: tuple, r_layers: tuple
) -> None:
    point = known_points(hidden)[name]
    assert point == ABC(a, b, c)
    found = classify(point)
    assert (verdicts(found), found.r_layers, found.r) == (regime, r_layers, min(r_layers))
    assert found.maximal_update == (name in ("mup", "mean-field"))


def test_standard_parametrization_with_one_hidden_layer() -> None:
    """The table of Tensor Programs IV gives r of a hidden matrix; without one, r is the input's."""
    constant, falling = (classify(known_points(1)[name]) for name in ("sp", "sp-1/n"))
    assert (verdicts(constant), constant.r) == (UNSTABLE, 0)
    assert (verdicts(falling), falling.r) == (KERNEL, 3 * H)


def test_maximal_layer_by_layer() -> None:
    ntk, sp = classify(known_points(2)["ntk"]), classify(known_points(2)["sp-1/n"])
    assert (ntk.maximal, ntk.readout_initialized_maximally, ntk.maximal_update) == (
        (False, False, True),
        True,
        False,
    )
    assert (sp.maximal, sp.readout_initialized_maximally) == ((False, False, True), True)
    frozen_input = classify(ABC((0, 0, 0), (0, H, 1), (0, 0, 1)))
    assert (frozen_input.maximal, frozen_input.maximal_update, frozen_input.verdict) == (
        (False, True, True),
        False,
        "feature learning",
    )


def test_mean_field_is_mup() -> None:
    points = known_points(1)
    assert points["mean-field"].shifted("-1/2") == points["mup"]
    assert "mean-field" not in known_points(2)


def test_one_rate_a_layer() -> None:
    """Tensor Programs V (2203.03466), Table 3: SGD's rates without multipliers are n, 1, 1/n."""
    table3 = ABC(a=(0, 0, 0), b=(0, H, 1), c=(-1, 0, 1))
    assert known_points(2)["mup"].shifted((H, 0, -H)) == table3
    assert classify(table3) == classify(known_points(2)["mup"])


def test_trivial_although_its_features_move() -> None:
    found = classify(ABC(a=(0, 0, 0), b=(0, H, 2), c=(-2, -1, 2)))
    assert (verdicts(found), found.r, found.maximal_update) == (TRIVIAL, 0, False)


exponents = st.integers(-12, 12).map(lambda k: Fraction(k, 6))


@st.composite
def parametrizations(draw: Callable) -> ABC:
    """Any exponents; often features start constant, and other conditions are just met or nearly."""
    layers = draw(st.integers(2, 4))
    a, b, c = (draw(st.lists(exponents, min_size=layers, max_size=layers)) for _ in range(3))
    if draw(st.integers(0, 7)):
        b = [
            -a[0],
            *(H - x for x in a[1:-1]),
            draw(st.sampled_from([H, Fraction(1), 3 * H])) - a[-1],
        ]
    if draw(st.integers(0, 3)):
        c[-1] = draw(st.sampled_from([1, 1, 3 * H])) - 2 * a[-1]
    if draw(st.integers(0, 3)):
        readout = min(a[-1] + b[-1], 2 * a[-1] + c[-1])
        wanted = draw(
            st.lists(st.sampled_from([0, H, H, 1]), min_size=layers - 1, max_size=layers - 1)
        )
        c[:-1] = [r + 1 - (layer == 0) - 2 * a[layer] - readout for layer, r in enumerate(wanted)]
    return ABC(a, b, c if draw(st.integers(0, 3)) else c[0])


@modest
@given(parametrizations())
def test_against_the_formulas_written_again(abc: ABC) -> None:
    """The conditions of Tensor Programs IV as in the paper, with 1-based layers in dicts."""
    top = len(abc.a)
    a, b, c = (dict(enumerate(values, start=1)) for values in (abc.a, abc.b, abc.c))
    r_of = {}
    for layer in range(1, top):
        indicator = 1 if layer == 1 else 0
        r_of[layer] = (
            min(a[top] + b[top], 2 * a[top] + c[top]) + c[layer] - 1 + 2 * a[layer] + indicator
        )
    r = min(r_of.values())
    stable = (
        a[1] + b[1] == 0
        and a[top] + b[top] >= H
        and r >= 0
        and 2 * a[top] + c[top] >= 1
        and a[top] + b[top] + r >= 1
    )
    for layer in range(2, top):
        stable = stable and a[layer] + b[layer] == H
    nontrivial = a[top] + b[top] + r == 1 or 2 * a[top] + c[top] == 1
    found = classify(abc)
    assert (found.r, found.r_layers) == (r, tuple(r_of[layer] for layer in range(1, top)))
    assert verdicts(found) == (
        stable,
        stable and not nontrivial,
        stable and nontrivial and r == 0,
        stable and nontrivial and r > 0,
    )
    assert found.maximal == (
        *(r_of[layer] == 0 for layer in range(1, top)),
        2 * a[top] + c[top] == 1,
    )
    assert found.readout_initialized_maximally == (a[top] + b[top] + r == 1)
    assert found.maximal_update == (
        stable and all(found.maximal) and found.readout_initialized_maximally
    )
    if len(set(abc.c)) == 1:
        shortest = min(2 * a[layer] + (layer == 1) for layer in range(1, top))
        assert r == min(a[top] + b[top], 2 * a[top] + c[1]) + c[1] - 1 + shortest


@modest
@given(parametrizations(), st.data())
def test_the_symmetry_changes_nothing(abc: ABC, data: st.DataObject) -> None:
    thetas = data.draw(st.lists(exponents, min_size=len(abc.a), max_size=len(abc.a)))
    assert classify(abc.shifted(thetas)) == classify(abc)
    assert classify(abc.shifted(thetas[0])) == classify(abc)
    assert abc.shifted(thetas).shifted([-theta for theta in thetas]) == abc
    assert abc.shifted(thetas[0]) == abc.shifted([thetas[0]] * len(abc.a))


def canonical(abc: ABC) -> ABC:
    """The one of its class that has no multipliers."""
    return abc.shifted([-a for a in abc.a])


@modest
@given(parametrizations(), st.data())
def test_mup_alone_is_maximal(abc: ABC, data: st.DataObject) -> None:
    mup = canonical(known_points(len(abc.a) - 1)["mup"])
    assert classify(abc).maximal_update == (canonical(abc) == mup)
    steps = st.lists(
        st.sampled_from([Fraction(0)] * 5 + [-H, H]), min_size=len(mup.a), max_size=len(mup.a)
    )
    b, c, theta = (data.draw(steps) for _ in range(3))
    near = ABC(
        mup.a,
        [x + y for x, y in zip(mup.b, b, strict=True)],
        [x + y for x, y in zip(mup.c, c, strict=True)],
    ).shifted(theta)
    assert classify(near).maximal_update == (not any(b) and not any(c))


@pytest.mark.parametrize(
    ("hidden", "rates", "grid"),
    [(1, 1, (-1, -H, 0, H, 1)), (1, 2, (-H, 0, H, 1)), (2, 1, (-H, 0, H))],
)
def test_one_class_of_a_whole_grid_is_maximal(hidden: int, rates: int, grid: tuple) -> None:
    layers, found = hidden + 1, set()
    for chosen in itertools.product(grid, repeat=2 * layers + rates):
        a, b, c = chosen[:layers], chosen[layers : 2 * layers], chosen[2 * layers :]
        abc = ABC(a, b, c if rates > 1 else c[0])
        if classify(abc).maximal_update:
            found.add(canonical(abc))
    assert found == {canonical(known_points(hidden)["mup"])}


def change_of_features(abc: ABC, width: int, seed: int, steps: int = 2) -> float:
    """RMS change of the last features of a tanh network: two hidden layers, full-batch SGD."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((6, 4)), 3 * rng.standard_normal((1, 4))
    shapes = (width, 6), (width, width), (1, width)
    scale, rate = (
        [float(width) ** -float(a) for a in abc.a],
        [0.3 * float(width) ** -float(c) for c in abc.c],
    )
    w = [
        rng.standard_normal(shape) * float(width) ** -float(b)
        for shape, b in zip(shapes, abc.b, strict=True)
    ]

    def features() -> tuple[np.ndarray, np.ndarray]:
        first = np.tanh(scale[0] * w[0] @ x / np.sqrt(6))
        return first, np.tanh(scale[1] * w[1] @ first)

    initial = features()[1]
    for _ in range(steps):
        first, last = features()
        error = (scale[2] * w[2] @ last - y) / 4
        d_last = (scale[2] * w[2].T @ error) * (1 - last**2)
        d_first = (scale[1] * w[1].T @ d_last) * (1 - first**2)
        gradients = d_first @ x.T / np.sqrt(6), d_last @ first.T, error @ last.T
        for layer, gradient in enumerate(gradients):
            w[layer] -= rate[layer] * scale[layer] * gradient
    return float(np.sqrt(np.mean((features()[1] - initial) ** 2)))


@pytest.mark.parametrize(
    "abc",
    [
        pytest.param(known_points(2)["mup"], id="mup"),
        pytest.param(known_points(2)["ntk"], id="ntk"),
        pytest.param(known_points(2)["sp-1/n"], id="sp-1/n"),
        pytest.param(
            ABC((0, 0, 0), (0, H, Fraction(3, 4)), (1, H, 1)), id="a rate a layer, r = 1/4"
        ),
        pytest.param(ABC((0, 0, 0), (0, H, 1), (1, 1, 1)), id="r = 1"),
    ],
)
def test_measured_change_of_features(abc: ABC) -> None:
    widths = (64, 128, 256, 512, 1024)
    changes = [
        np.mean([np.log(change_of_features(abc, width, seed)) for seed in range(6)])
        for width in widths
    ]
    slope = np.polyfit(np.log(widths), changes, 1)[0]
    assert slope == pytest.approx(-float(classify(abc).r), abs=0.15)


def test_why_names_the_condition_the_layer_and_the_value() -> None:
    points = known_points(2)
    sp = str(classify(points["sp"]))
    assert sp.startswith("unstable\nUnstable")
    assert "layer 2 has r_2 = -1, below 0, so a step changes its output by n;" in sp
    assert "layer 3 (readout) has 2a + c = 0, below 1, so its update moves the output by n;" in sp
    assert "layer 3 (readout) has a + b + r = -1/2, below 1, so through its initial weights" in sp
    assert "so through its initial weights the output moves by n^3/2." in sp
    assert "layer 1" not in sp
    ntk = str(classify(points["ntk"]))
    assert ntk.startswith("kernel regime\nStable")
    assert "changes the last features by n^-1/2 (r = 1/2, from layer 1 (input) and layer 2)" in ntk
    assert "Not maximal: layer 1 (input) changes its output by only n^-1/2 (r_1 = 1/2);" in ntk
    assert "(r_1 = 1/2); layer 2 changes" in ntk
    mup = str(classify(points["mup"]))
    assert mup.startswith("feature learning, maximal update\nStable") and "Not maximal" not in mup
    start = classify(ABC((1, 0, 0), (0, 0, 0), 5)).why
    assert (
        "layer 1 (input) has a + b = 1 instead of 0, so initially its output has n^-1 times"
        in start
    )
    assert "layer 2 has a + b = 0 instead of 1/2, so initially its output has n^1/2 times" in start
    assert "layer 3 (readout) has a + b = 0, below 1/2, so the output starts at n^1/2" in start
    trivial = str(classify(ABC((0, 0), (0, 2), 3)))
    assert (
        trivial.startswith("trivial\n")
        and "layer 2 (readout) changes its output by only n^-2 (2a + c = 3)" in trivial
    )
    assert "through the initial readout the output moves by only n^-6 (a + b + r = 7)" in trivial


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            lambda: ABC((0, 0.5), (0, 0), 0),
            r"a of layer 2 is 0\.5, which is no exact rational number; give",
        ),
        (lambda: ABC((0, 0), (True, 0), 0), "b of layer 1 is True"),
        (lambda: ABC((0, 0), (0, "half"), 0), "b of layer 2 is 'half'"),
        (lambda: ABC((0, 0), (0, "1/0"), 0), "b of layer 2 is '1/0'"),
        (lambda: ABC((0, 0), (0, "nan"), 0), "b of layer 2 is 'nan'"),
        (lambda: ABC((0, 0), (0, float("nan")), 0), "b of layer 2 is nan"),
        (lambda: ABC((0, 0), (0, None), 0), "b of layer 2 is None"),
        (lambda: ABC((0, 0), (0, 0), (0, float("inf"))), "c of layer 2 is inf"),
        (lambda: ABC((0, 0), (0, 0), 0.0), r"c is 0\.0, which"),
        (lambda: ABC((0, 0), (0, 0), False), "c is False"),
        (lambda: ABC((0, 0), (0, 0), None), "c is None"),
        (lambda: ABC((0, 0), (0, 0, 0), 0), "b has 3 layers and a has 2"),
        (lambda: ABC((0, 0), (0, 0), (0,)), "c has 1 layers and a has 2"),
        (lambda: ABC((0, 0), (0, 0), b"00"), "c is b'00'"),
        (lambda: ABC((0,), (0,), 0), "a has 1 layers; a network has two or more"),
        (lambda: ABC((), (), 0), "a has 0 layers"),
        (lambda: ABC("00", (0, 0), 0), "a is '00'; give a list"),
        (lambda: ABC((0, 0), {0, 1}, 0), r"b is \{0, 1\}; give a list"),
        (lambda: ABC(0, (0, 0), 0), "a is 0; give a list"),
        (lambda: known_points(2)["mup"].shifted((0, 1)), "theta has 2 layers and a has 3"),
        (lambda: known_points(2)["mup"].shifted(0.5), r"theta is 0\.5"),
        (lambda: known_points(0), "hidden_layers is 0; it must be a whole number, 1 or more"),
        (lambda: known_points(True), "hidden_layers is True"),
        (lambda: known_points(1.0), r"hidden_layers is 1\.0"),
        (lambda: classify_depth(0.5, "1/2"), r"alpha is 0\.5"),
        (lambda: classify_depth("1/2", True), "gamma is True"),
        (lambda: classify_depth("1/2", (1, 2)), r"gamma is \(1, 2\)"),
    ],
)
def test_bad_input(bad: Callable, message: str) -> None:
    with pytest.raises(MutransferError, match=f"^{message}"):
        bad()


def test_exponents_are_exact() -> None:
    assert ABC(["-1/2", 0, Fraction(1, 3)], ["0.1", 1, "2"], "1/3") == ABC(
        (-H, Fraction(0), Fraction(1, 3)),
        (Fraction(1, 10), Fraction(1), Fraction(2)),
        [Fraction(1, 3)] * 3,
    )


T, F = True, False

# Tensor Programs VI (2310.02244), Section 7, Claims 7.1 to 7.6.
DEPTH = [
    # alpha, gamma, verdict, stable at init, in training, trivial, faithful at init, in training,
    # learns, kappa, layerwise linear, limit
    ("0", "0", "unstable at initialisation", F, F, F, F, F, F, None, F, None),
    ("0", "1", "unstable at initialisation", F, F, F, F, F, F, None, F, None),
    ("49/100", "51/100", "unstable at initialisation", F, F, F, F, F, F, None, F, None),
    ("1/2", "0", "unstable in training", T, F, F, T, F, F, None, F, None),
    ("1", "-1/100", "unstable in training", T, F, F, T, F, F, None, F, None),
    ("1/2", "1", "trivial", T, T, T, T, T, F, None, F, None),
    ("1", "1/100", "trivial", T, T, T, T, T, F, None, F, None),
    ("2", "-1/2", "trivial", T, T, T, T, F, F, None, F, None),
    ("101/100", "-1/100", "unfaithful", T, T, F, T, F, F, None, F, None),
    ("2", "-1", "unfaithful", T, T, F, T, F, F, None, F, None),
    ("51/100", "49/100", "feature learning, redundant", T, T, F, T, T, T, 0, T, "ODE"),
    ("3/4", "1/4", "feature learning, redundant", T, T, F, T, T, T, 0, T, "ODE"),
    ("1", "0", "feature learning, redundant", T, T, F, T, T, T, 0, F, "ODE"),
    ("1/2", "1/2", "feature learning, diverse: Depth-muP", T, T, F, T, T, T, H, T, "SDE"),
]


@pytest.mark.parametrize("row", DEPTH)
def test_depth_row_by_row(row: tuple) -> None:
    found = classify_depth(row[0], row[1])
    assert (found.alpha, found.gamma) == (Fraction(row[0]), Fraction(row[1]))
    stable = found.stable_at_init, found.stable_in_training, found.trivial
    faithful = found.faithful_at_init, found.faithful_in_training
    rest = found.feature_learning, found.diversity, found.layerwise_linear, found.limit
    assert (found.verdict, *stable, *faithful, *rest) == row[2:]


@modest
@given(st.sampled_from([Fraction(k, 4) for k in range(-4, 9)]), exponents, st.booleans())
def test_depth_against_the_claims_written_again(
    alpha: Fraction, gamma: Fraction, on_the_line: bool
) -> None:
    gamma = 1 - alpha if on_the_line else gamma
    found = classify_depth(alpha, gamma)
    assert found.stable_at_init == found.faithful_at_init == (alpha >= H)
    if found.stable_at_init:
        assert found.stable_in_training == (alpha + gamma >= 1)
    if found.stable_in_training:
        assert found.trivial == (not alpha + gamma <= 1)
    if found.stable_in_training and not found.trivial:
        assert found.faithful_in_training == (alpha <= 1) == found.feature_learning
    if found.feature_learning:
        assert found.layerwise_linear == (alpha < 1)
        assert (found.diversity == 0) == (alpha > H)
    assert (found.diversity == H) == (alpha == gamma == H)


def test_why_of_depth_gives_the_powers() -> None:
    def why(alpha: str, gamma: str) -> str:
        found = classify_depth(alpha, gamma)
        assert str(found) == f"{found.verdict}\n{found.why}"
        return found.why

    assert "add up to L^1/4 at initialisation" in why(
        "1/4", "1"
    ) and "alpha must be at least 1/2" in why("1/4", "1")
    directly = "directly by a constant and the features, through all L branches, by L^1/2"
    assert f"{directly} (1 - alpha - gamma = 1/2)" in why("1/2", "0")
    assert "alpha + gamma must be at least 1." in why("1/2", "0")
    assert "alpha + gamma must be at most 1." in why("1/2", "1") and "faithfully" not in why(
        "1/2", "1"
    )
    assert "the pre-activations themselves grow" in why("2", "-1/2").lower()
    assert "directly by L^1/2" in why("3/2", "-1/2") and "alpha must be at most 1." in why(
        "3/2", "-1/2"
    )
    assert "sees the whole change of its branch" in why("1", "0") and "ODE" in why("1", "0")
    assert "linear in its matrix's vanishing change" in why("3/4", "1/4") and "ODE" in why(
        "3/4", "1/4"
    )
    assert "Depth-muP" in why("1/2", "1/2") and "SDE" in why("1/2", "1/2")
