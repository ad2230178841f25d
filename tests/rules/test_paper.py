"""Tables in the layout of Tensor Programs V, and jumps from one form to another."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import rules
from mutransfer.rules import (
    COLUMNS,
    FAMILIES,
    FORMS,
    ONE,
    PARAMETRIZATIONS,
    Place,
    Powers,
    Role,
    parametrization,
    powers,
)

FAN_IN, FAN_OUT = powers(fan_in=1), powers(fan_out=1)

# Tensor Programs V, Tables 3, 8 and 9 as printed: input weights & all biases, output weights,
# hidden weights. In brackets standard parametrization, where it differs. Table 3 has no row of
# multipliers.
PRINTED = {
    "table3": {
        "init. var.": ["1/fan_in", "1/fan_in² (1/fan_in)", "1/fan_in"],
        "SGD LR": ["fan_out (1)", "1/fan_in (1)", "1"],
        "Adam LR": ["1", "1/fan_in (1)", "1/fan_in (1)"],
    },
    "table8": {
        "init. var.": ["1/fan_in", "1 (1/fan_in)", "1/fan_in"],
        "multiplier": ["1", "1/fan_in (1)", "1"],
        "SGD LR": ["fan_out (1)", "fan_in (1)", "1"],
        "Adam LR": ["1", "1", "1/fan_in (1)"],
    },
    "table9": {
        "init. var.": ["1/fan_out (1/fan_in)", "1/fan_in", "1/fan_in"],
        "multiplier": ["√fan_out (1)", "1/√fan_in (1)", "1"],
        "SGD LR": ["1", "1", "1"],
        "Adam LR": ["1/√fan_out (1)", "1/√fan_in (1)", "1/fan_in (1)"],
    },
}
OURS = {
    "table3": {
        "multiplier": ["1", "1", "1"],
        "Adam eps": ["1/fan_out (1)", "1", "1/fan_in (1)"],
        "AdamW eps": ["1/fan_out (1)", "1", "1/fan_in (1)"],
        "AdamW decay": ["1", "fan_in (1)", "fan_in (1)"],
    },
    "table8": {
        "Adam eps": ["1/fan_out (1)", "1/fan_in (1)", "1/fan_in (1)"],
        "AdamW eps": ["1/fan_out (1)", "1/fan_in (1)", "1/fan_in (1)"],
        "AdamW decay": ["1", "1", "fan_in (1)"],
    },
    "table9": {
        "Adam eps": ["1/√fan_out (1)", "1/√fan_in (1)", "1/fan_in (1)"],
        "AdamW eps": ["1/√fan_out (1)", "1/√fan_in (1)", "1/fan_in (1)"],
        "AdamW decay": ["√fan_out (1)", "√fan_in (1)", "fan_in (1)"],
    },
}


def cells(rule: str, optimizer: str, form: str) -> dict[str, list[str]]:
    found = rules.paper_table(parametrization(rule), rules.family(optimizer), form)
    return {
        name: [
            rules.printed(own) + ("" if own == standard else f" ({rules.printed(standard)})")
            for own, standard in row
        ]
        for name, row in found
    }


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("form", PRINTED)
def test_tables_as_printed(form: str, optimizer: str) -> None:
    ours = cells("mup", optimizer, form)
    own_rows = {
        name: row
        for name, row in OURS[form].items()
        if name.split()[0] in ("multiplier", {"adam": "Adam", "adamw": "AdamW"}[optimizer])
    }
    assert ours == PRINTED[form] | own_rows
    assert list(COLUMNS) == ["input weights & all biases", "output weights", "hidden weights"]


@pytest.mark.parametrize("form", FORMS)
def test_standard_parametrization_has_nothing_in_brackets(form: str) -> None:
    ours = cells("sp", "adamw", form)
    assert ours["init. var."] == ["1/fan_in"] * 3
    assert all(row == ["1"] * 3 for name, row in ours.items() if name != "init. var.")


@pytest.mark.parametrize(
    ("optimizer", "rows"),
    [
        ("sgd", ["init. var.", "multiplier", "SGD LR", "Adam LR", "SGD decay"]),
        ("adamw", ["init. var.", "multiplier", "SGD LR", "Adam LR", "AdamW eps", "AdamW decay"]),
        ("adam", ["init. var.", "multiplier", "SGD LR", "Adam LR", "Adam eps"]),
        ("lion", ["init. var.", "multiplier", "SGD LR", "Adam LR", "lion LR", "lion decay"]),
        (
            "muon",
            ["init. var.", "multiplier", "SGD LR", "Adam LR", "muon LR", "muon eps", "muon decay"],
        ),
    ],
)
def test_rows_of_an_optimizer(optimizer: str, rows: list[str]) -> None:
    """Decay that Adam normalises away has no row."""
    assert list(cells("mup", optimizer, "table8")) == rows


def test_one_fan_for_finite_axes_and_for_two_that_grow_alike() -> None:
    assert cells("mup", "muon", "table8")["muon LR"] == ["√fan_out (1)", "√fan_in (1)", "1"]
    assert cells("mup", "sgd", "table3")["SGD decay"] == ["1/fan_out (1)", "fan_in (1)", "1"]


@pytest.mark.parametrize(
    ("value", "printed", "latex"),
    [
        (ONE, "1", "1"),
        (FAN_IN, "fan_in", r"\mathrm{fan\_in}"),
        (FAN_IN**-1, "1/fan_in", r"\mathrm{fan\_in}^{-1}"),
        (FAN_IN**-2, "1/fan_in²", r"\mathrm{fan\_in}^{-2}"),
        (FAN_OUT ** "1/2", "√fan_out", r"\mathrm{fan\_out}^{1/2}"),
        (FAN_IN ** "-1/2", "1/√fan_in", r"\mathrm{fan\_in}^{-1/2}"),
        (FAN_OUT / FAN_IN, "fan_out/fan_in", r"\mathrm{fan\_in}^{-1}\, \mathrm{fan\_out}"),
        (FAN_IN * FAN_OUT, "fan_in·fan_out", r"\mathrm{fan\_in}\, \mathrm{fan\_out}"),
        (
            ONE / (FAN_IN * FAN_OUT),
            "1/(fan_in·fan_out)",
            r"\mathrm{fan\_in}^{-1}\, \mathrm{fan\_out}^{-1}",
        ),
        (powers(depth="-3/4"), "1/depth^(3/4)", r"\mathrm{depth}^{-3/4}"),
    ],
)
def test_cells(value: Powers, printed: str, latex: str) -> None:
    assert (rules.printed(value), rules.latex(value)) == (printed, latex)


def test_a_table_in_latex() -> None:
    found = rules.paper_table(parametrization("mup"), rules.family("adamw"), "table9")
    rows = [[name, *(f"${rules.latex(own)}$" for own, _ in row)] for name, row in found]
    header = ["", *(column.replace("&", r"\&") for column in COLUMNS)]
    lines = rules.latex_table(header, rows).splitlines()
    assert (lines[0], lines[-1]) == (r"\begin{tabular}{llll}", r"\end{tabular}")
    assert (lines[1], lines[3], lines[-2]) == (r"\toprule", r"\midrule", r"\bottomrule")
    body = [lines[2], *lines[4:-2]]
    assert [re.split(r" (?<!\\)& ", line.removesuffix(r" \\")) for line in body] == [header, *rows]
    for line in body:
        assert line.endswith(r" \\") and line.count(r"\\") == 1
        assert line.count("{") == line.count("}") and line.count("$") % 2 == 0


# Theta of the abc symmetry: input & biases, output, hidden.
# The first three are in Tensor Programs V, Lemma J.1 and below.
THETAS = {
    ("table3", "table8"): (ONE, ONE / FAN_IN, ONE),
    ("table3", "table9"): (FAN_OUT ** "1/2", FAN_IN ** "-1/2", ONE),
    ("table8", "table9"): (FAN_OUT ** "1/2", FAN_IN ** "1/2", ONE),
    ("table3", "unit"): (FAN_IN ** "-1/2", ONE / FAN_IN, FAN_IN ** "-1/2"),
    ("table8", "unit"): (FAN_IN ** "-1/2", ONE, FAN_IN ** "-1/2"),
    ("plain", "table3"): (ONE, ONE, ONE),
}


@pytest.mark.parametrize(("origin", "form"), THETAS)
def test_thetas(origin: str, form: str) -> None:
    for name in ("mup", "completep", "spectral"):
        ours = [
            rules.jump(parametrization(name), role, origin, form)
            for role in (Role.INPUT, Role.READOUT, Role.HIDDEN)
        ]
        assert tuple(ours) == THETAS[origin, form]
        if origin == "table3":
            assert rules.jump(parametrization(name), Role.BIAS, origin, form) == (
                FAN_OUT ** "1/2" if form == "table9" else ONE
            )


named = st.sampled_from(sorted(PARAMETRIZATIONS))
forms = st.sampled_from(sorted(FORMS))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(named, st.sampled_from(Role), forms, forms, forms)
def test_jumps_compose(name: str, role: Role, a: str, b: str, c: str) -> None:
    rule = parametrization(name)
    assert rules.jump(rule, role, a, b) * rules.jump(rule, role, b, c) == rules.jump(
        rule, role, a, c
    )
    assert rules.jump(rule, role, a, a) == ONE
    assert rules.jump(rule, role, a, b) * rules.jump(rule, role, b, a) == ONE


@pytest.mark.parametrize("optimizer", FAMILIES)
@pytest.mark.parametrize("name", ["sp", "sp-layerwise", "completep", "u-mup"])
def test_theta_leads_from_one_forms_row_to_anothers(name: str, optimizer: str) -> None:
    rule, family = parametrization(name), rules.family(optimizer)
    for role in Role:
        rows = {form: rule.quantities(role, family, Place.BRANCH, form=form) for form in FORMS}
        for form, row in rows.items():
            theta = rules.jump(rule, role, "table3", form)
            assert rows["table3"].rescale(theta, family) == row, (role, form)
            assert row.rescale(ONE / theta, family) == rows["table3"], (role, form)
            assert row.multiplier == theta


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    named,
    st.sampled_from(sorted(FAMILIES)),
    st.sampled_from(Role),
    st.sampled_from(Place),
    forms,
    forms,
)
def test_theta_leads_from_any_form_to_any(
    name: str, optimizer: str, role: Role, place: Place, a: str, b: str
) -> None:
    """But for the plain form's branch ends, which carry the branch's multiplier too."""
    if place == Place.BRANCH_END and "plain" in (a, b):
        place = Place.BRANCH
    rule, family = parametrization(name), rules.family(optimizer)
    origin, goal = (rule.quantities(role, family, place, form=form) for form in (a, b))
    assert origin.rescale(rules.jump(rule, role, a, b), family) == goal


def test_jumps_in_words() -> None:
    blocks = re.split(r"\n(?=from )", rules.jumps(parametrization("mup"), "table8"))
    assert "Lemma J.1" in blocks[0]
    assert [block.splitlines()[0] for block in blocks[1:]] == [
        "from table3:",
        "from table9:",
        "from unit:",
    ]
    assert blocks[1].splitlines()[1:] == [
        "  output weights: theta = 1/fan_in; init × fan_in, multiplier × 1/fan_in, "
        "SGD LR × fan_in², Adam LR × fan_in, Adam eps × 1/fan_in, AdamW decay × 1/fan_in"
    ]
    assert [line.split(";")[0] for line in blocks[2].splitlines()[1:]] == [
        "  input weights & all biases: theta = 1/√fan_out",
        "  output weights: theta = 1/√fan_in",
    ]
    assert rules.jumps(parametrization("sp"), "table8").count("nothing changes") == 3


@pytest.mark.parametrize("form", ["table3", "table8", "table9", "unit"])
def test_words_and_thetas_agree(form: str) -> None:
    rule = parametrization("mup")
    for origin, block in re.findall(
        r"^from (\w+):.*\n((?:  .*\n?)*)", rules.jumps(rule, form), re.MULTILINE
    ):
        printed = dict(re.findall(r"^  (.+): theta = ([^;]+);", block, re.MULTILINE))
        thetas = {column: rules.jump(rule, role, origin, form) for column, role in COLUMNS.items()}
        assert printed == {
            column: rules.printed(theta) for column, theta in thetas.items() if theta != ONE
        }


def test_rates_move_by_the_lemma() -> None:
    """Tensor Programs V, Lemma J.1: SGD's rate moves by theta^-2, Adam's by theta^-1.

    Eps and decay follow the gradient and the tensor.
    """
    theta, start = powers(theta=1), rules.Quantities()
    moved = {
        name: start.rescale(theta, rules.family(name))
        for name in ("sgd", "sgdw", "adam", "adamw", "lion", "muon", "shampoo", "lamb")
    }
    assert all((row.init, row.multiplier) == (ONE / theta, theta) for row in moved.values())
    assert {name: (row.lr, row.eps, row.decay) for name, row in moved.items()} == {
        "sgd": (theta**-2, ONE, theta**2),
        "sgdw": (theta**-2, ONE, theta**2),
        "adam": (theta**-1, theta, theta**2),
        "adamw": (theta**-1, theta, theta),
        "lion": (theta**-1, ONE, theta),
        "muon": (theta**-1, theta, theta),
        "shampoo": (theta**-1, theta**2, theta),
        "lamb": (ONE, theta, theta),
    }
    for exponent in (Fraction(1, 4), Fraction(3, 4), Fraction(1)):
        row = start.rescale(theta, rules.shampoo(exponent))
        assert (row.lr, row.eps, row.decay) == (
            theta ** (2 * exponent - 2),
            theta**2,
            theta ** (2 - 2 * exponent),
        )
