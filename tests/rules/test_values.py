"""Specs and results as values: copies, hashes, pickles and JSON."""

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from mutransfer import MutransferError, rules
from mutransfer.core import Result
from mutransfer.rules import (
    ABC,
    DISAGREEMENTS,
    FAMILIES,
    HORIZON_RULES,
    PARAMETRIZATIONS,
    Catalogue,
    Classification,
    DepthClassification,
    Family,
    Horizon,
    HorizonRule,
    Law,
    Parametrization,
    Place,
    Quantities,
    Reason,
    Residual,
    Role,
    RuleTable,
    laws,
    powers,
)

MINE = Parametrization(
    name="mine",
    title="slow embedding",
    source="a notebook",
    laws={**laws(), Role.EMBEDDING: Law(change=powers(fan_out="-1/4"))},
    alpha="3/4",
    cites=["@misc{mine}"],
)
NARROW = Parametrization(
    name="narrow", title="one role", source="a note", laws={Role.HIDDEN: Law()}
)
OWN_FAMILY = Family(name="own", homogeneity="1/2", gain=powers(fan_in=1), decay="normalised")
OWN_HORIZON = replace(HORIZON_RULES["bjorck"], name="own", lr=powers(tokens="-1/3"))

DOCUMENTS = [
    *(*PARAMETRIZATIONS.values(), MINE, NARROW, MINE.using(decay="sqrt").without("eps", "bias")),
    *(*FAMILIES.values(), OWN_FAMILY, rules.shampoo(1), rules.soap(blocked=True)),
    *(*HORIZON_RULES.values(), OWN_HORIZON),
]
"""Specs that travel as JSON."""

SPECS = [
    *DOCUMENTS,
    *DISAGREEMENTS.values(),
    *(Law(), Quantities(lr=powers(depth=-1)), Reason("lr", "as it is", powers(fan_in=-1))),
    *(ABC(a=(0, 1), b=(0, 0), c=-1), Residual([1.0, 0.5], [0.5, 0.5]), *rules.catalogue().rules),
    rules.listing(MINE, OWN_FAMILY)[0],
]


def results() -> Iterator[Result]:
    for hidden_layers in (1, 3):
        yield from map(rules.classify, rules.known_points(hidden_layers).values())
    for alpha, gamma in (("0", "1"), ("1/2", "1/2"), ("3/4", "1/4"), ("1", "0"), ("2", "-1/2")):
        yield rules.classify_depth(alpha, gamma)
    yield from map(rules.horizon, HORIZON_RULES)
    yield rules.horizon("complete-d", batch=4, tokens=16, betas=(0.9, 0.98))
    yield rules.horizon(OWN_HORIZON, tokens=2)
    for form in rules.FORMS:
        yield from (rules.rule_table(name, "adamw", form) for name in ("sp", "mup", "u-mup"))
        yield rules.rule_table(MINE, OWN_FAMILY, form)
        yield rules.rule_table(NARROW, "muon", form)
    yield rules.rule_table("completep, alpha=3/4, decay=sqrt, without eps", rules.shampoo(1))
    yield rules.catalogue()


RESULTS = list(results())


def kind(value: object) -> str:
    """The name of a value's class, as the name of its test."""
    return type(value).__name__


@pytest.mark.parametrize("value", [*SPECS, *RESULTS], ids=kind)
def test_a_copy_is_equal_and_has_the_same_hash(value: Any) -> None:
    for made in (replace(value), pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
        assert made == value and hash(made) == hash(value)


@pytest.mark.parametrize("value", [*DOCUMENTS, *RESULTS], ids=kind)
def test_json_gives_an_equal_value(value: Any) -> None:
    data = value.to_json()
    text = json.dumps(data, allow_nan=False)
    for given in (data, text, json.loads(text)):
        made = type(value).from_json(given)
        assert made == value and hash(made) == hash(value) and made.to_json() == data


READERS = (
    *(Parametrization, Family, HorizonRule),
    *(Classification, DepthClassification, Horizon, RuleTable, Catalogue),
)


@pytest.mark.parametrize("data", ["", "[]", "{}", {}, {"rule": 3, "rules": 3}, 3, None], ids=repr)
@pytest.mark.parametrize("reader", READERS)
def test_other_data_is_refused(reader: Any, data: Any) -> None:
    with pytest.raises(MutransferError, match=f"written by {reader.__name__}.to_json"):
        reader.from_json(data)


def test_an_absent_entry_is_named() -> None:
    data = MINE.to_json()
    del data["laws"]
    with pytest.raises(MutransferError, match="it has no 'laws'"):
        Parametrization.from_json(data)


@pytest.mark.parametrize("result", RESULTS, ids=kind)
def test_results_are_short_in_a_debugger_and_whole_in_a_notebook(result: Result) -> None:
    assert len(repr(result)) <= 500 and repr(result).startswith(f"<{kind(result)}: ")
    assert result._repr_html_().startswith('<div class="mutransfer-result">')


def test_a_rule_of_ones_own_survives_json_with_its_quantities() -> None:
    made = Parametrization.from_json(json.dumps(MINE.to_json()))
    assert made.alpha == Fraction(3, 4)
    for role in Role:
        for place in Place:
            before = MINE.quantities(role, OWN_FAMILY, place)
            assert made.quantities(role, OWN_FAMILY, place) == before


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_a_disagreement_as_data(name: str) -> None:
    choice = DISAGREEMENTS[name]
    data = json.loads(json.dumps(choice.to_json()))
    assert data == {
        "name": name,
        "quantity": choice.quantity,
        "default": choice.default,
        "sides": choice.sides,
        "where": choice.where,
    }


def test_specs_cannot_be_changed_through_their_mappings() -> None:
    for mapping in (MINE.laws, MINE.options, DISAGREEMENTS["decay"].sides):
        with pytest.raises(TypeError, match="cannot change"):
            mapping["new"] = "value"  # type: ignore[index]
