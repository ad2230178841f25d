"""Transfer in depth from theory alone, with its comparison, and problems named by text."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Progress
from mutransfer.limits import Landscape, Problem, depth_transfer, landscape, problem_of, two_classes

FAST = "digits, steps=3, examples=2"
RATES = [2.0**power for power in range(-11, 1)]


def same(found: Landscape, expected: Landscape) -> None:
    """Assert equal curves."""
    assert found.to_json() | {"about": None} == expected.to_json() | {"about": None}


# Landscapes


def test_it_is_the_landscapes_with_and_without_depth_scaling() -> None:
    problem = problem_of(FAST)
    scaled, unscaled = depth_transfer(FAST, depth=[2, 4, math.inf], width=[8], seeds=2)
    same(scaled, landscape(problem, values=RATES, depth=[2, 4, math.inf], width=[8], seeds=2))
    anchored = replace(problem, alpha=0.0, beta0=problem.branch(2))
    same(unscaled, landscape(anchored, values=RATES, depth=[2, 4], width=[8], seeds=2))


def test_the_default_depths_end_with_the_limit_that_there_is() -> None:
    depths = [[c.depth for c in each.curves] for each in depth_transfer(FAST, values=[0.1])]
    assert depths == [[2, 4, 8, 16, math.inf], [2, 4, 8, 16]]
    (alone,) = depth_transfer(f"{FAST}, alpha=0", values=[0.1])
    assert [curve.depth for curve in alone.curves] == [2, 4, 8, 16]


@pytest.mark.parametrize(
    ("problem", "options", "panels"),
    [
        (FAST, {}, 2),
        (FAST, {"compare": False}, 1),
        (f"{FAST}, alpha=1", {}, 1),
        (f"{FAST}, alpha=1", {"compare": True}, 2),
        (problem_of(FAST), {}, 1),
        (problem_of(FAST), {"compare": True}, 2),
        (FAST, {"depth": [math.inf]}, 1),
        (FAST, {"depth": [0]}, 1),
        (FAST, {"over": "beta0", "values": [0.5, 1.0]}, 1),
        (FAST, {"over": "momentum", "values": [0.0, 0.5]}, 2),
    ],
    ids=[
        *("task", "task alone", "chosen scaling", "chosen scaling compared"),
        *("problem", "problem compared", "infinite depth", "depth zero", "beta0", "momentum"),
    ],
)
def test_the_comparison_belongs_to_a_task_with_its_default_scaling(
    problem: Problem | str, options: dict[str, Any], panels: int
) -> None:
    found = depth_transfer(problem, **{"depth": [1, 2], "values": [0.1], **options})
    assert len(found) == len(list(found)) == panels
    assert found[0].problem.alpha == (1.0 if "alpha=1" in str(problem) else 0.5)
    assert all(each.problem.alpha == 0 for each in list(found)[1:])


def test_depths_may_come_in_any_order_and_as_floats() -> None:
    (found,) = depth_transfer(problem_of(FAST), depth=[math.inf, 4.0, 1, 4], values=[0.1])
    assert [curve.depth for curve in found.curves] == [1, 4, math.inf]
    assert all(isinstance(curve.depth, int) for curve in found.curves[:2])


def test_progress_counts_the_solutions_of_both_landscapes() -> None:
    reports: list[Progress] = []
    depth_transfer(FAST, depth=[1, 2, math.inf], values=[0.1, 0.2], progress=reports.append)
    assert [(each.done, each.total) for each in reports] == [(i, 10) for i in range(1, 11)]
    assert [reports[i].what for i in (0, 5, 9)] == [
        "width inf, depth 1",
        "width inf, depth inf",
        "width inf, depth 2",
    ]


def test_the_text_has_a_table_for_each_landscape() -> None:
    found = depth_transfer(FAST, depth=[1, 2], values=[0.1, 0.2])
    assert str(found) == f"{found[0]}\n\n{found[1]}"
    titles = [block.splitlines()[0] for block in str(found).split("\n\n")]
    assert titles == [
        "branches × 1/√depth: best lr by mean loss",
        "no depth scaling: " + titles[0][21:],
    ]


def test_files_hold_all_landscapes(tmp_path: Path) -> None:
    found = depth_transfer(FAST, depth=[1, 2], values=[0.1, 0.2, 0.4])
    found.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"limit.{kind}" for kind in ("csv", "json", "png", "svg", "txt")]
    written = json.loads((folder / "limit.json").read_text(), parse_constant=pytest.fail)
    assert written == found.to_json()
    rows = (folder / "limit.csv").read_text().splitlines()
    further = sum(len(curve.further.values) for each in found for curve in each.curves)
    assert rows[0].startswith("scaling,width,depth,lr,loss")
    assert further and len(rows) == 1 + 2 * 2 * 3 + further


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        (FAST, {"over": "momentum"}, "give the values of momentum, ascending"),
        (FAST, {"over": ("half time", lambda p, v: p)}, "give the values of half time"),
        (FAST, {"depth": [2.5]}, "depth is 2.5: give a whole number of branches"),
        (f"{FAST}, alpha=0", {"depth": [math.inf]}, "there is no limit of infinite depth"),
        (FAST, {"values": [0.5, 0.25]}, r"values are \[0.5, 0.25\]: give at least one, ascending"),
        (FAST, {"depth": [math.inf], "width": [8]}, "has no finite depth to be trained at"),
    ],
    ids=["values", "own hyperparameter", "half a depth", "no limit", "values descend", "width"],
)
def test_wrong_arguments_of_transfer_are_refused(
    problem: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        depth_transfer(problem, **options)


# Problems of tasks


def test_a_problem_of_a_task_has_its_examples_and_defaults() -> None:
    inputs, targets = two_classes("digits", 4)
    assert problem_of() == Problem(inputs=inputs, targets=targets, lr=0.05, steps=20)
    assert problem_of("digits", classes=(3, 8)).inputs.tolist() != inputs.tolist()


def test_every_setting_can_be_written_as_text() -> None:
    settings: dict[str, Any] = {
        "activation": "relu",
        "block": "post",
        "block_depth": 2,
        "loss": "logistic",
        "momentum": 0.5,
        "nesterov": True,
        "weight_decay": 0.25,
        "gamma0": 2.0,
        "beta0": 0.75,
        "alpha": 1.0,
        "train_input": False,
        "lr": 0.125,
        "steps": 2,
    }
    text = ", ".join(f"{name}={value}" for name, value in settings.items())
    assert problem_of(f"digits, examples=2, {text}") == problem_of("digits", examples=2, **settings)
    dashed = problem_of("digits,block-depth=2 , weight-decay = 1/4, train-readout=false")
    assert dashed == problem_of(block_depth=2, weight_decay=0.25, train_readout=False)
    assert problem_of("digits, steps=3", steps=4).steps == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digits, speed=3", "a problem has no setting 'speed'; choose among examples, lr, steps"),
        ("digits, inputs=3", "a problem has no setting 'inputs'"),
        ("digits, tanh", "'tanh' is no setting: write name=value"),
        ("digits, steps=", "'steps=' is no setting"),
        ("digits, steps=2.5", "steps is 2.5: give a whole number"),
        ("digits, activation=swish", "unknown activation 'swish'"),
        ("digits, examples=3", "examples is 3: give an even number"),
        ("digits, train_input=no", "train_input is 'no': give True or False"),
        ("imagenet", "unknown task 'imagenet'"),
    ],
)
def test_wrong_settings_are_refused(text: str, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        problem_of(text)


def test_unknown_keywords_of_a_problem_are_refused() -> None:
    with pytest.raises(MutransferError, match="a problem has no setting 'speed'"):
        problem_of("digits", speed=3)


def test_lower_rates_are_best_without_depth_scaling() -> None:
    """With depth scaling the best rate stays, without it runs away; at the anchor both agree."""
    scaled, unscaled = depth_transfer(FAST, depth=[2, 4])
    assert abs(scaled.drift()) < 0.5 and unscaled.drift() < -1
    at_anchor = [each.curves[0].losses for each in (scaled, unscaled)]
    np.testing.assert_allclose(*at_anchor, rtol=1e-9)
