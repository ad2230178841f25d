"""Tuned plans applied: initial values, groups, audits, snippets."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.pytorch import snippet
from mutransfer.tasks import gpt, resmlp
from tests.models import Everything

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


@pytest.mark.parametrize("signal", ["readout", "embedding", "branch"])
@pytest.mark.parametrize("tied", [False, True])
def test_carriers_multiply_their_signal_alone(signal: str, tied: bool) -> None:
    """Every kind of branch, in a network that no longer is as it was drawn."""
    inputs = torch.arange(16).reshape(2, 8) % 12, torch.randn(2, 8, 3)
    model = Everything(32, 2, 2, tied=tied)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    plan = mt.plan(model, Everything(16, 2, 2, tied=tied), example_inputs=inputs)
    model, inputs = model.double(), (inputs[0], inputs[1].double())
    folded, explicit = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        for name, power in plan.tunable[signal].tensors.items():
            folded.get_parameter(name).mul_(0.3**power)
    ends = {
        "readout": [explicit.head],
        "embedding": [explicit.token, explicit.position],
        "branch": [*explicit.blocks],
    }
    for module in ends[signal]:
        module.register_forward_hook(lambda module, inputs, output: 0.3 * output)
    torch.testing.assert_close(folded(*inputs), explicit(*inputs), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(folded(*inputs), model(*inputs), rtol=1e-2)


def test_declared_branches_can_be_tuned() -> None:
    norm = ("blocks.*.mlp_norm.*", "blocks.*.up.*", "blocks.*.down.*")
    attention = [
        f"blocks.*.{name}.*" for name in ("attention_norm", "query", "key", "value", "out")
    ]
    branches = {"blocks.*.out": tuple(attention), "blocks.*.down": norm}
    plan = mt.plan(gpt(64, 2), gpt(32, 2), branches=branches).tuned(branch=0.5)
    carried = {name for name, tensor in plan.tensors.items() if "branch" in tensor.ratios}
    assert carried == {f"blocks.{i}.{end}.weight" for i in range(2) for end in ("out", "down")}
