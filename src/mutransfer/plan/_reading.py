"""What a plan has to know of a model: shapes, initial scales, branches; of a base it can be saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from .._errors import MutransferError
from ._apply import rms
from ._axes import Axes, canonical
from ._declared import declared_trace
from ._graph import NOTHING, Signal
from ._read import Parameter, parameters_of
from ._trace import Attention, Branch, Trace, trace

Branches = Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read off a model. Of a base it is all that `plan` needs, and `to_json` keeps it without the weights.

    Attributes:
        name: The class of the model.
        parameters: Every learned tensor: name, shape, axes.
        scales: RMS of each tensor's values at initialisation; None on the meta device.
        trace: What one forward pass told.
        head_dims: Head dimensions of torch's own attention modules.
    """

    name: str
    parameters: Mapping[str, Parameter]
    scales: Mapping[str, float | None]
    trace: Trace
    head_dims: tuple[int, ...]

    def scale(self, names: Iterable[str]) -> float | None:
        """RMS of all values of these tensors together; None where they have none."""
        parts = [(self.scales[name], math.prod(self.parameters[name].shape)) for name in names]
        squares = [scale**2 * size for scale, size in parts if scale is not None]
        return math.sqrt(sum(squares) / sum(size for _, size in parts)) if len(squares) == len(parts) else None

    def to_json(self) -> str:
        """What a plan needs of a base, as JSON text."""
        read = self.trace
        factors = [[value, _listed(signal.tensors), signal.module] for value, signal in read.factors]
        tensors = [vars(each) | {"scale": self.scales[name]} for name, each in self.parameters.items()]
        branches = [branch.matrices for branch in read.branches]
        attention = [[each.head_dim, each.scale] for each in read.attention]
        data = {"name": self.name, "tensors": tensors, "branches": branches, "attention": attention, "factors": factors}
        about = {"uses": dict(read.uses), "declared": read.declared, "head_dims": self.head_dims}
        return json.dumps(data | about, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Reading:
        """What `to_json` wrote; good as a base.

        Raises:
            MutransferError: the text is no reading.
        """
        try:
            data = json.loads(text)
            _check_types(data)
            scales = {fields["name"]: fields.pop("scale") for fields in data["tensors"]}
            tuples = [
                {"shape": tuple(f["shape"]), "axes": f["axes"] and tuple(f["axes"]), "layer": _tuples(f["layer"])} for f in data["tensors"]
            ]
            read = [Parameter(**fields | own) for fields, own in zip(data["tensors"], tuples, strict=True)]
            return cls(
                name=data["name"],
                parameters={each.name: each for each in read},
                scales=scales,
                trace=Trace(
                    branches=tuple(Branch(frozenset(), NOTHING, matrices) for matrices in data["branches"]),
                    attention=tuple(Attention(size, scale) for size, scale in data["attention"]),
                    factors=tuple((value, Signal(names and frozenset(names), module)) for value, names, module in data["factors"]),
                    uses=data["uses"],
                    declared=data["declared"],
                ),
                head_dims=tuple(data["head_dims"]),
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise MutransferError(f"this is not a reading written by Reading.to_json: {error}") from error


def read(
    model: nn.Module | Callable[[], nn.Module],
    *,
    example_inputs: Any = None,
    axes: Mapping[str, Axes] | None = None,
    branches: Branches | None = None,
) -> Reading:
    """Read a model as `plan` does; `plan(model, base=Reading.from_json(text))` needs no base model then.

    Args:
        model: The model, or what builds it.
        example_inputs: As in `plan`, like all that follow.
        axes: Axes of parameters that no rule knows, by name pattern.
        branches: Residual branches of a model that cannot be traced.

    Raises:
        MutransferError: the model is wrapped, cannot be traced, or has nothing to plan.
    """
    return reading(model, example_inputs, axes, branches, traced=True)


def reading(
    model: nn.Module | Callable[[], nn.Module],
    example_inputs: Any,
    axes: Mapping[str, Axes] | None,
    branches: Branches | None,
    *,
    traced: bool,
    scaled: bool = True,
) -> Reading:
    """See `read`; without a trace, or initial scales, where none are wanted."""
    own = model if isinstance(model, nn.Module) else _built(model)
    _check_bare(own)
    parameters = parameters_of(own, axes or {})
    found = Trace()
    if traced:
        found = trace(own, example_inputs) if branches is None else declared_trace(own, branches)
    return Reading(
        name=type(own).__name__,
        parameters=parameters,
        scales={canonical(name): rms([parameter]) if scaled else None for name, parameter in own.named_parameters()},
        trace=found,
        head_dims=tuple(sorted({m.head_dim for m in own.modules() if isinstance(m, nn.MultiheadAttention)})),
    )


def _built(build: Any) -> nn.Module:
    made = build
    if callable(build):
        try:
            signature(build).bind()
        except TypeError as error:
            raise MutransferError(
                f"{build!r} cannot be called without arguments ({error}): give the base itself, or lambda: ..."
            ) from error
        made = build()
    if not isinstance(made, nn.Module):
        raise MutransferError(f"{made!r} is no model: give a torch.nn.Module, what builds one without arguments, or a Reading of one")
    return made


def _check_bare(model: nn.Module) -> None:
    """Refuse a model that was wrapped or sharded, whose names and forward pass are no longer its own."""
    name = type(model).__name__
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel | AveragedModel):
        raise MutransferError(f"{name} wraps the model: plan the model before, its names are those of the base")
    if name.startswith("FSDP"):
        raise MutransferError("fully_shard has cut the model's tensors: plan the model before sharding; the plan holds after it")


def _check_types(data: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError where the text holds what no reading does."""
    number, names = (int, float), (list, type(None))
    rows: list[tuple[Any, Any]] = [(data["name"], str), (data["declared"], bool), *((size, int) for size in data["head_dims"])]
    for fields in data["tensors"]:
        rows += [(fields[key], str) for key in ("name", "kind", "module")] + [(size, int) for size in fields["shape"]]
        rows += [(fields["shape"], list), (fields["scale"], (*number, type(None))), (fields["axes"], names)]
        if (fields["scale"] or 0) < 0 or not {"out", "in", "finite", "expert"}.issuperset(fields["axes"] or ()):
            raise ValueError(f"{fields['name']} has the scale {fields['scale']} and the axes {fields['axes']}")
    rows += [(matrices, int) for matrices in data["branches"]] + [(uses, int) for uses in data["uses"].values()]
    rows += [row for size, scale in data["attention"] for row in ((size, int), (scale, (*number, type(None))))]
    rows += [row for value, tensors, module in data["factors"] for row in ((value, number), (tensors, names), (module, (str, type(None))))]
    known = {fields["name"] for fields in data["tensors"]}
    if any(size < 1 for fields in data["tensors"] for size in fields["shape"]) or any(value == 0 for value, *_ in data["factors"]):
        raise ValueError("a size or a factor is 0")
    if unknown := {name for _, tensors, _ in data["factors"] for name in tensors or ()} - known:
        raise ValueError(f"a factor is of {min(unknown)}, which is not among the tensors")
    if wrong := [value for value, kind in rows if not isinstance(value, kind)]:
        raise TypeError(f"{wrong[0]!r} is of another type")


def _listed(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _tuples(shapes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, shapes))
