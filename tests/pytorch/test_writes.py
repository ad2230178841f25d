"""Writes in place and views: what a tensor holds when it is read."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mutransfer.pytorch._record import record_program
from mutransfer.reading import Program


class Written(nn.Module):
    """Parameters that a function writes into a tensor and reads from it."""

    def __init__(self, function: Callable[[list[Tensor]], Tensor], count: int = 3) -> None:
        super().__init__()
        self.parts = nn.ParameterList(nn.Parameter(torch.ones(4)) for _ in range(count))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(list(self.parts))


def sources(program: Program) -> set[str]:
    """Names of the parameters that the output is made of."""
    (last,) = program.outputs
    todo, seen = [last], set[int]()
    while todo:
        index = todo.pop()
        if index not in seen:
            seen.add(index)
            todo += program.makers[index].inputs if index in program.makers else ()
    return {value.name for i, value in enumerate(program.values) if i in seen and value.name}


def read(function: Callable[[list[Tensor]], Tensor]) -> Program:
    return record_program(Written(function), torch.ones(1))


def table(rows: list[Tensor]) -> Tensor:
    """A tensor whose rows were written one by one, through views made before."""
    x = torch.zeros(len(rows), 4)
    views = x.unbind()
    for view, row in zip(views, rows, strict=True):
        view.copy_(row)
    return x


def test_a_base_holds_all_that_was_written_through_its_views() -> None:
    assert sources(read(table)) == {"parts.0", "parts.1", "parts.2"}


@pytest.mark.parametrize("row", range(3))
def test_a_row_holds_what_was_written_to_it_alone(row: int) -> None:
    def one(rows: list[Tensor]) -> Tensor:
        x = torch.zeros(3, 4)
        views = x.unbind()
        for view, value in zip(views, rows, strict=True):
            view.copy_(value)
        return views[row] * 2

    assert sources(read(one)) == {f"parts.{row}"}


def test_columns_are_apart() -> None:
    def one(rows: list[Tensor]) -> Tensor:
        x = torch.zeros(4, 3)
        columns = [x[:, i] for i in range(3)]
        for column, value in zip(columns, rows, strict=True):
            column.copy_(value)
        return columns[1] + 0

    program = read(one)
    assert sources(program) == {"parts.1"}
    assert "write" not in [operation.name for operation in program.operations]


def test_a_view_is_made_again_of_a_base_that_was_written() -> None:
    def again(rows: list[Tensor]) -> Tensor:
        x = rows[0] * 1
        view = x[1:]
        x.mul_(rows[1])
        return view + 1

    program = read(again)
    assert [op.name for op in program.operations] == ["mul", "slice", "mul", "slice", "add"]
    assert program.operations[3].arguments[1:] == program.operations[1].arguments[1:]
    assert sources(program) == {"parts.0", "parts.1"}


def test_a_write_takes_the_place_of_what_was_there() -> None:
    def swapped(rows: list[Tensor]) -> Tensor:
        x = rows[0] * 1
        x.copy_(rows[1])
        return x.view(2, 2)

    program = read(swapped)
    assert program.operations[-1].inputs == program.operations[-2].results


def test_constants_are_those_of_the_time_of_reading() -> None:
    def changed(rows: list[Tensor]) -> Tensor:
        mask = torch.ones(4)
        once = rows[0] * mask
        mask.mul_(3)
        return once * mask

    program = read(changed)
    found = [value.magnitude for value in program.values if value.kind == "constant"]
    assert found == [(1.0, 1.0, 1.0), (3.0, 3.0, 3.0)]


def test_a_constant_is_read_before_a_signal_is_written_to_it() -> None:
    def filled(rows: list[Tensor]) -> Tensor:
        x = torch.full((2, 4), 5.0)
        x[0] = rows[0] * 100
        return x.sum()

    program = read(filled)
    found = {v.shape: v.magnitude for v in program.values if v.kind == "constant"}
    assert found[2, 4] == (5.0, 5.0, 5.0)
    assert [operation.name for operation in program.operations][-2:] == ["write", "sum"]


def test_data_of_a_parameter_is_the_parameter() -> None:
    assert sources(read(lambda rows: rows[0].data * rows[1].detach())) == {"parts.0", "parts.1"}


def test_a_tensor_with_other_data_holds_those() -> None:
    def moved(rows: list[Tensor]) -> Tensor:
        x = torch.zeros(4)
        x.data = (rows[2] * 2).detach()
        return x + 1

    assert sources(read(moved)) == {"parts.2"}


def test_views_in_place_are_no_writes() -> None:
    def turned(rows: list[Tensor]) -> Tensor:
        x = rows[0].view(2, 2) * 1
        return x.t_().unsqueeze_(0) * 2

    names = [operation.name for operation in read(turned).operations]
    assert names == ["view", "mul", "t", "unsqueeze", "mul"]


def test_results_that_are_given_a_place_are_written_there() -> None:
    def placed(rows: list[Tensor]) -> Tensor:
        x = torch.zeros(4)
        with torch.no_grad():
            torch.mul(rows[0], rows[1], out=x)
        return x * 1

    program = read(placed)
    assert sources(program) == {"parts.0", "parts.1"}
    assert program.operations[0].keywords == {}


def test_dead_tensors_are_not_confused_with_new_ones_at_their_address() -> None:
    def many(rows: list[Tensor]) -> Tensor:
        for _ in range(200):
            _ = rows[0] * 2
            _ = torch.zeros(4)
        return torch.zeros(4) + rows[1]

    assert sources(read(many)) == {"parts.1"}


PLACES = st.sampled_from(["row 0", "row 1", "column 0", "column 2", "block", "all", "steps"])


def place(x: Tensor, name: str) -> Tensor:
    """A view of a 4 by 4 tensor."""
    match name.split():
        case ["row", i]:
            return x[int(i)]
        case ["column", i]:
            return x[:, int(i)]
        case ["block"]:
            return x[1:3, 1:3]
        case ["steps"]:
            return x[::2, 1::2]
        case _:
            return x.view(-1)


@given(
    writes=st.lists(st.tuples(PLACES, st.sampled_from(["copy", "add"])), min_size=1, max_size=5),
    reading=PLACES,
    early=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_no_source_of_a_tensor_is_lost(
    writes: list[tuple[str, str]], reading: str, early: bool
) -> None:
    """Gradients tell which parameters a view depends on, whatever was written before and where."""

    def run(parts: list[Tensor]) -> Tensor:
        x = torch.zeros(4, 4) + 0 * parts[-1].sum()  # views of leaves cannot be written
        views = [place(x, name) for name, _ in writes] if early else []
        for i, ((name, how), part) in enumerate(zip(writes, parts, strict=False)):
            view = views[i] if early else place(x, name)
            view.copy_(part.sum()) if how == "copy" else view.add_(part.sum())
        return place(x, reading).sum()

    model = Written(run, len(writes) + 1)
    model(torch.ones(1)).backward()
    needed = {
        name
        for name, part in model.named_parameters()
        if part.grad is not None and bool(part.grad.abs().sum() > 0)
    }
    assert needed <= sources(record_program(model, torch.ones(1)))
