"""Results in a notebook, and the tutorial as a notebook."""

import copy
import re
import runpy
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from torch import nn

import mutransfer as mt
from mutransfer.core import Result
from mutransfer.studies import status
from mutransfer.tasks import gpt, mlp
from tests.fragments import Fragment
from tests.records import drifting_runs

ROOT = Path(__file__).parents[1]
RULES = {"sp": -0.8, "default": 0.0}


@cache
def plan() -> mt.Plan:
    return mt.plan(gpt(64, 4), gpt(32, 2))


@cache
def check() -> mt.CoordinateCheck:
    return mt.coordinate_check(gpt, width=[16, 32, 64], seeds=2, steps=2)


@cache
def runs() -> mt.Runs:
    return drifting_runs(RULES, sizes=(32, 64, 128))


@cache
def transfers() -> mt.certificates.Transfers:
    return mt.transfer(runs(), {"width": 512})


RESULTS = {
    "plan": plan,
    "check": check,
    "runs": runs,
    "transfers": transfers,
    "transfer": lambda: transfers()["default"],
    "refusals": lambda: mt.transfer(drifting_runs(RULES, sizes=(32,)), {"width": 512}),
    "reading": lambda: mt.read(gpt(32, 2)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_notebook_shows_every_word_of_a_result(name: str) -> None:
    result = RESULTS[name]()
    shown = result._repr_html_()
    assert len(shown) < 200_000
    assert not {*str(result).split()} - {*Fragment(shown).words}


@pytest.mark.parametrize("name", ["check", "runs", "transfers"])
def test_a_notebook_shows_the_figure_of_a_result(name: str) -> None:
    result = RESULTS[name]()
    fragment = Fragment(result._repr_html_())
    ((alternative, data),) = fragment.pictures
    assert alternative == f"figure: {str(result).splitlines()[0]}"
    assert fragment.folds[-1] == ("figure", True)
    assert data.startswith(b"\x89PNG") or ElementTree.fromstring(data).tag.endswith("svg")


def test_a_large_figure_is_shown_as_points() -> None:
    large = mt.coordinate_check(gpt, width=[16, 64], depth=[2, 8], seeds=1, steps=1)
    shown = large._repr_html_()
    ((_, data),) = Fragment(shown).pictures
    assert data.startswith(b"\x89PNG") and len(shown) < 200_000


def test_a_plan_unfolds_the_derivation_of_each_row() -> None:
    fragment = Fragment(plan()._repr_html_())
    titles = [title for title, is_open in fragment.folds if not is_open]
    assert titles[0] == "derivation of each row" and "blocks.*.query.weight" in titles
    for line in plan().explain("head.weight").splitlines():
        assert line in fragment.text


def test_certificates_fold_below_their_first_lines() -> None:
    fragment = Fragment(transfers()._repr_html_())
    lines = [str(outcome).splitlines()[0] for outcome in transfers().outcomes]
    assert [*fragment.folds] == [*((line, False) for line in lines), ("figure", True)]
    one = replace(transfers(), outcomes=transfers().outcomes[:1])
    assert Fragment(one._repr_html_()).folds[0] == (lines[0], True)


def test_a_status_is_shown(tmp_path: Path) -> None:
    study = mt.Study(mlp, width=[8], lr=mt.log2(-4, -3), steps=1)
    mt.sweep(study, tmp_path)
    found = status(tmp_path)
    assert not {*str(found).split()} - {*Fragment(found._repr_html_()).words}


def test_without_matplotlib_the_rest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fragment = Fragment(runs()._repr_html_())
    assert not fragment.pictures and ("no figure", False) in fragment.folds
    assert "pip install 'mutransfer[plot]'" in fragment.text
    assert str(runs()).splitlines()[0] in fragment.text


def test_an_empty_record_has_no_figure() -> None:
    fragment = Fragment(mt.Runs(header={}, rows=[])._repr_html_())
    assert fragment.folds == [("no figure", False)] and "run the sweep first" in fragment.text


def test_names_of_a_model_are_text() -> None:
    def build(width: int) -> nn.Module:
        model = nn.Sequential(nn.Linear(8, width), nn.Linear(width, 2))
        model.add_module("<img src=x onerror=alert(1)>", nn.Identity())
        model.add_module("<b>", nn.Linear(2, 2))
        return model

    assert "<b>.weight" in Fragment(mt.plan(build(64), base=build(32))._repr_html_()).text


def test_every_kind_of_result_has_one_form() -> None:
    """No result makes its HTML alone: title, folds and figure are put together in one place."""

    def kinds(kind: type[Any]) -> set[type[Any]]:
        return {kind}.union(*map(kinds, kind.__subclasses__()))

    ours = {kind for kind in kinds(Result) if kind.__module__.startswith("mutransfer.")}
    assert {kind for kind in ours if "_repr_html_" in vars(kind)} == {Result} and len(ours) > 15


def test_the_tutorial_runs_and_shows_what_is_committed(tmp_path: Path) -> None:
    """Numbers may differ from machine to machine, and what is shown may not."""
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    run = runpy.run_path(str(ROOT / "scripts" / "run_notebook.py"))["run"]
    committed = nbformat.read(ROOT / "examples" / "tutorial.ipynb", as_version=4)
    nbformat.validate(committed)
    again = run(copy.deepcopy(committed), tmp_path)
    assert list(map(shown, again.cells)) == list(map(shown, committed.cells))
    said = "".join(output.get("text", "") for cell in again.cells for output in outputs_of(cell))
    finding = re.search(r"in \[(.+), (.+)\]\nbest .* tried (.+)\n", said)
    low, high, best = map(float, finding.groups())
    assert low / 2 < best < 2 * high, "the rates that were tried are an octave apart"
    audited = outputs_of(again.cells[-2])[-1].data["text/html"]
    assert "trained as planned" in Fragment(audited).text


def outputs_of(cell: Any) -> list[Any]:
    return cell.get("outputs", [])


def shown(cell: Any) -> tuple[Any, ...]:
    """The text of a cell, and of each output its kind, its parts that fold, and its pictures."""
    seen = []
    for output in outputs_of(cell):
        source = output.get("data", {}).get("text/html")
        fragment = Fragment(source) if source else None
        pictures = len(fragment.pictures) if fragment else 0
        folds = len(fragment.folds) if fragment else 0
        seen.append((output.output_type, sorted(output.get("data", {})), folds, pictures))
    return cell.source, *seen
