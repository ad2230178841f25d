"""Parameters on one memory: refused where they overlap, planned where they lie apart."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

import mutransfer as mt
from mutransfer.pytorch._memory import check_apart
from mutransfer.pytorch._tensors import rms
from tests.models import Net, pair

IDS = torch.arange(6).view(2, 3)
REFUSED = "are two Parameters on the same memory.*tie the modules by one Parameter"


def language_model(width: int, tie: Callable[[Any], None]) -> Net:
    """Build an embedding, a hidden layer and a head, which share values in some way."""
    model = Net(
        lambda m, x: m.head(m.hidden(m.table(x)).relu()),
        table=nn.Embedding(7, width),
        hidden=nn.Linear(width, width),
        head=nn.Linear(width, 7, bias=False),
    )
    tie(model)
    return model


def by_data(model: Any) -> None:
    model.head.weight.data = model.table.weight.data


def by_a_second_parameter(model: Any) -> None:
    model.head.weight = nn.Parameter(model.table.weight.data)


def by_one_array(model: Any) -> None:
    values = np.ones(model.head.weight.shape, np.float32)
    for layer in (model.table, model.head):
        layer.weight = nn.Parameter(torch.from_numpy(values))


def by_one_frozen_tensor(model: Any) -> None:
    model.table = nn.Embedding.from_pretrained(model.head.weight.data)


def by_one_parameter(model: Any) -> None:
    model.head.weight = model.table.weight


def untied(model: Any) -> None:
    """Leave the two as they are."""


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "tie", [by_data, by_a_second_parameter, by_one_array, by_one_frozen_tensor]
)
def test_two_parameters_on_one_memory_are_refused(tie: Any, device: str) -> None:
    if device == "meta" and tie is by_one_array:
        pytest.skip("an array has values")
    with torch.device(device):
        shared = language_model(16, tie)
    with pytest.raises(mt.MutransferError, match=rf"table\.weight and head\.weight {REFUSED}"):
        mt.plan(shared, language_model(8, untied), example_inputs=IDS)
    with pytest.raises(mt.MutransferError, match=REFUSED):
        mt.plan(language_model(32, untied), shared, example_inputs=IDS)


VERBS: dict[str, Callable[[mt.Plan, nn.Module, Any], object]] = {
    "initialize": lambda plan, model, _: plan.initialize(model),
    "param_groups": lambda plan, model, _: plan.param_groups(model, 0.1),
    "audit": lambda plan, model, optimizer: plan.audit(model, optimizer),
    "clip": lambda plan, model, _: plan.clip_grad_norm_(model, 1.0),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_model_tied_by_its_data_after_planning_is_refused(verb: Any) -> None:
    model = language_model(16, untied)
    plan = mt.plan(model, language_model(8, untied), example_inputs=IDS)
    optimizer = torch.optim.AdamW(plan.param_groups(model, 0.1))
    verb(plan, model, optimizer)
    by_data(model)
    before = model.table.weight.detach().clone()
    with pytest.raises(mt.MutransferError, match=REFUSED):
        verb(plan, model, optimizer)
    assert torch.equal(model.table.weight, before)


def test_modules_tied_by_one_parameter_are_planned() -> None:
    model, base = (language_model(width, by_one_parameter) for width in (16, 8))
    plan = mt.plan(model, base, example_inputs=IDS)
    plan.initialize(model)
    assert plan["table.weight"].role == "tied"
    wanted = plan["table.weight"].base_rms
    assert wanted is not None and rms([model.table.weight]) == pytest.approx(
        wanted * plan["table.weight"].factor("init")
    )


def flat(width: int) -> Net:
    """Build the layers of `pair` with all values in one buffer."""
    model = pair(width)
    buffer = torch.cat([parameter.detach().view(-1) for parameter in model.parameters()])
    parts = buffer.split([parameter.numel() for parameter in model.parameters()])
    for parameter, part in zip(model.parameters(), parts, strict=True):
        parameter.data = part.view(parameter.shape)
    return model


def test_parts_of_one_buffer_are_planned_as_tensors_of_their_own() -> None:
    torch.manual_seed(0)
    base, model = flat(16), flat(64)
    assert len({parameter.untyped_storage().data_ptr() for parameter in model.parameters()}) == 1
    plan = mt.plan(model, base)
    plan.initialize(model)
    for name, parameter in model.named_parameters():
        expected = (plan[name].base_rms or 0.0) * plan[name].factor("init")
        assert rms([parameter]) == pytest.approx(expected, rel=1e-5), name


ROWS = torch.zeros(12, 10)
BYTES = torch.zeros(96, dtype=torch.uint8)
CUBE = torch.zeros(4, 6, 8)
APART: dict[str, Callable[[], Iterator[Tensor]]] = {
    "rows": lambda: iter(ROWS.split([3, 9])),
    "columns": lambda: iter(ROWS.split([3, 7], dim=1)),
    "every other row": lambda: iter((ROWS[::2], ROWS[1::2])),
    "middle dimension": lambda: iter(CUBE.split([2, 3, 1], dim=1)),
    "last dimension": lambda: iter(CUBE.split([5, 3], dim=2)),
    "two types": lambda: iter((BYTES[:32].view(torch.float32), BYTES[32:].view(torch.bfloat16))),
    "nothing": lambda: iter((ROWS[:0], ROWS[:0], ROWS)),
    "recurrent": lambda: nn.LSTM(3, 4, 2, bidirectional=True).parameters(),
    "sparse": lambda: iter([torch.eye(3).to_sparse() for _ in range(2)]),
    "meta": lambda: iter([torch.empty(3, 3, device="meta") for _ in range(2)]),
}
OVERLAPPING: dict[str, Callable[[], Iterator[Tensor]]] = {
    "transposed": lambda: iter((ROWS, ROWS.T)),
    "columns": lambda: iter((ROWS[:, :4], ROWS[:, 3:])),
    "shifted": lambda: iter((ROWS.view(-1)[:90], ROWS.view(-1)[10:])),
    "one inside": lambda: iter((ROWS, ROWS[7, 5:6])),
    "two types": lambda: iter((BYTES.view(torch.float32), BYTES[4:].view(torch.bfloat16))),
    "not the next": lambda: iter((ROWS, ROWS.view(-1)[:0], ROWS[5:6], ROWS[11:])),
}


def named(tensors: Iterator[Tensor]) -> dict[str, Tensor]:
    return {f"{i}": tensor for i, tensor in enumerate(tensors)}


@pytest.mark.parametrize("tensors", APART.values(), ids=APART)
def test_parts_that_lie_apart(tensors: Callable[[], Iterator[Tensor]]) -> None:
    check_apart(named(tensors()))


@pytest.mark.parametrize("tensors", OVERLAPPING.values(), ids=OVERLAPPING)
def test_parts_that_overlap(tensors: Callable[[], Iterator[Tensor]]) -> None:
    with pytest.raises(mt.MutransferError, match=REFUSED):
        check_apart(named(tensors()))


def test_tensors_without_numbers() -> None:
    with FakeTensorMode():
        one, other = torch.empty(3), torch.empty(3)
        check_apart({"one": one, "other": other})
        with pytest.raises(mt.MutransferError, match=REFUSED):
            check_apart({"one": one, "again": one.detach()})
