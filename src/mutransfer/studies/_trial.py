"""A Trial: one run of a study in a training loop of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core import MutransferError, Size
from ..pytorch import Plan
from ..statistics import hopeless
from ..training import Interrupted, Watch
from ._columns import check_metrics


class TrialStopped(Exception):
    """The end of a run that is not worth going on; raised by `Trial.report`."""


@dataclass(kw_only=True, eq=False)
class Trial:
    """One run of a study, as a training function of one's own gets it.

    Attributes:
        rule: Name of the parametrization.
        size: The size.
        hyperparameters: Every hyperparameter at base size, swept or fixed.
        seed: The seed of initial draw and batches.
        device: Where to train.
        folder: A folder of the run's own, for checkpoints; it stays between attempts.
    """

    rule: str
    size: Size
    hyperparameters: Mapping[str, Any]
    seed: int
    device: torch.device
    folder: Path
    make_model: Callable[[], nn.Module] = field(repr=False)
    make_plan: Callable[[], Plan] = field(repr=False)
    reports: list[tuple[int, float]] = field(default_factory=list, repr=False)
    metrics: dict[str, float] = field(default_factory=dict, repr=False)
    stopped: str = ""
    watch: Watch | None = field(default=None, repr=False)
    is_interrupted: bool = field(default=False, repr=False)
    _model: nn.Module | None = field(default=None, repr=False)

    @property
    def model(self) -> nn.Module:
        """The run's model, built from its seed and initialised by its plan, on its device."""
        if self._model is None:
            self._model = self.make_model().to(self.device)
        return self._model

    @property
    def plan(self) -> Plan:
        """The plan of the model, with the run's multipliers."""
        return self.make_plan()

    @property
    def lr(self) -> float:
        """The learning rate at base size."""
        return float(self.hyperparameters["lr"])

    def param_groups(self, model: nn.Module | None = None, **changes: Any) -> list[dict[str, Any]]:
        """Return the parameter groups of the run's plan at its rate, eps and weight decay.

        Args:
            model: The model where it was wrapped, or built by oneself.
            changes: Further arguments of `Plan.param_groups`.
        """
        names = ("lr", "eps", "weight_decay")
        known = {n: self.hyperparameters[n] for n in names if n in self.hyperparameters}
        return self.plan.param_groups(self.model if model is None else model, **known | changes)

    def report(
        self, step: int, loss: float | Tensor | None = None, **metrics: float | Tensor
    ) -> None:
        """Note the loss, or metrics such as `validation`, of a step; end a hopeless run.

        Args:
            step: Number of the step, larger than that of the last report of a loss.
            loss: Training loss; left out where only metrics are reported.
            metrics: Further numbers; the record keeps the last of each.

        Raises:
            MutransferError: the steps do not ascend, the first loss is not finite, or a metric has
                the name of a column.
            TrialStopped: the run has diverged; let it pass, the sweep goes on with the next run.
                Raised again by every later report, which is not noted.
        """
        if self.stopped:
            # A loop that caught the end and goes on.
            raise TrialStopped(f"the run has {self.stopped}")
        check_metrics(metrics, [*self.size, *self.hyperparameters])
        self.metrics |= {name: _number(value) for name, value in metrics.items()}
        if loss is None:
            return
        loss = _number(loss)
        if self.reports and step <= self.reports[-1][0]:
            raise MutransferError(
                f"step {step} was reported after step {self.reports[-1][0]}: report steps in order"
            )
        if not self.reports and not math.isfinite(loss):
            raise MutransferError(
                f"the first loss reported, at step {step}, is {loss}: look at the data and the "
                "initial values"
            )
        steps = int(step) - (self.reports[-1][0] if self.reports else -1)
        self.reports.append((int(step), loss))
        self._count(steps)
        if hopeless(self.reports[0][1], loss):  # type: ignore[arg-type]
            self.stopped = "diverged"
            raise TrialStopped(f"the loss is {loss:g} at step {step}: the run has diverged")

    def _count(self, steps: int) -> None:
        """Tell the sweep of these steps; note where it ends the run."""
        if self.watch is None:
            return
        try:
            self.watch(steps)
        except Interrupted:
            self.is_interrupted = True
            raise

    def stop(self, reason: str = "") -> None:
        """End the run as not worth going on; the record says "stopped".

        Raises:
            TrialStopped: always.
        """
        self.stopped = "stopped"
        raise TrialStopped(reason or "stopped by the training function")


def _number(value: float | Tensor) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)
