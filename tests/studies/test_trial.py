"""Training functions of one's own: what a trial offers, and what becomes of its run."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mutransfer as mt
from mutransfer import MutransferError, Runs, Size
from mutransfer.studies import Study, Trial, TrialStopped, missing
from mutransfer.tasks import accuracy
from tests.studies.small_study import data, double, on_disk, study, untimed

STEPS, BATCH = 6, 16
Train = Callable[[Trial], Any]


def by_hand(trial: Trial) -> None:
    """The loop of a user who trains as the library does."""
    task, model = data(), trial.model
    optimizer = torch.optim.AdamW(trial.param_groups())
    for step, chosen in enumerate(task.batches(trial.seed, STEPS, BATCH)):
        optimizer.zero_grad()
        loss = task.loss(model(task.inputs[chosen]), task.targets[chosen])
        loss.backward()
        optimizer.step()
        trial.report(step, loss.item())


def own(train: Train | None, **changes: Any) -> Study:
    grid: dict[str, Any] = {"width": [8], "rules": ["mup"], "seeds": 1, "lr": [2.0**-6, 2.0**-4]}
    return study(
        **grid | {"steps": STEPS, "batch": BATCH, "optimizer": "adamw", "train": train} | changes
    )


def only(
    folder: Path, train: Train | None, retry: str | None = None, **changes: Any
) -> dict[str, Any]:
    (row,) = mt.sweep(own(train, lr=[0.5], **changes), folder, retry=retry).rows
    return row


def test_a_loop_of_ones_own_has_the_losses_of_the_library(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "width": [8, 16],
        "rules": ["sp", "mup"],
        "seeds": 2,
        "eps": 1e-6,
        "weight_decay": [0.0, 0.5],
    }
    found = mt.sweep(own(by_hand, **changes), tmp_path / "own")
    known = mt.sweep(own(None, **changes), tmp_path / "library")
    assert len(found.rows) == len(known.rows) == 2 * 2 * 2 * 2 * 2
    fields = ("rule", "width", "lr", "weight_decay", "seed", "status")
    for row, expected in zip(found.rows, known.rows, strict=True):
        assert [row[name] for name in fields] == [expected[name] for name in fields]
        for name in ("curve", "loss", "final"):
            assert row[name] == pytest.approx(expected[name], rel=1e-10)
        assert row["reported_at"] == [0, STEPS - 1] and row["seconds"] > 0
    losses = [each.losses("mup", Size(width=16, depth=2))[1] for each in (found, known)]
    torch.testing.assert_close(*map(torch.from_numpy, losses), rtol=1e-10, atol=0)


def test_multipliers_are_in_the_trials_model_and_plan(tmp_path: Path) -> None:
    lines: dict[str, Any] = {"readout": [1.0, 4.0], "hyperparameters": {"init.readout": [0.5, 1.0]}}
    curves = [
        {(row["readout"], row["init.readout"], row["lr"]): row["curve"] for row in runs.rows}
        for runs in (
            mt.sweep(own(by_hand, **lines), tmp_path / "own"),
            mt.sweep(own(None, **lines), tmp_path / "library"),
        )
    ]
    assert len(curves[0]) == 8
    for name, curve in curves[0].items():
        assert curve == pytest.approx(curves[1][name], rel=1e-10)


def test_every_trial_has_a_fresh_model_of_its_own(tmp_path: Path) -> None:
    """Trials of one draw start alike, whatever those before did to their model."""
    starts: dict[str, list[torch.Tensor]] = {}

    def train(trial: Trial) -> None:
        model = trial.model
        assert model is trial.model
        first = [parameter.detach().clone() for parameter in model.parameters()]
        starts[str((trial.seed, trial.lr))] = first
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(math.nan)
        trial.report(0, 1.0)

    mt.sweep(own(train, seeds=2, width=[16], base={"width": 8}), tmp_path)
    assert {row["status"] for row in on_disk(tmp_path)} == {"finished"}
    for seed in (0, 1):
        low, high = (starts[str((seed, lr))] for lr in (2.0**-6, 2.0**-4))
        assert all(torch.equal(a, b) for a, b in zip(low, high, strict=True))
    assert not torch.equal(starts["(0, 0.0625)"][0], starts["(1, 0.0625)"][0])
    torch.manual_seed(0)
    model = double(16, 2)
    torch.manual_seed(0)
    plan = mt.plan(model, double(8, 2), rule="mup")
    plan.initialize(model)
    pairs = zip(model.parameters(), starts["(0, 0.0625)"], strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_trial_knows_its_run(tmp_path: Path) -> None:
    seen: list[Trial] = []

    def train(trial: Trial) -> None:
        seen.append(trial)
        trial.report(0, 1.0)

    lines: dict[str, Any] = {"schedule": ["linear", "constant"], "readout": 1.0}
    wanted = own(train, lr=[0.5], momentum=None, clip=2, **lines)
    mt.sweep(wanted, tmp_path)
    for trial, run in zip(seen, wanted.runs(), strict=True):
        assert (trial.rule, trial.size, trial.seed, trial.lr) == ("mup", run.size, 0, 0.5)
        settings = {"steps": STEPS, "batch": BATCH, "lr": 0.5, "clip": 2.0, "readout": 1.0}
        assert dict(trial.hyperparameters) == settings | {"schedule": run.point["schedule"]}
        assert trial.folder.is_dir() and trial.folder.is_relative_to(tmp_path)
        assert trial.device.type in ("cpu", "cuda")
    assert len({trial.folder for trial in seen}) == 2


def test_groups_have_the_scaled_values(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        groups = {name: group for group in trial.param_groups() for name in group["names"]}
        found = {n: groups["input.weight"][n] for n in ("lr", "eps", "weight_decay")}
        found |= {name: trial.hyperparameters[name] for name in ("beta1", "beta2")}
        wrapped = torch.nn.DataParallel(trial.model)
        assert len(trial.param_groups(wrapped, undecayed=["bias"])) > len(trial.param_groups())
        trial.report(0, 1.0, **{f"the {name}": value for name, value in found.items()})

    changes: dict[str, Any] = {"steps": [4, 8], "horizon": "complete-d", "eps": 1e-6, "beta1": 0.8}
    rows = mt.sweep(own(train, lr=[0.5], **changes), tmp_path).rows
    assert [row["status"] for row in rows] == ["finished"] * 2
    usual = {"batch": 1, "betas": (0.8, 0.999), "optimizer": "adamw"}
    for row, tokens in zip(rows, (1, 2), strict=True):
        change = mt.horizon("complete-d", tokens=tokens, **usual)  # type: ignore[arg-type]
        assert change.betas is not None and (change.betas[0] == 0.8) == (tokens == 1)
        assert row["the lr"] == pytest.approx(0.5 * change.lr)
        assert row["the eps"] == pytest.approx(1e-6 * change.eps)
        assert row["the weight_decay"] == pytest.approx(0.01 * change.decay)
        assert (row["the beta1"], row["the beta2"]) == pytest.approx(change.betas)
        assert (row["lr"], row["eps"], row["beta1"]) == (0.5, 1e-6, 0.8), "rows are at base size"


def test_steps_are_reported_in_order(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(3, 1.0)
        trial.report(3, 1.0)

    row = only(tmp_path, train)
    assert row["status"] == "failed" and row["loss"] is None
    assert row["message"] == "step 3 was reported after step 3: report steps in order"


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_first_loss_that_is_not_finite_is_a_failure(loss: float, tmp_path: Path) -> None:
    row = only(tmp_path, lambda trial: trial.report(0, loss))
    assert row["status"] == "failed" and "the first loss reported, at step 0, is" in row["message"]


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e6, 201.0])
def test_divergence_ends_a_run(loss: float, tmp_path: Path) -> None:
    after: list[int] = []

    def train(trial: Trial) -> None:
        trial.report(0, 2.0)
        trial.report(5, 1.0)
        trial.report(10, loss)
        after.append(1)

    row = only(tmp_path, train)
    assert row["status"] == "diverged" and after == []
    assert (row["diverged_at"], row["loss"], row["final"]) == (10, None, None)
    assert row["curve"] == [2.0, 1.0] and "at step 10: the run has diverged" in row["message"]
    runs = Runs.read(tmp_path)
    assert runs.losses("mup", Size(width=8, depth=2))[1].tolist() == [[math.inf]]
    assert runs.best("mup", Size(width=8, depth=2)) is None


def test_a_run_whose_stop_is_caught_has_diverged_all_the_same(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        try:
            for step, loss in enumerate((1.0, 1000.0, 0.5)):
                trial.report(step, loss)
        except TrialStopped:
            pass

    assert only(tmp_path, train)["status"] == "diverged"


def test_a_loop_that_swallows_the_stop_has_diverged_all_the_same(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step, loss in enumerate((1.0, math.nan, 0.5)):
            try:
                trial.report(step, loss)
            except TrialStopped:
                continue

    row = only(tmp_path, train)
    assert (row["status"], row["loss"]) == ("diverged", None)


def test_a_run_may_be_stopped(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 2.0, accuracy=0.25)
        trial.stop("too slow")

    row = only(tmp_path, train)
    assert row["status"] == "stopped" and row["message"] == "too slow"
    assert row["loss"] is None and row["curve"] == [2.0] and row["accuracy"] == 0.25
    assert missing(own(train, lr=[0.5]), tmp_path) == [], "a stopped run is not tried again"


def test_a_run_that_fails_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()

    def train(trial: Trial) -> None:
        trial.report(0, 2.0)
        if broken.exists() and trial.lr > 2.0**-5:
            raise RuntimeError("CUDA out of memory\nwith a long story")
        trial.report(1, 1.0)

    wanted = own(train, lr=[2.0**-6, 2.0**-4, 2.0**-3], seeds=2)
    runs = mt.sweep(wanted, tmp_path)
    assert [row["status"] for row in runs.rows] == ["finished"] * 2 + ["failed"] * 4
    failed = runs.rows[-1]
    assert failed["message"] == "RuntimeError: CUDA out of memory" and failed["loss"] is None
    assert "4 failed" in str(runs)
    rates, losses = runs.losses("mup", Size(width=8, depth=2))
    assert rates == [2.0**-6] and losses.tolist() == [[1.5], [1.5]]
    assert not missing(wanted, tmp_path)

    broken.unlink()
    assert mt.sweep(wanted, tmp_path).rows == runs.rows
    again = mt.sweep(wanted, tmp_path, retry="failed")
    assert [row["status"] for row in again.rows] == ["finished"] * 6
    assert len(on_disk(tmp_path)) == 10 and Runs.read(tmp_path).rows == again.rows
    assert mt.sweep(wanted, tmp_path).rows == again.rows and len(on_disk(tmp_path)) == 10


def test_an_interrupt_is_no_failure(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 2.0)
        if trial.lr > 2.0**-5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mt.sweep(own(train), tmp_path)
    assert [row["status"] for row in on_disk(tmp_path)] == ["finished"]


def test_a_function_that_reports_nothing_has_failed(tmp_path: Path) -> None:
    for number, train in enumerate((lambda trial: None, lambda trial: trial.report(0, accuracy=1))):
        row = only(tmp_path / str(number), train)
        assert row["status"] == "failed" and row["loss"] is None
        assert row["message"] == (
            "the training function reported no loss: call trial.report(step, loss)"
        )


def test_metrics_are_columns_to_compare_by(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step in range(4):
            trial.report(step, 2.0 - trial.lr, validation=3.0 - step, accuracy=step / 4)
        trial.report(4, bleu=math.nan)
        trial.report(4, validation=torch.tensor(0.5))  # type: ignore[arg-type]

    mt.sweep(own(train), tmp_path)
    row = Runs.read(tmp_path).rows[0]
    assert (row["validation"], row["accuracy"], row["bleu"]) == (0.5, 0.75, None)
    assert row["curve"] == [2.0 - 2.0**-6] * 4
    for metric, value in (("validation", 0.5), ("accuracy", 0.75)):
        _, losses = Runs.read(tmp_path, metric=metric).losses("mup", Size(width=8, depth=2))
        assert losses.tolist() == [[value, value]]


@pytest.mark.parametrize("name", ["id", "rule", "lr", "status", "width", "seed", "curve", "batch"])
def test_a_metric_cannot_take_the_name_of_a_column(name: str, tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 1.0)
        trial.report(1, **{name: 7.0})

    row = only(tmp_path / "own", train)
    message = f"a metric is named '{name}', as a column of the record is: give it another name"
    assert (row["status"], row["message"], row["lr"]) == ("failed", message, 0.5)
    task = replace(data(), metrics={name: accuracy}, validation=(data().inputs, data().targets))
    with pytest.raises(MutransferError, match=message):
        mt.sweep(own(None, task=task), tmp_path / "library")


@pytest.mark.parametrize("name", ["loss", "final", "validation"])
def test_a_metric_of_a_task_is_no_loss_of_the_record(name: str, tmp_path: Path) -> None:
    task = replace(data(), metrics={name: accuracy}, validation=(data().inputs, data().targets))
    with pytest.raises(MutransferError, match=f"a metric is named '{name}'"):
        mt.sweep(own(None, task=task), tmp_path)


def test_a_function_may_keep_what_it_sees(tmp_path: Path) -> None:
    """A list that a function appends to does not make each of its runs another one."""
    history: list[float] = []

    def train(trial: Trial) -> None:
        history.append(trial.lr)
        trial.report(0, 1.0)

    wanted = own(train)
    rows = mt.sweep(wanted, tmp_path).rows
    assert [row["lr"] for row in rows] == history == [2.0**-6, 2.0**-4]
    assert missing(wanted, tmp_path) == []


def test_a_folder_stays_between_attempts(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        checkpoint = trial.folder / "checkpoint.txt"
        if not checkpoint.exists():
            checkpoint.write_text("half way")
            raise OSError("disk quota")
        trial.report(1, 1.0)

    assert only(tmp_path, train)["message"] == "OSError: disk quota"
    assert only(tmp_path, train)["message"] == "OSError: disk quota"
    assert only(tmp_path, train, retry="failed")["status"] == "finished"


def test_generators_are_seeded_by_the_run_and_restored(tmp_path: Path) -> None:
    drawn: list[float] = []

    def train(trial: Trial) -> None:
        drawn.append(torch.rand(()).item())
        trial.report(0, 1.0)

    torch.manual_seed(7)
    before = torch.get_rng_state()
    mt.sweep(own(train, seeds=[3, 4]), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[2] != drawn[1] == drawn[3]
    torch.manual_seed(3)
    assert drawn[0] == torch.rand(()).item()


def test_generators_are_restored_after_a_failure(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        torch.rand(5)
        raise ValueError

    before = torch.get_rng_state()
    row = only(tmp_path, train)
    assert torch.equal(torch.get_rng_state(), before)
    assert row["status"] == "failed" and row["message"].startswith("ValueError")


def test_progress_is_in_shares_of_the_runs(tmp_path: Path) -> None:
    seen: list[mt.Progress] = []
    runs = mt.sweep(own(by_hand), tmp_path, progress=seen.append)
    assert [each.done / each.total for each in seen] == pytest.approx([0, 1 / 2, 1])
    assert [len(each.result.rows) for each in seen] == [0, 1, 2] and seen[
        -1
    ].result.rows == runs.rows


def test_a_long_run_is_thinned_as_those_of_the_library(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step in range(200):
            trial.report(10 * step, 1.0 + 1 / (1 + step))

    row = only(tmp_path, train)
    assert len(row["curve"]) == 50 and row["reported_at"] == [0, 1990]
    assert row["final"] == pytest.approx(sum(1 + 1 / (1 + s) for s in range(180, 200)) / 20)


def test_a_function_without_a_builder_needs_none(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, trial.size["width"] + trial.lr)

    grid: dict[str, Any] = {"width": [8, 16], "lr": [0.25, 0.5], "seeds": 1}
    runs = mt.sweep(Study(None, **grid, train=train), tmp_path)
    assert runs.rules == ["as it is"] and runs.axes == ("width",)
    assert [row["loss"] for row in runs.rows] == [8.25, 8.5, 16.25, 16.5]

    def touches(trial: Trial) -> None:
        trial.param_groups()

    (row,) = mt.sweep(
        Study(None, **grid | {"width": [8], "lr": 0.5}, train=touches), tmp_path / "b"
    ).rows
    assert row["status"] == "failed" and "the study has no builder" in row["message"]


def test_another_training_function_is_another_study(tmp_path: Path) -> None:
    def first(trial: Trial) -> None:
        trial.report(0, 1.0)

    def second(trial: Trial) -> None:
        trial.report(0, 2.0)

    runs = [own(train).run_id(own(train).runs()[0]) for train in (first, second)]
    assert len(set(runs)) == 2
    assert untimed(mt.sweep(own(first), tmp_path)) == untimed(mt.sweep(own(first), tmp_path))


def test_time_of_a_function_is_not_estimated() -> None:
    from mutransfer.studies import estimate

    with pytest.raises(MutransferError, match="whose time cannot be estimated"):
        estimate(own(by_hand), own(by_hand).runs())
