"""Claims, findings and outcomes as data."""

import json
import math

import pytest

from mutransfer import MutransferError
from mutransfer.core import Estimate
from mutransfer.experiments import Claim, Finding, Outcome, shown
from mutransfer.experiments._claim import exactly
from mutransfer.experiments._outcome import AS_STATED, IN_PART, OTHERWISE, findings

CLAIM = Claim(says="It stays.", quantity="drift", rule="mup", wrong="sp", expected=0, tolerance=0.1)


def outcome(*found: Finding) -> Outcome:
    return Outcome(
        name="one",
        title="One thing",
        source="A paper, Figure 1",
        scale="small",
        findings=found,
        remarks=("Small networks.",),
        data=("digits",),
        runs=3,
        seconds=2,
        about={"command": "mutransfer experiment run one"},
    )


def finding(value: float, control: float) -> Finding:
    return Finding(claim=CLAIM, value=exactly(value), control=exactly(control))


@pytest.mark.parametrize(
    ("sense", "expected", "tolerance", "good", "bad"),
    [
        ("near", 1.0, 0.5, [0.5, 1.0, 1.5], [0.4, 1.6, math.inf, math.nan]),
        ("at least", 1.0, 0.0, [1.0, 2.0, math.inf], [0.9, -math.inf, math.nan]),
        ("at most", 1.0, 0.1, [1.1, 0.0, -math.inf], [1.2, math.inf, math.nan]),
    ],
)
def test_a_claim_holds_for_what_it_allows(
    sense: str, expected: float, tolerance: float, good: list[float], bad: list[float]
) -> None:
    claim = Claim(
        says="So.",
        quantity="size",
        rule="a",
        wrong="b",
        expected=expected,
        tolerance=tolerance,
        sense=sense,  # type: ignore[arg-type]
    )
    assert all(map(claim.holds, good)) and not any(map(claim.holds, bad))


def test_a_claim_that_holds_under_the_wrong_rule_proves_nothing() -> None:
    assert outcome(finding(0.05, -0.9)).status == AS_STATED
    assert outcome(finding(0.05, 0.0)).status == OTHERWISE
    assert outcome(finding(0.05, math.nan)).status == OTHERWISE
    assert outcome(finding(0.5, -0.9)).status == OTHERWISE
    both = outcome(finding(0.05, -0.9), finding(0.5, -0.9))
    assert both.status == IN_PART and not both.is_as_stated


def test_a_claim_is_sure_where_its_whole_interval_holds() -> None:
    for low, high, sure in ((-0.1, 0.1, True), (-0.2, 0.1, False), (-math.inf, math.inf, False)):
        value = Estimate(value=0.0, low=low, high=high)
        found = Finding(claim=CLAIM, value=value, control=exactly(1.0))
        assert found.holds and found.is_sure is sure
        assert ("reaches beyond" in str(outcome(found))) is not sure


def test_an_outcome_survives_json_and_says_what_failed() -> None:
    first = outcome(finding(0.05, math.inf), finding(0.5, -0.9))
    data = json.loads(json.dumps(first.to_json(), allow_nan=False))
    assert Outcome.from_json(data) == first and data["status"] == IN_PART
    assert "does NOT hold" in str(first) and "fails, as it must" in str(first)
    with pytest.raises(MutransferError, match="outcome"):
        Outcome.from_json({"name": "one"})


def test_findings_need_the_quantity_under_both_rules() -> None:
    with pytest.raises(MutransferError, match="'drift' was not measured under 'sp'"):
        findings((CLAIM,), {"mup": {"drift": exactly(0.0)}})
    (found,) = findings((CLAIM,), {"mup": {"drift": exactly(0.0)}, "sp": {"drift": exactly(1.0)}})
    assert found.holds and found.fails_when_wrong


def test_a_value_is_shown_with_its_interval() -> None:
    assert shown(Estimate(value=0.01234, low=0.0, high=1.0)) == "0.0123 [0, 1]"
    assert shown(exactly(math.nan)) == "not known"
