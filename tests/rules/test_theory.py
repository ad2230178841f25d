"""Rules against published theory: alignment, classification, spectral norms, experts."""

from collections.abc import Mapping
from fractions import Fraction

import pytest

from mutransfer import rules
from mutransfer.rules import ABC, FORMS, ONE, Place, Powers, Quantities, Role, powers
from tests.rules.tables import (
    FAN_IN,
    FAN_OUT,
    MUP_IN_WIDTH,
    ROOT,
    ROOT_N,
    N,
    all_in_width,
    quantities,
)

EXPERTS = powers(experts=1)

# 2407.05872: (embedding, hidden, readout) of its four parametrizations.
# SGD's rows, and mean-field's without alignment, follow from its abc algebra.
THREE = (Role.EMBEDDING, Role.HIDDEN, Role.READOUT)
EVERETT: dict[str, tuple[str, dict[str, tuple[Powers, Powers, Powers]]]] = {
    "standard": (
        "sp-layerwise",
        {
            "multiplier": (ONE, ONE, ONE),
            "init var": (ONE, ONE / N, ONE / N),
            "Adam, full": (ONE, ONE / N, ONE / N),
            "Adam, none": (ONE, ONE / ROOT_N, ONE / ROOT_N),
            "SGD, full": (ROOT_N, ONE / ROOT_N, ONE / N),
        },
    ),
    "neural tangent": (
        "sp-layerwise",
        {
            "multiplier": (ONE, ONE / ROOT_N, ONE / ROOT_N),
            "init var": (ONE, ONE, ONE),
            "Adam, full": (ONE, ONE / ROOT_N, ONE / ROOT_N),
            "Adam, none": (ONE, ONE, ONE),
            "SGD, full": (ROOT_N, ROOT_N, ONE),
        },
    ),
    "mean-field": (
        "mup",
        {
            "multiplier": (ONE, ONE / ROOT_N, ONE / N),
            "init var": (ONE, ONE, ONE),
            "Adam, full": (ONE, ONE / ROOT_N, ONE),
            "Adam, none": (ONE, ONE, ROOT_N),
            "SGD, full": (N, N, N),
        },
    ),
    "maximal update": (
        "mup",
        {
            "multiplier": (ROOT_N, ONE, ONE / ROOT_N),
            "init var": (ONE / N, ONE / N, ONE / N),
            "Adam, full": (ONE / ROOT_N, ONE / N, ONE / ROOT_N),
            "Adam, none": (ONE / ROOT_N, ONE / ROOT_N, ONE),
            "SGD, full": (ONE, ONE, ONE),
        },
    ),
}


@pytest.mark.parametrize("name", EVERETT)
def test_four_parametrizations_and_two_alignments(name: str) -> None:
    equivalent, published = EVERETT[name]
    rule = rules.parametrization(equivalent)
    ours: dict[str, list[Powers]] = {row: [] for row in published}
    for role, theta in zip(THREE, published["multiplier"], strict=True):
        moved = {}
        for title, alignment in [("Adam", "full"), ("Adam", "none"), ("SGD", "full")]:
            family, aligned = rules.family(title), rule.using(alignment=alignment)
            row = all_in_width(aligned.quantities(role, family), role)
            moved[f"{title}, {alignment}"] = row.rescale(theta, family)
        ours["multiplier"].append(moved["SGD, full"].multiplier)
        ours["init var"].append(moved["SGD, full"].init ** 2)
        for row, found in moved.items():
            ours[row].append(found.lr)
    assert {row: tuple(cells) for row, cells in ours.items()} == published


def abc(rule: str, hidden_layers: int) -> ABC:
    """Exponents of an MLP with finite input and output, unit initial scales and SGD."""
    layers = [Role.INPUT, *[Role.HIDDEN] * (hidden_layers - 1), Role.READOUT]
    rows = [all_in_width(quantities(rule, role, "sgd", form="unit"), role) for role in layers]
    assert all(row.init == ONE for row in rows)
    multipliers, rates = [row.multiplier for row in rows], [row.lr for row in rows]
    return ABC(
        a=[-exponent(m) for m in multipliers], b=[0] * len(rows), c=[-exponent(r) for r in rates]
    )


def exponent(value: Powers) -> Fraction:
    return dict(value.exponents).get("n", Fraction(0))


@pytest.mark.parametrize("hidden_layers", [1, 2, 5])
@pytest.mark.parametrize("rule", [*MUP_IN_WIDTH, "depth-mup", "completep", "u-mup"])
def test_maximal_update_by_classification(rule: str, hidden_layers: int) -> None:
    """Tensor Programs IV, Section 5."""
    ours, known = abc(rule, hidden_layers), rules.known_points(hidden_layers)["mup"]
    assert ours.shifted([a - b for a, b in zip(known.a, ours.a, strict=True)]) == known
    found = rules.classify(ours)
    assert (
        found.maximal_update and found.feature_learning and found.r_layers == (0,) * hidden_layers
    )


def test_mean_field_exponents() -> None:
    assert abc("mean-field", 1) == rules.known_points(1)["mean-field"]


@pytest.mark.parametrize("hidden_layers", [1, 2, 5])
def test_the_neural_tangent_parametrization_is_the_kernel_regime(hidden_layers: int) -> None:
    ours = abc("ntk", hidden_layers)
    found = rules.classify(ours)
    assert ours == rules.known_points(hidden_layers)["ntk"]
    assert (found.verdict, found.r, found.r_layers) == (
        "kernel regime",
        Fraction(1, 2),
        (Fraction(1, 2),) * hidden_layers,
    )


def test_layerwise_sp_moves_the_output_through_its_initial_readout() -> None:
    """Its features move, but it is unstable where the readout aligns with their change.

    2407.05872 takes the readout's initial weights as unaligned to that change, Tensor Programs IV
    as aligned.
    """
    found = rules.classify(abc("sp-layerwise", 3))
    assert (found.r_layers, found.maximal) == ((0, 0, 0), (True,) * 4)
    assert not found.stable
    assert (
        "through its initial weights the output moves by n^1/2" in found.why
        and found.why.count(" has ") == 1
    )


# u-muP (2407.17465, Table 2): Adam's rates with unit scales and explicit multipliers.
UNIT_SCALED = [
    # role, multiplier, rate
    (Role.EMBEDDING, ONE, FAN_OUT ** "-1/2"),
    (Role.HIDDEN, FAN_IN ** "-1/2", FAN_IN ** "-1/2"),
    (Role.READOUT, ONE / FAN_IN, ONE),
    (Role.BIAS, ONE, ONE),
    (Role.GAIN, ONE, ONE),
]


@pytest.mark.parametrize(("role", "multiplier", "rate"), UNIT_SCALED)
def test_unit_scaled_mup(role: Role, multiplier: Powers, rate: Powers) -> None:
    outside = quantities("u-mup", role, "adamw", form="unit")
    inside = quantities("u-mup", role, "adamw", Place.BRANCH, form="unit")
    assert (outside.init, outside.multiplier, outside.lr) == (ONE, multiplier, rate)
    assert (inside.init, inside.multiplier, inside.lr) == (ONE, multiplier, rate / ROOT)


@pytest.mark.parametrize("rule", [*MUP_IN_WIDTH, "completep", "depth-mup"])
@pytest.mark.parametrize("role", [Role.INPUT, Role.HIDDEN, Role.READOUT])
def test_spectral_condition(rule: str, role: Role) -> None:
    """2310.17813, Condition 1: ‖W‖ and ‖ΔW‖ ∝ sqrt(n_out/n_in).

    Reached by sigma = min(1, sqrt(n_out/n_in)) / sqrt(n_in) and its rates.
    """
    finite: Mapping[Role, dict[str, None]] = {
        Role.INPUT: {"fan_in": None},
        Role.HIDDEN: {},
        Role.READOUT: {"fan_out": None},
    }
    sgd, adam = (quantities(rule, role, optimizer) for optimizer in ("sgd", "adam"))
    shape = {
        "fan_in": 1 if role == Role.INPUT else 64,
        "fan_out": 1 if role == Role.READOUT else 64,
    }
    sigma = shape["fan_in"] ** -0.5 * min(1.0, (shape["fan_out"] / shape["fan_in"]) ** 0.5)
    assert sgd.init == adam.init and sgd.init.evaluate(shape) == pytest.approx(sigma, rel=1e-12)
    gradient = rules.parametrization(rule).law(role).gradient
    norm = (
        FAN_IN * FAN_OUT
    ) ** "1/2"  # of a matrix of unit entries and rank one, as both updates are
    updates = sgd.lr * gradient * norm, adam.lr * norm
    changes = [update.substitute(**finite[role]) for update in updates]
    assert changes == [((FAN_OUT / FAN_IN) ** "1/2").substitute(**finite[role])] * 2
    assert (sgd.lr.substitute(**finite[role]), adam.lr.substitute(**finite[role])) == (
        (FAN_OUT / FAN_IN).substitute(**finite[role]),
        (ONE / FAN_IN).substitute(**finite[role]),
    )


# 2605.14200: Adam's quantities of router and experts. Features are n wide, there are M experts,
# fixed ("MupFixedE") or growing ("MupAllScale") in number.
MIXTURES = [
    # rule, role, experts grow, init, rate, eps
    ("mup", Role.ROUTER, False, ONE / FAN_IN, ONE / FAN_IN, ONE),
    ("mup, router=hidden", Role.ROUTER, True, FAN_IN ** "-1/2", ONE / FAN_IN, ONE / EXPERTS),
    ("mup", Role.EXPERT, False, FAN_IN ** "-1/2", ONE / FAN_IN, ONE / FAN_OUT),
    ("mup", Role.EXPERT, True, FAN_IN ** "-1/2", ONE / FAN_IN, ONE / (FAN_OUT * EXPERTS)),
]


@pytest.mark.parametrize(("rule", "role", "experts_grow", "init", "rate", "eps"), MIXTURES)
def test_mixtures_of_experts(
    rule: str, role: Role, experts_grow: bool, init: Powers, rate: Powers, eps: Powers
) -> None:
    ours = quantities(rule, role, "adamw")
    our_eps = ours.eps if experts_grow else ours.eps.substitute(experts=None)
    assert (ours.init, ours.lr, our_eps) == (init, rate, eps)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lion"])
def test_the_two_matrices_of_an_adapter(optimizer: str) -> None:
    """LoRA+: the rate of B over that of A grows with width."""
    ratio = (
        quantities("mup", Role.LORA_B, optimizer).lr / quantities("mup", Role.LORA_A, optimizer).lr
    )
    assert ratio == FAN_IN


@pytest.mark.parametrize("form", FORMS)
def test_frozen_tensors_are_left_alone(form: str) -> None:
    assert quantities("mup", Role.FROZEN, "adamw", form=form) == Quantities()
