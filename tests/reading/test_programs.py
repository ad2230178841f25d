"""Programs are plain data: JSON in and out; damaged data are refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.pytorch._record import record_program
from mutransfer.reading import Operation, Program, Ref, Value
from mutransfer.reading._program_json import program_from_json, program_to_json
from mutransfer.tasks import gpt
from tests.models import GatedMixture, Recurrent

numbers = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31),
    st.floats(allow_nan=False),
    st.text(max_size=5),
)
magnitudes = st.floats(0, 1e30, exclude_min=True)
values = st.builds(
    Value,
    shape=st.lists(st.integers(0, 99), max_size=4).map(tuple),
    kind=st.sampled_from(["parameter", "input", "constant", "result"]),
    name=st.text(max_size=8),
    is_float=st.booleans(),
    magnitude=st.none() | st.tuples(magnitudes, magnitudes, magnitudes),
)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    found = draw(st.lists(values, min_size=1, max_size=6).map(tuple))
    indices = st.integers(0, len(found) - 1)
    argument = numbers | indices.map(Ref)
    arguments = st.lists(argument | st.lists(argument, max_size=3).map(tuple), max_size=4)
    operations = st.builds(
        Operation,
        name=st.text(min_size=1, max_size=8),
        arguments=arguments.map(tuple),
        keywords=st.dictionaries(st.text(max_size=4), argument, max_size=2),
        results=st.lists(st.none() | indices, max_size=3).map(tuple),
        module=st.text(max_size=5),
    )
    calls = st.lists(st.lists(indices, max_size=2).map(tuple), max_size=2).map(tuple)
    return Program(
        values=found,
        operations=draw(st.lists(operations, max_size=4).map(tuple)),
        outputs=draw(st.lists(indices, max_size=3).map(tuple)),
        modules=draw(st.dictionaries(st.text(max_size=5), calls, max_size=3)),
        is_training=draw(st.booleans()),
    )


@given(programs())
@settings(deadline=None, max_examples=100)
def test_programs_are_written_and_read(program: Program) -> None:
    text = json.dumps(program_to_json(program), allow_nan=False)
    assert program_from_json(json.loads(text)) == program


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_does_not_know(number: float) -> None:
    operation = Operation("masked_fill", (Ref(0), Ref(0), number), {"value": number}, (1,))
    program = Program(values=(Value((2,), "input"), Value((2,))), operations=(operation,))
    text = json.dumps(program_to_json(program), allow_nan=False)
    (again,) = program_from_json(json.loads(text)).operations
    for found in (again.arguments[2], again.keywords["value"]):
        assert found == number or (math.isnan(found) and math.isnan(number))


MODELS = {
    "gpt": lambda: gpt(16, 2, tied=True),
    "mixture": lambda: GatedMixture(16, 2),
    "lstm": lambda: Recurrent(16),
}


@pytest.mark.parametrize("name", MODELS)
def test_programs_of_models_are_written_and_read(name: str) -> None:
    inputs = torch.zeros(2, 6, 5) if name == "lstm" else None
    program = record_program(MODELS[name](), inputs)
    again = program_from_json(json.loads(json.dumps(program_to_json(program), allow_nan=False)))
    assert again == program
    assert again.parameters == program.parameters and again.modules == program.modules


DAMAGES: dict[str, Any] = {
    "outputs": [99],
    "outputs, before the first": [-1],
    "values": None,
    "operations": [["sum", [{"value": 99}], {}, [0], ""]],
    "operations, results": [["sum", [], {}, [99], ""]],
    "operations, short": [["sum", []]],
    "modules": 5,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_program_is_refused(name: str) -> None:
    reading = mt.read(nn.Linear(5, 4)).to_json()
    reading["program"][name.split(",")[0]] = DAMAGES[name]
    with pytest.raises(mt.MutransferError, match=r"this is not a reading written by Reading"):
        mt.Reading.from_json(json.dumps(reading))


def test_a_program_of_unknown_parameters_is_refused() -> None:
    reading = mt.read(nn.Linear(5, 4)).to_json()
    reading["tensors"] = [row for row in reading["tensors"] if row["name"] != "weight"]
    with pytest.raises(mt.MutransferError, match=r"this is not a reading written by Reading"):
        mt.Reading.from_json(json.dumps(reading))


class Scaled(nn.Module):
    """A layer whose output is multiplied by a buffer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(4, width)
        self.register_buffer("scale", torch.ones(1) * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


@pytest.mark.parametrize("meta", [False, True])
def test_a_reading_with_a_number_that_is_not_known(tmp_path: Path, meta: bool) -> None:
    """On the meta device a buffer has no numbers: its magnitude is unknown, and written so."""
    model = Scaled().to("meta") if meta else Scaled()
    reading = mt.read(model)
    assert reading.program is not None
    (buffer,) = [value for value in reading.program.values if value.name == "scale"]
    assert buffer.magnitude == (None if meta else (4.0, 4.0, 4.0))
    text = reading.save(tmp_path / "base.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(reading.to_json(), allow_nan=False))
    assert mt.Reading.from_json(text) == reading


def test_readings_hold_a_pass_in_training_mode_where_it_uses_more() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.extra = nn.Linear(5, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(x)
            return self.extra(x) if self.training else x

    reading = mt.read(Sometimes())
    assert reading.program is not None and reading.training is not None
    assert "extra.weight" not in reading.program.parameters
    assert "extra.weight" in reading.training.parameters and reading.training.is_training
    assert mt.Reading.from_json(reading.to_json()) == reading
    assert mt.read(nn.Linear(5, 4)).training is None
