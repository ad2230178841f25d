"""Training loops of one's own: a plain one, Hugging Face's Trainer, Lightning."""

import dataclasses

import pytest
import torch

from mutransfer.studies import TrialStopped, missing, sweep
from tests.examples.loading import EXAMPLES, load, rows_of

TINY = {"width": [16, 32], "lr": [2**-7, 2**-6], "seeds": 1}


def small(study, **changes):
    return dataclasses.replace(study, **TINY | changes)


@pytest.fixture(scope="module")
def plain():
    return load("own_loop.py")


def test_a_plain_loop_fills_the_record(plain, tmp_path):
    study = small(plain.study, steps=32)
    runs = sweep(study, tmp_path)
    assert len(runs.rows) == 4 and missing(study, tmp_path) == []
    for row in runs.rows:
        assert row["status"] == "finished" and len(row["curve"]) == 32
        assert row["reported_at"] == [1, 32]
        assert row["final"] < row["curve"][0] and 0 < row["error"] < 0.75
    best = min(row["validation"] for row in runs.rows)
    assert runs.with_metric("validation").losses("default", {"width": 32})[1].min() >= best


def test_a_run_goes_on_from_its_checkpoint(plain, tmp_path):
    study = small(plain.study, steps=48, width=[16], lr=2**-6)
    (whole,) = sweep(study, tmp_path / "whole").rows

    def killed(trial):
        report = trial.report

        def reported(step, *given, **metrics):
            report(step, *given, **metrics)
            if step == 40:
                raise KeyboardInterrupt

        trial.report = reported
        plain.train(trial)

    with pytest.raises(KeyboardInterrupt):
        sweep(dataclasses.replace(study, train=killed), tmp_path / "killed")
    (trial,) = (tmp_path / "killed" / "trials").iterdir()
    assert len(torch.load(trial / "checkpoint.pt")["losses"]) == 32
    # The id of a run has the name of its function; the folder is what a killed process leaves.
    (ours,) = (tmp_path / "whole" / "trials").iterdir()
    (tmp_path / "resumed" / "trials").mkdir(parents=True)
    trial.rename(tmp_path / "resumed" / "trials" / ours.name)
    (resumed,) = sweep(study, tmp_path / "resumed").rows
    assert resumed | {"seconds": 0} == whole | {"seconds": 0}


def test_runs_that_fail_are_recorded_and_the_others_go_on(plain, tmp_path):
    study = small(plain.limited, width=[16, 64, 128], steps=16)
    runs = sweep(study, tmp_path)
    finished, failed = (rows_of(runs, status=status) for status in ("finished", "failed"))
    assert [row["width"] for row in finished] == [16, 16]
    assert {row["width"]: row["message"] for row in failed} == {
        64: "MemoryError: width 64 does not fit into this machine",
        128: "MemoryError: width 128 does not fit into this machine",
    }
    assert str(runs).splitlines()[0].endswith("failed")
    assert not missing(study, tmp_path)


def test_the_exit_code_says_that_runs_failed(mutransfer, tmp_path, capsys):
    tiny = tmp_path / "tiny.py"
    tiny.write_text(
        "import dataclasses, sys\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "import own_loop\n"
        f"grid = {TINY | {'steps': 16}}\n"
        "study = dataclasses.replace(own_loop.study, **grid)\n"
        "limited = dataclasses.replace(own_loop.limited, **grid | {'width': [16, 64]})\n"
    )
    assert mutransfer("sweep", f"{tiny}:study", "--out", tmp_path / "all") == 0
    assert capsys.readouterr().err == ""
    assert mutransfer("sweep", f"{tiny}:limited", "--out", tmp_path / "some") == 1
    assert "2 of 4 runs failed, the first with: MemoryError: width 64" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "package"),
    [("own_loop_trainer.py", "transformers"), ("own_loop_lightning.py", "pytorch_lightning")],
)
def test_a_trainer_fills_the_record(name, package, tmp_path):
    pytest.importorskip(package)
    study = small(load(name).study, steps=20, lr=[2**-7, 4.0], width=[32])
    runs = sweep(study, tmp_path)
    (good,) = rows_of(runs, lr=2**-7)
    assert (good["status"], good["reported_at"], len(good["curve"])) == ("finished", [1, 20], 20)
    assert good["final"] < good["curve"][0] and 0 < good["validation"] < good["curve"][0]
    (bad,) = rows_of(runs, lr=4.0)
    assert bad["loss"] is None or bad["loss"] > good["loss"]


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_goes_on_from_its_checkpoint(tmp_path):
    pytest.importorskip("transformers")
    example = load("own_loop_trainer.py")
    study = small(example.study, steps=20, width=[32], lr=2**-7)
    (whole,) = sweep(study, tmp_path / "whole").rows
    (trial,) = (tmp_path / "whole" / "trials").iterdir()
    assert [path.name for path in trial.glob("checkpoint-*")] == ["checkpoint-20"]

    def stopped(trial):
        report = example.Report._report

        def reported(self, step, logs):
            report(self, step, logs)
            if step == 15:
                raise TrialStopped

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(example.Report, "_report", reported)
            example.train(trial)

    half = dataclasses.replace(study, train=stopped)
    assert sweep(half, tmp_path / "half").rows[0]["status"] == "stopped"
    (left,) = (tmp_path / "half" / "trials").iterdir()
    (tmp_path / "resumed" / "trials").mkdir(parents=True)
    left.rename(tmp_path / "resumed" / "trials" / trial.name)
    (resumed,) = sweep(study, tmp_path / "resumed").rows
    assert resumed["reported_at"] == [1, 20]
    assert resumed["curve"] == pytest.approx(whole["curve"], rel=1e-6)
