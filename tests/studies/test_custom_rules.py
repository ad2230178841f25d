"""A study takes custom parametrizations."""

from dataclasses import replace
from pathlib import Path

import pytest

import mutransfer as mt
from mutransfer.core import MutransferError
from mutransfer.rules import Parametrization, Role, laws, parametrization
from mutransfer.studies import Runs, missing, sweep
from tests.studies.small_study import short, untimed

MINE = Parametrization(
    name="mine",
    title="muP, its readout drawn as under standard parametrization",
    source="a test",
    laws=laws(readout="1/2"),
)
OTHER = replace(MINE, laws=laws())
"""Another rule of the same name."""


def test_a_custom_rule_is_swept_under_its_name(tmp_path: Path) -> None:
    study = short(rules=["sp", MINE])
    runs = sweep(study, tmp_path / "own")
    assert runs.rules == ["sp", "mine"] and Runs.read(tmp_path / "own") == runs
    assert len(runs.rows) == len(study.runs()) == 24
    assert [row["id"] for row in runs.rows] == [study.run_id(run) for run in study.runs()]


def test_a_custom_rule_trains_by_its_data_whatever_its_name(tmp_path: Path) -> None:
    grid = {"width": [16], "base": {"width": 8}}
    rules = {
        "named": "mup",
        "own": replace(parametrization("mup"), name="my muP"),
        "mine": MINE,
    }
    losses = {
        name: [row["loss"] for row in sweep(short(rules=[rule], **grid), tmp_path / name).rows]
        for name, rule in rules.items()
    }
    assert losses["named"] == losses["own"] != losses["mine"]


def test_a_sweep_of_a_custom_rule_is_resumed(tmp_path: Path) -> None:
    whole = sweep(short(rules=[MINE, "sp"]), tmp_path / "whole")
    part = short(rules=[MINE, "sp"], width=[8], base={"width": 8})
    sweep(part, tmp_path / "part")
    study = short(rules=[MINE, "sp"])
    assert len(missing(study, tmp_path / "part")) == 12
    assert untimed(sweep(study, tmp_path / "part")) == untimed(whole)
    assert missing(study, tmp_path / "part") == []


def test_a_grid_of_a_custom_rule_is_extended(tmp_path: Path) -> None:
    study = short(width=[8], rules=[MINE], lr=mt.log2(-20, -18))
    runs = sweep(study, tmp_path, extend=2)
    assert runs.losses("mine", study.base)[0] == mt.log2(-20, -16)
    assert sweep(study, tmp_path, extend=2) == runs


def test_run_ids_of_a_custom_rule_hold_its_data() -> None:
    ids = [
        short(rules=[rule]).run_id(short(rules=[rule]).runs()[0])
        for rule in (MINE, OTHER, replace(MINE, name="other"), "mup")
    ]
    assert len(set(ids)) == len(ids)
    retitled = short(rules=[replace(MINE, title="another title", cites=("0000.00000",))])
    assert retitled.run_id(retitled.runs()[0]) == ids[0], "titles and sources train nothing"


def test_a_rule_of_the_library_is_the_one_that_its_name_says() -> None:
    ablated = parametrization("completep").using(decay="sqrt").without("eps")
    given, named = short(rules=[ablated]), short(rules=["completep, decay=sqrt, without eps"])
    assert given.rules == named.rules == ("completep, decay=sqrt, without eps",)
    assert given == named and given.runs() == named.runs()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([MINE, OTHER], "two different rules share the name 'mine': rename one"),
        ([replace(MINE, name="mup")], "named 'mup', as a different one of the library is"),
        ([replace(MINE, name="MuP")], "named 'MuP', as a different one of the library is"),
        ([replace(MINE, name="default")], "named 'default', as a different one of the library"),
        ([MINE, MINE], r"rules has repetitions: \['mine', 'mine'\]"),
        (MINE, r"rules is 'mine': give a list, such as \['mine'\]"),
        ([Role.HIDDEN], "unknown rule 'hidden'"),
        ([3], "named by text or given as a Parametrization, not as 3"),
    ],
)
def test_rules_that_share_a_name_are_refused(rules: object, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        short(rules=rules)


def test_a_record_of_another_rule_of_the_name_is_refused(tmp_path: Path) -> None:
    before = sweep(short(rules=[MINE]), tmp_path)
    with pytest.raises(MutransferError, match="has runs of another rule named 'mine'"):
        sweep(short(rules=["sp", OTHER]), tmp_path)
    assert Runs.read(tmp_path) == before
    assert len(missing(short(rules=[OTHER]), tmp_path)) == len(before.rows)
