"""Runs in a training loop of the user's own, one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..core import MutransferError, Size
from ._chunks import finite, named_row, outcome
from ._models import Models
from ._recipes import scales
from ._run import Run
from ._store import Row
from ._trial import Trial, TrialStopped


class OwnRun:
    """One run in the study's own training function.

    Args:
        models: The models of the study.
        run: The run.
        folder: Folder of the record; the run has one of its own in it.
    """

    def __init__(self, models: Models, run: Run, folder: Path) -> None:
        self.models, self.study, self.run = models, models.study, run
        self.folder = folder / "trials" / self.study.run_id(run)

    @property
    def runs(self) -> Sequence[Run]:
        """The run, as a chunk of one."""
        return [self.run]

    @property
    def size(self) -> Size:
        """Size of the run."""
        return self.run.size

    def rows(self) -> list[Row]:
        """Train the run, and return its row; a failure is a row, too."""
        assert self.study.train is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        trial, start, message = self._trial(), time.monotonic(), ""
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.run.seed)
                self.study.train(trial)
            if not trial.reports:
                message = "the training function reported no loss: call trial.report(step, loss)"
        except TrialStopped as stop:
            trial.stopped = trial.stopped or "stopped"
            message = str(stop)
        except MutransferError as error:
            message, trial.stopped = str(error), "failed"
        except Exception as error:
            message, trial.stopped = f"{type(error).__name__}: {error}", "failed"
        except SystemExit as error:
            # Scripts end so; the sweep goes on.
            if error.code:
                message, trial.stopped = f"the training function exited: {error.code}", "failed"
        finally:
            self.models.trim()
        row = {
            "id": self.study.run_id(self.run),
            **named_row(self.study, self.run),
            **_outcome(trial),
        }
        said = {"message": message.splitlines()[0][:500]} if message else {}
        return [{**row, **said, "seconds": time.monotonic() - start}]

    def _trial(self) -> Trial:
        factors = scales(self.study, self.run)
        # All of them: a loop also reads those that change nothing.
        settings = {**self.study.fixed, **self.run.point}
        scaled = {n: settings[n] * f for n, f in factors.items() if settings.get(n) is not None}
        training = {"steps": self.study.length(self.run), "batch": self.study.batch_of(self.run)}
        return Trial(
            rule=self.run.rule,
            size=self.run.size,
            hyperparameters={**training, **settings, **scaled},
            seed=self.run.seed,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            folder=self.folder,
            make_model=lambda: self.models.fresh(self.run),
            make_plan=lambda: self.models.plan(self.run),
        )


def _outcome(trial: Trial) -> Row:
    """Return status and losses of a row."""
    status = trial.stopped or ("finished" if trial.reports else "failed")
    metrics = {name: finite(value) for name, value in trial.metrics.items()}
    if not trial.reports:
        return {"status": status, "loss": None, "final": None, "diverged_at": None, "curve": []}
    losses = torch.tensor([loss for _, loss in trial.reports], dtype=torch.float64)
    diverged = status == "diverged" or not math.isfinite(float(losses[-1]))
    end = len(losses) - 1 if diverged else None
    row = outcome(losses, end)
    if status in {"stopped", "failed"}:
        row |= {"loss": None, "final": None}
    return {
        **row,
        "status": status,
        "diverged_at": trial.reports[-1][0] if diverged else None,
        "reported_at": [trial.reports[0][0], trial.reports[-1][0]],
        **metrics,
    }
