"""Mistakes that users make: each is one clear sentence, and nothing is lost."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer import MutransferError, Runs
from mutransfer.studies import Points, Study, Trial, missing
from mutransfer.tasks import Task, cross_entropy, gpt, mlp
from tests.models import Net
from tests.studies.small_study import Counted, data, double, on_disk, study


def tokens(vocabulary: int, length: int = 6) -> Task:
    drawn = torch.randint(vocabulary, (32, length + 1), generator=torch.Generator().manual_seed(0))
    drawn[0, 0] = drawn[-1, -1] = vocabulary - 1
    return Task(name="words", inputs=drawn[:, :-1], targets=drawn[:, 1:], loss=cross_entropy)


def reader(vocabulary: int, context: int = 6) -> Callable[..., nn.Module]:
    return lambda width, depth: gpt(width, depth, heads=2, vocabulary=vocabulary, context=context)


def frozen(width: int, depth: int) -> nn.Module:
    return double(width, depth).requires_grad_(False)


def ignoring(width: int, depth: int) -> nn.Module:
    return double(16, depth)


def dead(width: int, depth: int) -> nn.Module:
    """A model whose output does not depend on its parameters."""
    model = double(width, depth)
    return Net(lambda net, x: net.model(x).detach() + 0 * x[:, :3], model=model)


def without_step(trial: Trial) -> None:
    trial.report(loss=1.0)  # type: ignore[call-arg]


def reported(loss: Any) -> Callable[[Trial], Any]:
    return lambda trial: trial.report(0, loss)


def wrong_loss(output: Tensor, targets: Tensor) -> Tensor:
    return output.mean(-1)


SWEPT: dict[str, tuple[dict[str, Any], str]] = {
    "nothing trains": ({"build": frozen}, "no parameter of the model trains"),
    "an axis without effect": ({"build": ignoring}, "it ignores width"),
    "too small a vocabulary": (
        {"build": reader(7), "task": tokens(11)},
        "task words has token 10, and the model's embedding token has 7 rows: build the model with",
    ),
    "too few classes": (
        {"build": lambda width, depth: mlp(width, depth, inputs=5, outputs=2).double()},
        "task rows has classes from 0 to 2, and the model has 2 logits",
    ),
    "too long a sequence": (
        {"build": reader(11, context=4), "task": tokens(11)},
        "task words has sequences of 6, for which the model looks up row 5 of its embedding",
    ),
    "other inputs": (
        {"build": lambda width, depth: mlp(width, depth, inputs=7, outputs=3).double()},
        "task rows does not fit the model: MLP fails on inputs",
    ),
    "a loss a row": (
        {"task": replace(data(), loss=wrong_loss)},
        "the loss of task rows returns .*: return one number, the mean over examples",
    ),
    "no attention": ({"attention": [1.0, 2.0]}, "attention cannot be tuned: the model has no att"),
    "no residual branches": ({"branch": 0.5}, "branch cannot be tuned: the model has no residual"),
    "no such tensor": (
        {"hyperparameters": {"lr.blocks.*": [1.0, 2.0]}},
        r"lr.blocks.\*: 'blocks.\*' is no role of a tensor here and matches no name",
    ),
    "sgd has no eps": ({"optimizer": "sgd", "eps": 1e-8}, "sgd has no eps"),
    "a schedule that fails": (
        {"schedule": lambda step, steps: 1 / step},
        "the schedule <lambda> fails at step 0 of 4",
    ),
    "a negative schedule": (
        {"schedule": lambda step, steps: 1.0 - step},
        "the schedule <lambda> is -1.0 at step 2 of 4",
    ),
    "a builder that fails": ({"build": lambda width, depth: 1 / 0}, "division by zero"),
    "a builder that returns nothing": ({"build": lambda width, depth: None}, "None"),
}


@pytest.mark.parametrize("case", SWEPT)
def test_a_sweep_that_cannot_work_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    changes, message = SWEPT[case]
    usual = {"rules": ["mup"], "seeds": 1, "steps": 4, "batch": 8}
    with pytest.raises(MutransferError, match=message) as refusal:
        mt.sweep(study(**usual | changes), tmp_path)
    assert "\n" not in str(refusal.value).strip()
    assert not list(tmp_path.glob("*.jsonl")), "before anything was trained"


MADE: dict[str, tuple[dict[str, Any], str]] = {
    "the name of a builder": ({"build": "mlp"}, "the builder is 'mlp': give the function"),
    "no such option": ({"optimizer": "sgd", "beta1": 0.9}, "the optimizer sgd has no beta1"),
    "a misspelt keyword": ({"hyperparameters": {"dropuot": 0.1}}, "'dropuot' is no hyperparameter"),
    "a misspelt schedule": ({"schedule": "cosin"}, "unknown schedule 'cosin'; choose one of"),
    "a misspelt horizon": ({"horizon": "sd", "batch": [8, 16]}, "'sd'"),
    "an odd accumulation": ({"accumulate": 3}, "a batch of 16 examples does not divide into 3"),
    "no such precision": ({"precision": "float16"}, "unknown precision 'float16'"),
    "evaluation of nothing": ({"evaluate": 5}, "evaluate is 5, but task rows has no validation"),
    "no time to evaluate": ({"evaluate": 0}, "evaluate is 0"),
    "smoothing of another loss": (
        {"label_smoothing": 0.1, "task": replace(data(), loss=wrong_loss)},
        "takes no label_smoothing",
    ),
    "a task that is none": ({"task": 3}, "task"),
    "a file that is not there": ({"task": "text:/no/such.txt"}, "no/such.txt"),
    "half a step": ({"steps": 2.5}, "steps"),
    "half a batch": ({"batch": 2.5}, "batch"),
    "a design that is none": ({"design": "grid"}, "design"),
    "no design": ({"design": []}, "design"),
    "points without a rate": ({"lr": [0.1, 0.2], "design": Points([{"clip": 1.0}])}, "has no lr"),
    "a function that is none": ({"train": "train.py"}, "train"),
}


@pytest.mark.parametrize("case", MADE)
def test_a_study_that_cannot_work_is_refused_when_it_is_made(case: str) -> None:
    changes, message = MADE[case]
    with pytest.raises(MutransferError, match=message) as refusal:
        study(**changes)
    assert "\n" not in str(refusal.value)


TRAINS: dict[str, tuple[Callable[[Trial], Any], str]] = {
    "reports nothing": (lambda trial: 0.5, "the training function reported no loss: call trial."),
    "NaN at first": (lambda trial: trial.report(0, math.nan), "the first loss reported, at step 0"),
    "wrong order": (
        lambda trial: [trial.report(step, 1.0) for step in (0, 2, 1)],
        "step 1 was reported after step 2: report steps in order",
    ),
    "no step": (without_step, "TypeError: .*step"),
    "not a number": (reported("low"), "ValueError: could not convert"),
    "a whole batch": (reported(torch.ones(3)), "one element"),
}


@pytest.mark.parametrize("case", TRAINS)
def test_a_training_function_that_is_wrong_fails_with_a_message(case: str, tmp_path: Path) -> None:
    train, message = TRAINS[case]

    def sometimes(trial: Trial) -> None:
        if trial.lr > 0.1:
            train(trial)
        else:
            trial.report(0, 1.0)

    wanted = study(width=[8], rules=["mup"], seeds=1, lr=[0.1, 0.2, 0.3], train=sometimes)
    rows = mt.sweep(wanted, tmp_path).rows
    assert [row["status"] for row in rows] == ["finished", "failed", "failed"]
    for row in rows[1:]:
        assert row["loss"] is None and row["message"]
        assert re.search(message, row["message"])
    assert not missing(wanted, tmp_path)


@pytest.mark.parametrize("from_start", [False, True], ids=["late", "at once"])
def test_losses_that_are_not_a_number_are_no_optimum(from_start: bool, tmp_path: Path) -> None:
    """The largest rates have NaN: at once, or after a few good losses."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        value = cross_entropy(outputs, targets)
        limit = 0.0 if from_start else 0.8
        return torch.where((value > limit) & (value < 1.0), value * math.nan, value)

    wanted = study(lr=mt.log2(-8, -3), task=replace(data(), loss=loss), rules=["mup"], seeds=1)
    runs = mt.sweep(wanted, tmp_path)
    lost = {row["lr"] for row in runs.rows if row["status"] == "diverged"}
    assert lost, "some runs have NaN"
    for size in wanted.sizes():
        rates, losses = runs.losses("mup", size)
        best = runs.best_rate("mup", size)
        assert not np.isnan(losses).any()
        assert best is None or losses[0, rates.index(best)] < math.inf
    assert "NaN" not in json.dumps([row["loss"] for row in on_disk(tmp_path)])
    assert "nan" not in str(mt.transfer(runs)).lower()


def test_a_rate_without_effect_is_said(tmp_path: Path) -> None:
    """The training function ignores the rate, so that every rate has the same loss."""

    def train(trial: Trial) -> None:
        trial.report(0, 2.0)
        trial.report(1, 1.0 + trial.seed / 8)

    moved = mt.transfer(mt.sweep(study(rules=["mup"], train=train), tmp_path))
    assert "the loss is the same at every rate, so the rate has no effect" in str(moved)


def test_a_model_that_nothing_reaches_is_said(tmp_path: Path) -> None:
    """Its output is detached, so that its parameters have no gradient at all."""
    try:
        text = str(mt.transfer(mt.sweep(study(build=dead, rules=["sp"], seeds=1), tmp_path)))
    except MutransferError as refusal:
        text = str(refusal)
    assert "no effect" in text or "gradient" in text


def test_a_refusal_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    """The largest size cannot be built; what was trained before stays, and is not repeated."""
    counted = Counted(data())
    fine = study(width=[8, 16], rules=["mup"], seeds=1, task=counted.task, steps=4)
    done = mt.sweep(fine, tmp_path).rows

    def build(width: int, depth: int) -> nn.Module:
        if width > 16:
            raise MemoryError("too large")
        return double(width, depth)

    big = replace(fine, width=[8, 16, 32])
    before = counted.steps
    half = mt.sweep(study(build=build, width=[8, 32], rules=["mup"], seeds=1), tmp_path / "b")
    assert {(row["width"], row["status"]) for row in half.rows} == {(8, "finished"), (32, "failed")}
    assert all("too large" in row["message"] for row in half.rows if row["width"] == 32)
    assert mt.sweep(fine, tmp_path).rows == done and counted.steps == before + 3
    assert len(mt.sweep(big, tmp_path).rows) == 12


STUDY = """
import mutransfer as mt
from mutransfer.studies import command
from mutransfer.tasks import mlp

grid = {"width": [8, 16], "depth": [2], "lr": [0.1, 0.2], "seeds": 1, "steps": 3}


def ignoring(width, depth):
    return mlp(8, depth)


def train(trial):
    if trial.lr > 0.1:
        raise RuntimeError("no space left\\non device")
    trial.report(0, 1.0)


blind = mt.Study(ignoring, **grid)
words = mt.Study(mlp, **grid, task="pydocs")
tuned = mt.Study(mlp, **grid, attention=[1, 2])
failing = mt.Study(mlp, **grid, train=train)
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blind", "it ignores width"),
        ("words", "does not fit the model: MLP fails on inputs (2, 64) int64"),
        ("tuned", "attention cannot be tuned: the model has no attention"),
        ("wrong = mt.Study(mlp, **grid, beta1=2.0)", "beta1 has values that are not"),
        ("wrong = mt.Study(mlp, **grid | {'lr': mt.log2(1e-4, 1e-1)})", "give whole powers of two"),
        ("wrong = mt.Study(None, **grid, train=command('a {lr}'))", "does not name it"),
    ],
)
def test_the_command_line_says_one_sentence(
    text: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = said(tmp_path, text, monkeypatch, capsys)
    assert code == 2 and err.count("\n") == 1 and message in err
    assert "Traceback" not in err and not list(tmp_path.glob("runs/*.jsonl"))


def test_the_command_line_goes_on_after_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(tmp_path, "failing", monkeypatch, capsys)
    assert code == 1 and "Traceback" not in out + err
    rows = Runs.read(tmp_path / "runs").rows
    assert [row["status"] for row in rows] == ["finished", "failed"] * 2
    assert {row.get("message") for row in rows} == {None, "RuntimeError: no space left"}
    assert err.splitlines()[-1] == (
        "mutransfer: 2 of 4 runs failed, the first with: RuntimeError: no space left; "
        "mutransfer status shows the traceback, --retry failed trains them again"
    )


def said(
    folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Any, str, str]:
    """Run the sweep of a study by the command line: exit code, output and errors."""
    from mutransfer.cli import main

    name, _, definition = text.partition(" = ")
    path = folder / f"bad_{abs(hash(text))}.py"
    path.write_text(STUDY + (f"{text}\n" if definition else ""))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["mutransfer", "sweep", f"{path}:{name}", "--out", "runs"])
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_study_without_anything_to_vary_is_one_run() -> None:
    assert len(Study(mlp, width=[8], lr=0.1, seeds=1).runs()) == 1


def test_seeds_are_a_number_or_a_list() -> None:
    assert study(seeds=np.int64(2)).seeds == (0, 1)
    assert study(seeds=np.array([4, 2])).seeds == (4, 2)
    with pytest.raises(mt.MutransferError, match=r"seeds is 2.5: give how many, or a list"):
        study(seeds=2.5)
    with pytest.raises(mt.MutransferError, match="no whole numbers"):
        study(seeds=["a"])
