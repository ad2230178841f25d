"""Certificates as plain rows, for CSV and for readers of a program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core import MEMORY, plain, value_at
from ._choice import Choice
from ._transfer import Refusal, Transfer


def optima_rows(outcomes: Iterable[Transfer | Choice | Refusal]) -> list[dict[str, Any]]:
    """Return a plain row with the best value of every rule and size."""
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        if not isinstance(outcome, Choice):
            rows += _optima_rows(outcome)
        else:
            rows += [
                {
                    "rule": outcome.rule,
                    **best.size,
                    "hyperparameter": outcome.over,
                    outcome.over: best.choice,
                    "loss": best.loss,
                }
                for best in outcome.best
            ]
    return rows


def summary_rows(outcomes: Iterable[Transfer | Choice | Refusal]) -> list[dict[str, Any]]:
    """Return a plain row of every certificate; what is infinite is "inf", as in JSON."""
    rows = []
    for transfer in outcomes:
        if not isinstance(transfer, Transfer):
            continue
        over, position = transfer.over, _position(transfer.over, transfer.scale)
        row: dict[str, Any] = {"rule": transfer.rule, "hyperparameter": over}
        row |= {"total": transfer.total}
        drifts = {f"drift_{axis}": drift for axis, drift in transfer.drift.items()}
        regrets = {"regret": transfer.regret}
        if transfer.carried is not None:
            regrets |= {"carried": transfer.carried}
        estimates = drifts | regrets | {position: transfer.place}
        for name, estimate in estimates.items():
            ends = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
            row |= {name + end: plain(value) for end, value in ends.items()}
        row[over] = transfer.value
        row |= {f"target_{axis}": value for axis, value in transfer.at.items()}
        rows.append(row | {"diverged": transfer.diverged})
    return rows


def _optima_rows(outcome: Transfer | Refusal) -> list[dict[str, Any]]:
    ends = ("low", "high")
    return [
        {
            "rule": outcome.rule,
            **best.size,
            "hyperparameter": outcome.over,
            outcome.over: best.value,
            _position(outcome.over, best.scale): best.position,
            **{end: getattr(best, end) for end in ends},
            **{f"{outcome.over}_{end}": value_at(getattr(best, end), best.scale) for end in ends},
            "loss": best.loss,
            "diverged": best.diverged,
            "status": best.status,
        }
        for best in outcome.optima
    ]


def _position(over: str, scale: str) -> str:
    """Return the name of a place on the scale, such as "log2_lr"."""
    if scale == MEMORY:
        return f"log2_1/(1-{over})"
    return f"log2_{over}" if scale == "log2" else f"{over}_place"
