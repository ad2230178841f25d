"""Hopeless members stop early, and none that may be near the best, also where curves cross."""

import math
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer import MutransferError, Runs, Size, Study, Task
from mutransfer.studies import Hopeless, Run, hopeless_members
from mutransfer.studies._search import Batch
from mutransfer.studies._sweep import _judge as judged
from mutransfer.tasks import cross_entropy

STEPS, EVERY = 200, 20
RATES = np.arange(-10.0, -2.0)

Judge = Callable[[Tensor, Tensor], Sequence[int]]


def crossing(seed: int, steps: int = STEPS) -> Tensor:
    """Curves of eight rates, the large ones worse early and better late, as under a decay.

    A rate learns at its own pace after a plateau that is longer and higher for large rates, bounces
    by its size, and settles as the schedule ends.
    """
    draw = np.random.default_rng(seed)
    time = np.arange(steps) / steps
    best = draw.uniform(-7, -4)
    curves = []
    for rate in RATES:
        away = rate - best
        pace = draw.uniform(15, 25) * 2.0 ** min(away, 1.0)
        plateau = max(0.0, draw.uniform(0.0, 0.12) * (1 + away))
        bump = draw.uniform(0.0, 1.5) * max(0.0, 1 + away)
        bounce = 0.25 * 2.0 ** (1.5 * away) * (1 - time)
        learnt = np.maximum(time - plateau, 0.0) * pace
        rise = bump * np.exp(-time / (0.02 + plateau))
        curves.append(0.2 + 2.0 / (1 + learnt) + bounce + rise + 0.05 * draw.standard_normal(steps))
    return torch.tensor(np.maximum(curves, 0.01))


def trained(curves: Tensor, judge: Judge) -> list[int]:
    """Return the steps that each member was trained for under a judge."""
    done = torch.zeros(len(curves), dtype=torch.int64)
    stopped: set[int] = set()
    for step in range(EVERY, curves.shape[1] + 1, EVERY):
        going = [member not in stopped for member in range(len(curves))]
        done = torch.where(torch.tensor(going), step, done)
        seen = torch.where(torch.arange(curves.shape[1]) < done[:, None], curves, math.nan)
        stopped |= set(judge(seen, done)) & {m for m, is_going in enumerate(going) if is_going}
    return done.tolist()


def naive(losses: Tensor, done: Tensor) -> list[int]:
    """Stop what is a quarter worse than the best at the same step."""
    means = torch.nanmean(losses, 1)
    alive = done == done.max()
    limit = 1.25 * means[alive].min()
    return [int(i) for i in torch.nonzero(alive & (means > limit)).flatten()]


def judge_of(curves: Tensor, **changes: float) -> Hopeless:
    count = len(curves)
    return Hopeless(curves=[0] * count, points=range(count), steps=curves.shape[1], **changes)


def wrongly_stopped(judge_for: Callable[[Tensor], Judge]) -> int:
    """Count the simulated sweeps in which a member near the best was stopped."""
    count = 0
    for seed in range(60):
        curves = crossing(seed)
        near = (curves.mean(1) <= 1.25 * curves.mean(1).min()).tolist()
        steps = trained(curves, judge_for(curves))
        count += any(done < STEPS for done, is_near in zip(steps, near, strict=True) if is_near)
    return count


def test_curves_cross() -> None:
    early = [int(crossing(seed)[:, :40].mean(1).argmin()) for seed in range(60)]
    late = [int(crossing(seed).mean(1).argmin()) for seed in range(60)]
    assert np.mean(np.array(early) != np.array(late)) > 0.25


def test_nothing_near_the_best_is_stopped() -> None:
    assert wrongly_stopped(judge_of) == 0


def test_comparing_at_equal_steps_stops_what_is_best() -> None:
    assert wrongly_stopped(lambda _: naive) > 20


def test_hopeless_members_save_steps() -> None:
    steps = [trained(crossing(seed), judge_of(crossing(seed))) for seed in range(60)]
    assert np.mean(steps) < 0.85 * STEPS


def constant(*levels: float) -> Tensor:
    return torch.tensor(levels, dtype=torch.float64)[:, None].expand(-1, STEPS).clone()


def test_a_member_stops_when_its_sum_exceeds_the_best() -> None:
    curves = constant(1.0, 1.0, 2.0)
    # Two thirds of the steps at 2 exceed 1.25 times the whole run at 1.
    assert trained(curves, judge_of(curves)) == [200, 200, 140]
    assert trained(curves, judge_of(curves, window=2.0)) == [200, 200, 200]


def test_one_running_member_is_no_proof() -> None:
    """The lowest one may still diverge, as here; the others are then the best."""
    curves = constant(0.2, 1.0, 1.1)
    curves[0, 150:] = math.inf
    assert trained(curves, judge_of(curves)) == [200, 200, 200]
    sure = judge_of(curves, finished={0: 0.2})  # type: ignore[arg-type]
    assert trained(curves, sure)[1] < 200


def test_seeds_of_one_point_are_no_two_proofs() -> None:
    curves = constant(0.2, 0.2, 1.0)
    judge = Hopeless(curves=[0] * 3, points=[0, 0, 1], steps=STEPS)
    assert trained(curves, judge) == [200, 200, 200]


def test_rules_and_sizes_are_compared_with_their_own() -> None:
    curves = constant(0.2, 0.2, 1.0, 1.0)
    judge = Hopeless(curves=["sp", "sp", "mup", "mup"], points=[0, 1, 0, 1], steps=STEPS)
    assert trained(curves, judge) == [200] * 4


def test_losses_below_the_least_stop_nothing() -> None:
    curves = constant(-1.0, -1.0, 2.0)
    assert trained(curves, judge_of(curves)) == [200] * 3
    assert trained(curves, judge_of(curves, least=-2.0))[2] < 200


def test_a_known_least_loss_stops_earlier() -> None:
    curves = constant(3.0, 3.0, 6.0)
    late, early = trained(curves, judge_of(curves)), trained(curves, judge_of(curves, least=2.5))
    assert early[2] < late[2] < 200


def test_a_shifted_loss_is_judged_alike() -> None:
    curves = crossing(3)
    shifted = trained(curves + 5.0, judge_of(curves, least=5.0))
    assert shifted == trained(curves, judge_of(curves))


@pytest.mark.parametrize("late", [0, 60])
def test_members_that_begin_late_are_judged_by_their_own_steps(late: int) -> None:
    curves = constant(1.0, 1.0, 2.0)
    done = torch.tensor([200, 200, 140 - late])
    seen = torch.where(torch.arange(STEPS) < done[:, None], curves, math.nan)
    assert judge_of(curves)(seen, done) == ([2] if late == 0 else [])
    nothing = torch.zeros(3, dtype=torch.int64)
    assert judge_of(curves)(torch.full_like(curves, math.nan), nothing) == []


def finished(metric: str = "mean") -> Runs:
    row = {"rule": "mup", "width": 8, "lr": 0.5, "seed": 0, "loss": 0.4, "final": 0.1}
    rows = [
        {**row, "id": "a", "status": "finished"},
        {**row, "id": "b", "seed": 1, "loss": None, "status": "stopped", "stopped_at": 40},
    ]
    return Runs(header={"axes": ["width"]}, rows=rows, metric=metric)


def test_the_judge_of_a_batch_knows_the_batches_before() -> None:
    size = Size(width=8)
    runs = [Run(rule="mup", size=size, point={"lr": lr}, seed=0) for lr in (0.25, 0.5, 1.0)]
    judge = hopeless_members(runs, STEPS, finished())
    assert judge is not None and judge.finished == {("mup", size, 0): 0.4, ("mup", size, 1): inf}
    assert judge.curves == [("mup", size, 0)] * 3 and len(set(judge.points)) == 3
    assert hopeless_members(runs, STEPS, finished("final")) is None


def test_seeds_are_judged_by_their_own_runs() -> None:
    """The losses of a hard seed are twice those of another at every point."""
    size, curves = Size(width=8), constant(0.4, 0.8, 0.8, 2.4)
    points, seeds = [0.5, 0.5, 0.25, 1.0], [0, 1, 1, 1]
    runs = [
        Run(rule="mup", size=size, point={"lr": lr}, seed=seed)
        for lr, seed in zip(points, seeds, strict=True)
    ]
    judge = hopeless_members(runs, STEPS, finished())
    assert judge is not None and judge(curves[:, :150], torch.full((4,), 150)) == [3]


def test_a_negative_mean_of_a_finished_run_stops_nothing() -> None:
    """Its quarter more lies below it, and every run begins above."""
    curves = constant(1.0, 1.0, 2.0)
    below = judge_of(curves, finished={0: -1.2})  # type: ignore[arg-type]
    assert trained(curves, below) == [200] * 3


@pytest.mark.parametrize("changes", [{"loss": -0.2}, {"curve": [2.0, -0.1, 1.5]}])
def test_batches_after_a_negative_loss_have_no_judge(changes: dict[str, Any]) -> None:
    runs = [Run(rule="mup", size=Size(width=8), point={"lr": 0.5}, seed=0)]
    known = finished()
    assert hopeless_members(runs, STEPS, known) is not None
    changed = Runs(header=known.header, rows=[known.rows[0] | changes, *known.rows[1:]])
    assert hopeless_members(runs, STEPS, changed) is None


def linear(width: int) -> nn.Module:
    return nn.Linear(4, width)


def likelihood(output: Tensor, targets: Tensor) -> Tensor:
    """A Gaussian's, which is negative where the fit is tight."""
    return (0.5 * (output - targets).exp() ** 2 - output).mean()


@pytest.mark.parametrize(
    ("loss", "is_judged"),
    [
        (cross_entropy, True),
        (F.mse_loss, True),
        (nn.CrossEntropyLoss(), True),
        (likelihood, False),
        (nn.GaussianNLLLoss(), False),
    ],
)
def test_a_loss_that_may_become_negative_stops_nothing(loss: Any, is_judged: bool) -> None:
    """Its first batch begins above zero, and nothing shows where it will end."""
    task = Task(name="own", inputs=torch.zeros(8, 4), targets=torch.zeros(8, 2), loss=loss)
    study = Study(linear, width=[8], lr=[0.25, 0.5], steps=STEPS, batch=8, task=task)
    batch = Batch(runs=study.runs(), finished=Runs(header={}, rows=[]), metric="mean")
    assert (judged(study, batch, batch.runs) is not None) is is_judged


def test_stopped_runs_are_infinite_and_other_metrics_refuse_them() -> None:
    values, losses = finished().losses("mup", Size(width=8))
    assert values == [0.5] and losses.ravel().tolist() == [0.4, math.inf]
    assert finished().ends["stopped"] == 1
    with pytest.raises(MutransferError, match="stopped by their mean loss"):
        finished().with_metric("final")
