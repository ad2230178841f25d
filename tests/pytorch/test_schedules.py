"""Torch's schedulers that keep the planned ratios, that lose them, and remedies."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR

import mutransfer as mt
from tests.pytorch.planned_training import small

STEPS = 20
RATE = 0.1
Make = Callable[[mt.Plan, Any], Callable[[], None]]
"""From plan and optimizer to the function that advances the schedule."""


def stepped(make: Callable[[Any], Any]) -> Make:
    return lambda plan, optimizer: make(optimizer).step


def scaled(make: Callable[[Any, Callable[[float], list[float]]], Any]) -> Make:
    """Make a scheduler with one value for each group."""
    return lambda plan, optimizer: (
        make(optimizer, lambda value: plan.per_group(optimizer, value)).step
    )


def plateau(**settings: Any) -> Make:
    """Make a scheduler on a loss that never improves."""

    def make(plan: mt.Plan, optimizer: Any) -> Callable[[], None]:
        given = {"patience": 1, "factor": 0.5} | settings
        if given.pop("scaled", False):
            given["min_lr"] = plan.per_group(optimizer, settings["min_lr"])
        schedule = schedules.ReduceLROnPlateau(optimizer, **given)
        return lambda: schedule.step(1.0)

    return make


def chain(optimizer: Any) -> Any:
    constant = schedules.ConstantLR(optimizer, 0.5, 4)
    return schedules.ChainedScheduler([constant, schedules.ExponentialLR(optimizer, 0.9)])


def sequence(optimizer: Any, eta_min: float = 0.0) -> Any:
    """Make a linear warm-up and then a cosine."""
    warm_up = schedules.LinearLR(optimizer, 0.1, total_iters=5)
    cosine = schedules.CosineAnnealingLR(optimizer, STEPS - 5, eta_min)
    return schedules.SequentialLR(optimizer, [warm_up, cosine], [5])


def unlike(optimizer: Any) -> list[Callable[[int], float]]:
    """Return another function for each group."""
    return [lambda step, k=k: 1 / (1 + k * step) for k in range(len(optimizer.param_groups))]


def cosine(end: float) -> Callable[[int], float]:
    """Return a factor that falls from 1 to `end`."""
    return lambda step: end + (1 - end) * (1 + math.cos(math.pi * step / STEPS)) / 2


def written(rate: Callable[[int, dict[str, Any]], float]) -> Make:
    """Make a loop that writes rates into groups itself, as frameworks do."""

    def make(plan: mt.Plan, optimizer: Any) -> Callable[[], None]:
        steps = iter(range(1, STEPS + 1))

        def write() -> None:
            step = next(steps)
            for group in optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"].fill_(rate(step, group))
                else:
                    group["lr"] = rate(step, group)

        return write

    return make


KEPT: dict[str, Make] = {
    "LambdaLR": stepped(lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step))),
    "LambdaLR, warm-up from 0": stepped(
        lambda o: schedules.LambdaLR(o, lambda step: min(1.0, step / 5))
    ),
    "MultiplicativeLR": stepped(lambda o: schedules.MultiplicativeLR(o, lambda step: 0.9)),
    "StepLR": stepped(lambda o: schedules.StepLR(o, 5)),
    "MultiStepLR": stepped(lambda o: schedules.MultiStepLR(o, [3, 12])),
    "ConstantLR": stepped(lambda o: schedules.ConstantLR(o, 0.25, 6)),
    "LinearLR": stepped(lambda o: schedules.LinearLR(o, 0.1, 1.0, 10)),
    "ExponentialLR": stepped(lambda o: schedules.ExponentialLR(o, 0.8)),
    "PolynomialLR": stepped(lambda o: schedules.PolynomialLR(o, STEPS, 2.0)),
    "CosineAnnealingLR": stepped(lambda o: schedules.CosineAnnealingLR(o, STEPS)),
    "CosineAnnealingLR, beyond its end": stepped(lambda o: schedules.CosineAnnealingLR(o, 8)),
    "CosineAnnealingWarmRestarts": stepped(lambda o: schedules.CosineAnnealingWarmRestarts(o, 5)),
    "SequentialLR": stepped(sequence),
    "ChainedScheduler": stepped(chain),
    "ReduceLROnPlateau": plateau(),
    "ReduceLROnPlateau, cooldown": plateau(cooldown=3),
    "loop that multiplies by lr_factor": written(
        lambda step, group: RATE / step * group["lr_factor"]
    ),
}
LOST: dict[str, tuple[int, Make, Make]] = {
    "CosineAnnealingLR, eta_min": (
        1,
        stepped(lambda o: schedules.CosineAnnealingLR(o, STEPS, eta_min=0.05)),
        stepped(lambda o: schedules.LambdaLR(o, cosine(0.5))),
    ),
    "CosineAnnealingWarmRestarts, eta_min": (
        1,
        stepped(lambda o: schedules.CosineAnnealingWarmRestarts(o, STEPS, eta_min=0.05)),
        stepped(lambda o: schedules.LambdaLR(o, cosine(0.5))),
    ),
    "SequentialLR, eta_min": (6, stepped(lambda o: sequence(o, 0.05)), stepped(sequence)),
    "OneCycleLR": (
        0,
        stepped(lambda o: schedules.OneCycleLR(o, 0.3, total_steps=STEPS + 1)),
        scaled(lambda o, of: schedules.OneCycleLR(o, of(0.3), total_steps=STEPS + 1)),
    ),
    "CyclicLR": (
        0,
        stepped(lambda o: schedules.CyclicLR(o, 0.01, 0.3, step_size_up=4)),
        scaled(lambda o, of: schedules.CyclicLR(o, of(0.01), of(0.3), step_size_up=4)),
    ),
    "CyclicLR, one base_lr": (
        0,
        scaled(lambda o, of: schedules.CyclicLR(o, 0.01, of(0.3), step_size_up=4)),
        scaled(
            lambda o, of: schedules.CyclicLR(
                o, of(0.01), of(0.3), step_size_up=4, mode="triangular2"
            )
        ),
    ),
    "ReduceLROnPlateau, min_lr": (3, plateau(min_lr=0.03), plateau(min_lr=0.03, scaled=True)),
    "ReduceLROnPlateau, rates that change by less than its eps": (
        3,
        plateau(eps=0.02),
        plateau(eps=0.0),
    ),
    "SWALR": (
        1,
        stepped(lambda o: SWALR(o, 0.05, 5, "linear")),
        scaled(lambda o, of: SWALR(o, of(0.05), 5, "linear")),
    ),
    "LambdaLR, another function for each group": (
        1,
        stepped(lambda o: schedules.LambdaLR(o, unlike(o))),
        stepped(lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step))),
    ),
    "loop that writes one rate": (
        1,
        written(lambda step, _: RATE / step),
        written(lambda step, g: RATE / step * g["lr_factor"]),
    ),
    "loop that adds to each rate": (
        1,
        written(lambda step, group: RATE * group["lr_factor"] + 0.001 * step),
        written(lambda step, group: (RATE + 0.001 * step) * group["lr_factor"]),
    ),
}
FIXED = {f"{name}, remedy": remedy for name, (_, _, remedy) in LOST.items()}
KINDS = ["number", "tensor"]
TOLERANCE = {"number": 1e-6, "tensor": 1.2e-3}


def trained(kind: str = "number") -> tuple[mt.Plan, nn.Module, torch.optim.AdamW]:
    """Return a plan, its model and an optimizer whose rates are numbers or tensors."""
    model = small(32)
    plan = mt.plan(model, small(8))
    groups = plan.param_groups(model, torch.tensor(RATE) if kind == "tensor" else RATE)
    return plan, model, torch.optim.AdamW(groups, foreach=False)


def spread(optimizer: torch.optim.Optimizer) -> float:
    """Return the relative range of the groups' rates over their factors."""
    shares = [float(group["lr"]) / group["lr_factor"] for group in optimizer.param_groups]
    return (max(shares) - min(shares)) / max(shares) if max(shares) else 0.0


def followed(make: Make, kind: str) -> tuple[list[bool], list[bool]]:
    """Return before and after each step whether the ratios are kept, and audited so."""
    plan, model, optimizer = trained(kind)
    advance = make(plan, optimizer)
    kept, passed = [], []
    for step in range(STEPS + 1):
        if step:
            optimizer.step()
            advance()
        kept.append(spread(optimizer) < TOLERANCE[kind])
        passed.append(plan.audit(model, optimizer).ok)
    return kept, passed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", (KEPT | FIXED).values(), ids=KEPT | FIXED)
def test_a_schedule_keeps_the_ratios(make: Make, kind: str) -> None:
    kept, passed = followed(make, kind)
    assert all(kept) and passed == kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "make", "_"), LOST.values(), ids=LOST)
def test_the_audit_sees_lost_ratios_at_the_first_step(
    first: int, make: Make, _: Make, kind: str
) -> None:
    kept, passed = followed(make, kind)
    assert kept.index(False) == first and passed == kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "make", "_"), LOST.values(), ids=LOST)
def test_a_guard_stops_the_first_step_at_lost_ratios(
    first: int, make: Make, _: Make, kind: str
) -> None:
    plan, model, optimizer = trained(kind)
    steps = 0
    with plan.guard(model, optimizer):
        advance = make(plan, optimizer)
        with pytest.raises(
            ValueError,
            match=r"do not stand in the planned ratios to a base rate of \S+: "
            r".* planned .* found .*; .*plan\.per_group",
        ):
            while True:
                optimizer.step()
                advance()
                steps += 1
    assert steps == first


def test_all_of_torchs_schedulers_are_tested() -> None:
    tested = {name.partition(",")[0] for name in KEPT | LOST}
    assert set(schedules.__all__) - {"LRScheduler"} <= tested


def test_the_remedies_follow_the_same_curve_at_the_common_rate() -> None:
    """With a value for each group, the group of factor 1 has the rates of the scalar."""
    plan, _, plain = trained()
    _, _, remedied = trained()
    one = schedules.OneCycleLR(plain, 0.3, total_steps=STEPS + 1)
    other = schedules.OneCycleLR(remedied, plan.per_group(remedied, 0.3), total_steps=STEPS + 1)
    at = next(i for i, group in enumerate(remedied.param_groups) if group["lr_factor"] == 1)
    for _ in range(STEPS):
        assert remedied.param_groups[at]["lr"] == plain.param_groups[at]["lr"]
        for optimizer, schedule in ((plain, one), (remedied, other)):
            optimizer.step()
            schedule.step()


def test_a_cosine_to_a_floor_is_a_lambda_for_the_group_of_factor_one() -> None:
    _, _, plain = trained()
    _, _, remedied = trained()
    one = schedules.CosineAnnealingLR(plain, STEPS, eta_min=0.05)
    other = schedules.LambdaLR(remedied, cosine(0.5))
    at = next(i for i, group in enumerate(remedied.param_groups) if group["lr_factor"] == 1)
    for _ in range(STEPS):
        rates = [optimizer.param_groups[at]["lr"] for optimizer in (remedied, plain)]
        assert rates[0] == pytest.approx(rates[1], rel=1e-12)
        for optimizer, schedule in ((plain, one), (remedied, other)):
            optimizer.step()
            schedule.step()


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_over_a_long_schedule_is_no_finding(kind: str) -> None:
    plan, model, optimizer = trained(kind)
    schedule = schedules.MultiplicativeLR(optimizer, lambda step: 0.997)
    optimizer.step()
    for _ in range(3000):
        schedule.step()
    assert plan.audit(model, optimizer).ok


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_that_goes_on_from_a_checkpoint(kind: str) -> None:
    plan, _, optimizer = trained(kind)
    first = sequence(optimizer)
    for _ in range(7):
        optimizer.step()
        first.step()
    _, other, resumed = trained(kind)
    again = sequence(resumed)
    resumed.load_state_dict(optimizer.state_dict())
    again.load_state_dict(first.state_dict())
    for _ in range(7):
        assert plan.audit(other, resumed).ok
        rates = [[group["lr"] for group in o.param_groups] for o in (resumed, optimizer)]
        assert rates[0] == rates[1]
        for stepping, schedule in ((optimizer, first), (resumed, again)):
            stepping.step()
            schedule.step()


CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch runs this on an accelerator only"
)
IMPLEMENTATIONS = {
    "for-loop": ({"foreach": False}, "number", "cpu"),
    "foreach": ({"foreach": True}, "number", "cpu"),
    "fused": ({"fused": True}, "number", "cpu"),
    "for-loop, tensor": ({"foreach": False}, "tensor", "cpu"),
    "fused, tensor": ({"fused": True}, "tensor", "cpu"),
    "capturable": ({"capturable": True, "foreach": False}, "tensor", "cuda"),
    "capturable foreach": ({"capturable": True, "foreach": True}, "tensor", "cuda"),
    "fused, on cuda": ({"fused": True}, "tensor", "cuda"),
}


def run_of(options: dict[str, Any], kind: str, device: str) -> list[torch.Tensor]:
    """Train with one implementation of the step; return the tensors."""
    torch.manual_seed(0)
    model, base = small(32).double().to(device), small(8).double()
    plan = mt.plan(model, base)
    lr = torch.tensor(0.01, device=device, dtype=torch.float64) if kind == "tensor" else 0.01
    optimizer = torch.optim.AdamW(plan.param_groups(model, lr, weight_decay=0.1), **options)
    schedule = schedules.OneCycleLR(
        optimizer, plan.per_group(optimizer, 0.02), total_steps=STEPS + 1
    )
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(1)).double().to(device)
    with plan.guard(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x), torch.arange(16, device=device) % 3).backward()
            optimizer.step()
            schedule.step()
    return [p.detach().cpu() for p in model.parameters()]


@pytest.mark.parametrize(
    ("options", "kind", "device"),
    [
        pytest.param(*case, id=name, marks=CUDA if case[2] == "cuda" else ())
        for name, case in IMPLEMENTATIONS.items()
    ],
)
def test_implementations_of_the_step_train_alike(
    options: dict[str, Any], kind: str, device: str
) -> None:
    plain = run_of({"foreach": False}, "number", "cpu")
    for tensor, expected in zip(run_of(options, kind, device), plain, strict=True):
        assert torch.allclose(tensor, expected, rtol=1e-9, atol=1e-12)
