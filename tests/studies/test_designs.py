"""Designs: which points of the swept hyperparameters are run."""

import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer import MutransferError, log2
from mutransfer.studies import Grid, OneAtATime, Points, Random
from tests.studies.small_study import study

POWERS = st.lists(st.integers(-12, 4), min_size=1, max_size=4, unique=True).map(sorted)
LINES: dict[str, st.SearchStrategy[Any]] = {
    "lr": POWERS.map(lambda powers: [2.0**power for power in powers]),
    "readout": POWERS.map(lambda powers: [2.0**power for power in powers]),
    "momentum": st.lists(st.sampled_from([0.0, 0.5, 0.9, 0.99]), min_size=1, unique=True).map(
        sorted
    ),
    "schedule": st.lists(
        st.sampled_from(["constant", "linear", "cosine"]), min_size=1, unique=True
    ),
    "init.blocks.*": POWERS.map(lambda powers: [2.0**power for power in powers]),
}
VALUES = st.fixed_dictionaries(
    {"lr": LINES["lr"]}, optional={n: v for n, v in LINES.items() if n != "lr"}
)
NEUTRAL = {"readout": 1.0, "init.blocks.*": 1.0, "schedule": "constant"}


def points(design: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(point) for point in design.points(values)]


@given(VALUES)
def test_a_grid_is_every_combination_once(values: dict[str, Any]) -> None:
    found = points(Grid(), values)
    assert len(found) == math.prod(map(len, values.values()))
    assert {tuple(point.items()) for point in found} == {
        tuple(zip(values, each, strict=True)) for each in product(*values.values())
    }


@given(VALUES, st.data())
def test_one_at_a_time_differs_from_its_centre_in_one_place(
    values: dict[str, Any], data: st.DataObject
) -> None:
    names = data.draw(st.sets(st.sampled_from([*values])))
    given_centre = {name: data.draw(st.sampled_from(values[name])) for name in names}
    design = OneAtATime(given_centre)
    centre, found = dict(design.centred(values)), points(design, values)
    assert centre == centre | given_centre and found[0] == centre
    changes = [[name for name in values if point[name] != centre[name]] for point in found]
    assert all(len(changed) == 1 for changed in changes[1:])
    for name, line in values.items():
        along = [p[name] for p, changed in zip(found, changes, strict=True) if changed == [name]]
        assert along == [value for value in line if value != centre[name]]


@given(VALUES)
def test_the_centre_is_what_changes_nothing_or_the_middle(values: dict[str, Any]) -> None:
    centre = OneAtATime().centred(values)
    for name, line in values.items():
        if NEUTRAL.get(name) in line:
            assert centre[name] == NEUTRAL[name]
        else:
            assert centre[name] == line[len(line) // 2]


def test_a_centre_may_lie_off_the_grid() -> None:
    design = OneAtATime({"lr": 0.3})
    values = {"lr": [0.25, 0.5], "readout": [1.0, 2.0]}
    assert points(design, values) == [
        {"lr": 0.3, "readout": 1.0},
        {"lr": 0.25, "readout": 1.0},
        {"lr": 0.5, "readout": 1.0},
        {"lr": 0.3, "readout": 2.0},
    ]


@given(VALUES, st.integers(1, 20), st.integers(0, 99))
def test_random_points_lie_between_the_values(values: dict[str, Any], n: int, seed: int) -> None:
    found = points(Random(n, seed), values)
    assert len(found) == n and found == points(Random(n, seed), values)
    for point in found:
        assert point.keys() == values.keys()
        for name, line in values.items():
            if len(line) == 1 or name == "schedule":
                assert point[name] in line
            else:
                assert min(line) * (1 - 1e-12) <= point[name] <= max(line) * (1 + 1e-12)


def test_random_points_are_even_on_the_scale_of_each() -> None:
    values = {"lr": log2(-10, 0), "momentum": [0.0, 1.0], "schedule": ["linear", "cosine"]}
    found = points(Random(2000), values)
    # The mean of 2000 draws has a standard error of 0.0065 of the range.
    assert sum(math.log2(p["lr"]) for p in found) / 2000 == pytest.approx(-5, abs=0.3)
    assert sum(p["momentum"] for p in found) / 2000 == pytest.approx(0.5, abs=0.03)
    assert sum(p["schedule"] == "linear" for p in found) / 2000 == pytest.approx(0.5, abs=0.05)
    assert found != points(Random(2000, seed=1), values)


def test_points_that_lack_a_hyperparameter_have_the_neutral_value() -> None:
    listed = [{"lr": 0.25, "readout": 4}, {"lr": 0.5, "warmup": 3}, {"lr": 0.25, "readout": 4}]
    assert points(Points(listed), {"lr": [0.125]}) == [
        {"lr": 0.25, "readout": 4, "warmup": 0},
        {"lr": 0.5, "readout": 1.0, "warmup": 3},
    ]
    assert points(Points([{"readout": 2}]), {"lr": [0.125]}) == [{"lr": 0.125, "readout": 2}]


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (lambda: Random(0), r"Random\(0\): draw at least one point"),
        (lambda: Points([]), r"Points\(\[\]\): give at least one point"),
        (
            lambda: study(lr=[0.1, 0.2], design=OneAtATime({"readuot": 2})),
            "the centre has readuot, which the study does not sweep; it sweeps lr$",
        ),
        (
            lambda: study(lr=[0.1, 0.2], design=Points([{"momentum": 0.5}]), optimizer="sgd"),
            "has no lr: give it one",
        ),
    ],
)
def test_designs_without_points_are_refused(design: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        design()


def test_a_list_of_designs_is_their_union_without_repetition() -> None:
    line = OneAtATime({"lr": 2.0**-5})
    wanted = study(
        lr=log2(-6, -4),
        readout=[1.0, 2.0, 4.0],
        design=[line, Points([{"lr": 2.0**-5, "readout": 4.0}, {"lr": 2.0**-9, "readout": 4.0}])],
    )
    found = wanted.points()
    assert len(found) == len(set(found)) == 3 + 3 - 1 + 1
    assert set(study(lr=log2(-6, -4), readout=[1.0, 2.0, 4.0], design=line).points()) < set(found)
    runs = wanted.runs()
    assert len(runs) == len({wanted.run_id(run) for run in runs}) == len(found) * 2 * 2 * 2


def test_a_point_is_the_same_run_in_whatever_type_its_numbers_are() -> None:
    listed = study(lr=[1.0], design=Points([{"lr": 1, "readout": 4, "clip": 2}]))
    swept = study(lr=[1.0], readout=[4.0], clip=[2.0])
    centre = study(
        lr=[1.0], readout=[1, 4], clip=2, design=OneAtATime({"lr": 1, "readout": 4}), seeds=1
    )
    ids = [[each.run_id(run) for run in each.runs()] for each in (listed, swept)]
    assert ids[0] == ids[1]
    found = {centre.run_id(run) for run in centre.runs() if run.point["readout"] == 4}
    assert found < set(ids[0])
