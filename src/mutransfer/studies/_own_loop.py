"""Runs in a training loop of the user's own, one after the other."""

from __future__ import annotations

import math
import time
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from ..core import MutransferError
from ..pytorch import torch_class
from ..rules import family
from ..training import Watch
from ._chunks import finite, named_row, outcome
from ._failures import Failure
from ._models import Models
from ._recipes import scaled_options, scales
from ._run import Run
from ._store import Row
from ._study import Study
from ._trial import Trial, TrialStopped


class OwnRun:
    """One run in the study's own training function.

    Args:
        models: The models of the study.
        run: The run.
        folder: Folder of the record; the run has one of its own in it.
        watch: Receives the steps that are reported; it may raise `Interrupted`.
    """

    def __init__(self, models: Models, run: Run, folder: Path, watch: Watch | None = None) -> None:
        self.models, self.study, self.run, self.watch = models, models.study, run, watch
        self.folder = folder / "trials" / self.study.run_id(run)

    def row(self) -> Row:
        """Train the run, and return its row; a failure is a row, too."""
        assert self.study.train is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        trial, start, message, trace = self._trial(), time.monotonic(), "", ""
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
            failure = Failure.of(error)
            message, trace, trial.stopped = failure.message, failure.trace, "failed"
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
        said |= {"traceback": trace} if trace else {}
        return {**row, **said, "seconds": time.monotonic() - start}

    def _trial(self) -> Trial:
        # A script has no idea of values that change nothing: it gets them as any other.
        given = {**self.study.fixed, **self.run.point}
        training = {"steps": self.study.length(self.run), "batch": self.study.batch_of(self.run)}
        return Trial(
            rule=self.run.rule,
            size=self.run.size,
            hyperparameters={**training, **given, **_scaled(self.study, self.run)},
            seed=self.run.seed,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            folder=self.folder,
            make_model=lambda: self.models.fresh(self.run),
            make_plan=lambda: self.models.plan(self.run),
            watch=self.watch,
        )


def _scaled(study: Study, run: Run) -> dict[str, Any]:
    """Return what the study's horizon scales, also where torch's defaults are used."""
    if study.horizon is None:
        return {}
    # Several families have several defaults: there only what the study gives is scaled.
    cls = None if "+" in study.optimizer else torch_class(family(study.optimizer))
    known = {} if cls is None else {n: p.default for n, p in signature(cls).parameters.items()}
    values = {**known, "lr": run.lr, **study.settings(run)}
    numbers = {
        name: values[name] * factor
        for name, factor in scales(study, run).items()
        if isinstance(values.get(name), int | float)
    }
    betas = scaled_options(study, run).get("betas", ())
    return numbers | dict(zip(("beta1", "beta2"), betas, strict=False))


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
