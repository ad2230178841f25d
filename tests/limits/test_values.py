"""Problems and results as values: equality, hashing, pickling, JSON, short representations."""

import copy
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.limits import (
    ACTIVATIONS,
    LOSSES,
    Activation,
    Landscapes,
    Loss,
    Problem,
    diversity_trend,
    finite_size,
    how_small,
    landscape,
    lazy,
    linear,
    linear_recursion,
    nonlinear,
    solve,
    two_layer,
)

# Problems


def halving(step: int) -> float:
    return 0.5**step


def cube(x: Any) -> Any:
    return x**3


def cube_slope(x: Any) -> Any:
    return 3 * x**2


def quartic(f: Any, y: Any) -> Any:
    return (f - y) ** 4 / 4


def quartic_slope(f: Any, y: Any) -> Any:
    return (f - y) ** 3


def problem(**changes: Any) -> Problem:
    inputs = np.random.default_rng(0).normal(size=(2, 3))
    return Problem(**{"inputs": inputs, "targets": [1.0, -1.0], "lr": 0.1, "steps": 2, **changes})


CHANGES: list[dict[str, Any]] = [
    {},
    {"activation": "tanh", "loss": "logistic", "block": "post", "block_depth": 2, "alpha": 1.0},
    {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1, "train_input": False},
    {"schedule": [1.0, 0.25], "batches": np.array([[0], [1]])},
    {"schedule": halving, "gamma0": 2.0, "beta0": 0.5, "train_readout": False},
    {
        "activation": Activation("cube", cube, cube_slope),
        "loss": Loss("quartic", quartic, quartic_slope),
    },
]
IDS = ["plain", "nonlinear", "optimizer", "sequences", "function", "own functions"]
PROBLEMS = pytest.mark.parametrize("changes", CHANGES, ids=IDS)


@PROBLEMS
def test_equal_problems_hash_alike(changes: dict[str, Any]) -> None:
    first, second = problem(**changes), problem(**changes)
    assert first == second and hash(first) == hash(second) and {first: 1}[second] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": np.ones((2, 3))},
        {"targets": [-1.0, 1.0]},
        {"lr": 0.2},
        {"steps": 3},
        {"loss": "logistic"},
        {"activation": "tanh"},
        {"schedule": [1.0, 0.5]},
        {"batches": [[0], [1]]},
        {"train_input": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_problems_of_other_content_differ(change: dict[str, Any]) -> None:
    assert problem(**change) != problem() != "a problem"


def test_a_name_equals_what_it_names() -> None:
    named = problem(activation="tanh", loss="mse")
    assert problem(activation=ACTIVATIONS["tanh"], loss=LOSSES["mse"]) == named


@PROBLEMS
@pytest.mark.parametrize(
    "copied",
    [lambda p: pickle.loads(pickle.dumps(p)), copy.copy, copy.deepcopy, replace],
    ids=["pickle", "copy", "deepcopy", "replace"],
)
def test_a_problem_survives_copying(
    changes: dict[str, Any], copied: Callable[[Problem], Problem]
) -> None:
    given = problem(**changes)
    # Derived values must not get into the way of pickling, or into the copy.
    _ = given.phi, given.gram, given.rates, hash(given)
    made = copied(given)
    assert made == given and hash(made) == hash(given)
    assert made.is_linear == given.is_linear
    limits = [solve(each, 1, accuracy=1.0) for each in (made, given)]
    np.testing.assert_array_equal(limits[0].outputs, limits[1].outputs)


def test_replaced_fields_change_what_is_derived() -> None:
    given = problem()
    _ = given.phi, given.rates
    changed = replace(given, activation="tanh", lr=0.5)
    assert changed.phi is ACTIVATIONS["tanh"] and changed.rates.tolist() == [0.5, 0.5]


def test_the_arrays_of_a_problem_cannot_change() -> None:
    with pytest.raises(ValueError, match="read-only"):
        problem().inputs[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        pickle.loads(pickle.dumps(problem())).targets[0] = 1.0


@pytest.mark.parametrize("name", [*ACTIVATIONS])
def test_activations_of_the_library_pickle_to_themselves(name: str) -> None:
    assert pickle.loads(pickle.dumps(ACTIVATIONS[name])) is ACTIVATIONS[name]


@pytest.mark.parametrize("name", [*LOSSES])
def test_losses_of_the_library_pickle_to_themselves(name: str) -> None:
    assert pickle.loads(pickle.dumps(LOSSES[name])) is LOSSES[name]


def through_json(data: dict[str, Any]) -> dict[str, Any]:
    back: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    return back


@pytest.mark.parametrize("changes", CHANGES[:4], ids=IDS[:4])
def test_a_problem_survives_json(changes: dict[str, Any]) -> None:
    given = problem(**changes)
    assert Problem.from_json(through_json(given.to_json())) == given
    assert Problem.from_json(json.dumps(given.to_json())) == given


def test_a_schedule_becomes_its_factors_in_json() -> None:
    back = Problem.from_json(problem(schedule=halving).to_json())
    assert back == problem(schedule=[1.0, 0.5])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (problem(activation=Activation("cube", cube, cube_slope)).to_json(), "activation 'cube'"),
        ({"lr": 0.1}, "this is not a problem written by Problem.to_json"),
        ("[]", "this is not a problem written by Problem.to_json"),
    ],
    ids=["own activation", "fields missing", "a list"],
)
def test_json_of_another_kind_is_no_problem(data: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        Problem.from_json(data)


@PROBLEMS
def test_the_representation_of_a_problem_is_short(changes: dict[str, Any]) -> None:
    given = problem(**changes)
    large = replace(given, inputs=np.tile(given.inputs, (1, 500)))
    for text in (repr(given), repr(large)):
        assert text.startswith("Problem(2 examples of dimension") and len(text) <= 500
    assert ("schedule=..." in repr(given)) == ("schedule" in changes)


# Results

LINEAR = problem(steps=3)
SMALL = landscape(LINEAR, values=[0.1, 0.2, 0.4, 100.0], depth=[1, math.inf], width=[4], seeds=2)
SIZES = finite_size(LINEAR, width=[4, 8], depth=[1, 2], seeds=3)
PATHS = {depth: [np.random.default_rng(depth).normal(size=(depth + 1, 40))] for depth in (16, 32)}
RESULTS: dict[str, Any] = {
    "limit": linear(LINEAR, 2),
    "infinite limit": linear(LINEAR, math.inf),
    "sampled limit": nonlinear(problem(activation="relu"), 1, accuracy=1.0, repetitions=2),
    "lazy": lazy(LINEAR, 2),
    "landscape": SMALL,
    "landscapes": Landscapes(landscapes=(SMALL, SMALL)),
    "finite sizes": SIZES,
    "law": SIZES.laws["one network"],
    "law without interval": SIZES.laws["depth"],
    "proxy": how_small(SIZES, 0.5),
    "trend": diversity_trend(PATHS),
    "two layers": two_layer(1.0, lr=0.1, steps=3),
    "recursion": linear_recursion([1.0, 0.5], lambda step, output: output - 1.0, depth=2),
}
EVERY = pytest.mark.parametrize("name", [*RESULTS])


@EVERY
def test_every_result_survives_json(name: str) -> None:
    result = RESULTS[name]
    data = through_json(result.to_json())
    back = type(result).from_json(data)
    assert back.to_json() == data and str(back) == str(result)
    assert type(result).from_json(json.dumps(data)).to_json() == data


@EVERY
def test_every_result_is_short_in_a_debugger_and_html_in_a_notebook(name: str) -> None:
    result = RESULTS[name]
    assert len(repr(result)) <= 500 and type(result).__name__ in repr(result)
    assert result._repr_html_().startswith('<div class="mutransfer-result">')


@EVERY
def test_json_of_another_kind_is_no_result(name: str) -> None:
    for data in ({"nothing": 1}, "[1, 2]"):
        with pytest.raises(MutransferError, match=r"this is not .*\.to_json: "):
            type(RESULTS[name]).from_json(data)


@pytest.mark.parametrize("name", ["landscape", "landscapes", "finite sizes", "trend"])
def test_results_with_a_picture_are_drawn_and_saved(name: str, tmp_path: Any) -> None:
    png, svg = RESULTS[name].save_figure(tmp_path / "figure")
    assert png.read_bytes().startswith(b"\x89PNG") and "<svg" in svg.read_text()


@EVERY
def test_every_result_saves_itself(name: str, tmp_path: Any) -> None:
    result = RESULTS[name]
    path = result.save(tmp_path / "new")
    if path.is_dir():
        kinds = sorted(file.suffix for file in path.iterdir())
        assert kinds == [".csv", ".json", ".png", ".svg", ".txt"]
        (path,) = path.glob("*.json")
    expected = Landscapes(landscapes=(result,)) if name == "landscape" else result
    assert json.loads(path.read_text()) == through_json(expected.to_json())


def test_results_keep_what_made_them_through_json() -> None:
    for result in (SMALL, SIZES):
        assert type(result).from_json(result.to_json()).about == result.about
        assert {"mutransfer", "device", "command", "date"} <= result.about.keys()


def test_arrays_come_back_to_the_bit() -> None:
    limit = RESULTS["sampled limit"]
    back = type(limit).from_json(json.dumps(limit.to_json()))
    for name in ("outputs", "losses", "features", "gradients", "losses_error"):
        np.testing.assert_array_equal(getattr(back, name), getattr(limit, name))
    assert back.problem == limit.problem and back.samples == limit.samples
