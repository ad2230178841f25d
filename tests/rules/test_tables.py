"""The published tables, cell by cell, as exact powers."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest

from mutransfer import rules
from mutransfer import MutransferError
from mutransfer.rules import ABC, FAMILIES, FORMS, ONE, PARAMETRIZATIONS, Family, Place, Powers, Quantities, Role, powers

FAN_IN, FAN_OUT, DEPTH, N, EXPERTS = (powers(**{name: 1}) for name in ("fan_in", "fan_out", "depth", "n", "experts"))
WIDTH_ONLY = [name for name, rule in PARAMETRIZATIONS.items() if rule.alpha is None]
MUP_IN_WIDTH = ("mup", "mean-field", "spectral")

INPUT_LIKE = (
    Role.INPUT,
    Role.EMBEDDING,
    Role.POSITION,
    Role.BIAS,
    Role.GAIN,
    Role.VECTOR,
    Role.DEPTHWISE,
    Role.LAYER_SCALE,
    Role.LORA_B,
)
GROWING = {
    **{role: {"fan_in": None, "fan_out": "n", "fan_max": "n"} for role in INPUT_LIKE},  # the fan-in of a bias counts as 1
    Role.READOUT: {"fan_in": "n", "fan_out": None, "fan_max": "n"},
    Role.HIDDEN: {"fan_in": "n", "fan_out": "n", "fan_max": "n"},
}


def in_width(value: Powers, role: Role) -> Powers:
    """The value as a power of width n: a growing axis is n, a finite one 1."""
    return value.substitute(**GROWING[role])


def all_in_width(own: Quantities, role: Role) -> Quantities:
    return Quantities(**{name: in_width(getattr(own, name), role) for name in rules.QUANTITIES})


def quantities(rule: str, role: Role, optimizer: str | Family, place: Place = Place.OUTSIDE, *, form: str = "table3") -> Quantities:
    return rules.parametrization(rule).quantities(role, rules.family(optimizer), place, form=form)


# Tensor Programs V, Tables 3, 8 and 9; "sp" rows are the values in brackets, the same in all three tables.
TENSOR_PROGRAMS_V = [
    # form, rule, quantity, input & biases, output, hidden
    ("table3", "mup", "init var", ONE / FAN_IN, ONE / FAN_IN**2, ONE / FAN_IN),
    ("table3", "mup", "multiplier", ONE, ONE, ONE),
    ("table3", "mup", "SGD LR", FAN_OUT, ONE / FAN_IN, ONE),
    ("table3", "mup", "Adam LR", ONE, ONE / FAN_IN, ONE / FAN_IN),
    ("table8", "mup", "init var", ONE / FAN_IN, ONE, ONE / FAN_IN),
    ("table8", "mup", "multiplier", ONE, ONE / FAN_IN, ONE),
    ("table8", "mup", "SGD LR", FAN_OUT, FAN_IN, ONE),
    ("table8", "mup", "Adam LR", ONE, ONE, ONE / FAN_IN),
    ("table9", "mup", "init var", ONE / FAN_OUT, ONE / FAN_IN, ONE / FAN_IN),
    ("table9", "mup", "multiplier", FAN_OUT ** "1/2", FAN_IN ** "-1/2", ONE),
    ("table9", "mup", "SGD LR", ONE, ONE, ONE),
    ("table9", "mup", "Adam LR", FAN_OUT ** "-1/2", FAN_IN ** "-1/2", ONE / FAN_IN),
    *[
        (form, "sp", quantity, cell, cell, cell)
        for form in ("table3", "table8", "table9")
        for quantity, cell in [("init var", ONE / FAN_IN), ("multiplier", ONE), ("SGD LR", ONE), ("Adam LR", ONE)]
    ],
]


def column(rule: str, form: str, role: Role) -> dict[str, Powers]:
    adam, sgd = (quantities(rule, role, optimizer, form=form) for optimizer in ("adam", "sgd"))
    assert (adam.init, adam.multiplier) == (sgd.init, sgd.multiplier)
    return {"init var": adam.init**2, "multiplier": adam.multiplier, "SGD LR": sgd.lr, "Adam LR": adam.lr}


@pytest.mark.parametrize(("form", "rule", "quantity", "input_and_biases", "output", "hidden"), TENSOR_PROGRAMS_V)
def test_tensor_programs_v(form: str, rule: str, quantity: str, input_and_biases: Powers, output: Powers, hidden: Powers) -> None:
    published = {**dict.fromkeys(INPUT_LIKE, input_and_biases), Role.READOUT: output, Role.HIDDEN: hidden}
    ours = {role: in_width(column(rule, form, role)[quantity], role) for role in published}
    assert ours == {role: in_width(cell, role) for role, cell in published.items()}


@pytest.mark.parametrize("optimizer", FAMILIES)
def test_parametrizations_that_differ_only_in_form(optimizer: str) -> None:
    """Mean-field is muP with unit scales, and the spectral condition gives muP (2310.17813, Section 4), but for narrowing matrices."""
    for role in Role:
        assert quantities("mean-field", role, optimizer) == quantities("mup", role, optimizer), role
        assert (quantities("spectral", role, optimizer) == quantities("mup", role, optimizer)) == (role != Role.KEY_VALUE), role


def test_the_spectral_condition_for_narrowing_matrices() -> None:
    """2310.17813, Condition 1: initial norms √(n_out/n_in), for n_out below n_in; rates n_out/n_in (SGD) and 1/n_in (Adam)."""
    sgd, adam = (quantities("spectral", Role.KEY_VALUE, optimizer) for optimizer in ("sgd", "adam"))
    assert sgd.init == adam.init == FAN_OUT ** "1/2" / FAN_IN
    assert (sgd.lr, adam.lr) == (FAN_OUT / FAN_IN, ONE / FAN_IN)


FULL, HALVED = powers(head_dim=-1), powers(head_dim="-1/2")
SIGNALS = {
    # rule: attention scale (Tensor Programs V, Definition 4.1: q·k/d instead of q·k/√d), a tied head's multiplier (Table 8), branches
    "sp": (HALVED, ONE, ONE),
    "sp-layerwise": (HALVED, FAN_IN ** "-1/2", ONE),
    "ntk": (HALVED, FAN_IN ** "-1/2", ONE),
    "mean-field": (FULL, ONE / FAN_IN, ONE),
    "mup": (FULL, ONE / FAN_IN, ONE),
    "spectral": (FULL, ONE / FAN_IN, ONE),
    "depth-mup": (FULL, ONE / FAN_IN, DEPTH ** "-1/2"),
    "sqrt-depth": (FULL, ONE / FAN_IN, DEPTH ** "-1/2"),
    "completep": (FULL, ONE / FAN_IN, ONE / DEPTH),
    "u-mup": (FULL, ONE / FAN_IN, DEPTH ** "-1/2"),
}


def test_multipliers_of_signals() -> None:
    ours = {name: (rule.attention_scale, rule.logit_multiplier, rule.branch_multiplier) for name, rule in PARAMETRIZATIONS.items()}
    assert ours == SIGNALS


def test_signals_of_a_listing() -> None:
    """The plain form carries the branch's multiplier in the tensors; the norm of the gradient is ∝ depth^(1/2 - alpha)."""
    completep = rules.parametrization("completep, clip=derived")
    shared = {"attention logits": FULL, "logits of a tied head": ONE / FAN_IN, "thresholds of the gradient norm": DEPTH ** "-1/2"}
    assert rules.signals(completep, "plain") == shared
    assert rules.signals(completep, "table8") == {**shared, "outputs of residual branches": ONE / DEPTH}
    assert "thresholds of the gradient norm" not in rules.signals(rules.parametrization("completep"))


@pytest.mark.parametrize("optimizer", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_standard_parametrization_trains_every_tensor_alike(form: str, optimizer: str) -> None:
    for role in Role:
        for place in Place:
            ours = quantities("sp", role, optimizer, place, form=form)
            assert (ours.multiplier, ours.lr, ours.eps, ours.decay) == (ONE, ONE, ONE, ONE), (role, place)


@pytest.mark.parametrize("optimizer", FAMILIES)
@pytest.mark.parametrize("rule", WIDTH_ONLY)
def test_depth_changes_nothing_in_a_rule_for_width_alone(rule: str, optimizer: str) -> None:
    for role in Role:
        for form in ("plain", "table3"):
            ours = {quantities(rule, role, optimizer, place, form=form) for place in Place}
            assert ours == {quantities(rule, role, optimizer)}, role


def test_the_role_of_a_matrix() -> None:
    """Tensor Programs V, Definitions B.1 and B.2."""
    roles = {(a, b): rules.matrix_role(a, b) for a in (False, True) for b in (False, True)}
    assert roles == {(False, False): Role.SCALAR, (False, True): Role.INPUT, (True, False): Role.READOUT, (True, True): Role.HIDDEN}


# Tensor Programs VI: Table 1 (depth) times Table 2 (width, optimizers with entrywise updates), SGD's width from Tensor Programs V, Table 3.
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
def test_tensor_programs_vi(optimizer: str, role: Role, place: Place, variance: Powers, rate: Powers) -> None:
    ours = all_in_width(quantities("depth-mup", role, optimizer, place), role)
    assert (ours.init**2, ours.multiplier, ours.lr) == (variance, ONE, rate)
    assert rules.parametrization("depth-mup").branch_multiplier == DEPTH ** "-1/2"


def test_adams_rate_that_ignores_depth() -> None:
    """2309.16620 does not rescale Adam's rate with depth, and is Depth-muP otherwise."""
    for optimizer in ("sgd", "adamw", "lion", "muon"):
        for role in Role:
            for place in Place:
                deep, ours = quantities("depth-mup", role, optimizer, place), quantities("sqrt-depth", role, optimizer, place)
                factor = ONE if optimizer == "sgd" or place == Place.OUTSIDE else DEPTH ** "1/2"
                assert ours == replace(deep, lr=deep.lr * factor), (optimizer, role, place)


def sheet(alpha: Fraction) -> list[tuple[Role, Place, str, tuple[Powers, ...]]]:
    """CompleteP (2505.01618), Table 1, for every role, with branches times depth^-alpha.

    Rate and decay are fan-in quantities; eps, which stands beside the gradient, is a fan-out quantity.
    """
    moves, branch, inside, outside = DEPTH ** (alpha - 1), DEPTH**-alpha, Place.BRANCH, Place.OUTSIDE
    drawn = FAN_IN ** "-1/2"
    return [
        # role, place, form, (init, multiplier, rate, eps, decay)
        (Role.EMBEDDING, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.POSITION, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.TIED, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.INPUT, outside, "table8", (drawn, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.HIDDEN, outside, "table8", (drawn, ONE, ONE / FAN_IN, ONE / FAN_OUT, FAN_IN)),
        (Role.HIDDEN, inside, "table8", (drawn, ONE, moves / FAN_IN, branch / FAN_OUT, FAN_IN)),
        (Role.HIDDEN, Place.BRANCH_END, "table8", (drawn, ONE, moves / FAN_IN, branch / FAN_OUT, FAN_IN)),
        # r query heads share a key: their gradients add up to sqrt(r) = sqrt(fan_in / fan_out) times one's
        (Role.KEY_VALUE, inside, "table8", (drawn, ONE, moves / FAN_IN, branch / (FAN_IN * FAN_OUT) ** "1/2", FAN_IN)),
        (Role.READOUT, outside, "table8", (ONE, ONE / FAN_IN, ONE, ONE / FAN_IN, ONE)),
        (Role.READOUT, outside, "table3", (ONE / FAN_IN, ONE, ONE / FAN_IN, ONE, FAN_IN)),
        *[
            (role, place, "table8", (ONE, ONE, rate, eps / FAN_OUT, ONE))
            for role in (Role.BIAS, Role.GAIN, Role.VECTOR, Role.LAYER_SCALE)  # outside: the final norm
            for place, rate, eps in [(outside, ONE, ONE), (inside, moves, branch), (Place.BRANCH_END, moves, branch)]
        ],
        (Role.DEPTHWISE, outside, "table8", (drawn, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.DEPTHWISE, inside, "table8", (drawn, ONE, moves, branch / FAN_OUT, ONE)),
        *[
            (role, place, "table8", (ONE, ONE, rate, eps, ONE))
            for role in (Role.SCALAR, Role.HEAD_GAIN, Role.ATTENTION_SCALE)
            # a factor of all heads has a gradient that only the features' change makes add up
            for place, rate, eps in [(outside, ONE, ONE), (inside, moves, branch if role == Role.SCALAR else branch * moves)]
        ],
    ]


@pytest.mark.parametrize(
    ("rule", "role", "place", "form", "published"),
    [("completep", *row) for row in sheet(Fraction(1))]
    + [("depth-mup", *row) for row in sheet(Fraction(1, 2))]
    + [("completep, alpha=3/4", *row) for row in sheet(Fraction(3, 4))],
)
def test_completep_sheet(rule: str, role: Role, place: Place, form: str, published: tuple[Powers, ...]) -> None:
    ours = quantities(rule, role, "adamw", place, form=form)
    assert (ours.init, ours.multiplier, ours.lr, ours.eps, ours.decay) == published


COLUMNS = {
    "input W": (Role.INPUT, Place.OUTSIDE),
    "input b": (Role.BIAS, Place.OUTSIDE),
    "hidden W": (Role.HIDDEN, Place.BRANCH),
    "output W": (Role.READOUT, Place.OUTSIDE),
    "hidden b": (Role.BIAS, Place.BRANCH),
}
ROOT, ROOT_N = DEPTH ** "1/2", N ** "1/2"
# 2603.00541, Tables 3 to 13; width ratio N, depth ratio DEPTH, output multiplier 1/N; None: the table has no eps.
JOINT = [
    # optimizers, column, k >= 2: (rate, decay, eps), k = 1: (rate, decay, eps)
    *[("adamw sophia", column, (ONE, ONE, ONE / N), (ONE, ONE, ONE / N)) for column in ("input W", "input b", "output W")],
    ("adamw sophia", "hidden W", (ONE / N, N, ONE / (DEPTH * N)), (ONE / (N * ROOT), N, ONE / (N * ROOT))),
    ("adamw sophia", "hidden b", (ONE, ONE, ONE / (DEPTH * N)), (ONE / ROOT, ONE, ONE / (N * ROOT))),
    *[("lion", column, (ONE, ONE, None), (ONE, ONE, None)) for column in ("input W", "input b", "output W")],
    ("lion", "hidden W", (ONE / N, N, None), (ONE / (N * ROOT), N, None)),
    ("lion", "hidden b", (ONE, ONE, None), (ONE / ROOT, ONE, None)),
    *[("muon soap", column, (ROOT_N, ONE / ROOT_N, None), (ROOT_N, ONE / ROOT_N, None)) for column in ("input W", "output W")],
    ("muon soap", "hidden W", (ONE, ONE, None), (ONE / ROOT, ONE, None)),
    *[("shampoo", column, (ROOT_N, ONE / ROOT_N, ONE / N), (ROOT_N, ONE / ROOT_N, ONE / N)) for column in ("input W", "output W")],
    ("shampoo", "hidden W", (ONE, ONE, ONE / DEPTH**2), (ONE / ROOT, ONE, ONE / DEPTH)),
    *[("muon-match-rms", column, (ONE, ONE, None), (ONE, ONE, None)) for column in ("input W", "output W")],
    ("muon-match-rms", "hidden W", (ONE / ROOT_N, ROOT_N, None), (ONE / (ROOT_N * ROOT), ROOT_N, None)),
    *[("sgd", column, (N, ONE / N, None), (N, ONE / N, None)) for column in ("input W", "input b", "output W")],
    ("sgd", "hidden W", (DEPTH, ONE / DEPTH, None), (ONE, ONE / ROOT, None)),
    ("sgd", "hidden b", (DEPTH * N, ONE / (DEPTH * N), None), (N, ONE / (N * ROOT), None)),
    ("muon-spectral", "input W", (ONE, ONE, None), (ONE, ONE, None)),
    ("muon-spectral", "hidden W", (ONE, ONE, None), (ONE / ROOT, ONE, None)),
    ("muon-spectral", "output W", (N, ONE / N, None), (N, ONE / N, None)),
]


@pytest.mark.parametrize(("optimizers", "column", "deep_branches", "shallow_branches"), JOINT)
def test_width_and_depth_jointly(optimizers: str, column: str, deep_branches: tuple, shallow_branches: tuple) -> None:
    role, place = COLUMNS[column]
    for rule, published in [("completep", deep_branches), ("depth-mup", shallow_branches)]:
        for optimizer in optimizers.split():
            ours = all_in_width(quantities(rule, role, optimizer, place, form="table8"), role)
            compared = (ours.lr, ours.decay, None if published[2] is None else ours.eps)
            assert compared == published, (rule, optimizer)


@pytest.mark.parametrize("optimizer", [name for name, each in FAMILIES.items() if not (each.normalises_decay or each.decays_badly)])
@pytest.mark.parametrize("rule", [name for name, each in PARAMETRIZATIONS.items() if not each.one_rate])
def test_rate_times_decay_does_not_depend_on_width(rule: str, optimizer: str) -> None:
    """2603.00541, Tables 6 and 12: where decay is not normalised away, a step shrinks a tensor by the same fraction at every width."""
    for role in Role:
        ours = quantities(rule, role, optimizer, Place.BRANCH)
        assert (ours.lr * ours.decay).substitute(depth=None) == ONE, role


# 2407.05872: (embedding, hidden, readout) of each of its parametrizations. SGD's rows, and mean-field's without alignment, follow
# from its abc algebra.
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
        moved = {
            f"{title}, {alignment}": all_in_width(rule.using(alignment=alignment).quantities(role, family), role).rescale(theta, family)
            for title, family, alignment in [
                ("Adam", rules.family("adam"), "full"),
                ("Adam", rules.family("adam"), "none"),
                ("SGD", rules.family("sgd"), "full"),
            ]
        }
        ours["multiplier"].append(moved["SGD, full"].multiplier)
        ours["init var"].append(moved["SGD, full"].init ** 2)
        for row, found in moved.items():
            ours[row].append(found.lr)
    assert {row: tuple(cells) for row, cells in ours.items()} == published


def abc(rule: str, hidden_layers: int) -> ABC:
    """The exponents of an MLP with finite input and output, all tensors drawn with standard deviation 1 and trained by SGD."""
    layers = [Role.INPUT, *[Role.HIDDEN] * (hidden_layers - 1), Role.READOUT]
    rows = [all_in_width(quantities(rule, role, "sgd", form="unit"), role) for role in layers]
    assert all(row.init == ONE for row in rows)
    return ABC(a=[-exponent(row.multiplier) for row in rows], b=[0] * len(rows), c=[-exponent(row.lr) for row in rows])


def exponent(value: Powers) -> Fraction:
    return dict(value.exponents).get("n", Fraction(0))


@pytest.mark.parametrize("hidden_layers", [1, 2, 5])
@pytest.mark.parametrize("rule", [*MUP_IN_WIDTH, "depth-mup", "completep", "u-mup"])
def test_maximal_update_by_classification(rule: str, hidden_layers: int) -> None:
    """Tensor Programs IV, Section 5."""
    ours, known = abc(rule, hidden_layers), rules.known_points(hidden_layers)["mup"]
    assert ours.shifted([a - b for a, b in zip(known.a, ours.a, strict=True)]) == known
    found = rules.classify(ours)
    assert found.maximal_update and found.feature_learning and found.r_layers == (0,) * hidden_layers


def test_mean_field_exponents() -> None:
    assert abc("mean-field", 1) == rules.known_points(1)["mean-field"]


@pytest.mark.parametrize("hidden_layers", [1, 2, 5])
def test_the_neural_tangent_parametrization_is_the_kernel_regime(hidden_layers: int) -> None:
    ours = abc("ntk", hidden_layers)
    found = rules.classify(ours)
    assert ours == rules.known_points(hidden_layers)["ntk"]
    assert (found.verdict, found.r, found.r_layers) == ("kernel regime", Fraction(1, 2), (Fraction(1, 2),) * hidden_layers)


def test_standard_parametrization_layerwise_moves_features_and_the_output_through_its_initial_readout() -> None:
    """2407.05872 takes the readout's initial weights and the change of the features as unaligned; Tensor Programs IV as aligned."""
    found = rules.classify(abc("sp-layerwise", 3))
    assert (found.r_layers, found.maximal) == ((0, 0, 0), (True,) * 4)
    assert not found.stable
    assert "through its initial weights the output moves by n^1/2" in found.why and found.why.count(" has ") == 1


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
    outside, inside = (quantities("u-mup", role, "adamw", place, form="unit") for place in (Place.OUTSIDE, Place.BRANCH))
    assert (outside.init, outside.multiplier, outside.lr) == (ONE, multiplier, rate)
    assert (inside.init, inside.multiplier, inside.lr) == (ONE, multiplier, rate / ROOT)


@pytest.mark.parametrize("rule", [*MUP_IN_WIDTH, "completep", "depth-mup"])
@pytest.mark.parametrize("role", [Role.INPUT, Role.HIDDEN, Role.READOUT])
def test_spectral_condition(rule: str, role: Role) -> None:
    """2310.17813, Condition 1: ‖W‖ and ‖ΔW‖ ∝ sqrt(n_out/n_in); reached by sigma = min(1, sqrt(n_out/n_in)) / sqrt(n_in) and its rates."""
    finite: Mapping[Role, dict[str, None]] = {Role.INPUT: {"fan_in": None}, Role.HIDDEN: {}, Role.READOUT: {"fan_out": None}}
    sgd, adam = (quantities(rule, role, optimizer) for optimizer in ("sgd", "adam"))
    shape = {"fan_in": 1 if role == Role.INPUT else 64, "fan_out": 1 if role == Role.READOUT else 64}
    sigma = shape["fan_in"] ** -0.5 * min(1.0, (shape["fan_out"] / shape["fan_in"]) ** 0.5)
    assert sgd.init == adam.init and sgd.init.evaluate(shape) == pytest.approx(sigma, rel=1e-12)
    gradient = rules.parametrization(rule).law(role).gradient
    updates = sgd.lr * gradient * (FAN_IN * FAN_OUT) ** "1/2", adam.lr * (FAN_IN * FAN_OUT) ** "1/2"  # both have rank one
    changes = [update.substitute(**finite[role]) for update in updates]
    assert changes == [((FAN_OUT / FAN_IN) ** "1/2").substitute(**finite[role])] * 2
    assert (sgd.lr.substitute(**finite[role]), adam.lr.substitute(**finite[role])) == (
        (FAN_OUT / FAN_IN).substitute(**finite[role]),
        (ONE / FAN_IN).substitute(**finite[role]),
    )


# 2605.14200: Adam's quantities of router and experts, features wide n, experts M; fixed M ("MupFixedE") and growing M ("MupAllScale").
MIXTURES = [
    # rule, role, experts grow, init, rate, eps
    ("mup", Role.ROUTER, False, ONE / FAN_IN, ONE / FAN_IN, ONE),
    ("mup, router=hidden", Role.ROUTER, True, FAN_IN ** "-1/2", ONE / FAN_IN, ONE / EXPERTS),
    ("mup", Role.EXPERT, False, FAN_IN ** "-1/2", ONE / FAN_IN, ONE / FAN_OUT),
    ("mup", Role.EXPERT, True, FAN_IN ** "-1/2", ONE / FAN_IN, ONE / (FAN_OUT * EXPERTS)),
]


@pytest.mark.parametrize(("rule", "role", "experts_grow", "init", "rate", "eps"), MIXTURES)
def test_mixtures_of_experts(rule: str, role: Role, experts_grow: bool, init: Powers, rate: Powers, eps: Powers) -> None:
    ours = quantities(rule, role, "adamw")
    assert (ours.init, ours.lr, ours.eps if experts_grow else ours.eps.substitute(experts=None)) == (init, rate, eps)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lion"])
def test_the_two_matrices_of_an_adapter(optimizer: str) -> None:
    """LoRA+: the rate of B over that of A grows with width."""
    ratio = quantities("mup", Role.LORA_B, optimizer).lr / quantities("mup", Role.LORA_A, optimizer).lr
    assert ratio == FAN_IN


@pytest.mark.parametrize("form", FORMS)
def test_frozen_tensors_are_left_alone(form: str) -> None:
    assert quantities("mup", Role.FROZEN, "adamw", form=form) == Quantities()


def test_names_of_optimizers_ignore_case() -> None:
    assert rules.family("AdamW") is rules.family("adamw") is FAMILIES["adamw"]


@pytest.mark.parametrize(
    ("ask", "choices"),
    [
        (lambda: rules.parametrization("mupp"), PARAMETRIZATIONS),
        (lambda: rules.family("mupp"), FAMILIES),
        *[(lambda name=name: quantities(name, Role.HIDDEN, "adam", form="mupp"), FORMS) for name in ("mup", "sp")],
        (lambda: rules.listing(rules.parametrization("completep"), rules.family("adam"), "mupp"), FORMS),
        (lambda: rules.jumps(rules.parametrization("mup"), "mupp"), FORMS),
    ],
    ids=["rule", "optimizer", "form", "form of sp", "form of a listing", "form of jumps"],
)
def test_an_unknown_name_is_refused_with_the_choices(ask, choices) -> None:
    with pytest.raises(MutransferError, match="'mupp'") as caught:
        ask()
    offered = str(caught.value).partition("choose one of ")[2].partition(", or declare")[0]
    assert offered == ", ".join(choices)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", PARAMETRIZATIONS)
def test_a_listing_has_every_role_where_it_can_stand(rule: str, form: str) -> None:
    own, adamw = rules.parametrization(rule), rules.family("adamw")
    rows = rules.listing(own, adamw, form)
    places = {place: [row.role for row in rows if row.place == place] for place in Place}
    assert places[Place.OUTSIDE] == [role for role in Role if role != Role.FROZEN]
    assert bool(places[Place.BRANCH]) == (own.alpha is not None)
    assert bool(places[Place.BRANCH_END]) == (own.alpha is not None and form == "plain")
    assert not {Role.EMBEDDING, Role.READOUT, Role.INPUT, Role.TIED} & {*places[Place.BRANCH], *places[Place.BRANCH_END]}
    assert {Role.HIDDEN, Role.BIAS, Role.GAIN} <= set(places[Place.BRANCH]) or own.alpha is None
    for row in rows:
        assert row.quantities == own.quantities(row.role, adamw, row.place, form=form)
    assert len({row.label for row in rows}) == len(rows)


def test_a_branch_end_carries_the_multiplier_in_the_plain_form() -> None:
    """A tensor that is depth^-alpha as large needs Adam's rate and AdamW's decay to move by as much (Lemma J.1)."""
    ours = quantities("completep", Role.HIDDEN, "adamw", Place.BRANCH_END, form="plain")
    assert ours == Quantities(init=FAN_IN ** "-1/2" / DEPTH, lr=ONE / (FAN_IN * DEPTH), eps=ONE / FAN_OUT, decay=FAN_IN * DEPTH)
    inside = [quantities("completep", Role.HIDDEN, "adamw", Place.BRANCH, form=form) for form in ("plain", "table3")]
    assert inside[0] == inside[1]
