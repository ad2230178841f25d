"""The cost of a study, before it starts."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.studies import Cost, Study, cost, missing
from mutransfer.studies._chunks import chunks
from mutransfer.studies._cost import seconds
from mutransfer.studies._models import Models
from mutransfer.studies._recipes import recipe
from mutransfer.studies._run import Run
from mutransfer.studies._shapes import shapes
from mutransfer.studies._way import Way
from mutransfer.tasks import mlp
from mutransfer.training import Member, Program, _choice
from tests.studies.small_study import data, double, on_disk, study
from tests.studies.test_record import validated


def matrices(width: int, depth: int) -> int:
    return 5 * width + (depth - 1) * width**2 + 3 * width


def test_the_numbers_of_a_perceptron() -> None:
    wanted = study(width=[8, 16], depth=[2, 3], steps=[4, 6], batch=[8, 16], seeds=3, rules=["sp"])
    found = cost(wanted, wanted.runs())
    assert found.runs == len(wanted.runs()) == 2 * 2 * 2 * 2 * 4 * 3
    assert found.member_steps == sum(run.size["steps"] for run in wanted.runs())
    expected = sum(
        6 * matrices(run.size["width"], run.size["depth"]) * run.size["batch"] * run.size["steps"]
        for run in wanted.runs()
    )
    assert found.flops == expected
    assert found.seconds is not None and 0 < found.seconds < 120
    # Four rates and three seeds train as one stack, and the largest network has the most entries.
    entries = sum(parameter.numel() for parameter in double(16, 3).parameters())
    assert found.memory == 16 * 12 * entries


def test_no_more_large_networks_are_built_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = study(width=[16], seeds=3, rules=["sp"])
    models = Models(wanted)
    monkeypatch.setattr(_choice, "_MOST_ENTRIES", 2 * models.entries(wanted.runs()[0]))
    built = []

    def counted(self: Models, runs: Sequence[Run]) -> list[Member]:
        built.append(len(runs))
        return own(self, runs)

    own = Models.members
    monkeypatch.setattr(Models, "members", counted)
    cost(wanted, wanted.runs())
    assert set(built) == {2}
    (shape,) = shapes(wanted, wanted.runs())
    loop = Program(slots=1, compiled=True)
    assert {len(piece.runs) for piece in chunks(models, shape, loop)} == {2}


def test_what_a_record_has_costs_nothing(tmp_path: Path) -> None:
    wanted = study(steps=3, seeds=1)
    nothing = cost(wanted, [])
    assert (nothing.runs, nothing.member_steps, nothing.flops, nothing.memory) == (0, 0, 0, 0)
    mt.sweep(study(steps=3, seeds=1, width=[8]), tmp_path)
    left = cost(wanted, missing(wanted, tmp_path))
    assert left.runs == 8 and left.flops == 8 * 6 * matrices(16, 2) * 16 * 3


def test_a_cost_changes_nothing(tmp_path: Path) -> None:
    wanted = study(steps=3, seeds=1)
    before = mt.sweep(wanted, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    state = torch.get_rng_state()
    cost(wanted, wanted.runs())
    assert torch.equal(torch.get_rng_state(), state)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == files
    assert mt.sweep(wanted, tmp_path).rows == before.rows and len(on_disk(tmp_path)) == 16


def normed(width: int, depth: int) -> nn.Module:
    layers = [nn.Linear(5, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 3)]
    return nn.Sequential(*layers)


def test_a_model_that_needs_a_whole_batch_has_a_cost() -> None:
    wanted = study(build=normed, task=replace(data(), inputs=data().inputs.float()), rules=["mup"])
    found = cost(wanted, wanted.runs()[:1])
    assert found.flops == 6 * (5 * 8 + 8 * 3) * 16 * 25


def test_inputs_are_cast_as_in_training() -> None:
    """The data is in double precision, and the model in single."""
    wanted = study(build=lambda width, depth: mlp(width, depth, inputs=5, outputs=3), width=[8])
    assert cost(wanted, wanted.runs()[:1]).flops == 6 * matrices(8, 2) * 16 * 25


def test_a_function_of_ones_own_has_a_cost_without_time() -> None:
    grid: dict[str, Any] = {"width": [8, 16], "lr": [0.1, 0.2], "steps": 7, "seeds": 1}
    for build in (None, lambda width: double(width, 2)):
        wanted = Study(build, **grid, train=lambda trial: None)
        found = cost(wanted, wanted.runs())
        assert (found.runs, found.member_steps) == (4, 28)
        assert found.flops is None and found.seconds is None
        entries = 0 if build is None else sum(p.numel() for p in double(16, 2).parameters())
        assert found.memory == 16 * entries
        assert "FLOPs" not in str(found) and "machine" not in str(found)


def test_a_cost_in_words_and_as_data() -> None:
    found = Cost(runs=12, member_steps=1500, flops=2.5e9, seconds=300.0, memory=2**21)
    assert str(found) == (
        "12 runs; 1,500 optimizer steps in all; 2.5e+09 FLOPs; about 5 min on this machine; "
        "2 MB of parameters, gradients and optimizer state"
    )
    assert "about 90 s" in str(replace(found, seconds=90.0))
    assert Cost.from_json(found.to_json()) == found
    assert re.fullmatch(r"1 run; .*", str(replace(found, runs=1)))
    with pytest.raises(mt.MutransferError, match=r"Cost.to_json"):
        Cost.from_json({"runs": 3})


@pytest.mark.parametrize(("evaluate", "times"), [(None, 1), (2, 3), (4, 2), (100, 1)])
def test_every_evaluation_has_its_time(evaluate: int | None, times: int) -> None:
    """As many as training makes, the last one after the last step."""
    wanted = study(steps=6, task=validated(), evaluate=evaluate, width=[8])
    made = recipe(wanted, wanted.runs()[0]).evaluations()
    (shape,) = shapes(wanted, wanted.runs())
    way = Way(program=Program(), seconds=0.0, evaluation=1.0)
    assert seconds(wanted, shape, way) == len(shape.runs) * times
    assert len(made) == times
