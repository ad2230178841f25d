"""Every hyperparameter of a study does what the public pieces do in a loop written by hand."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.studies import OneAtATime, Points, Run, Study
from mutransfer.tasks import Task, gpt, mlp
from mutransfer.training import schedule
from tests.studies.small_study import data, double

STEPS, BATCH = 5, 8
OPTIMIZERS: Mapping[str, Any] = {
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
MULTIPLIERS = ("readout", "embedding", "attention", "branch", "init")


def smoothed(output: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    logits, classes = output.flatten(0, -2), targets.flatten()
    return F.cross_entropy(logits, classes, label_smoothing=label_smoothing)


def rows() -> Task:
    return replace(data(), loss=smoothed)


def words() -> Task:
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (32, 7), generator=draw)
    return Task(name="words", inputs=tokens[:, :-1], targets=tokens[:, 1:], loss=smoothed)


def attending(width: int, depth: int) -> nn.Module:
    return gpt(width, depth, vocabulary=11, context=6, heads=2).double()


def chosen(width: int, depth: int, activation: str = "relu", dropout: float = 0.0) -> nn.Module:
    model = mlp(width, depth, inputs=5, outputs=3, activation=activation)
    return nn.Sequential(model, nn.Dropout(dropout)).double()


def halving(step: int, steps: int) -> float:
    return 0.5**step


def swept(**changes: Any) -> Study:
    grid: dict[str, Any] = {"width": [16], "depth": [2], "lr": [2.0**-4], "seeds": [1]}
    grid["base"] = {"width": 8}
    training: dict[str, Any] = {"task": rows(), "steps": STEPS, "batch": BATCH}
    build = changes.pop("build", double)
    return Study(build, **grid | {"rules": ["mup"]} | training | changes)


def drawn(build: Any, seed: int, arguments: Mapping[str, Any]) -> nn.Module:
    torch.manual_seed(seed)
    return build(**arguments)  # type: ignore[no-any-return]


def by_hand(study: Study, run: Run, point: Mapping[str, Any]) -> list[float]:
    """Train as a user does who has this point and knows nothing of studies: the losses."""
    build: Any = study.build
    words = {n: v for n, v in point.items() if n in ("activation", "dropout")}
    tuning = {n: v for n, v in point.items() if n in MULTIPLIERS or "." in n}
    model = drawn(build, run.seed, {**run.size, **words})
    base = drawn(build, 0, {**study.base, **words})
    task: Any = study.task
    plan = mt.plan(
        model, base, rule=run.rule, optimizer=study.optimizer, example_inputs=task.example
    )
    plan = plan.tuned(**tuning) if tuning else plan
    plan.initialize(model)
    known = {n: point[n] for n in ("eps", "weight_decay") if n in point}
    options = {n: point[n] for n in ("momentum", "nesterov") if n in point}
    if "beta1" in point or "beta2" in point:
        options["betas"] = (point.get("beta1", 0.9), point.get("beta2", 0.999))
    optimizer = OPTIMIZERS[study.optimizer](plan.param_groups(model, point["lr"], **known), lr=1.0)
    for group in optimizer.param_groups:
        group |= options
    rates = [group["lr"] for group in optimizer.param_groups]
    factors = schedule(point.get("schedule", "constant"), STEPS, point.get("warmup", 0))
    losses = []
    for step, chosen in enumerate(task.batches(run.seed, STEPS, BATCH)):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factors[step]
        optimizer.zero_grad()
        smoothing = point.get("label_smoothing", 0.0)
        loss = smoothed(model(task.inputs[chosen]), task.targets[chosen], smoothing)
        loss.backward()
        if "clip" in point:
            plan.clip_grad_norm_(model, point["clip"])
        optimizer.step()
        losses.append(loss.item())
    return losses


NET = {"build": attending, "task": words(), "optimizer": "adamw"}
BUILT = {"build": chosen}
SWEEPS: dict[str, tuple[dict[str, Any], str, list[Any]]] = {
    "weight_decay": ({}, "weight_decay", [0.0, 0.1, 1.0]),
    "eps": ({}, "eps", [1e-8, 1e-3]),
    "beta1": ({}, "beta1", [0.5, 0.9]),
    "beta2": ({}, "beta2", [0.9, 0.999]),
    "momentum": ({"optimizer": "sgd"}, "momentum", [0.0, 0.5, 0.9]),
    "momentum of RMSprop": ({"optimizer": "rmsprop"}, "momentum", [0.0, 0.5]),
    "nesterov": ({"optimizer": "sgd", "momentum": 0.9}, "nesterov", [False, True]),
    "schedule": ({}, "schedule", ["constant", "cosine", halving]),
    "warmup": ({}, "warmup", [0, 3]),
    "share of warmup": ({"schedule": "linear"}, "warmup", [0.2, 0.6]),
    "clip": ({"optimizer": "sgd"}, "clip", [0.1, 100.0]),
    "label_smoothing": ({}, "label_smoothing", [0.0, 0.2]),
    "readout": (NET, "readout", [0.5, 1.0, 4.0]),
    "embedding": (NET, "embedding", [1, 2]),
    "attention": (NET, "attention", [1, 4]),
    "branch": (NET, "branch", [0.5, 1.0]),
    "init": ({}, "init", [1.0, 2.0]),
    "init.readout": ({}, "init.readout", [0.5, 1.0]),
    "lr.blocks.*": (NET, "lr.blocks.*", [0.5, 1.0]),
    "activation": (BUILT, "activation", ["relu", "tanh"]),
    "dropout": (BUILT, "dropout", [0.0, 0.5]),
}


@pytest.mark.parametrize("case", SWEEPS)
def test_a_swept_hyperparameter_trains_as_by_hand(case: str, tmp_path: Path) -> None:
    changes, name, values = SWEEPS[case]
    own = "." in name or name in ("activation", "dropout")
    lines = {"hyperparameters": {name: values}} if own else {name: values}
    study = swept(**changes, **lines)
    fixed = {n: changes[n] for n in ("momentum", "schedule") if n in changes}
    found = {row["id"]: row for row in mt.sweep(study, tmp_path).rows}
    assert len(found) == len(values)
    means = set()
    for run in study.runs():
        row = found[study.run_id(run)]
        means.add(round(row["loss"], 12))
        shown = run.point[name]
        assert row[name] == getattr(shown, "__name__", shown) and row["status"] == "finished"
        if run.point.get("dropout"):
            continue
        losses = by_hand(study, run, fixed | dict(run.point))
        assert row["curve"] == pytest.approx(losses, rel=1e-10)
        assert row["loss"] == pytest.approx(sum(losses) / STEPS, rel=1e-10)
    assert len(means) == len(found), "every value makes a difference"


def test_all_hyperparameters_at_once_train_as_by_hand(tmp_path: Path) -> None:
    point = {
        "lr": 2.0**-5,
        "weight_decay": 0.2,
        "eps": 1e-4,
        "beta1": 0.8,
        "beta2": 0.95,
        "schedule": "wsd",
        "warmup": 2,
        "clip": 0.5,
        "label_smoothing": 0.1,
        "readout": 2.0,
        "embedding": 0.5,
        "attention": 2.0,
        "branch": 0.5,
        "init": 1.5,
        "init.head.weight": 0.5,
        "lr.blocks.*.up.weight": 2.0,
    }
    study = swept(**NET, lr=[2.0**-5], rules=["sp", "mup"], design=Points([point]))
    study = replace(study, rules=["mup"])
    rows = {row["id"]: row for row in mt.sweep(study, tmp_path / "points").rows}
    for run in study.runs():
        losses = by_hand(study, run, run.point)
        assert rows[study.run_id(run)]["curve"] == pytest.approx(losses, rel=1e-10)
    # Fixed values are the same runs as swept ones.
    named = {n: v for n, v in point.items() if "." not in n}
    fixed = swept(**NET, **named, hyperparameters={n: v for n, v in point.items() if "." in n})
    assert {fixed.run_id(run) for run in fixed.runs()} == set(rows)
    again = {row["id"]: row["curve"] for row in mt.sweep(fixed, tmp_path / "fixed").rows}
    assert again == {name: row["curve"] for name, row in rows.items()}


def test_runs_do_not_depend_on_what_trains_beside_them(tmp_path: Path) -> None:
    """A point alone has the losses that it has in a sweep of many recipes."""
    lines = {"schedule": ["linear", "cosine"], "readout": [1.0, 2.0], "clip": [0.1, 1.0]}
    together = mt.sweep(swept(**lines), tmp_path / "together").rows
    for schedule_name, clip in (("linear", 1.0), ("cosine", 0.1)):
        alone = swept(schedule=schedule_name, clip=clip, readout=2.0, lr=2.0**-4)
        for row in mt.sweep(alone, tmp_path / schedule_name).rows:
            (same,) = [other for other in together if other["id"] == row["id"]]
            assert row["curve"] == pytest.approx(same["curve"], rel=1e-10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd", "beta1": [0.8, 0.9]}, "the optimizer sgd has no beta1"),
        ({"optimizer": "adamw", "momentum": 0.9}, "the optimizer adamw has no momentum"),
        ({"optimizer": "rmsprop", "nesterov": [True]}, "the optimizer rmsprop has no nesterov"),
        (
            {"optimizer": "adam", "weight_decay": [0.0, 0.1]},
            "Adam adds weight decay to the gradient, which no width rule makes right",
        ),
        (
            {"optimizer": "adagrad", "options": {"initial_accumulator_value": 0.1}},
            "adagrad was given initial_accumulator_value=0.1, so that sums of squared gradients",
        ),
        ({"hyperparameters": {"dropout": [0.1]}}, "the builder takes no keyword of this name"),
        ({"hyperparameters": {"readuot": 2.0}}, "'readuot' is no hyperparameter"),
        ({"hyperparameters": {"readout": 2.0}}, "which is an argument: give readout=..."),
        ({"design": Points([{"lr": 1.0, "momentun": 1}])}, "'momentun' is no hyperparameter"),
    ],
)
def test_hyperparameters_that_nothing_has_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(mt.MutransferError, match=message) as refusal:
        swept(**changes)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("lr", "0.1"),
        ("lr", True),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("eps", -1e-8),
        ("momentum", -0.9),
        ("momentum", 1.5),
        ("beta1", 1.0),
        ("beta1", -0.5),
        ("beta2", 1.5),
        ("nesterov", "yes"),
        ("schedule", "cosin"),
        ("schedule", 3),
        ("warmup", -1),
        ("warmup", 1.5),
        ("clip", 0.0),
        ("clip", -1.0),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("readout", 0.0),
        ("readout", -1.0),
        ("embedding", "big"),
        ("attention", float("inf")),
        ("branch", 0),
        ("init", float("nan")),
        ("init.readout", 0),
        ("lr.hidden", -1),
    ],
)
@pytest.mark.parametrize("how", ["fixed", "swept", "point", "centre"])
def test_values_that_make_no_sense_are_refused(name: str, value: Any, how: str) -> None:
    optimizer = "sgd" if name in ("momentum", "nesterov") else "adamw"
    given = [value] if how == "swept" else value
    changes = {"hyperparameters": {name: given}} if "." in name else {name: given}
    with pytest.raises(mt.MutransferError, match=name) as refusal:
        if how == "point":
            Points([{name: value}])
        elif how == "centre":
            OneAtATime({name: value})
        else:
            swept(optimizer=optimizer, **changes)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["weight_decay", "momentum", "readout", "schedule", "warmup"])
def test_lists_are_not_empty_and_have_an_order(name: str) -> None:
    values = ["linear", "linear"] if name == "schedule" else [0.5, 0.25]
    message = "repetitions" if name == "schedule" else "ascending order"
    for given, wanted in (([], f"{name} is empty"), (values, message)):
        with pytest.raises(mt.MutransferError, match=wanted):
            swept(optimizer="sgd", **{name: given})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": [1.0, 2.0]}, "attention cannot be tuned: the model has no attention"),
        ({"branch": 2.0}, "branch cannot be tuned: the model has no residual branches"),
        ({"embedding": 2.0}, "embedding cannot be tuned"),
        ({"rules": ["sp"], "init": 2.0}, "init cannot be tuned"),
        ({"hyperparameters": {"lr.blocks.*": [1.0, 2.0]}}, "matches no name"),
        ({"hyperparameters": {"init.raedout": 2.0}}, "matches no name"),
    ],
)
def test_multipliers_of_what_a_model_lacks_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(mt.MutransferError, match=message) as refusal:
        mt.sweep(swept(**changes), tmp_path)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.glob("rows-*")), "refused before anything was trained"
