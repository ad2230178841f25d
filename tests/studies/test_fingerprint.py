"""A record is continued with the model that began it, and with no other of the same name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.studies import Store
from mutransfer.tasks import Task, mlp
from tests.models import Net
from tests.studies.small_study import data, double, short

CHANGE: dict[str, Callable[[nn.Module], object]] = {}
"""What the code of the builder does in addition; its name stays."""


def build(width: int, depth: int) -> nn.Module:
    model = mlp(width, depth, inputs=5, outputs=3).double()
    for change in CHANGE.values():
        change(model)
    return model


@pytest.fixture(autouse=True)
def unchanged() -> None:
    CHANGE.clear()


def scaled(model: nn.Module) -> None:
    model.register_forward_hook(lambda module, inputs, output: 2 * output)


def detached(model: nn.Module) -> None:
    """Change the gradients alone."""
    hidden = next(module for module in model.modules() if isinstance(module, nn.Linear))
    hidden.register_forward_hook(lambda module, inputs, output: output.detach() + 0 * output)


def initialised(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)


CHANGES = {
    "forward pass": scaled,
    "gradients": detached,
    "initial values": initialised,
    "frozen": lambda model: next(model.parameters()).requires_grad_(False),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_builder_whose_code_changed_is_refused(
    change: Callable[[nn.Module], object], tmp_path: Path
) -> None:
    mt.sweep(short(build=build), tmp_path / "a")
    CHANGE["new"] = change
    before = {path: path.read_bytes() for path in (tmp_path / "a").glob("*.json*")}
    for wanted in (short(build=build), short(build=build, width=[8, 16, 32])):
        with pytest.raises(
            mt.MutransferError,
            match=r"written with another model: at base size .* the first losses",
        ):
            mt.sweep(wanted, tmp_path / "a")
    assert {path: path.read_bytes() for path in (tmp_path / "a").glob("*.json*")} == before
    assert len(mt.sweep(short(build=build), tmp_path / "b").rows) == 24
    CHANGE.clear()
    assert len(mt.sweep(short(build=build), tmp_path / "a").rows) == 24


def test_data_that_changed_under_their_name_are_refused(tmp_path: Path) -> None:
    task = data()
    mt.sweep(short(task=task), tmp_path)
    other = replace(task, inputs=task.inputs + 1)
    with pytest.raises(mt.MutransferError, match="the data, the loss or a metric changed since"):
        mt.sweep(short(task=other), tmp_path)


def share_right(output: Tensor, targets: Tensor) -> Tensor:
    return (output.argmax(-1) == targets).double().mean()


def percent_right(output: Tensor, targets: Tensor) -> Tensor:
    return 100 * share_right(output, targets)


def evaluated() -> Task:
    """Return data whose last examples are kept apart, with a metric."""
    task = data()
    kept = task.inputs[-40:], task.targets[-40:]
    return replace(task, validation=kept, metrics={"share": share_right})


@pytest.mark.parametrize(
    "change",
    [
        lambda task: {"validation": (task.validation[0], task.validation[1].flip(0))},
        lambda task: {"validation": (1.1 * task.validation[0], task.validation[1])},
        lambda task: {"metrics": {"share": percent_right}},
    ],
    ids=["labels", "inputs", "metric"],
)
def test_an_evaluation_that_changed_is_refused(
    change: Callable[[Task], dict[str, Any]], tmp_path: Path
) -> None:
    task = evaluated()
    rows = mt.sweep(short(task=task, width=[8]), tmp_path).rows
    assert mt.sweep(short(task=evaluated(), width=[8]), tmp_path).rows == rows
    with pytest.raises(mt.MutransferError, match="what is evaluated after them"):
        mt.sweep(short(task=replace(task, **change(task))), tmp_path)


def test_a_forward_pass_that_changed_in_evaluation_is_refused(tmp_path: Path) -> None:
    def doubled(model: nn.Module) -> None:
        model.register_forward_hook(lambda module, x, y: y if module.training else 2 * y)

    mt.sweep(short(build=build, task=evaluated(), width=[8]), tmp_path)
    CHANGE["new"] = doubled
    with pytest.raises(mt.MutransferError, match="what is evaluated after them"):
        mt.sweep(short(build=build, task=evaluated()), tmp_path)


def test_a_record_with_first_losses_alone_is_continued(tmp_path: Path) -> None:
    mt.sweep(short(task=evaluated(), width=[8]), tmp_path)
    header = json.loads((tmp_path / "study.json").read_text())
    assert len(header["first_losses"]) == 4
    header["first_losses"] = header["first_losses"][:2]
    header["models"] = {name: losses[:2] for name, losses in header["models"].items()}
    (tmp_path / "study.json").write_text(json.dumps(header))
    assert len(mt.sweep(short(task=evaluated()), tmp_path).rows) == 24


def test_grids_and_rules_are_no_change(tmp_path: Path) -> None:
    first = mt.sweep(short(rules=["mup"], width=[8]), tmp_path)
    grown = short(rules=["sp", "mup"], width=[8, 16], lr=mt.log2(-7, -3), seeds=[1, 0, 2])
    rows = mt.sweep(grown, tmp_path).rows
    assert all(row in rows for row in first.rows)


def test_a_record_without_runs_belongs_to_the_model_of_today(tmp_path: Path) -> None:
    study = short(build=build)
    Store(tmp_path).open(study.identity(), {}, lambda: [1.0, 2.0])
    mt.sweep(study, tmp_path)
    assert json.loads((tmp_path / "study.json").read_text())["first_losses"] != [1.0, 2.0]


def test_a_record_from_before_is_continued(tmp_path: Path) -> None:
    mt.sweep(short(width=[8]), tmp_path)
    header = json.loads((tmp_path / "study.json").read_text())
    assert len(header.pop("first_losses")) == 2
    (tmp_path / "study.json").write_text(json.dumps(header))
    assert len(mt.sweep(short(), tmp_path).rows) == 24


def test_rounding_is_no_change(tmp_path: Path) -> None:
    mt.sweep(short(width=[8]), tmp_path)
    header = json.loads((tmp_path / "study.json").read_text())
    header["first_losses"] = [loss * (1 + 1e-5) for loss in header["first_losses"]]
    (tmp_path / "study.json").write_text(json.dumps(header))
    assert len(mt.sweep(short(), tmp_path).rows) == 24


GENERATOR = np.random.default_rng(0)


def with_own_generator(width: int, depth: int) -> nn.Module:
    """Build a model that is drawn by a generator of its own, so another one each time."""
    model = double(width, depth)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(0.1 * GENERATOR.standard_normal(parameter.shape)))
    return model


def test_a_builder_that_never_draws_alike_has_no_fingerprint(tmp_path: Path) -> None:
    for width in ([8], [8, 16]):
        mt.sweep(short(build=with_own_generator, rules=["sp"], width=width), tmp_path)
    assert "first_losses" not in json.loads((tmp_path / "study.json").read_text())


class Answer:
    """An output as Hugging Face has them."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


class Nothing:
    """An output without a tensor."""


FORMS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "tuple": lambda y, h: (y, h),
    "logits": lambda y, h: Answer(y),
    "mapping": lambda y, h: {"logits": y, "hidden": h},
    "after tokens": lambda y, h: (y.argmax(-1), y),
}


def formed(form: Callable[[Tensor, Tensor], object]) -> Callable[..., nn.Module]:
    def make(width: int, depth: int) -> nn.Module:
        def run(model: nn.Module, x: Tensor) -> object:
            hidden = model.a(x).relu()
            return form(model.b(hidden), hidden)

        return Net(run, a=nn.Linear(5, width), b=nn.Linear(width, 3)).double()

    return make


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_model_is_trained_on_its_logits(
    form: Callable[[Tensor, Tensor], object], tmp_path: Path
) -> None:
    plain = mt.sweep(short(build=formed(lambda y, h: y), depth=[1]), tmp_path / "plain")
    rows = mt.sweep(short(build=formed(form), depth=[1]), tmp_path / "formed").rows
    assert [row["loss"] for row in rows] == [row["loss"] for row in plain.rows]


def test_an_output_that_the_loss_does_not_take_is_refused(tmp_path: Path) -> None:
    study = short(build=formed(lambda y, h: Nothing()), depth=[1], rules=["sp"])
    with pytest.raises(mt.MutransferError, match="output is a Nothing without a tensor"):
        mt.sweep(study, tmp_path)
    task = replace(data(), loss=lambda y, t: (y.log_softmax(-1)[:, 0] * t).mean())
    study = short(build=formed(lambda y, h: (y, h)), depth=[1], rules=["sp"], task=task)
    with pytest.raises(
        mt.MutransferError, match="loss of task rows fails on the model's output, a tuple"
    ):
        mt.sweep(study, tmp_path)


def test_a_loss_of_ones_own_gets_all_that_a_model_returns(tmp_path: Path) -> None:
    task = data()
    own = replace(task, loss=lambda y, t: task.loss(y[0], t) + 0.1 * y[1].square().mean())
    study = short(build=formed(lambda y, h: (y, h)), depth=[1], rules=["sp"], task=own)
    assert len(mt.sweep(study, tmp_path).rows) == 12


def test_a_model_without_anything_to_train_is_refused(tmp_path: Path) -> None:
    study = short(build=lambda width, depth: double(width, depth).requires_grad_(False))
    with pytest.raises(mt.MutransferError, match="no parameter of the model trains"):
        mt.sweep(study, tmp_path)
