"""Studies: their arguments, and the ids of their runs."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer import MutransferError
from mutransfer.core import Size
from mutransfer.studies import Run, Study, log2
from mutransfer.tasks import Task, cross_entropy, mlp, resmlp

DATA = Task(
    name="rows", inputs=torch.zeros(8, 64), targets=torch.zeros(8).long(), loss=cross_entropy
)
GRID: dict[str, Any] = {
    "width": [16, 32],
    "depth": [2],
    "lr": log2(-6, -4),
    "task": DATA,
    "batch": 8,
}
RUN = Run(rule="sp", size=Size(width=16, depth=2), lr=0.125, seed=0)


def study(build: Any = mlp, **changes: Any) -> Study:
    return Study(build, **GRID | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({name: []}, f"{name} is empty: give at least one value")
            for name in ("width", "depth", "lr")
        ],
        *[
            ({name: [4, 2]}, f"{name} is not in ascending order: .*; sort it")
            for name in ("width", "depth", "lr")
        ],
        *[
            ({name: [2, 2]}, f"{name} is not in ascending order: .* remove repetitions")
            for name in ("width", "depth", "lr")
        ],
        *[
            ({name: [0, 2]}, f"{name} has values that are not positive")
            for name in ("width", "depth", "lr")
        ],
        ({"lr": [-0.1]}, "lr has values that are not positive"),
        ({"lr": [0.1, float("nan")]}, "lr has values that are not positive"),
        ({"lr": [float("inf")]}, "lr has values that are not positive"),
        ({"seeds": 0}, "seeds is empty"),
        ({"seeds": []}, "seeds is empty"),
        ({"rules": []}, "rules is empty"),
        ({"rules": ["default", "mupp"]}, "unknown rule 'mupp'; choose one of sp, sp-layerwise"),
        ({"rules": ["default, without epsilon"]}, "no factor 'epsilon'"),
        (
            {"optimizer": "sophia"},
            "unknown optimizer 'sophia' for a study; choose one of sgd, adam, adamw",
        ),
        ({"task": "imagenet"}, "unknown task 'imagenet'"),
        ({"steps": 0}, "steps is 0: train at least one step"),
        ({"batch": 9}, "a batch cannot have 9"),
        ({"base": {"wdith": 8}}, "base has wdith: it takes width and depth"),
    ],
)
def test_grids_that_cannot_be_run_are_refused(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        study(**changes)


def test_octaves() -> None:
    assert log2(-2, 1) == [0.25, 0.5, 1, 2] and log2(3, 3) == [8]
    assert log2(-2.0, np.int64(1)) == [0.25, 0.5, 1, 2]  # type: ignore[arg-type]
    with pytest.raises(MutransferError, match=r"log2\(-1, -2\) is empty"):
        log2(-1, -2)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ((1e-4, 1e-1), "log2(-14, -3)"),
        ((0.25, 0.5), "log2(-2, -1)"),
        ((-3.5, -1), "log2(-14, -3)"),
        ((math.nan, -1), "log2(-14, -3)"),
        ((math.inf, 1e-1), "log2(-14, -3)"),
        (("-3", "-1"), "log2(-14, -3)"),
    ],
)
def test_rates_for_powers_are_refused_with_the_powers(given: Any, hint: str) -> None:
    with pytest.raises(MutransferError) as refusal:
        log2(*given)
    assert f"give whole powers of two, such as {hint}, or the rates" in str(refusal.value)


def test_runs_are_the_whole_grid_size_by_size_and_rule_by_rule() -> None:
    runs = study(rules=["sp", "mup"], depth=[2, 3], seeds=[5, 7]).runs()
    assert len(set(runs)) == len(runs) == 2 * 2 * 2 * 3 * 2
    sizes = [Size(width=width, depth=depth) for width in (16, 32) for depth in (2, 3)]
    blocks = list(dict.fromkeys((run.size, run.rule) for run in runs))
    assert blocks == [(size, rule) for size in sizes for rule in ("sp", "mup")]
    assert {run.seed for run in runs} == {5, 7} and {run.lr for run in runs} == set(log2(-6, -4))
    assert study(depth=[2, 3]).sizes() == sizes


@pytest.mark.parametrize(
    ("given", "seeds"), [(3, (0, 1, 2)), ([4, 2], (4, 2)), (range(7, 9), (7, 8))]
)
def test_seeds_are_listed_or_counted(given: Any, seeds: tuple[int, ...]) -> None:
    assert study(seeds=given).seeds == seeds


@pytest.mark.parametrize(
    ("base", "size"), [(None, (16, 2)), ({"width": 4}, (4, 2)), ({"depth": 1}, (16, 1))]
)
def test_the_base_is_the_smallest_size_unless_given(
    base: Mapping[str, int] | None, size: tuple[int, int]
) -> None:
    assert study(base=base).base == Size(width=size[0], depth=size[1])


def test_ids_do_not_depend_on_the_grid_around_a_run() -> None:
    grown = study(width=(16, 64), lr=[0.125, 1], seeds=9, rules=["mup"])
    assert grown.run_id(RUN) == study().run_id(RUN) == study(options={}).run_id(RUN)
    assert study(lr=[1]).runs()[0] == study(lr=[1.0]).runs()[0]


def test_ids_differ_by_every_field_of_run_and_study() -> None:
    runs = [
        replace(RUN, **change)
        for change in (
            {"rule": "mup"},
            {"size": Size(width=17, depth=2)},
            {"size": Size(width=16, depth=3)},
            {"lr": 0.25},
            {"seed": 1},
        )
    ]
    studies = [
        study(resmlp),
        study(partial(mlp, activation="tanh")),
        study(partial(mlp, activation="abs")),
        study(base={"width": 8}),
        study(base={"depth": 1}),
        study(task=replace(DATA, name="other")),
        study(optimizer="adam"),
        study(options={"betas": (0.9, 0.99)}),
        study(weight_decay=0.0),
        study(steps=7),
        study(batch=4),
    ]
    ids = [
        study().run_id(RUN),
        *(study().run_id(run) for run in runs),
        *(other.run_id(RUN) for other in studies),
    ]
    assert len(set(ids)) == len(ids)


def test_a_partials_arguments_have_no_order() -> None:
    forth, back = partial(mlp, inputs=4, outputs=5), partial(mlp, outputs=5, inputs=4)
    assert study(forth).run_id(RUN) == study(back).run_id(RUN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": {"width": 64}}, "base width is 64, larger than the smallest width"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "give optimizer='adamw'"),
        ({"width": 16}, r"width is 16: give a list, such as \[16\]"),
        ({"rules": "sp"}, r"rules is 'sp': give a list, such as \['sp'\]"),
    ],
)
def test_arguments_that_no_sweep_can_use_are_refused_at_once(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        study(**changes)


def test_closures_with_other_values_are_other_studies() -> None:
    def maker(activation: str) -> Any:
        return lambda width, depth: mlp(width, depth, activation=activation)

    relu, tanh = (study(build=maker(name)) for name in ("relu", "tanh"))
    assert relu.identity() != tanh.identity()


def test_builders_that_hold_functions_have_a_lasting_identity() -> None:
    def maker(function: Any) -> Any:
        return lambda width, depth: mlp(width, depth, activation=function(0))

    names = []
    for _ in range(2):
        for build in (
            maker(lambda _: "relu"),
            partial(mlp, activation=lambda _: "relu"),
            partial(mlp, activation=object()),
        ):
            names.append(study(build=build).identity()["build"])
    assert names[:3] == names[3:] and not any(" at 0x" in name for name in names)
