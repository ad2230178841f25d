"""Schedules are those of torch, and warmup goes before them."""

import math
import pickle
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from mutransfer import MutransferError
from mutransfer.training import SCHEDULES, schedule

STEPS = 20


def torchs(kind: Any, steps: int = STEPS, **options: Any) -> list[float]:
    """Factors of one of torch's schedulers."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = kind(optimizer, **options)
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("constant", lr_scheduler.ConstantLR, {"factor": 1.0}),
        ("cosine", lr_scheduler.CosineAnnealingLR, {"T_max": STEPS}),
        (
            "linear",
            lr_scheduler.LinearLR,
            {"start_factor": 1.0, "end_factor": 0.0, "total_iters": STEPS},
        ),
        ("step", lr_scheduler.MultiStepLR, {"milestones": [10, 15]}),
    ],
)
def test_schedules_are_those_of_torch(name: str, kind: Any, options: dict[str, Any]) -> None:
    assert schedule(name, STEPS) == pytest.approx(torchs(kind, **options), rel=1e-12)


def test_others_are_their_formulas() -> None:
    assert schedule("wsd", 10) == pytest.approx([1.0] * 9 + [0.5], rel=1e-12)
    assert schedule("inverse-sqrt", 4) == pytest.approx(
        [1, 3.5**-0.5, 6**-0.5, 8.5**-0.5], rel=1e-12
    )


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [4, 0.2])
def test_the_schedule_begins_after_warmup(name: str, warmup: float) -> None:
    factors = schedule(name, STEPS, warmup)
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4:] == schedule(name, STEPS - 4)
    assert len(factors) == STEPS and factors[4] == 1.0 and min(factors) > 0


def test_a_training_may_end_in_its_warmup() -> None:
    assert schedule("cosine", 3, warmup=6) == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_schedules_travel_to_other_processes() -> None:
    assert all(pickle.loads(pickle.dumps(each)) is each for each in SCHEDULES.values())


def failing(step: int, steps: int) -> float:
    """A schedule that fails."""
    return 1 / (2 - step)


@pytest.mark.parametrize(
    ("kind", "warmup", "message"),
    [
        ("cosin", 0, "unknown schedule 'cosin'; choose one of constant, linear"),
        (None, 0, "unknown schedule None"),
        (failing, 0, r"the schedule failing fails at step 2 of 20 \(ZeroDivisionError"),
        (lambda step, steps: -1.0, 0, "is -1.0 at step 0 of 20: a factor of the rate is finite"),
        (lambda step, steps: math.nan, 0, "is nan at step 0 of 20"),
        ("cosine", -1, "warmup is -1: give a number of steps, such as 100, or a fraction"),
        ("cosine", 1.0, "warmup is 1.0"),
        ("cosine", True, "warmup is True"),
        ("cosine", "10", "warmup is '10'"),
    ],
)
def test_what_is_no_schedule_is_refused(kind: Any, warmup: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        schedule(kind, STEPS, warmup)
