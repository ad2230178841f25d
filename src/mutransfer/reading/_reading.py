"""A Reading: what a plan needs of a model, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core import Result, parsed, parsing
from ._axes import AXES
from ._parameter import Parameter
from ._program import Program
from ._program_json import program_from_json, program_to_json
from ._signals import Branch


@dataclass(frozen=True, kw_only=True, repr=False)
class Reading(Result):
    """A model as data: all that `plan` needs of a base, without its weights.

    Attributes:
        name: The class of the model.
        parameters: Every learned tensor, by name.
        scales: RMS of each tensor's values at initialisation; None on the meta device.
        program: The operations of one forward pass; None where it was not run.
        training: Those of a pass in training mode, where some tensors are used in it alone.
        branches: The residual branches that were declared; None where they are to be read.
        recurrent: Names of modules that use their tensors once a time step.
        state_space: Names of modules that are state-space layers, such as Mamba's.
    """

    name: str
    parameters: Mapping[str, Parameter]
    scales: Mapping[str, float | None]
    program: Program | None = None
    training: Program | None = None
    branches: tuple[Branch, ...] | None = None
    recurrent: tuple[str, ...] = ()
    state_space: tuple[str, ...] = ()

    def scale(self, names: Iterable[str]) -> float | None:
        """Return the RMS of all values of these tensors; None where they have none."""
        parts = [(self.scales[name], math.prod(self.parameters[name].shape)) for name in names]
        squares = [scale**2 * size for scale, size in parts if scale is not None]
        if len(squares) < len(parts):
            return None
        return math.sqrt(sum(squares) / max(1, sum(size for _, size in parts)))

    def __str__(self) -> str:
        operations = 0 if self.program is None else len(self.program.operations)
        head = f"reading of {self.name}: {len(self.parameters)} parameters, {operations} operations"
        rows = [
            f"  {each.name}: {'x'.join(map(str, each.shape)) or '()'} {each.kind}"
            for each in self.parameters.values()
        ]
        return "\n".join([head, *rows])

    def to_json(self) -> dict[str, Any]:
        """Return what a plan needs of a base."""
        programs = {"program": self.program, "training": self.training}
        return {
            "name": self.name,
            "tensors": [_row(self, parameter) for parameter in self.parameters.values()],
            **{key: each and program_to_json(each) for key, each in programs.items()},
            "branches": None
            if self.branches is None
            else [[sorted(b.tensors), sorted(b.end), b.matrices] for b in self.branches],
            "recurrent": list(self.recurrent),
            "state_space": list(self.state_space),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Reading:
        """Return the reading that `to_json` wrote; it is good as a base.

        Raises:
            MutransferError: the data is no reading.
        """
        with parsing("a reading written by Reading.to_json"):
            fields = parsed(data)
            _check_types(fields)
            parameters = [_parameter(row) for row in fields["tensors"]]
            return cls(
                name=fields["name"],
                parameters={each.name: each for each in parameters},
                scales={row["name"]: row["scale"] for row in fields["tensors"]},
                program=fields["program"] and program_from_json(fields["program"]),
                training=fields["training"] and program_from_json(fields["training"]),
                branches=None
                if fields["branches"] is None
                else tuple(
                    Branch(frozenset(tensors), frozenset(end), matrices)
                    for tensors, end, matrices in fields["branches"]
                ),
                recurrent=tuple(fields["recurrent"]),
                state_space=tuple(fields["state_space"]),
            )


def _row(reading: Reading, parameter: Parameter) -> dict[str, Any]:
    lists = {
        "shape": list(parameter.shape),
        "axes": parameter.axes and list(parameter.axes),
        "layer": [list(shape) for shape in parameter.layer],
        "aliases": list(parameter.aliases),
    }
    return vars(parameter) | lists | {"scale": reading.scales[parameter.name]}


def _parameter(row: Mapping[str, Any]) -> Parameter:
    return Parameter(
        name=row["name"],
        shape=tuple(row["shape"]),
        axes=row["axes"] and tuple(row["axes"]),
        kind=row["kind"],
        layer=tuple(map(tuple, row["layer"])),
        module=row["module"],
        aliases=tuple(row["aliases"]),
        is_declared=row["is_declared"],
    )


def _check_types(data: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError where the data holds what no reading does."""
    names, optional = (list, type(None)), (int, float, type(None))
    rows: list[tuple[Any, Any]] = [(data["name"], str), (data["program"], (dict, type(None)))]
    for row in data["tensors"]:
        rows += [(row[key], str) for key in ("name", "kind", "module")]
        rows += [(size, int) for size in row["shape"]] + [(row["shape"], list)]
        rows += [(row["scale"], optional), (row["axes"], names)]
        rows += [(row["aliases"], list), (row["is_declared"], bool)]
        if (row["scale"] or 0) < 0 or not AXES.issuperset(row["axes"] or ()):
            raise ValueError(
                f"{row['name']} has the scale {row['scale']} and the axes {row['axes']}"
            )
    if wrong := [value for value, kind in rows if not isinstance(value, kind)]:
        raise TypeError(f"{wrong[0]!r} is of another type")
    known = {row["name"] for row in data["tensors"]}
    used = [v[2] for v in (data["program"] or {"values": ()})["values"] if v[1] == "parameter"]
    if unknown := set(used) - known:
        raise ValueError(f"the program uses {min(unknown)}, which is not among the tensors")
