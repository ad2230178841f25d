"""Powers: an abelian group with exact rational exponents.

Evaluation is a homomorphism into the positive reals.
"""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer.rules import ONE, Powers, powers

NAMES = ("fan_in", "fan_out", "depth", "head_dim", "theta", "n")

exponents = st.fractions(min_value=-3, max_value=3, max_denominator=12)
products = st.dictionaries(st.sampled_from(NAMES), exponents).map(lambda chosen: powers(**chosen))
ratios = st.fixed_dictionaries({name: st.floats(1 / 16, 64) for name in NAMES})
renamings = st.fixed_dictionaries(dict.fromkeys(NAMES, st.none() | st.sampled_from(NAMES)))

modest = settings(deadline=None, max_examples=25, derandomize=True)


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-12)


@modest
@given(products, products, products)
def test_products_form_an_abelian_group(a: Powers, b: Powers, c: Powers) -> None:
    assert (a * b) * c == a * (b * c)
    assert a * b == b * a
    assert hash(a * b) == hash(b * a)
    assert a * ONE == a
    assert a * a**-1 == ONE
    assert a / b == a * b**-1


@modest
@given(products, products, exponents, exponents)
def test_powers_of_powers(a: Powers, b: Powers, d: Fraction, e: Fraction) -> None:
    assert a ** (d + e) == a**d * a**e
    assert (a**d) ** e == a ** (d * e)
    assert (a * b) ** e == a**e * b**e
    assert (a**0, a**1) == (ONE, a)


@modest
@given(exponents)
def test_text_and_fractions_name_the_same_exponent(e: Fraction) -> None:
    assert powers(fan_in=str(e)) == powers(fan_in=e)
    assert powers(fan_in=1) ** str(e) == powers(fan_in=e)


def test_exponents_add_without_rounding() -> None:
    tenth = powers(depth="1/10")
    assert tenth * tenth * tenth == powers(depth="3/10")  # as floats 0.1 + 0.1 + 0.1 != 0.3
    assert powers(depth=0) == ONE


@modest
@given(products, products, exponents, ratios)
def test_evaluation_is_multiplicative(
    a: Powers, b: Powers, e: Fraction, at: dict[str, float]
) -> None:
    assert close((a * b).evaluate(at), a.evaluate(at) * b.evaluate(at))
    assert close((a / b).evaluate(at), a.evaluate(at) / b.evaluate(at))
    assert close((a**e).evaluate(at), a.evaluate(at) ** float(e))


@modest
@given(exponents, st.floats(1 / 16, 64))
def test_a_single_power_evaluates_to_that_power(e: Fraction, ratio: float) -> None:
    assert close(
        powers(depth=e).evaluate({"depth": ratio, "fan_in": 7}),
        math.exp(float(e) * math.log(ratio)),
    )


@modest
@given(products, st.sampled_from([1, 1.0, Fraction(1)]))
def test_every_product_is_exactly_one_at_base_size(a: Powers, one: int | float | Fraction) -> None:
    assert a.evaluate(dict.fromkeys(NAMES, one)) == 1.0


def test_a_missing_ratio_is_an_error_and_a_needless_one_is_not() -> None:
    with pytest.raises(KeyError, match="fan_out"):
        powers(fan_in=-1, fan_out=1).evaluate({"fan_in": 2})
    assert ONE.evaluate({}) == 1.0


@modest
@given(products, products, renamings)
def test_substitution_is_a_homomorphism(a: Powers, b: Powers, new: dict[str, str | None]) -> None:
    assert (a * b).substitute(**new) == a.substitute(**new) * b.substitute(**new)


@modest
@given(products, renamings, ratios)
def test_substitution_gives_each_ratio_the_value_of_its_new_name(
    a: Powers, new: dict[str, str | None], at: dict[str, float]
) -> None:
    values = {old: 1.0 if name is None else at[name] for old, name in new.items()}
    assert close(a.substitute(**new).evaluate(at), a.evaluate(values))


@modest
@given(exponents, exponents)
def test_substitution_merges_drops_and_swaps(d: Fraction, e: Fraction) -> None:
    a = powers(fan_in=d, fan_out=e)
    assert a.substitute(fan_in="n", fan_out="n") == powers(n=d + e)
    assert a.substitute(fan_in=None) == powers(fan_out=e)
    assert a.substitute(fan_in="fan_out", fan_out="fan_in") == powers(fan_in=e, fan_out=d)
    assert a.substitute() == a


@pytest.mark.parametrize(
    ("product", "text"),
    [
        (ONE, "1"),
        (powers(fan_in=1), "fan_in"),
        (powers(depth="-1/2", fan_in=-1), "fan_in^-1 · depth^-1/2"),
        (
            powers(theta=2, alpha=3, head_dim=-1, fan_out="1/2"),
            "fan_out^1/2 · head_dim^-1 · alpha^3 · theta^2",
        ),
    ],
)
def test_printing(product: Powers, text: str) -> None:
    assert str(product) == text


@modest
@given(products)
def test_text_and_json_tell_the_whole_product(a: Powers) -> None:
    factors = [] if a == ONE else [factor.partition("^") for factor in str(a).split(" · ")]
    assert powers(**{name: exponent or 1 for name, _, exponent in factors}) == a
    assert powers(**a.to_json()) == a


def test_equal_ratios_cancel_exactly() -> None:
    product = powers(fan_in="1/2", fan_out="-1/3", depth="-1/6")
    assert product.evaluate({"fan_in": 3, "fan_out": 3.0, "depth": Fraction(3)}) == 1.0
