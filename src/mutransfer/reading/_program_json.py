"""A program as JSON, compact: one list for each value and operation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ._program import Operation, Program, Ref, Value


def program_to_json(program: Program) -> dict[str, Any]:
    """Return a program as data that `json.dumps(allow_nan=False)` takes."""
    return {
        "values": [
            [list(v.shape), v.kind, v.name, v.is_float, v.magnitude and list(v.magnitude)]
            for v in program.values
        ],
        "operations": [
            [
                op.name,
                _encoded(op.arguments),
                {key: _encoded(value) for key, value in op.keywords.items()},
                list(op.results),
                op.module,
            ]
            for op in program.operations
        ],
        "outputs": list(program.outputs),
        "modules": {
            name: [list(call) for call in calls] for name, calls in program.modules.items()
        },
        "is_training": program.is_training,
    }


def program_from_json(data: Mapping[str, Any]) -> Program:
    """Return the program that `program_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: the data is of another kind.
    """
    values = tuple(
        Value(tuple(shape), kind, name, is_float, magnitude and tuple(magnitude))
        for shape, kind, name, is_float, magnitude in data["values"]
    )
    operations = tuple(
        Operation(
            name,
            _decoded(arguments),
            {key: _decoded(value) for key, value in keywords.items()},
            tuple(results),
            module,
        )
        for name, arguments, keywords, results, module in data["operations"]
    )
    made = [i for op in operations for i in (*op.inputs, *op.results) if i is not None]
    made += data["outputs"]
    if any(not 0 <= i < len(values) for i in made):
        raise ValueError("an operation takes or makes a value that is not there")
    return Program(
        values=values,
        operations=operations,
        outputs=tuple(data["outputs"]),
        modules={
            name: tuple(tuple(call) for call in calls) for name, calls in data["modules"].items()
        },
        is_training=data["is_training"],
    )


def _encoded(argument: Any) -> Any:
    match argument:
        case Ref(index):
            return {"value": index}
        case tuple():
            return [_encoded(each) for each in argument]
        case float() if not math.isfinite(argument):
            return {"number": str(argument)}
        case None | bool() | int() | float() | str():
            return argument
    return str(argument)


def _decoded(argument: Any) -> Any:
    match argument:
        case {"value": index}:
            return Ref(index)
        case {"number": text}:
            return float(text)
        case list():
            return tuple(_decoded(each) for each in argument)
    return argument
