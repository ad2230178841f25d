"""A guard audits before every step, and stops the first faulty one."""

import copy
import warnings
from typing import Any

import pytest
import torch

import mutransfer as mt
from tests.pytorch.planned_training import Training, freeze, mixed, set_all, step, thaw_unasked
from tests.pytorch.planted_faults import FAULTS, FROZEN, SOPHIA


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


ELSEWHERE = {"another copy's", "torch's own groups", "in two optimizers"}
IN_TRAINING = {
    name: (make, fault, message)
    for name, (make, fault, _, message) in FAULTS.items()
    if name not in ELSEWHERE
    and make is not SOPHIA
    and "several" not in name
    and "split" not in name
}


@pytest.mark.parametrize(("make", "fault", "message"), IN_TRAINING.values(), ids=IN_TRAINING)
def test_a_guard_stops_before_the_first_faulty_step(make: Any, fault: Any, message: str) -> None:
    t = make()
    guard = t.plan.guard(t.model, *t.optimizers)
    step(t)
    step(t)
    fault(t)
    before = [p.detach().clone() for p in t.model.parameters()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(mt.MutransferError, match=message):
            t.optimizers[-1 if make is mixed else 0].step()
    assert all(torch.equal(a, b) for a, b in zip(before, t.model.parameters(), strict=True))
    guard.remove()


def test_a_guard_leaves_a_clean_run_alone_and_ends() -> None:
    t, free = mixed(), mixed()
    free.model.load_state_dict(t.model.state_dict())
    with t.plan.guard(t.model, *t.optimizers) as guard:
        for _ in range(3):
            torch.manual_seed(1)
            step(t)
            set_all("lr", lambda lr: 0.9 * lr)(t)
            torch.manual_seed(1)
            step(free)
            set_all("lr", lambda lr: 0.9 * lr)(free)
    assert all(
        torch.equal(a, b)
        for a, b in zip(t.model.parameters(), free.model.parameters(), strict=True)
    )
    set_all("lr", lambda lr: 0.1)(t)
    step(t)
    guard.remove()
    with pytest.raises(mt.MutransferError, match="do not stand in the planned ratios"):
        t.plan.guard(t.model, *t.optimizers)


def test_a_guard_lets_pass_what_an_audit_lets_pass() -> None:
    """Changes that are no fault pass.

    They are: a tensor frozen on the way, a decay changed for all, a frozen tensor's group without
    factors.
    """
    t = FROZEN()
    thaw_unasked(t)
    del t.groups[-1]["lr_factor"]
    with t.plan.guard(t.model, *t.optimizers):
        step(t)
        freeze("input.weight")(t)
        step(t)
        for group in t.groups[:-1]:
            group["weight_decay"] *= 2
        step(t)
        t.drop("input.weight")
        step(t)
        t.parameter("input.weight").requires_grad_(True)
        with pytest.raises(
            mt.MutransferError, match=r"input.weight: planned to train, found in no group"
        ):
            step(t)


def test_a_guard_stays_on_when_a_state_is_loaded() -> None:
    """Loading a state gives the optimizer new groups."""
    t = Training()
    with t.plan.guard(t.model, *t.optimizers):
        step(t)
        t.optimizers[0].load_state_dict(copy.deepcopy(t.optimizers[0].state_dict()))
        step(t)
        set_all("lr", lambda lr: 0.1)(t)
        with pytest.raises(mt.MutransferError, match=r"planned 0.025 found 0.1"):
            step(t)


def test_an_optimizer_without_hooks_is_refused() -> None:
    """An object with groups can be audited; nothing calls a guard before its step."""

    class Duck:
        def __init__(self, param_groups: Any) -> None:
            self.param_groups = param_groups

    t = Training()
    duck: Any = Duck(t.groups)
    assert t.plan.audit(t.model, duck).ok
    with pytest.raises(mt.MutransferError, match=r"Duck is no torch.*plan\.audit"):
        t.plan.guard(t.model, duck)
