"""Ways of training: recorded when a shape begins, and the same when a sweep is taken up."""

import math
import multiprocessing
import os
import re
import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mutransfer import MutransferError, Study, sweep
from mutransfer.core import Progress
from mutransfer.studies import Store, Way, _coordinator, _ways, log2
from mutransfer.studies._chunks import chunks
from mutransfer.studies._models import Models
from mutransfer.studies._shapes import shapes
from mutransfer.training import Candidate, Choice, Program, _compiled
from tests.studies.small_study import data, double, on_disk, short, untimed


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Choose two slots for every shape, whatever its length; return the sizes asked for."""
    asked: list[str] = []

    def chosen(models: Any, shapes: Any, *_: Any) -> list[Way]:
        asked.extend(str(each.shape.size) for each in shapes)
        way = Way(program=Program(slots=2), seconds=1e-3, reason="for a test", others=("one",))
        return [way] * len(shapes)

    monkeypatch.setattr(_coordinator, "choose_ways", chosen)
    monkeypatch.setattr(_ways, "_FEW", 0)
    return asked


def test_the_way_is_recorded_when_a_shape_begins_and_used_again(
    tmp_path: Path, ways: list[str]
) -> None:
    first = sweep(short(width=[8]), tmp_path)
    assert ways == ["width 8, depth 3"]
    (recorded,) = Store(tmp_path).ways().values()
    assert Way.from_json(recorded).program == Program(slots=2) and recorded["size"] == ways[0]
    grown = sweep(short(), tmp_path)
    assert ways == ["width 8, depth 3", "width 16, depth 3"]
    assert len(grown.rows) == 2 * len(first.rows) and len(Store(tmp_path).ways()) == 2
    # More seeds of a shape that has a way train in it: nothing is measured anew.
    sweep(short(seeds=3), tmp_path)
    assert len(ways) == 2
    for key, way in first.header["ways"].items():
        assert grown.header["ways"][key] == way


def test_a_way_is_said_in_one_line(tmp_path: Path, ways: list[str]) -> None:
    seen: list[Progress] = []
    sweep(short(), tmp_path, progress=seen.append)
    notes = [progress.note for progress in seen if progress.note]
    assert notes == [
        f"{size}: 2 at once, not compiled, 1 ms a step of a run; for a test" for size in ways
    ]


def test_runs_are_cut_into_equal_pieces() -> None:
    models = Models(short(seeds=3))
    first, second = shapes(models.study, models.study.runs())
    assert first.key != second.key and len(first.runs) == 2 * 3 * 3

    def lengths(program: Program, **how: int) -> list[int]:
        return [len(chunk.runs) for chunk in chunks(models, first, program, **how)]

    assert lengths(Program()) == [18]
    assert lengths(Program(slots=8)) == [6, 6, 6]
    assert lengths(Program(slots=8), room=2) == [9, 9]
    assert lengths(Program(slots=8), processes=2) == [6, 6, 6]
    assert lengths(Program(slots=8, compiled=True)) == [8, 8, 2]
    assert lengths(Program(slots=1)) == [1] * 18
    assert lengths(Program(slots=1, compiled=True)) == [6, 6, 6]
    assert lengths(Program(slots=1, compiled=True), processes=2) == [5, 5, 5, 3]


def test_few_runs_train_in_a_loop_which_is_quicker_than_their_stack() -> None:
    models = Models(short(seeds=3))
    (shape, *_) = shapes(models.study, models.study.runs())

    def slots(runs: int, **program: Any) -> list[int | None]:
        part = replace(shape, runs=shape.runs[:runs])
        return [chunk.program.slots for chunk in chunks(models, part, Program(**program))]

    assert [slots(runs, slots=64) for runs in (1, 5, 6)] == [[1], [1], [64]]
    # Pieces of four.
    assert slots(12, slots=5) == [1, 1, 1]
    assert slots(4, slots=8, compiled=True) == [8]
    on_card = chunks(models, replace(shape, runs=shape.runs[:2]), Program(slots=8), "cuda")
    assert [chunk.program.slots for chunk in on_card] == [8]


def test_what_a_member_can_have_for_its_own_is_one_shape() -> None:
    own = {
        "beta1": [0.8, 0.9],
        "schedule": ["constant", "linear"],
        "warmup": [0, 2],
        "clip": [1, 2],
    }
    for settings in (own, {"eps": [1e-8, 1e-4]}, {"init": [1, 2]}, {"weight_decay": [0, 0.1]}):
        wanted = short(width=[8], **settings)
        assert len(shapes(wanted, wanted.runs())) == 1
    apart = short(width=[8], label_smoothing=[0, 0.1])
    assert len(shapes(apart, apart.runs())) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"beta1": [0.8, 0.9], "beta2": [0.9, 0.999]},
        {"schedule": ["constant", "cosine"], "warmup": [0, 3]},
        {"clip": [0.1, 10.0]},
        {"optimizer": "sgd", "momentum": [0.0, 0.9], "lr": log2(-4, -3)},
    ],
    ids=lambda settings: ", ".join(settings),
)
def test_members_with_own_values_train_as_those_of_a_study_of_them(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    together = sweep(short(width=[8], **settings), tmp_path / "together")
    name, (first, *_) = next(
        (n, v) for n, v in settings.items() if isinstance(v, list) and n != "lr"
    )
    alone = sweep(short(width=[8], **{**settings, name: first}), tmp_path / "alone")
    ids = {row["id"]: row for row in alone.rows}
    shared = [row for row in together.rows if row["id"] in ids]
    assert len(shared) == len(alone.rows) == len(together.rows) / 2
    for row in shared:
        assert row["loss"] == pytest.approx(ids[row["id"]]["loss"], rel=1e-10)


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_hopeless_runs_of_a_search_are_stopped_and_kept(tmp_path: Path) -> None:
    grid = {"width": [8], "depth": [2], "lr": log2(-14, -2), "seeds": 2, "rules": ["default"]}
    wanted = Study(double, task=data(), steps=200, batch=16, optimizer="adam", **grid)
    runs = sweep(wanted, tmp_path, search="refine", within=0.5)
    stopped = [row for row in on_disk(tmp_path) if row["status"] == "stopped"]
    assert stopped and runs.ends["stopped"] == len(stopped)
    best = min(row["loss"] for row in runs.rows if row["status"] == "finished")
    for row in stopped:
        assert row["loss"] is row["final"] is None and row["stopped_at"] % 20 == 0
        # Its mean over the whole run could not have come near the best any more.
        so_far = sum(row["curve"]) / len(row["curve"]) * row["stopped_at"] / 200
        assert 0 < row["stopped_at"] < 200 and so_far > best
    # A grid is run as it was asked for.
    whole = sweep(wanted, tmp_path / "grid")
    assert not whole.ends["stopped"]
    (size,) = wanted.sizes()
    whole_best, refined = whole.best_rate("default", size), runs.best_rate("default", size)
    assert whole_best and refined and abs(math.log2(refined / whole_best)) < 2


KILLED = '''
"""A sweep of compiled programs that says when it waits for the end, in its third shape."""

import sys, time
from dataclasses import replace
from itertools import chain
import mutransfer as mt
from mutransfer.studies import Way, _coordinator, _ways
from mutransfer.tasks import digits, mlp
from mutransfer.training import Candidate, Choice, Program, _compiled

_ways._FEW = 0
compiled = Way(program=Program(slots=3, compiled=True))
_coordinator.choose_ways = lambda _, asked, *__: [compiled for each in asked]
_compiled.torch.compile = lambda recorded, **_: recorded
loss, calls = digits().loss, [0]


def counted(outputs, targets):
    calls[0] += 1
    # Recorded once a piece, and once more for the fingerprint of each rule.
    if waits and calls[0] == 9:
        print("ready", flush=True)
        time.sleep(120)
    return loss(outputs, targets)


waits = __name__ == "__main__"
study = mt.Study(
    mlp, width=[8, 16, 32], depth=[2], lr=mt.log2(-8, -6), seeds=2, steps=30, optimizer="adam",
    task=replace(digits(), loss=counted),
)
if waits:
    mt.sweep(study, sys.argv[1])
'''


def test_a_killed_sweep_of_compiled_programs_finishes_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "killed.py", tmp_path / "killed"
    file.write_text(KILLED)
    with subprocess.Popen([sys.executable, file, out], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGKILL)
    monkeypatch.setattr(_ways, "_FEW", 0)
    monkeypatch.setattr(_compiled.torch, "compile", lambda recorded, **_: recorded)
    begun = Store(out)
    ways, rows = begun.ways(), begun.rows()
    assert 0 < len(rows) < 18
    compiled = Way(program=Program(slots=3, compiled=True))
    monkeypatch.setattr(
        _coordinator, "choose_ways", lambda _, asked, *__: [compiled for _ in asked]
    )
    wanted = runpy.run_path(str(file))["study"]
    resumed = sweep(wanted, out)
    assert len(resumed.rows) == len(on_disk(out)) == 18
    assert untimed(resumed) == untimed(sweep(wanted, tmp_path / "whole"))
    assert ways.items() <= begun.ways().items()
    assert [row["id"] for row in begun.rows()][: len(rows)] == [row["id"] for row in rows]


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure every shape, and try several processes for each."""
    monkeypatch.setattr(_ways, "_FEW", 0)
    monkeypatch.setattr(_ways, "_SHARED", 0.0)
    monkeypatch.setattr(_ways, "_LONG", 0.0)
    monkeypatch.setattr(_ways, "_BETTER", 1e9)
    monkeypatch.setattr(_ways, "cores", lambda: 2)


def test_shapes_share_processes(tmp_path: Path, sharing: None) -> None:
    wanted = short(width=[8, 16, 32])
    runs = sweep(wanted, tmp_path / "shared")
    ways = [Way.from_json(way) for way in runs.header["ways"].values()]
    assert [way.processes for way in ways] == [_ways.Processes().workers] * 3
    # The largest is cut, so that none of them ends long after the others.
    assert all(1 <= (way.program.slots or 0) <= 12 and way.others for way in ways)
    whole = {row["id"]: row["loss"] for row in sweep(wanted, tmp_path / "alone").rows}
    assert {row["id"] for row in runs.rows} == whole.keys() and len(runs.rows) == 36
    for row in runs.rows:
        assert row["loss"] == pytest.approx(whole[row["id"]], rel=1e-10)


def test_a_study_that_cannot_travel_is_trained_here(tmp_path: Path, sharing: None) -> None:
    lock = multiprocessing.Lock()

    def locked(width: int, depth: int) -> torch.nn.Module:
        with lock:
            return double(width, depth)

    runs = sweep(short(build=locked, width=[8]), tmp_path)
    (way,) = runs.header["ways"].values()
    assert way["processes"] == 1 and len(runs.rows) == 12
    assert "the study cannot be sent to other processes" in way["reason"]


def test_the_workers_of_an_engine_measure_for_themselves(tmp_path: Path, sharing: None) -> None:
    wanted = short(width=[8, 16])
    runs = sweep(wanted, tmp_path / "apart", engine="processes", workers=2)
    ways = [Way.from_json(way) for way in runs.header["ways"].values()]
    assert [way.processes for way in ways] == [2, 2]
    assert all((way.memory or 0) > 2**26 and way.seconds for way in ways)
    whole = {row["id"]: row["loss"] for row in sweep(wanted, tmp_path / "here").rows}
    for row in runs.rows:
        assert row["loss"] == pytest.approx(whole[row["id"]], rel=1e-10)


def test_a_sweep_on_a_named_device(tmp_path: Path) -> None:
    wanted = short(width=[8], rules=["default"])
    on_cpu = sweep(wanted, tmp_path / "named", device="cpu")
    assert untimed(on_cpu) == untimed(sweep(wanted, tmp_path / "plain"))


def test_a_way_is_data() -> None:
    way = Way(program=Program(slots=4, compiled=True, shrink=3), processes=2, seconds=1e-4)
    assert Way.from_json(way.to_json() | {"size": "width 8"}) == way
    assert str(way) == "4 at once, compiled, in 2 one-thread processes, 0.1 ms a step of a run"
    assert way.total(10, 100, 0) == pytest.approx(0.12)
    with pytest.raises(MutransferError, match=re.escape("not a way of training")):
        Way.from_json({"program": {}})


def test_shapes_of_other_steps_or_another_device_have_other_ways() -> None:
    longer, runs = replace(short(width=[8]), steps=7), short(width=[8]).runs()
    keys = {shapes(each, runs)[0].key for each in (short(width=[8]), longer)}
    keys |= {shapes(longer, runs, "cuda")[0].key}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("slots", "compiled", "seconds", "wider"),
    [(8, True, 100.0, [16]), (8, True, 20.0, []), (8, False, 100.0, []), (1, True, 100.0, [])],
)
def test_twice_the_slots_are_tried_in_processes_where_compiling_pays(
    slots: int, compiled: bool, seconds: float, wider: list[int]
) -> None:
    program = Program(slots=slots, compiled=compiled)
    best = Candidate(program=program, seconds=1e-3, evaluation=0.0)
    assert [each.program.slots for each in _ways._wider(best, seconds)] == wider


def test_a_loop_may_gain_by_processes_where_a_stack_gains_by_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In two processes of one thread the stack needs .9 ms a step, and the loop .7 ms."""
    models = Models(short(seeds=3))
    shape, _ = shapes(models.study, models.study.runs())
    stack = Candidate(program=Program(slots=8, threads=2), seconds=9.2e-4, evaluation=0.0)
    loop = Candidate(program=Program(slots=1), seconds=1.4e-3, evaluation=0.0)
    found = Choice(best=stack, others=(loop,), reason="for a test")
    paces = {Program(slots=6): 1.8e-3, Program(slots=1): 1.4e-3}

    measured = []

    def both(workers: Any, function: Any, *arguments: Any) -> list[Candidate]:
        *_, candidate = arguments
        measured.append(candidate.program)
        return [replace(candidate, seconds=paces[candidate.program])] * 2

    monkeypatch.setattr(_ways, "_all", both)
    asked = _ways.Asked(shape=shape, expected=18)
    workers = SimpleNamespace(workers=2)
    way = _ways._shared(models, asked, found, 18, workers, (b"", ()))  # type: ignore[arg-type]
    assert (way.program, way.processes, way.seconds) == (Program(slots=1), 2, 7e-4)
    # On all threads or on one here, it is the same program there.
    measured.clear()
    threads = replace(loop, program=Program(slots=1, threads=2), seconds=1e-3)
    found = Choice(best=threads, others=(stack, loop), reason="for a test")
    _ways._shared(models, asked, found, 18, workers, (b"", ()))  # type: ignore[arg-type]
    assert measured == [Program(slots=1)]
