"""The record of a study: what a row says, and how a record goes on."""

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import mutransfer as mt
from mutransfer import MutransferError, Runs, Size, sweep
from mutransfer.rules import parametrization
from mutransfer.studies import OneAtATime, Points, RecordWarning, missing
from mutransfer.tasks import accuracy, mlp
from tests.studies.small_study import FIRST, Counted, data, double, on_disk, planted, study

STEPS = 6


def tiny(**changes: Any) -> mt.Study:
    grid: dict[str, Any] = {"width": [8], "rules": ["mup"], "seeds": 1, "lr": [2.0**-6, 2.0**-5]}
    return study(**grid | {"steps": STEPS} | changes)


def validated() -> mt.Task:
    task = data()
    kept = task.inputs[:24], task.targets[:24]
    return replace(task, validation=kept, metrics={"accuracy": accuracy})


@pytest.fixture
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordWarning)
        yield


def test_a_row_says_what_was_run_and_how_it_went(tmp_path: Path) -> None:
    rows = sweep(tiny(readout=[1.0, 2.0], schedule="linear", eps=1e-7), tmp_path).rows
    for row in rows:
        assert row["status"] == "finished" and 0 < row["seconds"] < 60
        assert (row["steps"], row["batch"], row["schedule"], row["eps"]) == (6, 16, "linear", 1e-7)
    assert [(row["lr"], row["readout"]) for row in rows] == [
        (lr, readout) for lr in (2.0**-6, 2.0**-5) for readout in (1.0, 2.0)
    ]
    assert Runs.read(tmp_path).header["hyperparameters"] == ["lr", "readout"]
    assert Runs.read(tmp_path).header["scales"] == {"lr": "log2", "readout": "log2"}


GROWN: dict[str, dict[str, Any]] = {
    "rates": {"lr": [2.0**-7, 2.0**-6, 2.0**-5]},
    "sizes": {"width": [8, 16]},
    "seeds": {"seeds": 2},
    "rules": {"rules": ["sp", "mup"]},
    "multiplier": {"readout": [1.0, 2.0]},
    "pattern": {"hyperparameters": {"init.readout": [1.0, 2.0]}},
    "schedule": {"schedule": ["constant", "cosine"]},
    "warmup": {"warmup": [0, 2]},
    "design": {"readout": [0.5, 1.0, 2.0], "design": OneAtATime()},
    "points": {"design": Points([{"lr": 2.0**-6}, {"lr": 2.0**-5}, {"lr": 0.1, "branch": 1.0}])},
}


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize("how", GROWN)
def test_a_grown_study_goes_on_in_its_folder(how: str, tmp_path: Path) -> None:
    before = sweep(tiny(), tmp_path).rows
    wanted = tiny(**GROWN[how])
    left = missing(wanted, tmp_path)
    assert len(left) == len(wanted.runs()) - len(before)
    runs = sweep(wanted, tmp_path)
    assert len(runs.rows) == len(wanted.runs()) and missing(wanted, tmp_path) == []
    assert set(Counter(row["id"] for row in on_disk(tmp_path)).values()) == {1}
    known = {row["id"]: row for row in runs.rows}
    assert all(row.items() <= known[row["id"]].items() for row in before)
    fresh = {row["id"]: row["curve"] for row in sweep(wanted, tmp_path / "fresh").rows}
    assert fresh.keys() == known.keys()
    assert all(row["curve"] == pytest.approx(fresh[name]) for name, row in known.items())


@pytest.mark.parametrize("how", ["sizes", "schedule", "warmup"])
def test_finished_programs_are_not_trained_again(how: str, tmp_path: Path) -> None:
    counted = Counted(data())
    # As many as train as one stack.
    wanted = tiny(task=counted.task, lr=[2.0**exponent for exponent in range(-9, -3)])
    sweep(wanted, tmp_path)
    assert counted.steps == FIRST + STEPS
    sweep(replace(wanted, **GROWN[how]), tmp_path)
    expected = 2 * FIRST + 2 * STEPS
    assert counted.steps == expected
    sweep(replace(wanted, **GROWN[how]), tmp_path)
    assert counted.steps == expected + FIRST


def test_axes_of_training_go_on_in_the_folder(tmp_path: Path) -> None:
    before = sweep(tiny(), tmp_path).rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordWarning)
        runs = sweep(tiny(batch=[8, 16], steps=[3, STEPS]), tmp_path)
    assert len(runs.rows) == 8 and runs.axes == ("width", "depth", "batch", "steps")
    assert len(on_disk(tmp_path)) == 8
    assert {row["id"] for row in before} < {row["id"] for row in runs.rows}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": "linear"}, "schedule"),
        ({"eps": 1e-6}, "eps"),
        ({"readout": 2.0}, "readout"),
        ({"accumulate": 2}, "accumulate"),
        ({"precision": "float32"}, "precision"),
        ({"horizon": "none"}, "horizon"),
        ({"hyperparameters": {"init.readout": 2.0}}, "init.readout"),
        ({"train": lambda trial: trial.report(0, 1.0)}, "train"),
    ],
)
def test_a_changed_study_goes_beside_with_a_warning(
    changes: dict[str, Any], field: str, tmp_path: Path
) -> None:
    before = sweep(tiny(), tmp_path)
    with pytest.warns(RecordWarning, match=f"2 runs of another study: its {field} is "):
        after = sweep(tiny(**changes), tmp_path)
    assert Runs.read(tmp_path).rows == after.rows and len(on_disk(tmp_path)) == 4
    with pytest.warns(RecordWarning):
        assert sweep(tiny(), tmp_path).rows == before.rows
    assert len(on_disk(tmp_path)) == 4


def test_sweeping_what_was_fixed_trains_nothing_again(tmp_path: Path) -> None:
    first = sweep(tiny(schedule="linear"), tmp_path).rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordWarning)
        rows = sweep(tiny(schedule=["linear", "cosine"]), tmp_path).rows
    assert [row for row in rows if row["schedule"] == "linear"] == first
    assert len(rows) == len(on_disk(tmp_path)) == 4


CHANGED: list[bool] = []


def changing(width: int, depth: int) -> nn.Module:
    return mlp(width, depth, inputs=5, outputs=3, activation="tanh" if CHANGED else "relu").double()


@pytest.mark.filterwarnings("ignore::mutransfer.studies.RecordWarning")
def test_a_change_of_the_code_is_seen_between_two_studies(tmp_path: Path) -> None:
    """The record keeps a fingerprint of every study that it has."""
    CHANGED.clear()
    first, second = tiny(build=changing), tiny(build=changing, optimizer="adamw")
    for wanted in (first, second, first, second):
        sweep(wanted, tmp_path)
    written = on_disk(tmp_path)
    CHANGED.append(True)
    try:
        for wanted in (first, second, tiny(build=changing, lr=[0.5])):
            with pytest.raises(MutransferError, match="was written with another model"):
                sweep(wanted, tmp_path)
    finally:
        CHANGED.clear()
    assert on_disk(tmp_path) == written
    assert len(sweep(first, tmp_path).rows) == 2


def test_metrics_of_a_record(tmp_path: Path) -> None:
    sweep(tiny(task=validated(), evaluate=2, width=[8, 16]), tmp_path)
    for metric, column in (
        ("mean", "loss"),
        ("final", "final"),
        ("validation", "validation"),
        ("accuracy", "accuracy"),
    ):
        runs = Runs.read(tmp_path, metric=metric)
        assert runs.metric == metric
        _, losses = runs.losses("mup", Size(width=8, depth=2))
        wanted = [[row[column] for row in runs.rows if row["width"] == 8]]
        assert losses.tolist() == wanted and np.isfinite(losses).all()
        assert Runs.read(tmp_path).with_metric(metric) == runs
        assert Runs.from_json(runs.to_json()) == runs
    row = runs.rows[0]
    assert row["evaluated_at"] == [2, 4, 6]
    assert row["validation_curve"][-1] == row["validation"] and len(row["accuracy_curve"]) == 3
    with pytest.raises(MutransferError, match="the record has no metric 'acuracy'; it has") as no:
        Runs.read(tmp_path, metric="acuracy")
    assert str(no.value).endswith("it has mean, final, validation, accuracy")
    for column in ("lr", "rule", "seconds", "curve", "seed", "steps"):
        with pytest.raises(MutransferError, match="has no metric"):
            Runs.read(tmp_path, metric=column)


def test_a_validation_loss_that_was_not_measured_is_refused(tmp_path: Path) -> None:
    sweep(tiny(), tmp_path)
    with pytest.raises(MutransferError, match=r"no metric 'validation'; it has mean, final$"):
        Runs.read(tmp_path, metric="validation")


def old_record(folder: Path) -> mt.Study:
    """Write the record of a study as early releases did: no axes, no status, no list of runs."""
    wanted = tiny(width=[8, 16])
    identity = json.loads(json.dumps(wanted.identity()))
    (folder / "study.json").write_text(
        json.dumps({"identity": identity, "about": {"torch": "2.5"}})
    )
    rows = [
        {
            "id": wanted.run_id(run),
            **run.row(),
            "loss": 1.0 + number,
            "final": 0.5 + number,
            "diverged_at": None,
            "curve": [1.5, 0.5],
        }
        for number, run in enumerate(wanted.runs())
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows-1-1.jsonl").write_text(text)
    return wanted


def test_old_records_still_read(tmp_path: Path) -> None:
    wanted = old_record(tmp_path)
    runs = Runs.read(tmp_path)
    assert runs.axes == ("width", "depth") and runs.hyperparameters == ("lr",)
    rates, losses = runs.losses("mup", Size(width=16, depth=2))
    assert rates == [2.0**-6, 2.0**-5] and losses.tolist() == [[3.0, 4.0]]
    assert Runs.read(tmp_path, metric="final").losses("mup", Size(width=8, depth=2))[
        1
    ].tolist() == [[0.5, 1.5]]
    assert "4 runs" in str(runs) and missing(wanted, tmp_path) == []


@pytest.mark.usefixtures("no_warnings")
def test_old_records_go_on(tmp_path: Path) -> None:
    wanted = old_record(tmp_path)
    counted = Counted(data())
    assert len(sweep(replace(wanted, task=counted.task), tmp_path).rows) == 4
    assert counted.steps == FIRST, "nothing is trained again"
    grown = sweep(tiny(width=[8, 16], readout=[1.0, 4.0]), tmp_path)
    assert len(grown.rows) == 8 and len(on_disk(tmp_path)) == 8
    values, losses = grown.losses("mup", Size(width=8, depth=2), over="readout")
    assert values == [1.0, 4.0] and losses.shape == (1, 2)


def fading(step: int, steps: int) -> float:
    return 1 / (1 + step)


def named_norm(width: int, depth: int, norm: Any = nn.LayerNorm) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), norm(width), nn.Linear(width, 3)).double()


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": ["constant", fading]},
        {"build": named_norm, "hyperparameters": {"norm": [nn.LayerNorm, nn.RMSNorm]}},
        {"design": Points([{"lr": 0.01, "readout": 2.0}, {"lr": 0.1, "readout": 1.0}])},
        {"design": Points([{"lr": 0.01, "readout": 2.0}, {"lr": 0.1}])},
        {"readout": [1.0, 2.0], "warmup": [0, 2], "design": OneAtATime()},
    ],
    ids=["function", "class", "points", "uneven points", "one at a time"],
)
@pytest.mark.parametrize("custom", [False, True], ids=["library", "custom rule"])
def test_a_sweep_that_is_done_is_taken_up(
    changes: dict[str, Any], custom: bool, tmp_path: Path
) -> None:
    own = replace(parametrization("mup"), name="own", title="My own")
    wanted = tiny(**{"rules": [own if custom else "mup"]} | changes)
    rows = sweep(wanted, tmp_path).rows
    assert len(rows) == len(wanted.runs())
    assert sweep(wanted, tmp_path).rows == rows and len(on_disk(tmp_path)) == len(rows)


class Opaque:
    """A value that JSON does not have."""

    def __repr__(self) -> str:
        return "Opaque()"


def with_object(width: int, depth: int, thing: Any = None) -> nn.Module:
    return double(width, depth)


def test_values_that_json_lacks_are_written_as_text(tmp_path: Path) -> None:
    values = [None, (1, 2), Opaque(), np.int64(3)]
    wanted = tiny(build=with_object, lr=[0.01], hyperparameters={"thing": values})
    rows = sweep(wanted, tmp_path).rows
    assert len(rows) == len(wanted.runs()) == 4
    assert len(sweep(wanted, tmp_path).rows) == 4 and len(on_disk(tmp_path)) == 4


def test_extension_goes_on_at_the_centre_of_a_one_at_a_time_sweep(tmp_path: Path) -> None:
    wanted = planted(
        lambda width: -8.0, hyperparameters={"lr.rate": [0.5, 1.0]}, design=OneAtATime(), seeds=1
    )
    rows = sweep(wanted, tmp_path, extend=4).rows
    added = [row for row in rows if row["lr"] < 2.0**-5]
    assert {row["lr"] for row in added} == {2.0**-power for power in range(6, 10)}
    assert {row["lr.rate"] for row in added} == {1.0}
    assert sweep(wanted, tmp_path, extend=4).rows == rows
