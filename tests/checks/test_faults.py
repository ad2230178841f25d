"""The coordinate check finds each planted fault and names it, and passes its clean twin."""

import re
from typing import Any

import pytest

from mutransfer import CoordinateCheck, coordinate_check
from mutransfer.tasks import mlp
from tests.checks.fault_table import CLEAN, FAULTS, WIDTHS


def checked(**settings: Any) -> CoordinateCheck:
    return coordinate_check(**{"seeds": 2, "control": False} | settings)


MARKS = {
    name: [pytest.mark.xfail(reason=fault.missed)] if fault.missed else []
    for name, fault in FAULTS.items()
}


@pytest.mark.parametrize("key", [pytest.param(key, marks=MARKS[key], id=key) for key in FAULTS])
def test_a_fault_is_found_and_named(key: str) -> None:
    fault = FAULTS[key]
    check = checked(**CLEAN[fault.clean] | fault.check)
    assert check.verdict == "fail"
    for name in fault.names:
        texts = [finding.text for finding in check.findings if re.fullmatch(name, finding.name)]
        assert any(re.search(fault.text, text) for text in texts), (name, check.findings)
    allowed = "|".join((*fault.names, fault.others or "(?!)"))
    assert not [finding for finding in check.findings if not re.fullmatch(allowed, finding.name)]


@pytest.mark.parametrize("name", CLEAN)
def test_the_clean_twin_passes(name: str) -> None:
    check = checked(**CLEAN[name])
    assert check.verdict == "pass", check


@pytest.mark.parametrize("widths", [WIDTHS, (64, 256)])
def test_with_its_control_a_clean_check_passes(widths: tuple[int, ...]) -> None:
    check = checked(build=mlp, width=widths, seeds=3, control=True)
    assert check.verdict == "pass", check.notes


def test_without_a_rate_nothing_trains() -> None:
    check = checked(build=mlp, width=WIDTHS, lr=0.0, control=True)
    assert check.verdict == "fail"
    names = {finding.name for finding in check.findings}
    assert names >= {"input.weight", "hidden.*.weight", "readout.weight"}
    assert all(finding.text.startswith("it does not train") for finding in check.findings)


@pytest.mark.parametrize(
    ("lr", "verdict"), [(2**-20, "pass"), (2**-28, "undecided"), (2**-32, "undecided")]
)
def test_a_tiny_rate_passes_until_it_is_lost_in_rounding(lr: float, verdict: str) -> None:
    check = checked(build=mlp, width=WIDTHS, lr=lr, control=True)
    assert check.verdict == verdict, check
    assert any("lost in rounding" in note for note in check.notes) == (verdict == "undecided")
