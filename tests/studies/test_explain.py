"""Explanations: how the runs of each shape train, recorded or measured now."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError, Study, sweep
from mutransfer.studies import Explained, Explanation, Way, _explain, explain
from mutransfer.training import Program
from tests.studies.small_study import short

COMPILED = Way(
    program=Program(slots=18, compiled=True),
    processes=2,
    seconds=0.002,
    start=10.0,
    reason="90 s of training without compiling",
    others=("one after the other, not compiled 4 ms a step of a member",),
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Sizes that were measured, with the device; all of them find `COMPILED`."""
    asked: list[tuple[str, str | None]] = []

    def ways(models: Any, shapes: Any, device: str | None) -> list[Way]:
        asked.extend((str(each.shape.size), device) for each in shapes)
        return [COMPILED] * len(shapes)

    monkeypatch.setattr(_explain, "choose_ways", ways)
    return asked


def test_ways_are_measured_as_the_sweep_does(
    measured: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    wanted = short(steps=100)
    found = explain(wanted, tmp_path / "new", device="cpu")
    assert measured == [("width 8, depth 3", "cpu"), ("width 16, depth 3", "cpu")]
    assert [(each.size, each.runs, each.way, each.is_recorded) for each in found.shapes] == [
        ("width 8, depth 3", 12, COMPILED, False),
        ("width 16, depth 3", 12, COMPILED, False),
    ]
    # 18 places train for 12 runs: a compiled program has all its slots.
    assert found.shapes[0].seconds == pytest.approx(10.0 + 18 * 100 * 0.002)
    assert not (tmp_path / "new").exists()


def test_the_record_says_what_was_chosen(
    measured: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    wanted = short(steps=100, width=[8])
    sweep(wanted, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    recorded = json.loads((tmp_path / "study.json").read_text())["ways"]
    found = explain(replace(wanted, width=[8, 16]), tmp_path)
    assert [each.is_recorded for each in found.shapes] == [True, False]
    assert [Way.from_json(way) for way in recorded.values()] == [found.shapes[0].way]
    assert len(measured) == 1 and found.shapes[1].way == COMPILED
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == files


def test_few_steps_are_not_measured(measured: list[tuple[str, str | None]], tmp_path: Path) -> None:
    found = explain(short(steps=3), tmp_path)
    assert measured == [] and "too few steps to measure" in str(found)


def test_an_explanation_in_words_and_as_data() -> None:
    shape = Explained(size="width 8", runs=36, way=COMPILED, seconds=24.4, is_recorded=True)
    plain = replace(shape, size="width 16", way=Way(program=Program()), is_recorded=False)
    found = Explanation(shapes=(shape, plain))
    header, first, second, _, reason, other, _, none = str(found).split("\n")
    assert header.split()[:3] == ["size", "runs", "program"]
    for word in ("18 at once, compiled", " 2 ", " 2 ", "24 s", "recorded"):
        assert word in first
    assert second.split()[-3:] == ["-", "-", "now"]
    assert (
        reason == "width 8: 90 s of training without compiling"
        and none == "width 16: no reason is recorded"
    )
    assert other == "  not chosen: one after the other, not compiled 4 ms a step of a member"
    assert Explanation.from_json(json.dumps(found.to_json())) == found
    with pytest.raises(MutransferError, match=r"Explanation.to_json"):
        Explanation.from_json({"rows": []})


def test_a_function_of_ones_own_has_no_program(tmp_path: Path) -> None:
    wanted = Study(None, width=[8], lr=[0.1], train=lambda trial: None)
    with pytest.raises(MutransferError, match=r"no program to choose"):
        explain(wanted, tmp_path)
