"""Sizes of a study: any axis of the builder, axes of training, and the ids of runs."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.core import Size
from mutransfer.rules import HORIZON_RULES
from mutransfer.studies import OneAtATime, Points, Run, Study, members, recipe
from mutransfer.tasks import Task, gpt, mlp, pydocs
from tests.studies.small_study import Counted, data, double, study


def bodied(width: int, depth: int = 2, ratio: int = 2, activation: str = "relu") -> nn.Module:
    """A perceptron whose second layer has a width of its own."""
    body, act = ratio * width, {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    layers = [nn.Linear(5, body), act()]
    for _ in range(depth - 1):
        layers += [nn.Linear(body, width), act(), nn.Linear(width, body), act()]
    return nn.Sequential(*layers, nn.Linear(body, width), nn.Linear(width, 3)).double()


def small_gpt(width: int, depth: int, context: int = 8) -> nn.Module:
    return gpt(width, depth, heads=2, context=context)


def sizes(**changes: Any) -> list[Size]:
    grid: dict[str, Any] = {"lr": [0.1], "task": data(), "batch": 16, "steps": 3, "seeds": 1}
    return Study(bodied, **grid | changes).sizes()


def test_axes_make_a_grid_in_the_order_of_the_size() -> None:
    found = sizes(width=[8, 16], depth=[2], axes={"ratio": [2, 4]}, steps=[2, 4])
    assert found == [
        Size(width=width, depth=2, steps=steps, ratio=ratio)
        for width in (8, 16)
        for steps in (2, 4)
        for ratio in (2, 4)
    ]
    assert sizes(depth=[2], axes={"ratio": [2]}, width=[8]) == [Size(width=8, depth=2, ratio=2)]


def test_sizes_may_be_listed_one_by_one() -> None:
    listed = [{"width": 16, "ratio": 2}, {"width": 8, "ratio": 4}, {"width": 16, "ratio": 2}]
    found = sizes(axes=listed)
    assert found == [Size(width=8, ratio=4), Size(width=16, ratio=2)]
    wanted = Study(bodied, axes=listed, lr=[0.1], task=data(), batch=16)
    assert wanted.base == Size(width=8, ratio=2), "the smallest along every axis"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"the study has no sizes: give width=\[...\], depth=\[...\] or axes="),
        ({"axes": []}, "the study has no sizes"),
        ({"axes": {}}, "the study has no sizes"),
        ({"axes": {"ratio": []}}, "ratio is empty"),
        ({"axes": {"ratio": [4, 2]}}, "ratio is not in ascending order"),
        ({"axes": {"ratio": [0.5]}}, "ratio has values that are no whole numbers"),
        ({"axes": {"ratio": 2}}, r"ratio is 2: give a list, such as \[2\]"),
        ({"axes": {"width": [8]}}, r"axes has 'width', an argument: give width=\[...\]"),
        ({"axes": [{"width": 8}], "depth": [2]}, "axes lists whole sizes, and depth is a grid"),
        (
            {"axes": [{"width": 8}, {"width": 8, "ratio": 2}]},
            "the sizes have different axes: width 8 and width 8, ratio 2",
        ),
        ({"width": [8], "batch": [16, 8]}, "batch is not in ascending order"),
        ({"width": [8], "steps": [0, 3]}, "steps has values that are not positive"),
        ({"width": [8], "steps": 0}, "steps is 0"),
        ({"width": [8], "batch": 0}, "batch"),
        ({"width": [8], "batch": [16, 65]}, "a batch cannot have 65"),
        ({"width": [8], "base": {"ratio": 2}}, "base has ratio: it takes width"),
        ({"width": [8], "base": {"width": 9}}, "larger than the smallest width"),
        ({"width": [8], "base": {"width": 0}}, "base width has values that are not positive"),
        ({"width": [8], "axes": {"dpeth": [2]}}, "dpeth"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(mt.MutransferError, match=message) as refusal:
        training: dict[str, Any] = {"task": data(), "batch": 16, "steps": 3, "seeds": 1}
        mt.sweep(Study(bodied, lr=[0.1], **training | changes), tmp_path)
    assert "\n" not in str(refusal.value)


def test_the_builder_gets_its_axes_and_training_the_others(tmp_path: Path) -> None:
    asked: set[tuple[tuple[str, int], ...]] = set()

    def build(**size: int) -> nn.Module:
        asked.add(tuple(sorted(size.items())))
        return bodied(**size)

    counted = Counted(data())
    grid: dict[str, Any] = {"width": [8, 16], "axes": {"ratio": [2]}, "lr": [0.01], "seeds": 1}
    wanted = Study(build, **grid, batch=[8, 16], steps=[3, 5], task=counted.task)
    runs = mt.sweep(wanted, tmp_path)
    assert asked == {(("ratio", 2), ("width", 8)), (("ratio", 2), ("width", 16))}
    assert runs.axes == ("width", "batch", "steps", "ratio")
    assert [len(row["curve"]) for row in runs.rows] == [row["steps"] for row in runs.rows]
    task, losses = data(), {tuple(runs.size_of(row).values()): row["curve"] for row in runs.rows}
    for size in wanted.sizes():
        run = Run(rule="default", size=size, point={"lr": 0.01}, seed=0)
        (member,) = members(wanted, [run])
        order = task.batches(0, size["steps"], size["batch"])
        first = task.loss(member.model(task.inputs[order[0]]), task.targets[order[0]])
        assert losses[tuple(size.values())][0] == pytest.approx(first.item(), rel=1e-12)


def test_context_is_an_axis_of_builder_and_task(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"width": [16], "depth": [1], "lr": [0.01], "seeds": 1, "rules": ["sp"]}
    wanted = Study(small_gpt, **grid, context=[4, 8], task="pydocs", batch=4, steps=2)
    for size in wanted.sizes():
        run = Run(rule="sp", size=size, point={"lr": 0.01}, seed=0)
        task: Any = wanted.task_of(run)
        assert task.inputs.shape[1] == size["context"] and task == pydocs(size["context"])
        (member,) = members(wanted, [run])
        assert member.model.get_parameter("position.weight").shape[0] == size["context"]
    rows = mt.sweep(wanted, tmp_path).rows
    assert [row["context"] for row in rows] == [4, 8]
    assert all(row["status"] == "finished" for row in rows)
    fixed = Study(small_gpt, **grid, context=8, task="pydocs", batch=4, steps=2)
    assert fixed.run_id(fixed.runs()[0]) != wanted.run_id(wanted.runs()[0])
    long = Study(small_gpt, **grid, context=8, task=pydocs, batch=4, steps=2)
    assert long.task_of(long.runs()[0]) == pydocs(8)


def test_a_context_for_a_task_of_its_own_length_is_refused() -> None:
    with pytest.raises(mt.MutransferError, match="the task rows has a length of its own"):
        study(context=8)


def scaled(**changes: Any) -> Study:
    """Two batches and two numbers of steps, scaled by a rule."""
    grid: dict[str, Any] = {"width": [8], "depth": [2], "lr": [0.01], "rules": ["sp"], "seeds": 1}
    training = {"optimizer": "adamw", "task": data(), "batch": [8, 16], "steps": [4, 8]}
    return Study(double, **grid | training | changes)


@pytest.mark.parametrize(("batch", "steps"), [(8, 4), (16, 4), (8, 8), (16, 8)])
@pytest.mark.parametrize("rule", sorted(HORIZON_RULES))
def test_a_horizon_scales_what_its_rule_says(rule: str, batch: int, steps: int) -> None:
    given: dict[str, Any] = {"eps": 1e-6, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99}
    given |= {"batch": [batch], "steps": [steps], "base": {"batch": 8, "steps": 4}}
    ratios = {"batch": batch / 8, "tokens": batch * steps / 32}
    try:
        change = mt.horizon(rule, **ratios, betas=(0.9, 0.99), optimizer="adamw")
    except mt.MutransferError as refusal:
        # A rule that does not cover a change refuses it in the same words.
        with pytest.raises(mt.MutransferError) as found:
            wanted = scaled(horizon=rule, **given)
            recipe(wanted, wanted.runs()[0])
        assert str(found.value) == str(refusal)
        return
    wanted = scaled(horizon=rule, **given)
    (run,) = wanted.runs()
    (member,) = members(wanted, [run])
    for row in member.table.values():
        assert row.lr == pytest.approx(0.01 * change.lr, rel=1e-12)
        assert row.eps == pytest.approx(1e-6 * change.eps, rel=1e-12)
        assert row.weight_decay == pytest.approx(0.1 * change.decay, rel=1e-12)
    assert recipe(wanted, run).options["betas"] == pytest.approx(change.betas, rel=1e-12)
    assert (batch, steps) != (8, 4) or (change.lr, change.betas) == (1, (0.9, 0.99))


def test_a_horizon_scales_what_torch_chooses_by_itself() -> None:
    """Eps and decay that a study leaves to torch are scaled like those that it gives."""
    usual = scaled(horizon="complete-d")
    given = scaled(horizon="complete-d", eps=1e-8, weight_decay=0.01)
    change = mt.horizon("complete-d", batch=2, tokens=4, optimizer="adamw")
    assert change.eps != 1 or change.decay != 1
    tables = [members(each, each.runs())[-1].table for each in (usual, given)]
    assert tables[0] == tables[1]


def test_a_batch_may_grow_at_the_same_number_of_samples() -> None:
    """The base has the smaller batch and the larger number of steps."""
    sizes = [{"width": 8, "depth": 2, "batch": 8, "steps": 8}]
    sizes += [{"width": 8, "depth": 2, "batch": 16, "steps": 4}]
    base = {"batch": 8, "steps": 8}
    wanted = Study(
        double, axes=sizes, base=base, lr=[0.01], horizon="sde", task=data(), rules=["sp"], seeds=1
    )
    rates = {
        run.size["batch"]: {row.lr for row in member.table.values()}
        for run, member in zip(wanted.runs(), members(wanted, wanted.runs()), strict=True)
    }
    assert rates[8] == {0.01} and [*rates[16]] == [pytest.approx(0.01 * 2**0.5)]


def test_a_horizon_that_says_nothing_of_a_size_is_refused_at_once() -> None:
    with pytest.raises(mt.MutransferError, match="'sde' says nothing about tokens"):
        scaled(horizon="sde")
    with pytest.raises(mt.MutransferError, match="sdee"):
        scaled(horizon="sdee")


def test_without_a_horizon_nothing_is_scaled_and_the_record_says_so(tmp_path: Path) -> None:
    wanted = study(width=[8], batch=[8, 16], steps=[3, 5], seeds=1, rules=["sp"], lr=[0.01])
    for member in members(wanted, wanted.runs()):
        assert {row.lr for row in member.table.values()} == {0.01}
    runs = mt.sweep(wanted, tmp_path)
    notes = runs.header["notes"]
    assert [note.split()[0] for note in notes] == ["batch", "steps"]
    assert all("nothing is scaled with it: give horizon=" in note for note in notes)
    assert all(note in str(runs) for note in notes)
    assert "notes" not in mt.sweep(study(width=[8], seeds=1), tmp_path / "one").header
    by_rule = scaled(horizon="complete-d")
    assert "notes" not in mt.sweep(by_rule, tmp_path / "scaled").header


@pytest.mark.parametrize("axis", ["width", "depth", "ratio"])
def test_a_builder_that_ignores_an_axis_is_refused(axis: str, tmp_path: Path) -> None:
    def build(**size: int) -> nn.Module:
        return bodied(**size | {axis: 2})

    counted = Counted(data())
    grid: dict[str, Any] = {"width": [4, 8], "depth": [1, 2], "axes": {"ratio": [2, 3]}}
    message = f"the builder makes the same shapes at .* and at .*: it ignores {axis}$"
    with pytest.raises(mt.MutransferError, match=message):
        mt.sweep(Study(build, **grid, lr=[0.1], task=counted.task, batch=8), tmp_path)
    assert not list(tmp_path.glob("*.jsonl")) and counted.steps <= 3


def test_an_axis_that_is_ignored_only_later_is_refused(tmp_path: Path) -> None:
    """Widths are rounded up to 16: 8 and 16 are one network."""
    with pytest.raises(mt.MutransferError, match="at width 16, depth 2: it ignores width"):
        mt.sweep(
            study(build=lambda width, depth: double(max(16, width), depth), width=[8, 16, 32]),
            tmp_path,
        )


RUN = Run(rule="sp", size=Size(width=8, depth=2), point={"lr": 2.0**-5}, seed=0)
SAME: dict[str, dict[str, Any]] = {
    "more values": {"lr": [2.0**-5, 0.5], "width": [8, 64], "seeds": 5, "rules": ["sp", "ntk"]},
    "a neutral multiplier": {"readout": 1.0, "branch": 1},
    "a neutral recipe": {"schedule": "constant", "warmup": 0, "label_smoothing": 0.0},
    "a neutral pattern": {"hyperparameters": {"init.readout": 1.0, "lr.readout": 1}},
    "a design": {"design": OneAtATime()},
    "evaluation": {"evaluate": 2},
    "accumulation of one piece": {"accumulate": 1},
}


@pytest.mark.parametrize("how", SAME)
def test_ids_stay_when_a_study_grows(how: str) -> None:
    task = replace(data(), validation=(data().inputs[:8], data().targets[:8]))
    changes = {"task": task} | SAME[how]
    assert study(**changes).run_id(RUN) == study(task=task).run_id(RUN)


@pytest.mark.parametrize(
    ("name", "values", "neutral"),
    [
        ("readout", [1.0, 2.0], True),
        ("schedule", ["constant", "linear"], True),
        ("warmup", [0, 2], True),
        ("weight_decay", [0.0, 0.1], False),
        ("eps", [1e-8, 1e-6], False),
        ("beta2", [0.9, 0.99], False),
        ("clip", [1.0, 2.0], False),
    ],
)
def test_a_swept_value_is_the_run_of_a_fixed_one(
    name: str, values: list[Any], neutral: bool
) -> None:
    swept = study(**{name: values}, optimizer="adamw")
    for number, value in enumerate(values):
        fixed, point = study(**{name: value}, optimizer="adamw"), {**RUN.point, name: value}
        assert fixed.run_id(RUN) == swept.run_id(replace(RUN, point=point))
        without = study(optimizer="adamw").run_id(RUN)
        assert (fixed.run_id(RUN) == without) == (neutral and number == 0)


def test_axes_of_training_are_the_runs_of_fixed_ones() -> None:
    for name, values in (("batch", [8, 16]), ("steps", [3, 25])):
        swept = study(**{name: values})
        for value in values:
            run = replace(RUN, size=Size(**RUN.size, **{name: value}))
            assert swept.run_id(run) == study(**{name: value}).run_id(RUN)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "f12b410f54c9fe18"),
        (
            {"optimizer": "adamw", "weight_decay": 0.1, "options": {"betas": (0.8, 0.9)}},
            "734c9fe9e39faf75",
        ),
    ],
)
def test_runs_of_old_records_keep_their_ids(changes: dict[str, Any], name: str) -> None:
    run = replace(RUN, point={"lr": 2.0**-6})
    assert study(**changes).run_id(run) == name


def halved(step: int, steps: int) -> float:
    return 0.5


def other(step: int, steps: int) -> float:
    return 0.25


def test_ids_differ_by_everything_that_trains() -> None:
    studies = [
        study(optimizer="adamw", **changes)
        for changes in (
            {},
            {"eps": 1e-6},
            {"eps": 1e-7},
            {"weight_decay": 0.1},
            {"beta1": 0.8},
            {"beta2": 0.8},
            {"schedule": "linear"},
            {"schedule": halved},
            {"schedule": other},
            {"warmup": 2},
            {"warmup": 0.2},
            {"clip": 1.0},
            {"readout": 2.0},
            {"embedding": 2.0},
            {"attention": 2.0},
            {"branch": 2.0},
            {"init": 2.0},
            {"hyperparameters": {"init.readout": 2.0}},
            {"hyperparameters": {"lr.readout": 2.0}},
            {"hyperparameters": {"lr.hidden": 2.0}},
            {"accumulate": 2},
            {"precision": "float32"},
            {"precision": "float64"},
            {"horizon": "sde"},
            {"horizon": "square-root"} if "square-root" in HORIZON_RULES else {"steps": 99},
            {"steps": 7},
            {"batch": 8},
            {"base": {"width": 4}},
            {"build": partial(mlp, activation="tanh", inputs=5, outputs=3)},
            {"build": partial(mlp, inputs=5, outputs=3), "hyperparameters": {"activation": "abs"}},
        )
    ]
    ids = [each.run_id(RUN) for each in studies]
    assert len(set(ids)) == len(ids)


def test_ids_have_no_order_of_axes_and_hyperparameters() -> None:
    point = {"lr": 2.0**-5, "readout": 2.0, "clip": 1.0}
    listed, turned = (
        study(design=Points([dict(order)])) for order in (point.items(), reversed(point.items()))
    )
    assert listed.run_id(listed.runs()[0]) == turned.run_id(turned.runs()[0])
    sizes = [{"width": 8, "depth": 2}, {"depth": 2, "width": 8}]
    grids = [
        Study(double, axes=[size], lr=[0.1], task=data(), batch=16, rules=["sp"]) for size in sizes
    ]
    assert len({each.run_id(each.runs()[0]) for each in grids}) == 1


def test_a_fixed_context_is_the_run_of_a_swept_one() -> None:
    grid: dict[str, Any] = {"width": [16], "depth": [1], "lr": [0.01], "seeds": 1, "rules": ["sp"]}
    training = {"task": "pydocs", "batch": 4, "steps": 2, "base": {"width": 16}}
    swept = Study(small_gpt, **grid, **training, context=[4, 8])
    # The base of the fixed one has no context, so that what grows is another thing.
    listed = Study(small_gpt, **grid, **training, context=[8])
    assert swept.run_id(swept.runs()[1]) != listed.run_id(listed.runs()[0])
    small = Study(small_gpt, **grid, **training, context=[4])
    assert swept.run_id(swept.runs()[0]) == small.run_id(small.runs()[0])


def test_a_function_draws_the_same_data_in_every_process() -> None:
    """Workers call it themselves; also where it is an object without a hash."""

    @dataclass
    class Drawn:
        examples: int

        def __call__(self) -> Task:
            inputs = torch.randn(self.examples, 5)
            return replace(data(), inputs=inputs, targets=inputs[:, :3].argmax(1))

    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        wanted = study(task=Drawn(64))
        found.append(wanted.task_of(wanted.runs()[0]))
        assert wanted.task_of(wanted.runs()[-1]) is found[-1]
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        study(task=Drawn(64)).task_of(wanted.runs()[0])
        assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1]
