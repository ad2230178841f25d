"""At base size a plan changes nothing, bit for bit."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import gpt, mlp

Task = tuple[Callable[[], nn.Module], Tensor, Tensor]
TEXT = torch.arange(16).view(2, 8), torch.arange(3, 19).view(2, 8)
TASKS: dict[str, Task] = {
    "gpt": (lambda: gpt(32, 2, vocabulary=19, context=8), *TEXT),
    "gpt, tied": (lambda: gpt(32, 1, vocabulary=19, context=8, tied=True), *TEXT),
    "mlp": (
        lambda: mlp(24, 3, inputs=5),
        torch.linspace(-1, 1, 40).view(8, 5),
        torch.arange(8),
    ),
}
OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {}),
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


def trained(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x).flatten(0, -2), y.flatten()).backward()
        optimizer.step()
    return model.state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_at_base_size_is_plain_torch(task: Task, name: str) -> None:
    make, x, y = task
    base = make()
    plain, planned = copy.deepcopy(base), copy.deepcopy(base)
    kind, options = OPTIMIZERS[name]
    plan = mt.plan(planned, base, optimizer=name)
    assert plan.at_base
    plan.initialize(planned)
    groups = plan.param_groups(planned, 0.01)
    assert [group["lr_factor"] for group in groups] == [1.0]
    reference = trained(plain, kind(plain.parameters(), lr=0.01, **options), x, y)
    assert same(trained(planned, kind(groups, **options), x, y), reference)
    assert not same(base.state_dict(), reference)


@pytest.mark.parametrize("rule", ["sp", "mup", "depth-mup", "completep"])
def test_another_draw_of_the_base_is_left_as_drawn(task: Task, rule: str) -> None:
    base, model = task[0](), task[0]()
    drawn = copy.deepcopy(model.state_dict())
    plan = mt.plan(model, base, rule=rule)
    plan.initialize(model)
    assert len(plan.param_groups(model, 0.01)) == 1
    assert same(model.state_dict(), drawn) and not same(base.state_dict(), drawn)


def test_standard_parametrization_changes_nothing_at_any_size() -> None:
    model, base = gpt(48, 4, tied=True, heads=2), gpt(16, 2, tied=True, heads=2)
    drawn = copy.deepcopy(model.state_dict())
    plan = mt.plan(model, base, rule="sp")
    plan.initialize(model)
    assert same(model.state_dict(), drawn)
    (group,) = plan.param_groups(model, 0.01, eps=1e-6, weight_decay=0.2)
    assert (group["lr"], group["eps"], group["weight_decay"]) == (0.01, 1e-6, 0.2)


def test_planning_touches_neither_model() -> None:
    model, base = gpt(32, 3).train(), gpt(16, 2).eval()
    before = copy.deepcopy((model.state_dict(), base.state_dict()))
    state = torch.get_rng_state()
    mt.plan(model, base)
    assert same(model.state_dict(), before[0]) and same(base.state_dict(), before[1])
    assert model.training and not base.training and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for m in (model, base) for p in m.parameters())
