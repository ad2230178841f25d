"""The benchmark of survival: its judge sees what is lost, and the script runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.survival.judge import Moment, judge
from benchmarks.survival.sweeps import Place
from benchmarks.survival.table import BEGIN, END, table, write

ROOT = Path(__file__).parents[2]
WHOLE = [{"id": name, "loss": 0.5, "curve": [0.7, 0.5], "seconds": 1.0} for name in "abcd"]


@pytest.fixture
def place(tmp_path):
    """A sweep of four runs, one job each, in one shard."""
    (tmp_path / "runs").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in WHOLE)
    (tmp_path / "runs" / "rows-1.jsonl").write_text(lines)
    (tmp_path / "diary").write_text("a\nb\nc\nd\n")
    return Place(folder=tmp_path / "runs", diary=tmp_path / "diary")


def test_a_whole_record_is_sound(place):
    moments = [Moment(known=frozenset("ab"), trained=2)]
    verdict = judge(WHOLE, place, moments, rows=[row | {"seconds": 9.0} for row in WHOLE])
    assert not verdict.is_bad()
    assert (verdict.before, verdict.after, verdict.runs, verdict.exact) == ((2,), 4, 4, 4)


def test_the_judge_sees_what_is_lost(place):
    moments = [Moment(known=frozenset("ab"), trained=2)]
    verdict = judge(WHOLE, place, moments, rows=WHOLE[1:3])
    assert verdict.lost == ("a", "d") and verdict.after == 2 and verdict.is_bad()


def test_the_judge_sees_what_is_repeated(place):
    place.diary.write_text("a\nb\nb\nc a\nd\n")
    moments = [Moment(known=frozenset("ab"), trained=2)]
    verdict = judge(WHOLE, place, moments, rows=WHOLE)
    assert verdict.repeated == ("b",) and verdict.along == ("a",) and verdict.is_bad()
    assert not judge(WHOLE, place, moments, rows=WHOLE, damaged={"b"}).repeated


def test_the_judge_sees_rows_that_are_written_twice(place):
    place.folder.joinpath("rows-2.jsonl").write_text(json.dumps(WHOLE[3]) + "\n")
    assert judge(WHOLE, place, [], rows=WHOLE).repeated == ("d",)


@pytest.mark.parametrize(("change", "differs"), [(1e-12, False), (1e-6, True)])
def test_the_judge_sees_rows_that_differ(place, change, differs):
    rows = [*WHOLE[:3], WHOLE[3] | {"curve": [0.7, 0.5 + change]}]
    verdict = judge(WHOLE, place, [], rows=rows)
    assert verdict.differ == (("d",) if differs else ()) and verdict.exact == 3


def small(folder, *cases):
    """Figures of small cases."""
    path = folder / "figures.json"
    names = [part for case in cases for part in ("--case", case)]
    command = [sys.executable, "-m", "benchmarks.survival.run", "--small", "--json", str(path)]
    done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text())


def test_the_script_runs_and_writes_its_page(tmp_path):
    record = small(tmp_path, "coordinator, here", "torn line", "two coordinators")
    assert [each["times"] for each in record["cases"]] == [2, 2, 2]
    assert all(each["after"] == each["runs"] > 0 for each in record["cases"])
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(record, page)
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert table(record["cases"]) in text
