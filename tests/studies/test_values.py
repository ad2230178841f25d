"""Studies and what belongs to them are values: replaced, compared, hashed, pickled."""

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from typing import Any

import pytest
from torch import nn

import mutransfer as mt
from mutransfer.core import MutransferError, Size
from mutransfer.studies import Run, Study, recipe
from mutransfer.tasks import mlp, task
from mutransfer.training import Recipe

GRID: dict[str, Any] = {"width": [16, 32], "depth": [2], "lr": mt.log2(-6, -4)}
OPTIONS = {"betas": [0.9, 0.95]}
OWN = replace(mt.parametrization("mup"), name="mine")
STUDIES = {
    "plain": Study(mlp, **GRID),
    "options": Study(mlp, **GRID, options=OPTIONS, weight_decay=0.1),
    "own rule": Study(mlp, **GRID, rules=["sp", OWN]),
    "base": Study(mlp, **GRID, base={"width": 8}, seeds=[3, 5]),
    "text": Study(mlp, **GRID, task="pydocs"),
    "two optimizers": Study(mlp, **GRID, optimizer="shampoo+adamw", options={"adamw": OPTIONS}),
}
VALUES: dict[str, Any] = {
    **{f"study, {name}": study for name, study in STUDIES.items()},
    **{f"recipe, {name}": recipe(study, study.runs()[0]) for name, study in STUDIES.items()},
    "run": Run(rule="sp", size=Size(width=16, depth=2), point={"lr": 0.5}, seed=1),
    "size": Size(width=16, depth=2),
    "task": task("digits"),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_survives_pickling_and_is_hashed(value: Any) -> None:
    again = pickle.loads(pickle.dumps(value))
    assert again == value and hash(again) == hash(value) and {value: 1}[again] == 1
    assert type(again) is type(value)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_study_survives_replacement(study: Study) -> None:
    assert replace(study) == study
    shorter = replace(study, steps=10)
    assert shorter.steps == 10 and replace(shorter, steps=study.steps) == study
    assert shorter.identity() == study.identity() | {"steps": 10}
    assert shorter.runs() == study.runs()


def test_replacement_takes_and_checks_what_the_constructor_does() -> None:
    study = STUDIES["plain"]
    changed = replace(study, width=[32, 64], seeds=2, task="pydocs", options={"betas": (0.8, 0.9)})
    assert (changed.width, changed.seeds) == ((32, 64), (0, 1))
    assert changed.task == task("pydocs") and changed.options == {"betas": (0.8, 0.9)}
    assert changed.base == study.base, "the base stays where the rules were anchored"
    with pytest.raises(MutransferError, match="steps is 0: train at least one step"):
        replace(study, steps=0)


def test_fields_hold_one_form_of_what_was_given() -> None:
    given = Study(mlp, **GRID, seeds=2, base={"width": 8}, options=OPTIONS, task="digits")
    normal = Study(
        mlp,
        width=(16, 32),
        depth=range(2, 3),
        lr=tuple(GRID["lr"]),
        seeds=[0, 1],
        base=Size(width=8, depth=2),
        options={"betas": (0.9, 0.95)},
        task=task("digits"),
    )
    assert given == normal and hash(given) == hash(normal)
    names = {f.name: type(getattr(given, f.name)).__name__ for f in fields(given)}
    assert {name: kind for name, kind in names.items() if kind != "NoneType"} == {
        "build": "function",
        **dict.fromkeys(("width", "depth", "lr", "seeds", "rules"), "tuple"),
        **{"base": "Size", "task": "Task", "optimizer": "str", "design": "Grid"},
        **dict.fromkeys(("options", "axes", "hyperparameters"), "FrozenDict"),
        **dict.fromkeys(("steps", "batch", "accumulate"), "int"),
    }


def test_a_study_cannot_be_changed() -> None:
    study = STUDIES["options"]
    with pytest.raises(FrozenInstanceError):
        study.steps = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="cannot change"):
        study.options["betas"] = (0.1, 0.2)  # type: ignore[index]


def test_a_pickled_builder_keeps_the_runs_of_the_record() -> None:
    study = Study(partial(mlp, activation="tanh"), **GRID)
    again = pickle.loads(pickle.dumps(study))
    assert again.identity() == study.identity()
    assert [*map(again.run_id, again.runs())] == [*map(study.run_id, study.runs())]


def test_a_run_is_its_row_of_the_record() -> None:
    size: Any = {"width": 16, "depth": 2}
    run = Run(rule="sp", size=size, point={"lr": 0.5}, seed=1)
    row = {"rule": "sp", "width": 16, "depth": 2, "lr": 0.5, "seed": 1}
    assert run == VALUES["run"] and run.row() == row and [*run.row()] == [*row]
    assert Run.of(row | {"id": "x", "loss": 1.0}) == run


def test_options_of_a_recipe_are_frozen() -> None:
    given = Recipe(task=task("digits"), steps=3, batch=4, options=OPTIONS)
    assert given.options == {"betas": (0.9, 0.95)}
    assert replace(given, steps=4) == Recipe(
        task=task("digits"), steps=4, batch=4, options={"betas": (0.9, 0.95)}
    )


@pytest.mark.parametrize("module", ["_study", "_sweep", "_models"])
def test_a_file_of_the_room_is_imported_first(module: str) -> None:
    code = f"import mutransfer.studies.{module}, mutransfer as mt; print(mt.sweep.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "sweep\n"


class Builder:
    """A builder that is an object, with a value of its own."""

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def __call__(self, width: int, depth: int) -> nn.Module:
        return mlp(width=width, depth=depth, activation=self.activation)


def test_builders_of_one_class_are_told_apart_by_their_values() -> None:
    """Else one record would take the runs of both."""
    relu, tanh, twin = (
        mt.Study(Builder(name), width=[8], depth=[2], lr=[0.1]) for name in ("relu", "tanh", "relu")
    )
    assert relu.identity() == twin.identity() != tanh.identity()
