"""Names of rules: options, ablations, defaults, and texts that are refused."""

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError, rules
from mutransfer.rules import (
    DISAGREEMENTS,
    PARAMETRIZATIONS,
    Parametrization,
    Role,
    parametrization,
)

SIDES = [
    (name, value)
    for name, option in DISAGREEMENTS.items()
    if option.where == "rule"
    for value in option.sides
]
SIZED = [name for name, rule in PARAMETRIZATIONS.items() if not rule.one_rate]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"decays": "sqrt"},
            "rules have no option 'decays'; choose one of alpha, depth_rate, embedding_rate",
        ),
        ({"horizon": "none"}, "rules have no option 'horizon'"),
        ({"muon_scale": "muon"}, "rules have no option 'muon_scale'"),
        ({"modules": "global"}, "rules have no option 'modules'"),
        (
            {"decay": "cube"},
            "decay=cube is no side of that disagreement; "
            "choose one of fixed-fraction, constant, sqrt, inverse-width",
        ),
        (
            {"alpha": "1/4"},
            "alpha is 1/4: features are stable and faithful only for alpha from 1/2 to 1",
        ),
        ({"alpha": "499/1000"}, "alpha is 499/1000: features"),
        ({"alpha": 2}, "alpha is 2: features"),
        ({"alpha": "1001/1000"}, "alpha is 1001/1000: features"),
        ({"alpha": -1}, "alpha is -1: features"),
        ({"alpha": "nan"}, "alpha is 'nan', which is no exact rational number"),
        ({"alpha": float("nan")}, "alpha is nan, which is no exact rational number"),
        ({"alpha": float("inf")}, "alpha is inf"),
        ({"alpha": "x"}, "alpha is 'x', which is no exact rational number"),
        ({"alpha": "1/0"}, "alpha is '1/0', which is no exact rational number"),
        ({"alpha": None}, "alpha is None, which is no exact rational number"),
    ],
    ids=str,
)
def test_options_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MutransferError) as caught:
        parametrization("completep").using(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["sp, alpha=1", "sp, decay=sqrt", "sp, without lr"])
def test_standard_parametrization_has_nothing_to_change(text: str) -> None:
    with pytest.raises(MutransferError, match="rule 'sp' scales nothing: it has no options"):
        parametrization(text)


def test_no_alignment_of_an_orthogonal_update_is_refused() -> None:
    rule = parametrization("mup, alignment=none")
    for optimizer in ("muon", "shampoo", "soap"):
        family, refusal = rules.family(optimizer), f"alignment=none is not defined for {optimizer}"
        mup = parametrization("mup")
        assert rule.quantities(Role.BIAS, family) == mup.quantities(Role.BIAS, family)
        with pytest.raises(MutransferError, match=f"{refusal}.*use alignment=full"):
            rule.quantities(Role.HIDDEN, family)


FACTORS = ("init", "lr", "eps", "decay", "branch", "attention")
changes = st.lists(
    st.one_of(
        st.sampled_from([("using", name, value) for name, value in SIDES if name != "alpha"]),
        st.fractions(Fraction(1, 2), 1, max_denominator=9).map(
            lambda alpha: ("using", "alpha", str(alpha))
        ),
        st.sampled_from([("without", factor, "") for factor in (*FACTORS, *Role)]),
    ),
    max_size=5,
)


def apply(rule: Parametrization, steps: Iterable[tuple[str, str, str]]) -> Parametrization:
    for verb, name, value in steps:
        rule = rule.using(**{name: value}) if verb == "using" else rule.without(name)
    return rule


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.sampled_from(SIZED), changes)
def test_a_name_determines_its_rule(name: str, steps: list[tuple[str, str, str]]) -> None:
    rule = apply(parametrization(name), steps)
    assert parametrization(rule.name) == rule
    assert rules.is_default(rule.name) is False
    default = apply(parametrization("completep"), steps)
    written = "default" + default.name.removeprefix("completep")
    assert rules.is_default(written)
    assert parametrization(written, default=parametrization("completep")) == default


def test_text_with_spaces_and_capitals() -> None:
    tidy = parametrization("completep, decay=sqrt, without eps")
    assert parametrization("  CompleteP ,decay = sqrt ,  without eps ") == tidy
    assert parametrization(parametrization("mup")) is PARAMETRIZATIONS["mup"]


def test_default_rules() -> None:
    completep = parametrization("completep")
    assert rules.DEFAULT == "default"
    assert all(map(rules.is_default, (None, "default", "default, without eps")))
    assert not any(map(rules.is_default, ("mup", "mup, without eps", completep)))
    assert parametrization(None, default=completep) is completep
    assert parametrization("default", default=completep) is completep
    assert parametrization("mup", default=completep) is PARAMETRIZATIONS["mup"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown rule ''; choose one of sp, "),
        (None, "'default' is chosen by a model's residual branches; choose one of sp, "),
        (3, "a rule is named by text or given as a Parametrization, not as 3"),
        ("mup, decay=sqrt, decay=constant", "'decay' stands twice"),
        ("nope, without eps", "unknown rule 'nope'; choose one of sp, "),
        ("mup,", "'' changes no rule; say for example 'decay=sqrt' or 'without eps'"),
        ("mup, eps", "'eps' changes no rule"),
        ("mup, without", "'without' changes no rule"),
        ("mup, without nothing", "a rule has no factor 'nothing'"),
        ("mup, decay=nothing", "decay=nothing is no side"),
        ("mup, nothing=sqrt", "rules have no option 'nothing'"),
        ("mup, =sqrt", "rules have no option ''"),
        ("mup, alpha=2", "alpha is 2: "),
        ("completep, alpha=", "alpha is '', which is no exact rational number"),
    ],
)
def test_text_that_names_no_rule(text: str | None, message: str) -> None:
    with pytest.raises(MutransferError) as caught:
        parametrization(text)
    assert str(caught.value).startswith(message)
