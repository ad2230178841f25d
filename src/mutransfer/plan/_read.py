"""Matches a model's parameters with its base's and reads which of their dimensions grew."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from torch import Tensor, nn

from .._errors import MutransferError
from ._axes import Axes, axes_of, check_declared, declared_axes, is_norm


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A learned tensor of one model: where it lives, its shape, its axes, what it is."""

    name: str
    shape: tuple[int, ...]
    axes: Axes | None
    kind: str
    tied_to: str | None = None

    def size(self, axis: str) -> int:
        """How many entries the axes of this name span; 1 where there are none."""
        total = 1
        for name, length in zip(self.axes or (), self.shape, strict=False):
            total *= length if name == axis else 1
        return total


@dataclass(frozen=True, kw_only=True)
class Match:
    """A parameter beside its counterparts in the base, the run of equal layers it belongs to.

    Attributes:
        parameter: The parameter of the model.
        base: One of its counterparts.
        run: Names of the parameters of the model that are its equals.
        base_run: Names of all counterparts.
        axes: The parameter's axes; grown ones of a bare parameter are read from the shapes.
    """

    parameter: Parameter
    base: Parameter
    run: tuple[str, ...]
    base_run: tuple[str, ...]
    axes: Axes

    def ratio(self, axis: str) -> Fraction:
        """Size of this axis, target over base."""
        grown = Fraction(1)
        for name, own, base in zip(self.axes, self.parameter.shape, self.base.shape, strict=True):
            grown *= Fraction(own, base) if name == axis else 1
        return grown


def parameters_of(model: nn.Module, declared: Mapping[str, Axes]) -> dict[str, Parameter]:
    """Every learned tensor of a model once, in the model's own order; a tied one under its first name.

    Raises:
        MutransferError: a declared pattern matches nothing or is malformed.
    """
    every: dict[int, list[str]] = {}
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        every.setdefault(id(parameter), []).append(name)
        tensors[name] = parameter
    check_declared(list(tensors), declared)
    result = {}
    for names in every.values():
        name = names[0]
        tensor = tensors[name]
        path, _, own = name.rpartition(".")
        module = model.get_submodule(path)
        axes = declared_axes(name, declared) or axes_of(module, own, tensor.dim())
        if axes is not None and len(axes) != tensor.dim():
            raise MutransferError(f"{name} has shape {tuple(tensor.shape)}, but {len(axes)} axes were declared for it: {axes}")
        result[name] = Parameter(
            name=name, shape=tuple(tensor.shape), axes=axes, kind=_kind(module, own, tensor), tied_to=names[1] if len(names) > 1 else None
        )
    return result


def _kind(module: nn.Module, parameter: str, tensor: Tensor) -> str:
    if isinstance(module, nn.Embedding):
        return "embedding"
    if parameter.endswith("bias"):
        return "bias"
    if is_norm(module):
        return "gain"
    return "matrix" if tensor.dim() >= 2 else "vector"


def pattern(name: str) -> str:
    """The name with layer numbers replaced by a star: "blocks.3.up.weight" becomes "blocks.*.up.weight"."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def match(target: Mapping[str, Parameter], base: Mapping[str, Parameter]) -> dict[str, Match]:
    """Each of the target's parameters with its counterparts in the base.

    Layers of one pattern that follow each other with equal shapes form a run; the runs of the target are matched with those of
    the base in order, so the number of layers may differ but the kinds of layers may not.

    Raises:
        MutransferError: the two have other modules, a dimension shrank or grew without explanation, or axes are unknown.
    """
    runs, base_runs = _runs(target), _runs(base)
    if missing := [p for p in base_runs if p not in runs]:
        raise MutransferError(f"the base has {missing[0]}, which the model has not: base and model must be one family of sizes")
    matches: dict[str, Match] = {}
    for name, own in runs.items():
        if name not in base_runs:
            raise MutransferError(f"the model has {name}, which the base has not: base and model must be one family of sizes")
        theirs = base_runs[name]
        if len(own) != len(theirs):
            own, theirs = _one_by_one(name, own, theirs)
        for run, base_run in zip(own, theirs, strict=True):
            names, base_names = tuple(p.name for p in run), tuple(p.name for p in base_run)
            for parameter in run:
                axes = _grown_axes(parameter, base_run[0])
                matches[parameter.name] = Match(parameter=parameter, base=base_run[0], run=names, base_run=base_names, axes=axes)
    _check_explained(matches)
    return {name: matches[name] for name in target}


Runs = dict[str, list[list[Parameter]]]


def _runs(parameters: Mapping[str, Parameter]) -> Runs:
    by_pattern: dict[str, list[Parameter]] = {}
    for parameter in parameters.values():
        by_pattern.setdefault(pattern(parameter.name), []).append(parameter)
    key: Callable[[Parameter], object] = lambda p: (p.shape, p.axes, p.tied_to is not None)  # noqa: E731
    return {name: [list(run) for _, run in groupby(layers, key)] for name, layers in by_pattern.items()}


def _one_by_one(
    name: str, own: list[list[Parameter]], theirs: list[list[Parameter]]
) -> tuple[list[list[Parameter]], list[list[Parameter]]]:
    """Runs may merge where a finite size happens to equal the width; equally many layers can still be matched one by one."""
    flat, base_flat = [[p] for run in own for p in run], [[p] for run in theirs for p in run]
    if len(flat) != len(base_flat):
        shapes = [run[0].shape for run in own], [run[0].shape for run in theirs]
        raise MutransferError(
            f"{name}: the layers of the model fall into shapes {shapes[0]}, those of the base into {shapes[1]}, "
            "and they cannot be matched; choose base sizes at which no width equals a number of inputs or outputs"
        )
    return flat, base_flat


def _grown_axes(own: Parameter, base: Parameter) -> Axes:
    if len(own.shape) != len(base.shape):
        raise MutransferError(f"{own.name} has shape {own.shape}, {base.name} of the base {base.shape}: they are not one family of sizes")
    grew = [i for i, (a, b) in enumerate(zip(own.shape, base.shape, strict=True)) if a != b]
    if shrank := [i for i in grew if own.shape[i] < base.shape[i]]:
        raise MutransferError(
            f"{own.name}: dimension {shrank[0]} is {own.shape[shrank[0]]} in the model but {base.shape[shrank[0]]} in the base; "
            "the base must be the smaller one: exchange them"
        )
    if own.axes is None:
        if len(grew) > 1:
            raise MutransferError(
                f"{own.name}: dimensions {grew} of {own.shape} grew and no rule says which is fan-in; "
                f'say so with axes={{"{pattern(own.name)}": ("out", "in")}}'
            )
        return tuple("out" if i in grew else "finite" for i in range(len(own.shape)))
    for i in grew:
        if own.axes[i] == "finite":
            raise MutransferError(
                f"{own.name}: dimension {i} is a finite one (an index, a position or a kernel), yet it is {base.shape[i]} in the base and "
                f"{own.shape[i]} in the model; build both with the same size"
            )
    return own.axes


def _check_explained(matches: Mapping[str, Match]) -> None:
    """A dimension is a width only if some layer puts it out and another takes it in.

    A number of features or classes that differs is only ever one of the two: it did not grow, it is another task.
    """
    matrices = [m for m in matches.values() if m.parameter.kind in {"matrix", "embedding"}]
    for axis, other, what in (("in", "out", "inputs"), ("out", "in", "outputs")):
        known = {m.ratio(other) for m in matrices}
        for m in matrices:
            if m.ratio(axis) != 1 and m.ratio(axis) not in known:
                raise MutransferError(
                    f"{m.parameter.name}: its number of {what} is {m.ratio(axis)} times that of the base, but no layer's "
                    f"number of {'outputs' if what == 'inputs' else 'inputs'} grew by that much, so it is no width; "
                    "build base and model for the same data"
                )
