"""Published tables in width, cell by cell, as exact powers."""

import pytest

from mutransfer import rules
from mutransfer.rules import FAMILIES, FORMS, ONE, PARAMETRIZATIONS, Place, Powers, Role, powers
from tests.rules.tables import DEPTH, FAN_IN, FAN_OUT, INPUT_LIKE, in_width, quantities

WIDTH_ONLY = [name for name, rule in PARAMETRIZATIONS.items() if rule.alpha is None]

# Tensor Programs V, Tables 3, 8 and 9.
# Rows of "sp" are the values in brackets, the same in all three tables.
STANDARD = {"init var": ONE / FAN_IN, "multiplier": ONE, "SGD LR": ONE, "Adam LR": ONE}
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
        for quantity, cell in STANDARD.items()
    ],
]


def column(rule: str, form: str, role: Role) -> dict[str, Powers]:
    adam, sgd = (quantities(rule, role, optimizer, form=form) for optimizer in ("adam", "sgd"))
    assert (adam.init, adam.multiplier) == (sgd.init, sgd.multiplier)
    return {
        "init var": adam.init**2,
        "multiplier": adam.multiplier,
        "SGD LR": sgd.lr,
        "Adam LR": adam.lr,
    }


@pytest.mark.parametrize(
    ("form", "rule", "quantity", "input_and_biases", "output", "hidden"), TENSOR_PROGRAMS_V
)
def test_tensor_programs_v(
    form: str, rule: str, quantity: str, input_and_biases: Powers, output: Powers, hidden: Powers
) -> None:
    inputs = dict.fromkeys(INPUT_LIKE, input_and_biases)
    published = {**inputs, Role.READOUT: output, Role.HIDDEN: hidden}
    ours = {role: in_width(column(rule, form, role)[quantity], role) for role in published}
    assert ours == {role: in_width(cell, role) for role, cell in published.items()}


@pytest.mark.parametrize("optimizer", FAMILIES)
def test_parametrizations_that_differ_only_in_form(optimizer: str) -> None:
    """Mean-field is muP with unit scales; the spectral condition is muP but for narrowing matrices.

    The spectral condition is derived in 2310.17813, Section 4.
    """
    for role in Role:
        mup = quantities("mup", role, optimizer)
        assert quantities("mean-field", role, optimizer) == mup, role
        spectral = quantities("spectral", role, optimizer)
        assert (spectral == mup) == (role != Role.KEY_VALUE), role


def test_the_spectral_condition_for_narrowing_matrices() -> None:
    """2310.17813, Condition 1: initial norms √(n_out/n_in), for n_out below n_in.

    Rates are n_out/n_in for SGD and 1/n_in for Adam.
    """
    sgd, adam = (quantities("spectral", Role.KEY_VALUE, optimizer) for optimizer in ("sgd", "adam"))
    assert sgd.init == adam.init == FAN_OUT ** "1/2" / FAN_IN
    assert (sgd.lr, adam.lr) == (FAN_OUT / FAN_IN, ONE / FAN_IN)


FULL, HALVED = powers(head_dim=-1), powers(head_dim="-1/2")
SIGNALS = {
    # Tensor Programs V: Definition 4.1 has q·k/d instead of q·k/√d, Table 8 a tied multiplier
    # rule: attention scale, tied head, branches
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
    ours = {
        name: (rule.attention_scale, rule.logit_multiplier, rule.branch_multiplier)
        for name, rule in PARAMETRIZATIONS.items()
    }
    assert ours == SIGNALS


@pytest.mark.parametrize("optimizer", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_standard_parametrization_trains_every_tensor_alike(form: str, optimizer: str) -> None:
    for role in Role:
        for place in Place:
            ours = quantities("sp", role, optimizer, place, form=form)
            assert (ours.multiplier, ours.lr, ours.eps, ours.decay) == (ONE, ONE, ONE, ONE), (
                role,
                place,
            )


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
    assert roles == {
        (False, False): Role.SCALAR,
        (False, True): Role.INPUT,
        (True, False): Role.READOUT,
        (True, True): Role.HIDDEN,
    }
