"""The published tables, cell by cell, as exact powers."""

from fractions import Fraction

import pytest

from mutransfer import rules
from mutransfer._errors import MutransferError
from mutransfer.rules import FAMILIES, FORMS, ONE, PARAMETRIZATIONS, Powers, Role, powers

FAN_IN, FAN_OUT, DEPTH, N = powers(fan_in=1), powers(fan_out=1), powers(depth=1), powers(n=1)

INPUT_LIKE = (Role.INPUT, Role.EMBEDDING, Role.BIAS, Role.GAIN, Role.VECTOR)
GROWING = {
    **{role: {"fan_in": None, "fan_out": "n"} for role in INPUT_LIKE},  # the fan-in of a bias counts as 1
    Role.READOUT: {"fan_in": "n", "fan_out": None},
    Role.HIDDEN: {"fan_in": "n", "fan_out": "n"},
}


def in_width(value: Powers, role: Role) -> Powers:
    """The value as a power of width n: a growing axis is n, a finite one 1."""
    return value.substitute(**GROWING[role])


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
    adam = rules.parametrization(rule).quantities(role, rules.family("adam"), form=form)
    sgd = rules.parametrization(rule).quantities(role, rules.family("sgd"), form=form)
    assert (adam.init, adam.multiplier) == (sgd.init, sgd.multiplier)
    return {"init var": adam.init**2, "multiplier": adam.multiplier, "SGD LR": sgd.lr, "Adam LR": adam.lr}


@pytest.mark.parametrize(("form", "rule", "quantity", "input_and_biases", "output", "hidden"), TENSOR_PROGRAMS_V)
def test_tensor_programs_v(form: str, rule: str, quantity: str, input_and_biases: Powers, output: Powers, hidden: Powers) -> None:
    published = {**dict.fromkeys(INPUT_LIKE, input_and_biases), Role.READOUT: output, Role.HIDDEN: hidden}
    ours = {role: in_width(column(rule, form, role)[quantity], role) for role in published}
    assert ours == {role: in_width(cell, role) for role, cell in published.items()}


def test_attention_and_tied_logits() -> None:
    """Tensor Programs V, Definition 4.1 (q·k/d instead of q·k/√d), and Table 8's multiplier for a tied head."""
    assert {name: (rule.attention_scale, rule.logit_multiplier) for name, rule in PARAMETRIZATIONS.items()} == {
        "sp": (powers(head_dim="-1/2"), ONE),
        "mup": (powers(head_dim=-1), ONE / FAN_IN),
        "depth-mup": (powers(head_dim=-1), ONE / FAN_IN),
        "completep": (powers(head_dim=-1), ONE / FAN_IN),
    }


@pytest.mark.parametrize("optimizer", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_standard_parametrization_trains_every_tensor_alike(form: str, optimizer: str) -> None:
    for role in Role:
        ours = rules.parametrization("sp").quantities(role, rules.family(optimizer), in_branch=True, form=form)
        assert (ours.multiplier, ours.lr, ours.eps, ours.decay) == (ONE, ONE, ONE, ONE), role


@pytest.mark.parametrize("optimizer", FAMILIES)
def test_depth_changes_nothing_in_a_rule_for_width_alone(optimizer: str) -> None:
    mup, family = rules.parametrization("mup"), rules.family(optimizer)
    for role in Role:
        assert mup.quantities(role, family, in_branch=True) == mup.quantities(role, family), role


def test_the_role_of_a_matrix() -> None:
    """Tensor Programs V, Definitions B.1 and B.2."""
    roles = {(a, b): rules.matrix_role(a, b) for a in (False, True) for b in (False, True)}
    assert roles == {(False, False): Role.SCALAR, (False, True): Role.INPUT, (True, False): Role.READOUT, (True, True): Role.HIDDEN}


# Tensor Programs VI, Table 1 (depth) times Table 2 (width, Adam) and Tensor Programs V, Table 3 (width, SGD).
TENSOR_PROGRAMS_VI = [
    # optimizer, branch multiplier, rate of a hidden matrix in a branch
    ("sgd", DEPTH ** "-1/2", ONE),
    ("adam", DEPTH ** "-1/2", DEPTH ** "-1/2" / N),
]


@pytest.mark.parametrize(("optimizer", "branch", "rate"), TENSOR_PROGRAMS_VI)
def test_tensor_programs_vi(optimizer: str, branch: Powers, rate: Powers) -> None:
    rule = rules.parametrization("depth-mup")
    hidden = rule.quantities(Role.HIDDEN, rules.family(optimizer), in_branch=True)
    assert (rule.branch_multiplier, in_width(hidden.lr, Role.HIDDEN)) == (branch, rate)


def sheet(alpha: Fraction) -> list[tuple[Role, bool, str, tuple[Powers, ...]]]:
    """CompleteP (2505.01618), Table 1, for every role, with branches times depth^-alpha.

    Rate and decay are fan-in quantities; eps, which stands beside the gradient, is a fan-out quantity.
    """
    moves, branch, inside, outside = DEPTH ** (alpha - 1), DEPTH**-alpha, True, False
    return [
        # role, in a branch?, form, (init, multiplier, rate, eps, decay)
        (Role.EMBEDDING, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.TIED, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.INPUT, outside, "table8", (FAN_IN ** "-1/2", ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.HIDDEN, outside, "table8", (FAN_IN ** "-1/2", ONE, ONE / FAN_IN, ONE / FAN_OUT, FAN_IN)),
        (Role.HIDDEN, inside, "table8", (FAN_IN ** "-1/2", ONE, moves / FAN_IN, branch / FAN_OUT, FAN_IN)),
        (Role.READOUT, outside, "table8", (ONE, ONE / FAN_IN, ONE, ONE / FAN_IN, ONE)),
        (Role.READOUT, outside, "table3", (ONE / FAN_IN, ONE, ONE / FAN_IN, ONE, FAN_IN)),
        (Role.BIAS, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),
        (Role.BIAS, inside, "table8", (ONE, ONE, moves, branch / FAN_OUT, ONE)),
        (Role.GAIN, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),  # the final norm
        (Role.GAIN, inside, "table8", (ONE, ONE, moves, branch / FAN_OUT, ONE)),
        (Role.VECTOR, outside, "table8", (ONE, ONE, ONE, ONE / FAN_OUT, ONE)),  # positions
        (Role.VECTOR, inside, "table8", (ONE, ONE, moves, branch / FAN_OUT, ONE)),
        (Role.SCALAR, outside, "table8", (ONE, ONE, ONE, ONE, ONE)),
        (Role.SCALAR, inside, "table8", (ONE, ONE, moves, branch, ONE)),  # the gain of a norm over one head's fixed size
    ]


@pytest.mark.parametrize(
    ("rule", "role", "in_branch", "form", "published"),
    [("completep", *row) for row in sheet(Fraction(1))] + [("depth-mup", *row) for row in sheet(Fraction(1, 2))],
)
def test_completep_sheet(rule: str, role: Role, in_branch: bool, form: str, published: tuple[Powers, ...]) -> None:
    ours = rules.parametrization(rule).quantities(role, rules.family("adamw"), in_branch=in_branch, form=form)
    assert (ours.init, ours.multiplier, ours.lr, ours.eps, ours.decay) == published


def test_branch_multipliers() -> None:
    assert {name: str(rule.branch_multiplier) for name, rule in PARAMETRIZATIONS.items()} == {
        "sp": "1",
        "mup": "1",
        "depth-mup": "depth^-1/2",
        "completep": "depth^-1",
    }


COLUMNS = {
    "input W": (Role.INPUT, False),
    "input b": (Role.BIAS, False),
    "hidden W": (Role.HIDDEN, True),
    "output W": (Role.READOUT, False),
    "hidden b": (Role.BIAS, True),
}
ROOT = DEPTH ** "1/2"
# 2603.00541, Tables 3 to 13; width ratio N, depth ratio DEPTH, output multiplier 1/N; None: the optimizer has no eps.
JOINT = [
    # optimizers, column, k >= 2: (rate, decay, eps), k = 1: (rate, decay, eps)
    ("adamw lion", "input W", (ONE, ONE, ONE / N), (ONE, ONE, ONE / N)),
    ("adamw lion", "input b", (ONE, ONE, ONE / N), (ONE, ONE, ONE / N)),
    ("adamw lion", "hidden W", (ONE / N, N, ONE / (DEPTH * N)), (ONE / (N * ROOT), N, ONE / (N * ROOT))),
    ("adamw lion", "output W", (ONE, ONE, ONE / N), (ONE, ONE, ONE / N)),
    ("adamw lion", "hidden b", (ONE, ONE, ONE / (DEPTH * N)), (ONE / ROOT, ONE, ONE / (N * ROOT))),
    ("sgd", "input W", (N, ONE / N, None), (N, ONE / N, None)),
    ("sgd", "input b", (N, ONE / N, None), (N, ONE / N, None)),
    ("sgd", "hidden W", (DEPTH, ONE / DEPTH, None), (ONE, ONE / ROOT, None)),
    ("sgd", "output W", (N, ONE / N, None), (N, ONE / N, None)),
    ("sgd", "hidden b", (DEPTH * N, ONE / (DEPTH * N), None), (N, ONE / (N * ROOT), None)),
    ("muon", "input W", (N ** "1/2", N ** "-1/2", None), (N ** "1/2", N ** "-1/2", None)),
    ("muon", "hidden W", (ONE, ONE, None), (ONE / ROOT, ONE, None)),
    ("muon", "output W", (N ** "1/2", N ** "-1/2", None), (N ** "1/2", N ** "-1/2", None)),
]


@pytest.mark.parametrize(("optimizers", "place", "deep_branches", "shallow_branches"), JOINT)
def test_width_and_depth_jointly(optimizers: str, place: str, deep_branches: tuple, shallow_branches: tuple) -> None:
    role, in_branch = COLUMNS[place]
    for rule, published in [("completep", deep_branches), ("depth-mup", shallow_branches)]:
        for optimizer in map(rules.family, optimizers.split()):
            ours = rules.parametrization(rule).quantities(role, optimizer, in_branch=in_branch, form="table8")
            compared = [ours.lr, ours.decay] + ([ours.eps] if optimizer.eps is not None and published[2] is not None else [])
            assert [in_width(each, role) for each in compared] == list(published[: len(compared)]), (rule, optimizer.name)


# 2512.05620, Table 1: a hidden matrix in a branch times 1/DEPTH, in its own fan-in and fan-out.
MATRIX_OPTIMIZERS = [
    # optimizer, rate, eps
    ("adam", ONE / FAN_IN, ONE / (DEPTH * FAN_OUT)),
    ("muon", (FAN_OUT / FAN_IN) ** "1/2", (FAN_IN / FAN_OUT) ** "1/2" / DEPTH),
    ("sgd", FAN_OUT / FAN_IN * DEPTH, ONE),
]


@pytest.mark.parametrize(("optimizer", "rate", "eps"), MATRIX_OPTIMIZERS)
def test_rectangular_hidden_matrices(optimizer: str, rate: Powers, eps: Powers) -> None:
    ours = rules.parametrization("completep").quantities(Role.HIDDEN, rules.family(optimizer), in_branch=True)
    assert (ours.lr, ours.eps) == (rate, eps)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion", "muon"])
@pytest.mark.parametrize("rule", ["mup", "depth-mup", "completep"])
def test_rate_times_decay_does_not_depend_on_width(rule: str, optimizer: str) -> None:
    """2603.00541, Tables 6 and 12: where decay is not normalised away, a step shrinks a tensor by the same fraction at every width."""
    for role in Role:
        ours = rules.parametrization(rule).quantities(role, rules.family(optimizer), in_branch=True)
        assert (ours.lr * ours.decay).substitute(depth=None) == ONE, role


def test_names_of_optimizers_ignore_case() -> None:
    assert rules.family("AdamW") is rules.family("adamw") is FAMILIES["adamw"]


@pytest.mark.parametrize(
    ("ask", "choices"),
    [
        (lambda: rules.parametrization("mupp"), PARAMETRIZATIONS),
        (lambda: rules.family("mupp"), FAMILIES),
        (lambda: rules.parametrization("mup").quantities(Role.HIDDEN, rules.family("adam"), form="mupp"), FORMS),
        (lambda: rules.parametrization("sp").quantities(Role.HIDDEN, rules.family("adam"), form="mupp"), FORMS),
        (lambda: rules.listing(rules.parametrization("completep"), rules.family("adam"), "mupp"), FORMS),
    ],
    ids=["rule", "optimizer", "form", "form of sp", "form of a listing"],
)
def test_an_unknown_name_is_refused_with_the_choices(ask, choices) -> None:
    with pytest.raises(MutransferError, match="'mupp'") as caught:
        ask()
    offered = str(caught.value).partition("choose one of ")[2]
    assert offered == ", ".join(choices)
