"""A Reading: what a plan needs of a model, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core import Result, number, parsed, parsing, plain
from ._axes import AXES
from ._parameter import Parameter
from ._trace import NOTHING, Attention, Branch, Signal, Trace


@dataclass(frozen=True, kw_only=True, repr=False)
class Reading(Result):
    """A model as data: all that `plan` needs of a base, without its weights.

    Attributes:
        name: The class of the model.
        parameters: Every learned tensor, by name.
        scales: RMS of each tensor's values at initialisation; None on the meta device.
        trace: What one forward pass shows.
        head_dims: Head dimensions of torch's own attention modules.
    """

    name: str
    parameters: Mapping[str, Parameter]
    scales: Mapping[str, float | None]
    trace: Trace
    head_dims: tuple[int, ...]

    def scale(self, names: Iterable[str]) -> float | None:
        """Return the RMS of all values of these tensors; None where they have none."""
        parts = [(self.scales[name], math.prod(self.parameters[name].shape)) for name in names]
        squares = [scale**2 * size for scale, size in parts if scale is not None]
        if len(squares) < len(parts):
            return None
        return math.sqrt(sum(squares) / sum(size for _, size in parts))

    def __str__(self) -> str:
        trace = self.trace
        head = (
            f"reading of {self.name}: {len(self.parameters)} parameters, "
            f"{len(trace.branches)} residual branches, {len(trace.attention)} attentions"
        )
        rows = [
            f"  {each.name}: {'x'.join(map(str, each.shape)) or '()'} {each.kind}"
            for each in self.parameters.values()
        ]
        return "\n".join([head, *rows])

    def to_json(self) -> dict[str, Any]:
        """Return what a plan needs of a base."""
        trace = self.trace
        data: dict[str, Any] = {
            "name": self.name,
            "tensors": [_row(self, parameter) for parameter in self.parameters.values()],
            "branches": [branch.matrices for branch in trace.branches],
            "attention": [[each.head_dim, each.scale] for each in trace.attention],
            "factors": [[value, _listed(s.tensors), s.module] for value, s in trace.factors],
            "uses": dict(trace.uses),
            "declared": trace.declared,
            "head_dims": list(self.head_dims),
        }
        # A factor that is not known on the meta device is no number.
        return data | {"factors": plain(data["factors"])}

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
                trace=_trace(fields),
                head_dims=tuple(fields["head_dims"]),
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
        # Readings written before shared names were kept have none.
        aliases=tuple(row.get("aliases", ())),
    )


def _trace(fields: Mapping[str, Any]) -> Trace:
    return Trace(
        branches=tuple(Branch(frozenset(), NOTHING, matrices) for matrices in fields["branches"]),
        attention=tuple(Attention(size, scale) for size, scale in fields["attention"]),
        factors=tuple(
            (number(value), Signal(names and frozenset(names), module))
            for value, names, module in fields["factors"]
        ),
        uses=fields["uses"],
        declared=fields["declared"],
    )


def _check_types(data: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError where the data holds what no reading does."""
    names, optional = (list, type(None)), (int, float, type(None))
    rows: list[tuple[Any, Any]] = [(data["name"], str), (data["declared"], bool)]
    rows += [(size, int) for size in data["head_dims"]]
    for row in data["tensors"]:
        rows += [(row[key], str) for key in ("name", "kind", "module")]
        rows += [(size, int) for size in row["shape"]] + [(row["shape"], list)]
        rows += [(row["scale"], optional), (row["axes"], names)]
        if (row["scale"] or 0) < 0 or not AXES.issuperset(row["axes"] or ()):
            raise ValueError(
                f"{row['name']} has the scale {row['scale']} and the axes {row['axes']}"
            )
    rows += [(matrices, int) for matrices in data["branches"]]
    rows += [(uses, int) for uses in data["uses"].values()]
    for size, scale in data["attention"]:
        rows += [(size, int), (scale, optional)]
    for value, tensors, module in data["factors"]:
        rows += [(value, optional), (tensors, names), (module, (str, type(None)))]
    if any(size < 1 for row in data["tensors"] for size in row["shape"]) or any(
        value == 0 for value, *_ in data["factors"]
    ):
        raise ValueError("a size or a factor is 0")
    known = {row["name"] for row in data["tensors"]}
    if unknown := {name for _, tensors, _ in data["factors"] for name in tensors or ()} - known:
        raise ValueError(f"a factor is of {min(unknown)}, which is not among the tensors")
    if wrong := [value for value, kind in rows if not isinstance(value, kind)]:
        raise TypeError(f"{wrong[0]!r} is of another type")


def _listed(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
