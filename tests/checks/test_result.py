"""A check is plain data, and a rule of one's own travels with it."""

import csv
import json
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import mutransfer as mt
from mutransfer.checks import QUANTITIES, Slope
from mutransfer.checks._diagnosis import doubts
from mutransfer.core import Progress
from mutransfer.rules import Parametrization, parametrization
from mutransfer.tasks import gpt, mlp

MINE = replace(parametrization("depth-mup"), name="mine", title="our own", alpha=Fraction(3, 4))
DEPTHS = {"depth": [2, 4, 8], "seeds": 3, "steps": 2, "control": False}


@pytest.fixture(scope="module")
def check() -> mt.CoordinateCheck:
    """Two sizes with one network each leave intervals open, so that infinities occur."""
    return mt.coordinate_check(gpt, width=[16, 64], depth=[2, 8], rule=MINE, seeds=1, steps=1)


def through_json(check: mt.CoordinateCheck) -> mt.CoordinateCheck:
    text = json.dumps(check.to_json(), allow_nan=False)
    return mt.CoordinateCheck.from_json(json.loads(text))


def test_json_brings_back_an_equal_check(check: mt.CoordinateCheck) -> None:
    again = through_json(check)
    assert again == check and hash(again) == hash(check)
    assert str(again) == str(check) and again.to_csv() == check.to_csv()
    assert again.parametrization == MINE and again.rule == "mine"
    assert mt.CoordinateCheck.from_json(json.dumps(check.to_json())) == check
    assert "inf" in {slope["high"] for slope in check.to_json()["slopes"]}


def test_what_is_no_check_is_refused(check: mt.CoordinateCheck) -> None:
    for data in ({}, "{", {**check.to_json(), "rows": 3}, {**check.to_json(), "slopes": [{}]}):
        with pytest.raises(mt.MutransferError, match="not a check written by"):
            mt.CoordinateCheck.from_json(data)


def test_checks_and_their_parts_can_be_copied_pickled_and_hashed(check: mt.CoordinateCheck) -> None:
    parts = [check, check.slopes[0], mt.checks.Finding(name="a", text="b"), *QUANTITIES.values()]
    for part in parts:
        assert pickle.loads(pickle.dumps(part)) == part == replace(part)
        assert hash(part) == hash(replace(part))


def test_the_repr_is_short_and_notebooks_show_the_table(check: mt.CoordinateCheck) -> None:
    assert repr(check).startswith("<CoordinateCheck: coordinate check of mine (asked for)")
    assert len(repr(check)) <= 500
    assert "(attention logits)" in check._repr_html_()


def test_csv_has_a_row_for_each_number(check: mt.CoordinateCheck) -> None:
    rows = list(csv.DictReader(check.to_csv().splitlines()))
    assert len(rows) == len(check.rows)
    assert list(rows[0])[:5] == ["rule", "width", "depth", "seed", "step"]
    assert {row["rule"] for row in rows} == {"mine", "sp"}
    assert float(rows[-1]["value"]) == check.rows[-1].value


def test_a_saved_check_can_be_read(check: mt.CoordinateCheck, tmp_path: Path) -> None:
    folder = check.save(tmp_path / "check")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"check.{kind}" for kind in ("csv", "json", "png", "svg", "txt")]
    assert mt.CoordinateCheck.from_json((folder / "check.json").read_text()) == check
    assert (folder / "check.txt").read_text() == f"{check}\n"


def test_a_folder_that_cannot_be_written_is_refused(
    check: mt.CoordinateCheck, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(mt.MutransferError, match=r"cannot write the check to .*file"):
        check.save(tmp_path / "file")


def test_a_rule_of_ones_own_is_checked_as_its_data_says() -> None:
    """With alpha = 3/4 the end of a branch is depth^-3/4, also for a rule that was JSON."""
    again = Parametrization.from_json(json.loads(json.dumps(MINE.to_json())))
    check, same = (mt.coordinate_check(gpt, rule=rule, **DEPTHS) for rule in (MINE, again))
    assert check == same and check.verdict == "pass"
    end: Slope = check.slope("blocks.*.down", "size", "depth", 0)
    assert end.expected == -0.75 and end.slope == pytest.approx(-0.75, abs=0.1)


def test_an_ablated_rule_of_ones_own_is_compared_with_the_whole() -> None:
    broken = MINE.without("lr")
    check = mt.coordinate_check(mlp, width=[32, 64, 128, 256], rule=broken, seeds=2, control=False)
    assert check.verdict == "fail"
    hidden = [finding.text for finding in check.findings if finding.name == "hidden.*.weight"]
    assert hidden and "and should go as width^-1.00" in hidden[0]


def test_progress_is_reported_after_each_network() -> None:
    reports: list[Progress] = []
    mt.coordinate_check(mlp, width=[16, 64], seeds=2, steps=1, progress=reports.append)
    assert [(each.done, each.total) for each in reports] == [(i, 8) for i in range(1, 9)]
    assert {each.what for each in reports} == {"width 16", "width 64"}
    assert sorted(each.elapsed for each in reports) == [each.elapsed for each in reports]


def test_doubts_name_what_is_undecided_as_the_table_does() -> None:
    slope = Slope(
        axis="width",
        kind="attention",
        name="*",
        quantity="logits",
        step=4,
        slope=-0.37,
        low=-1.12,
        high=0.38,
        expected=0.0,
        verdict="undecided",
    )
    axes = {"width": (32, 128)}
    (one,) = doubts([slope], axes, [])
    assert one.startswith("one exponent is too uncertain to judge, that of the attention logits in")
    module = replace(slope, kind="module", name="", quantity="change")
    (both,) = doubts([module, slope], axes, [])
    assert both.startswith("2 exponents are too uncertain to judge, such as that of the output in")
