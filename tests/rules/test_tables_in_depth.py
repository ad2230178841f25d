"""Published tables in depth and width, cell by cell, as exact powers."""

from dataclasses import replace
from fractions import Fraction

import pytest

from mutransfer import rules
from mutransfer.rules import FAMILIES, ONE, PARAMETRIZATIONS, Place, Powers, Role
from tests.rules.tables import DEPTH, FAN_IN, FAN_OUT, ROOT, ROOT_N, N, all_in_width, quantities

# Tensor Programs VI: Table 1 (depth) times Table 2 (width, optimizers with entrywise updates).
# SGD's powers of width are those of Tensor Programs V, Table 3.
TENSOR_PROGRAMS_VI = [
    # optimizer, role, place, init variance, rate
    ("adam", Role.INPUT, Place.OUTSIDE, ONE, ONE),
    ("adam", Role.HIDDEN, Place.BRANCH, ONE / N, DEPTH ** "-1/2" / N),
    ("adam", Role.READOUT, Place.OUTSIDE, ONE / N**2, ONE / N),
    ("sgd", Role.INPUT, Place.OUTSIDE, ONE, N),
    ("sgd", Role.HIDDEN, Place.BRANCH, ONE / N, ONE),
    ("sgd", Role.READOUT, Place.OUTSIDE, ONE / N**2, ONE / N),
]


@pytest.mark.parametrize(("optimizer", "role", "place", "variance", "rate"), TENSOR_PROGRAMS_VI)
def test_tensor_programs_vi(
    optimizer: str, role: Role, place: Place, variance: Powers, rate: Powers
) -> None:
    ours = all_in_width(quantities("depth-mup", role, optimizer, place), role)
    assert (ours.init**2, ours.multiplier, ours.lr) == (variance, ONE, rate)
    assert rules.parametrization("depth-mup").branch_multiplier == DEPTH ** "-1/2"


def test_adams_rate_that_ignores_depth() -> None:
    """2309.16620 does not rescale Adam's rate with depth, and is Depth-muP otherwise."""
    for optimizer in ("sgd", "adamw", "lion", "muon"):
        for role in Role:
            for place in Place:
                deep = quantities("depth-mup", role, optimizer, place)
                ours = quantities("sqrt-depth", role, optimizer, place)
                factor = ONE if optimizer == "sgd" or place == Place.OUTSIDE else ROOT
                assert ours == replace(deep, lr=deep.lr * factor), (optimizer, role, place)


def sheet(alpha: Fraction) -> list[tuple[Role, Place, str, tuple[Powers, ...]]]:
    """CompleteP (2505.01618), Table 1, for every role, with branches times depth^-alpha.

    Rate and decay are fan-in quantities. Eps is added to the gradient, a fan-out quantity.
    """
    outside, inside, end = Place.OUTSIDE, Place.BRANCH, Place.BRANCH_END
    moves, branch = DEPTH ** (alpha - 1), DEPTH**-alpha
    drawn = FAN_IN ** "-1/2"
    hidden = (drawn, ONE, moves / FAN_IN, branch / FAN_OUT, FAN_IN)
    # r query heads share a key: gradients add up to sqrt(r) = sqrt(fan_in / fan_out) times one
    shared = (drawn, ONE, moves / FAN_IN, branch / (FAN_IN * FAN_OUT) ** "1/2", FAN_IN)
    # a factor of all heads has a gradient that only the features' change makes add up
    factors = {
        Role.SCALAR: branch,
        Role.HEAD_GAIN: branch * moves,
        Role.ATTENTION_SCALE: branch * moves,
    }
    return [
        # role, place, form, (init, multiplier, rate, eps, decay)
        (Role.EMBEDDING, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.POSITION, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.TIED, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.INPUT, outside, "table8", (drawn, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.HIDDEN, outside, "table8", (drawn, ONE, ONE / FAN_IN, ONE / FAN_OUT, FAN_IN)),
        (Role.HIDDEN, inside, "table8", hidden),
        (Role.HIDDEN, end, "table8", hidden),
        (Role.KEY_VALUE, inside, "table8", shared),
        (Role.READOUT, outside, "table8", (ONE, ONE / FAN_IN, ONE, ONE / FAN_IN, ONE)),
        (Role.READOUT, outside, "table3", (ONE / FAN_IN, ONE, ONE / FAN_IN, ONE, FAN_IN)),
        *[
            (role, place, "table8", (ONE, ONE, rate, eps / FAN_OUT, ONE))
            for role in (Role.BIAS, Role.GAIN, Role.VECTOR, Role.LAYER_SCALE)
            for place, rate, eps in [
                (outside, ONE, ONE),  # of the final norm
                (inside, moves, branch),
                (end, moves, branch),
            ]
        ],
        (Role.DEPTHWISE, outside, "table8", (drawn, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.DEPTHWISE, inside, "table8", (drawn, ONE, moves, branch / FAN_OUT, ONE)),
        *[
            (role, place, "table8", (ONE, ONE, rate, eps, ONE))
            for role, gradient in factors.items()
            for place, rate, eps in [(outside, ONE, ONE), (inside, moves, gradient)]
        ],
    ]


@pytest.mark.parametrize(
    ("rule", "role", "place", "form", "published"),
    [("completep", *row) for row in sheet(Fraction(1))]
    + [("depth-mup", *row) for row in sheet(Fraction(1, 2))]
    + [("completep, alpha=3/4", *row) for row in sheet(Fraction(3, 4))],
)
def test_completep_sheet(
    rule: str, role: Role, place: Place, form: str, published: tuple[Powers, ...]
) -> None:
    ours = quantities(rule, role, "adamw", place, form=form)
    assert (ours.init, ours.multiplier, ours.lr, ours.eps, ours.decay) == published


COLUMNS = {
    "input W": (Role.INPUT, Place.OUTSIDE),
    "input b": (Role.BIAS, Place.OUTSIDE),
    "hidden W": (Role.HIDDEN, Place.BRANCH),
    "output W": (Role.READOUT, Place.OUTSIDE),
    "hidden b": (Role.BIAS, Place.BRANCH),
}
INPUT, ENDS = ("input W", "input b", "output W"), ("input W", "output W")
# 2603.00541, Tables 3 to 13: width ratio N, depth ratio DEPTH, output multiplier 1/N.
# None where the table has no eps.
JOINT = [
    # optimizers, column, k >= 2: (rate, decay, eps), k = 1: (rate, decay, eps)
    *[("adamw sophia", column, *[(ONE, ONE, ONE / N)] * 2) for column in INPUT],
    (
        "adamw sophia",
        "hidden W",
        (ONE / N, N, ONE / (DEPTH * N)),
        (ONE / (N * ROOT), N, ONE / (N * ROOT)),
    ),
    (
        "adamw sophia",
        "hidden b",
        (ONE, ONE, ONE / (DEPTH * N)),
        (ONE / ROOT, ONE, ONE / (N * ROOT)),
    ),
    *[("lion", column, *[(ONE, ONE, None)] * 2) for column in INPUT],
    ("lion", "hidden W", (ONE / N, N, None), (ONE / (N * ROOT), N, None)),
    ("lion", "hidden b", (ONE, ONE, None), (ONE / ROOT, ONE, None)),
    *[("muon soap", column, *[(ROOT_N, ONE / ROOT_N, None)] * 2) for column in ENDS],
    ("muon soap", "hidden W", (ONE, ONE, None), (ONE / ROOT, ONE, None)),
    *[("shampoo", column, *[(ROOT_N, ONE / ROOT_N, ONE / N)] * 2) for column in ENDS],
    ("shampoo", "hidden W", (ONE, ONE, ONE / DEPTH**2), (ONE / ROOT, ONE, ONE / DEPTH)),
    *[("muon-match-rms", column, *[(ONE, ONE, None)] * 2) for column in ENDS],
    (
        "muon-match-rms",
        "hidden W",
        (ONE / ROOT_N, ROOT_N, None),
        (ONE / (ROOT_N * ROOT), ROOT_N, None),
    ),
    *[("sgd", column, *[(N, ONE / N, None)] * 2) for column in INPUT],
    ("sgd", "hidden W", (DEPTH, ONE / DEPTH, None), (ONE, ONE / ROOT, None)),
    ("sgd", "hidden b", (DEPTH * N, ONE / (DEPTH * N), None), (N, ONE / (N * ROOT), None)),
    ("muon-spectral", "input W", (ONE, ONE, None), (ONE, ONE, None)),
    ("muon-spectral", "hidden W", (ONE, ONE, None), (ONE / ROOT, ONE, None)),
    ("muon-spectral", "output W", (N, ONE / N, None), (N, ONE / N, None)),
]


@pytest.mark.parametrize(("optimizers", "column", "deep_branches", "shallow_branches"), JOINT)
def test_width_and_depth_jointly(
    optimizers: str, column: str, deep_branches: tuple, shallow_branches: tuple
) -> None:
    role, place = COLUMNS[column]
    for rule, published in [("completep", deep_branches), ("depth-mup", shallow_branches)]:
        for optimizer in optimizers.split():
            ours = all_in_width(quantities(rule, role, optimizer, place, form="table8"), role)
            compared = (ours.lr, ours.decay, None if published[2] is None else ours.eps)
            assert compared == published, (rule, optimizer)


SIZED = [name for name, rule in PARAMETRIZATIONS.items() if not rule.one_rate]
DECAYING = [
    name
    for name, family in FAMILIES.items()
    if not (family.normalises_decay or family.decays_badly)
]


@pytest.mark.parametrize("optimizer", DECAYING)
@pytest.mark.parametrize("rule", SIZED)
def test_rate_times_decay_does_not_depend_on_width(rule: str, optimizer: str) -> None:
    """2603.00541, Tables 6 and 12: a step shrinks a tensor by the same fraction at every width.

    Optimizers that normalise their decay are left out.
    """
    for role in Role:
        ours = quantities(rule, role, optimizer, Place.BRANCH)
        assert (ours.lr * ours.decay).substitute(depth=None) == ONE, role
