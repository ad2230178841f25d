"""Tuned plans applied: initial values, groups, audits, snippets."""

from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.pytorch import snippet
from mutransfer.tasks import gpt, resmlp

TUNING: dict[str, Any] = {"readout": 4, "branch": 0.5, "init.up.1.weight": 3, "lr.up.*": 2}


def drawn(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return resmlp(width, 3)


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.detach().double().square().mean().sqrt())


@pytest.mark.parametrize("width", [32, 64])
def test_initial_values_have_the_tuned_scale(width: int) -> None:
    plan = mt.plan(drawn(width, 1), drawn(32, 0))
    tuned = plan.tuned(**TUNING)
    untouched, before, model = (drawn(width, 1) for _ in range(3))
    plan.initialize(before)
    tuned.initialize(model)
    values, untuned = dict(model.named_parameters()), dict(before.named_parameters())
    assert rms(values["readout.weight"]) == pytest.approx(
        4 * tuned["readout.weight"].base_rms * plan["readout.weight"].factor("init"), rel=1e-6
    )
    wanted = 3 * tuned["up.1.weight"].base_rms * plan["up.1.weight"].factor("init")
    assert rms(values["up.1.weight"]) == pytest.approx(wanted, rel=1e-6)
    for name in ("input.weight", "up.0.bias", "readout.bias"):
        torch.testing.assert_close(values[name], untuned[name], rtol=1e-6, atol=0)
        if width == 32:
            assert torch.equal(values[name], untouched.get_parameter(name))
    once = {name: value.clone() for name, value in values.items()}
    tuned.initialize(model)
    assert all(torch.equal(once[name], value) for name, value in model.named_parameters())


def test_tuned_rates_alone_leave_the_draw_alone() -> None:
    model, untouched = drawn(32, 1), drawn(32, 1)
    plan = mt.plan(model, drawn(32, 0)).tuned(**{"lr.readout": 2})
    plan.initialize(model)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), untouched.parameters(), strict=True)
    )


def test_zeros_stay_zeros() -> None:
    def build() -> nn.Module:
        model = gpt(32, 2)
        nn.init.zeros_(model.head.weight)  # type: ignore[union-attr, arg-type]
        return model

    model = build()
    plan = mt.plan(model, build()).tuned(readout=4)
    plan.initialize(model)
    assert not model.head.weight.any()  # type: ignore[union-attr, operator]
    assert plan["head.weight"].factor("lr") == 4


def test_an_audit_follows_what_is_tuned() -> None:
    model = drawn(64, 1)
    plan = mt.plan(model, drawn(32, 0))
    tuned = plan.tuned(**TUNING)
    optimizer = torch.optim.AdamW(tuned.param_groups(model, 0.01, weight_decay=0.1))
    assert not tuned.audit(model, optimizer).findings
    assert plan.audit(model, optimizer).findings
    with tuned.guard(model, optimizer):
        model(torch.ones(2, 64)).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("width", [32, 64])
def test_a_snippet_says_what_is_tuned(width: int) -> None:
    tuned = mt.plan(drawn(width, 1), drawn(32, 0)).tuned(**TUNING)
    model, other = drawn(width, 1), drawn(width, 1)
    tuned.initialize(model)
    space: dict[str, Any] = {}
    exec(snippet(tuned, 0.01), space)
    space["initialize"](other)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=0)
    rates = {n: g["lr"] for g in space["param_groups"](other) for n in g["names"]}
    wanted = {n: g["lr"] for g in tuned.param_groups(model, 0.01) for n in g["names"]}
    assert rates == wanted


def test_hooks_of_a_plan_stay() -> None:
    """A forward multiplier of the rule is attached as without tuning."""

    def build(width: int, depth: int) -> nn.Module:
        class Branch(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.act = nn.Linear(width, width), nn.Tanh()

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + self.act(self.layer(x))  # type: ignore[no-any-return]

        blocks = nn.Sequential(*(Branch() for _ in range(depth)))
        return nn.Sequential(nn.Linear(5, width), blocks, nn.Linear(width, 3))

    model = build(16, 4)
    plan = mt.plan(model, build(8, 2), hooks=True)
    tuned = plan.tuned(readout=4)
    assert tuned.forward == plan.forward != {}
    tuned.attach(model)
    tuned.initialize(model)
    assert tuned.param_groups(model, 0.1)
