"""Studies that could not be trained to the end are refused before anything is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mutransfer import Grid, MutransferError, OneAtATime, Random, Study, sweep
from mutransfer.tasks import gpt, mlp
from tests.studies.small_study import data, on_disk


def study(**changes: Any) -> Study:
    grid: dict[str, Any] = {"width": [8, 16], "depth": [2], "lr": [2**-7, 2**-6], "seeds": 1}
    return Study(build, **grid | {"task": data(), "steps": 4, "batch": 16} | changes)


def build(width: int, depth: int) -> Any:
    return mlp(width, depth, inputs=5, outputs=3).double()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": ["constant", "sine"]}, "unknown schedule 'sine'"),
        ({"warmup": [0, 1.0]}, "warmup is 1.0"),
        ({"label_smoothing": [0, 1.5]}, "label_smoothing has values .*1.5"),
        ({"accumulate": 3}, "a batch of 16 examples does not divide into 3"),
        ({"batch": [16, 18], "accumulate": 4}, "a batch of 18 examples does not divide into 4"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"evaluate": 2}, "task rows has no validation data"),
        ({"batch": 2.5}, r"batch has values that are no whole numbers: \[2.5\]"),
        ({"lr": None}, "lr is None: give learning rates"),
        ({"base": 8}, r"base is 8: give its size by name, such as \{'width': 8, 'depth': 2\}"),
        ({"hyperparameters": ["p"]}, r"hyperparameters is \['p'\]: give values by name"),
        ({"design": OneAtATime}, "design is .*: give Grid"),
        ({"design": [{"lr": 0.5}]}, r"design is .*0.5.*: give Grid"),
        ({"train": 3}, "train is 3: give a function of a Trial"),
        (
            {"width": None, "depth": None, "axes": [(8, 2)]},
            r"axes has the size \(8, 2\): give sizes by name",
        ),
        ({"seeds": [0, 0.5]}, r"seeds has values that are no whole numbers: \[0, 0.5\]"),
    ],
)
def test_a_recipe_that_no_run_can_have_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        study(**changes)


def test_multipliers_that_a_rule_cannot_carry_are_refused_before_training(tmp_path: Path) -> None:
    # The plain runs of both rules come first.
    both = study(rules=["default", "sp"], init=[1, 2], schedule=["constant", "linear"])
    with pytest.raises(MutransferError, match="rule 'sp': init"):
        sweep(both, tmp_path)
    assert not on_disk(tmp_path)


def test_random_points_have_whole_numbers_where_steps_are_counted() -> None:
    drawn = study(warmup=[0, 4], design=Random(20)).points()
    assert {point["warmup"] for point in drawn} == {0, 1, 2, 3, 4}
    assert all(isinstance(point["warmup"], float) for point in study(warmup=[0.25, 0.5]).points())
    assert study(warmup=[0, 4], design=Grid()).points()


def sequences(**axes: Any) -> Study:
    training = {"task": "pydocs", "steps": 2, "batch": 4, "seeds": 1, "lr": [2**-7, 2**-6]}
    return Study(gpt, **axes | training)


AXES: dict[str, dict[str, Any]] = {
    "heads": {"width": [16, 32], "axes": {"heads": [1, 2]}},
    "contexts": {"width": [16, 32], "context": [8, 16]},
    "listed": {"axes": [{"width": 16, "context": 8}, {"width": 32, "context": 16}]},
}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_axes_that_change_no_width_or_depth_are_swept(tmp_path: Path, axes: Any) -> None:
    study = sequences(**axes)
    runs = sweep(study, tmp_path)
    assert len(runs.rows) == len(study.runs())
    if "context" in study.base:
        for run in study.runs():
            assert len(study.task_of(run).example[0]) == run.size["context"]


def test_an_axis_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    def deaf(width: int, depth: int, heads: int) -> Any:
        return build(width, depth)

    with pytest.raises(MutransferError, match="it ignores heads"):
        sweep(replace(study(), build=deaf, axes={"heads": [1, 2]}, base=None), tmp_path)
