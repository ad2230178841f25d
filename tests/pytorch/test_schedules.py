"""Which of torch's schedulers keep the planned ratios, which lose them, and what helps those that do."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR

from mutransfer.plan import Plan, plan
from mutransfer.tasks._models import mlp

STEPS = 20
RATE = 0.1
Make = Callable[[Plan, Any], Callable[[], None]]
"""From plan and optimizer to what advances the schedule."""


def stepped(make: Callable[[Any], Any]) -> Make:
    return lambda own, optimizer: make(optimizer).step


def scaled(make: Callable[[Any, Callable[[float], list[float]]], Any]) -> Make:
    """A scheduler that is given one value for each group."""
    return lambda own, optimizer: make(optimizer, lambda value: own.per_group(optimizer, value)).step


def plateau(**settings: Any) -> Make:
    """The loss never improves."""

    def make(own: Plan, optimizer: Any) -> Callable[[], None]:
        floor = {"min_lr": own.per_group(optimizer, settings["min_lr"])} if settings.get("scaled") else {}
        given = {key: value for key, value in settings.items() if key != "scaled"}
        schedule = schedules.ReduceLROnPlateau(optimizer, **{"patience": 1, "factor": 0.5} | given | floor)
        return lambda: schedule.step(1.0)

    return make


def chain(optimizer: Any) -> Any:
    return schedules.ChainedScheduler([schedules.ConstantLR(optimizer, 0.5, 4), schedules.ExponentialLR(optimizer, 0.9)])


def sequence(optimizer: Any, eta_min: float = 0.0) -> Any:
    """Linear warm-up, then a cosine."""
    warm_up = schedules.LinearLR(optimizer, 0.1, total_iters=5)
    return schedules.SequentialLR(optimizer, [warm_up, schedules.CosineAnnealingLR(optimizer, STEPS - 5, eta_min)], [5])


def cosine(end: float) -> Callable[[int], float]:
    """From 1 to `end`, as a factor."""
    return lambda step: end + (1 - end) * (1 + math.cos(math.pi * step / STEPS)) / 2


def written(rate: Callable[[int, dict[str, Any]], float]) -> Make:
    """A framework's loop that writes rates into groups itself."""

    def make(own: Plan, optimizer: Any) -> Callable[[], None]:
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
    "LambdaLR, warm-up from 0": stepped(lambda o: schedules.LambdaLR(o, lambda step: min(1.0, step / 5))),
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
    "loop that multiplies by lr_factor": written(lambda step, group: RATE / step * group["lr_factor"]),
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
        scaled(lambda o, each: schedules.OneCycleLR(o, each(0.3), total_steps=STEPS + 1)),
    ),
    "CyclicLR": (
        0,
        stepped(lambda o: schedules.CyclicLR(o, 0.01, 0.3, step_size_up=4)),
        scaled(lambda o, each: schedules.CyclicLR(o, each(0.01), each(0.3), step_size_up=4)),
    ),
    "CyclicLR, one base_lr": (
        0,
        scaled(lambda o, each: schedules.CyclicLR(o, 0.01, each(0.3), step_size_up=4)),
        scaled(lambda o, each: schedules.CyclicLR(o, each(0.01), each(0.3), step_size_up=4, mode="triangular2")),
    ),
    "ReduceLROnPlateau, min_lr": (3, plateau(min_lr=0.03), plateau(min_lr=0.03, scaled=True)),
    "ReduceLROnPlateau, rates that change by less than its eps": (3, plateau(eps=0.02), plateau(eps=0.0)),
    "SWALR": (1, stepped(lambda o: SWALR(o, 0.05, 5, "linear")), scaled(lambda o, each: SWALR(o, each(0.05), 5, "linear"))),
    "LambdaLR, another function for each group": (
        1,
        stepped(lambda o: schedules.LambdaLR(o, [lambda step, k=k: 1 / (1 + k * step) for k in range(len(o.param_groups))])),
        stepped(lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step))),
    ),
    "loop that writes one rate": (1, written(lambda step, _: RATE / step), written(lambda step, g: RATE / step * g["lr_factor"])),
    "loop that adds to each rate": (
        1,
        written(lambda step, group: RATE * group["lr_factor"] + 0.001 * step),
        written(lambda step, group: (RATE + 0.001 * step) * group["lr_factor"]),
    ),
}
FIXED = {f"{name}, remedy": remedy for name, (_, _, remedy) in LOST.items()}
KINDS = ["number", "tensor"]
TOLERANCE = {"number": 1e-6, "tensor": 1.2e-3}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def trained(kind: str = "number") -> tuple[Plan, nn.Module, torch.optim.AdamW]:
    model, base = mlp(32, inputs=6, outputs=3), mlp(8, inputs=6, outputs=3)
    own = plan(model, base)
    return own, model, torch.optim.AdamW(own.param_groups(model, torch.tensor(RATE) if kind == "tensor" else RATE), foreach=False)


def spread(optimizer: torch.optim.Optimizer) -> float:
    """How far the groups' rates over their factors lie apart."""
    shares = [float(group["lr"]) / group["lr_factor"] for group in optimizer.param_groups]
    return (max(shares) - min(shares)) / max(shares) if max(shares) else 0.0


def followed(make: Make, kind: str) -> tuple[list[bool], list[bool]]:
    """At each step, from the schedule's making on: whether the ratios are kept, and whether the audit says so."""
    own, model, optimizer = trained(kind)
    advance = make(own, optimizer)
    kept, said = [], []
    for step in range(STEPS + 1):
        if step:
            optimizer.step()
            advance()
        kept.append(spread(optimizer) < TOLERANCE[kind])
        said.append(own.audit(model, optimizer).ok)
    return kept, said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", (KEPT | FIXED).values(), ids=KEPT | FIXED)
def test_kept(make: Make, kind: str) -> None:
    kept, said = followed(make, kind)
    assert all(kept) and said == kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "make", "_"), LOST.values(), ids=LOST)
def test_lost_and_found_at_the_first_step(first: int, make: Make, _: Make, kind: str) -> None:
    kept, said = followed(make, kind)
    assert kept.index(False) == first and said == kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "make", "_"), LOST.values(), ids=LOST)
def test_a_guard_stops_the_first_step_at_lost_ratios(first: int, make: Make, _: Make, kind: str) -> None:
    own, model, optimizer = trained(kind)
    steps = 0
    with own.guard(model, optimizer):
        advance = make(own, optimizer)
        with pytest.raises(ValueError, match=r"do not stand in the planned ratios: .* planned .* found .*; .*plan\.per_group"):
            while True:
                optimizer.step()
                advance()
                steps += 1
    assert steps == first


def test_all_of_torchs_schedulers_are_here() -> None:
    here = {name.partition(",")[0] for name in KEPT | LOST}
    assert set(schedules.__all__) - {"LRScheduler"} <= here


def test_the_remedies_follow_the_same_curve_at_the_common_rate() -> None:
    """Scaled per group, the group of factor 1 is scheduled as the scalar says."""
    own, _, plain = trained()
    _, _, remedied = trained()
    one = schedules.OneCycleLR(plain, 0.3, total_steps=STEPS + 1)
    other = schedules.OneCycleLR(remedied, own.per_group(remedied, 0.3), total_steps=STEPS + 1)
    at = next(i for i, group in enumerate(remedied.param_groups) if group["lr_factor"] == 1)
    for _ in range(STEPS):
        assert remedied.param_groups[at]["lr"] == plain.param_groups[at]["lr"]
        for optimizer, schedule in ((plain, one), (remedied, other)):
            optimizer.step()
            schedule.step()


def test_a_cosine_to_a_floor_as_a_lambda_is_torchs_for_the_group_of_factor_one() -> None:
    _, _, plain = trained()
    _, _, remedied = trained()
    one, other = schedules.CosineAnnealingLR(plain, STEPS, eta_min=0.05), schedules.LambdaLR(remedied, cosine(0.5))
    at = next(i for i, group in enumerate(remedied.param_groups) if group["lr_factor"] == 1)
    for _ in range(STEPS):
        assert remedied.param_groups[at]["lr"] == pytest.approx(plain.param_groups[at]["lr"], rel=1e-12)
        for optimizer, schedule in ((plain, one), (remedied, other)):
            optimizer.step()
            schedule.step()


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_over_a_long_schedule_is_no_finding(kind: str) -> None:
    own, model, optimizer = trained(kind)
    schedule = schedules.MultiplicativeLR(optimizer, lambda step: 0.997)
    optimizer.step()
    for _ in range(3000):
        schedule.step()
    assert own.audit(model, optimizer).ok


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_that_goes_on_from_a_checkpoint(kind: str) -> None:
    own, _, optimizer = trained(kind)
    first = sequence(optimizer)
    for _ in range(7):
        optimizer.step()
        first.step()
    _, other, resumed = trained(kind)
    again = sequence(resumed)
    resumed.load_state_dict(optimizer.state_dict())
    again.load_state_dict(first.state_dict())
    for _ in range(7):
        assert own.audit(other, resumed).ok and [g["lr"] for g in resumed.param_groups] == [g["lr"] for g in optimizer.param_groups]
        for each, schedule in ((optimizer, first), (resumed, again)):
            each.step()
            schedule.step()


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch runs this on an accelerator only")
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
    torch.manual_seed(0)
    model, base = mlp(32, inputs=6, outputs=3).double().to(device), mlp(8, inputs=6, outputs=3).double()
    own = plan(model, base)
    lr = torch.tensor(0.01, device=device, dtype=torch.float64) if kind == "tensor" else 0.01
    optimizer = torch.optim.AdamW(own.param_groups(model, lr, weight_decay=0.1), **options)
    schedule = schedules.OneCycleLR(optimizer, own.per_group(optimizer, 0.02), total_steps=STEPS + 1)
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(1)).double().to(device)
    with own.guard(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x), torch.arange(16, device=device) % 3).backward()
            optimizer.step()
            schedule.step()
    return [p.detach().cpu() for p in model.parameters()]


@pytest.mark.parametrize(
    ("options", "kind", "device"),
    [pytest.param(*case, id=name, marks=CUDA if case[2] == "cuda" else ()) for name, case in IMPLEMENTATIONS.items()],
)
def test_implementations_of_the_step_train_alike(options: dict[str, Any], kind: str, device: str) -> None:
    plain = run_of({"foreach": False}, "number", "cpu")
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(run_of(options, kind, device), plain, strict=True))
