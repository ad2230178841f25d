"""One rule for JSON: infinite and missing numbers have one spelling."""

import json
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.core import number, parsed, plain, text
from mutransfer.rules import Role


@given(st.floats())
def test_every_number_survives(value: float) -> None:
    written = json.loads(json.dumps(plain(value), allow_nan=False))
    read = number(written)
    assert (math.isnan(read) and math.isnan(value)) or read == value


@dataclass(frozen=True)
class Spec:
    """A dataclass with a little of everything."""

    scale: Fraction
    role: Role
    names: frozenset[str]


def test_data_becomes_plain() -> None:
    spec = Spec(Fraction(1, 2), Role.HIDDEN, frozenset({"b", "a"}))
    assert plain(spec) == {"scale": "1/2", "role": "hidden", "names": ["a", "b"]}
    array = np.array([1.0, math.inf, -math.inf, math.nan])
    assert plain({"losses": array}) == {"losses": [1.0, "inf", "-inf", None]}
    assert plain((True, 1, None, np.float64(2))) == [True, 1, None, 2.0]


def test_text_is_json_that_is_read_back() -> None:
    assert parsed(text({"a": math.inf})) == {"a": "inf"} == parsed({"a": "inf"})
    for wrong in ("[1]", "{", "1"):
        with pytest.raises(ValueError):
            parsed(wrong)
