"""Matches a model's parameters with its base's and reads which of their dimensions grew."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from .._errors import MutransferError
from ._axes import RECURRENT, Axes, axes_of, canonical, check_declared, declared_axes, is_norm, is_router


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A learned tensor of one model: its name, shape and axes, what it is, its layer's shapes and class."""

    name: str
    shape: tuple[int, ...]
    axes: Axes | None
    kind: str
    layer: tuple[tuple[int, ...], ...]
    module: str


@dataclass(frozen=True, kw_only=True)
class Match:
    """A parameter beside its counterparts in the base, the run of equal layers it belongs to.

    Attributes:
        parameter: The parameter of the model.
        base: One of its counterparts.
        run: Names of the parameters of the model that are its equals, itself among them.
        base_run: Names of all counterparts.
        axes: The parameter's axes; grown ones of a bare parameter are read from the shapes.
    """

    parameter: Parameter
    base: Parameter
    run: tuple[str, ...]
    base_run: tuple[str, ...]
    axes: Axes

    def ratio(self, axis: str) -> Fraction:
        """Size of this axis, target over base; the product where several dimensions are of it."""
        return math.prod(self.each_ratio(axis), start=Fraction(1))

    def each_ratio(self, axis: str) -> list[Fraction]:
        """Size of each dimension that is of this axis, target over base."""
        sizes = zip(self.axes, self.parameter.shape, self.base.shape, strict=True)
        return [Fraction(own, base) for name, own, base in sizes if name == axis]

    def fans(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Fan-in and fan-out of a tensor of this shape; kernels and indices count for neither."""
        sizes = [math.prod(size for name, size in zip(self.axes, shape, strict=True) if name == axis) for axis in ("in", "out")]
        return sizes[0], sizes[1]


def parameters_of(model: nn.Module, declared: Mapping[str, Axes]) -> dict[str, Parameter]:
    """Every learned tensor of a model once, in the model's own order; one that several modules share under its first name.

    Raises:
        MutransferError: a declared pattern matches nothing or is malformed.
    """
    every: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if isinstance(parameter, nn.UninitializedParameter):
            raise MutransferError(f"{name} has no shape yet, as its layer is a lazy one: run one batch through the model, then plan it")
        every.setdefault(id(parameter), []).append(name)
    check_declared([canonical(name) for names in every.values() for name in names], declared)
    if not every:
        raise MutransferError(f"{type(model).__name__} has no parameters: there is nothing to plan")
    found = [_parameter(model, names, declared) for names in every.values()]
    return {parameter.name: parameter for parameter in found}


def _parameter(model: nn.Module, names: list[str], declared: Mapping[str, Axes]) -> Parameter:
    """A learned tensor as the module sees it that owns it; an embedding's table is one even where a head shares it."""
    owners = {name: model.get_submodule(name.rpartition(".")[0]) for name in names}
    if not any(declared_axes(canonical(name), declared) for name in names):
        _check_plain(owners)
    owner = next((name for name in names if isinstance(owners[name], nn.Embedding)), names[0])
    module, own = owners[owner], owner.rpartition(".")[2]
    tensor, name = model.get_parameter(owner), canonical(names[0])
    said = (declared_axes(canonical(alias), declared) for alias in names)
    axes = next(filter(None, said), None) or axes_of(module, own, tensor.dim())
    if axes is not None and len(axes) != tensor.dim():
        raise MutransferError(f"{name} has shape {tuple(tensor.shape)}, but {len(axes)} axes were declared for it: {axes}")
    layer = tuple(tuple(p.shape) for p in module.parameters(recurse=False))
    return Parameter(
        name=name, shape=tuple(tensor.shape), axes=axes, kind=_kind(module, own, tensor), layer=layer, module=type(module).__name__
    )


def _check_plain(owners: Mapping[str, nn.Module]) -> None:
    """A weight that is computed from a parameter has a scale of its own, which no factor of the parameter sets."""
    for name, module in owners.items():
        stem, _, end = name.rpartition(".")[2].rpartition("_")
        computed = end in {"orig", "g", "v"} and bool(stem) and isinstance(getattr(module, stem, None), Tensor)
        if computed or isinstance(module, ParametrizationList):
            raise MutransferError(
                f"{canonical(name)} is not the weight itself, which is computed from it (weight_norm, spectral_norm, pruning), so that its "
                "scale is not the weight's: plan the model without that, or say its axes with axes="
            )


def _kind(module: nn.Module, parameter: str, tensor: Tensor) -> str:
    if isinstance(module, nn.Embedding):
        return "embedding"
    if tensor.dim() == 0:
        return "scalar"
    if is_router(module) and tensor.dim() == 2:
        return "router"
    if parameter.endswith("bias") or (isinstance(module, RECURRENT) and parameter.startswith("bias")):
        return "bias"
    if is_norm(module):
        return "gain"
    return "matrix" if tensor.dim() >= 2 else "vector"


_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@cache
def pattern(name: str) -> str:
    """The name with layer numbers replaced by a star: "blocks.3.up.weight" becomes "blocks.*.up.weight"."""
    return _NUMBER.sub("*", name)


def _first_number(name: str) -> str:
    return _NUMBER.sub("*", name, count=1)


def match(target: Mapping[str, Parameter], base: Mapping[str, Parameter]) -> dict[str, Match]:
    """Each of the target's parameters with its counterparts in the base.

    Layers of one pattern fall into kinds by their shapes, numbered as they first appear; the kinds of the target are matched with those
    of the base in order, so the number of layers may differ but not their kinds.

    Raises:
        MutransferError: the two have other modules, a dimension shrank or grew without explanation, or axes are unknown.
    """
    try:
        pairs = _pairs(target, base, pattern)
    except MutransferError as refusal:
        try:
            pairs = _pairs(target, base, _first_number)
        except MutransferError:
            raise refusal from None
    matches = {}
    for own, theirs in pairs:
        kinds = own[0].module, theirs[0].module
        if kinds[0] != kinds[1]:
            raise MutransferError(
                f"{own[0].name} is of a {kinds[0]} in the model and of a {kinds[1]} in the base: they are not one family of sizes"
            )
        names, base_names = tuple(p.name for p in own), tuple(p.name for p in theirs)
        for parameter in own:
            axes = _grown_axes(parameter, theirs[0])
            matches[parameter.name] = Match(parameter=parameter, base=theirs[0], run=names, base_run=base_names, axes=axes)
    return {name: matches[name] for name in target}


Kinds = list[list[Parameter]]


def _pairs(
    target: Mapping[str, Parameter], base: Mapping[str, Parameter], star: Callable[[str], str]
) -> list[tuple[list[Parameter], list[Parameter]]]:
    """Equal layers of the target with equal layers of the base."""
    own, theirs = _kinds(target, star), _kinds(base, star)
    if missing := [name for name in theirs if name not in own]:
        raise MutransferError(f"the base has {missing[0]}, which the model has not: base and model must be one family of sizes")
    if extra := [name for name in own if name not in theirs]:
        raise MutransferError(f"the model has {extra[0]}, which the base has not: base and model must be one family of sizes")
    pairs: list[tuple[list[Parameter], list[Parameter]]] = []
    for name in own:
        pairs += zip(*_matched(name, own[name], theirs[name]), strict=True)
    return pairs


def _kinds(parameters: Mapping[str, Parameter], star: Callable[[str], str]) -> dict[str, Kinds]:
    found: dict[str, dict[object, list[Parameter]]] = {}
    for p in parameters.values():
        found.setdefault(star(p.name), {}).setdefault((p.shape, p.axes, p.layer), []).append(p)
    return {name: list(kinds.values()) for name, kinds in found.items()}


def _matched(name: str, own: Kinds, theirs: Kinds) -> tuple[Kinds, Kinds]:
    """Kinds merge where a finite size happens to equal the width; equally many layers can still be matched one by one."""
    if len(own) == len(theirs):
        return own, theirs
    flat, base_flat = ([[p] for p in sorted((p for kind in kinds for p in kind), key=_place)] for kinds in (own, theirs))
    if len(flat) != len(base_flat):
        shapes = [kind[0].shape for kind in own], [kind[0].shape for kind in theirs]
        raise MutransferError(
            f"{name}: the layers of the model fall into shapes {shapes[0]}, those of the base into {shapes[1]}, "
            "and they cannot be matched; choose base sizes at which no width equals a number of inputs or outputs"
        )
    return flat, base_flat


def _place(parameter: Parameter) -> list[int]:
    return [int(number) for number in _NUMBER.findall(parameter.name)]


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
                f'say so with axes={{"{pattern(own.name)}": ("out", "in")}}, or ("in", "out") where signals stand on its left'
            )
        return tuple("out" if i in grew else "finite" for i in range(len(own.shape)))
    for i in grew:
        if own.axes[i] == "finite":
            raise MutransferError(
                f"{own.name}: dimension {i} is a finite one (an index, a position or a kernel), yet it is {base.shape[i]} in the base and "
                f"{own.shape[i]} in the model; build both with the same size"
            )
    return own.axes


def check_explained(matches: Mapping[str, Match], known_roles: Collection[str]) -> None:
    """A dimension is a width only if some layer puts it out and another takes it in.

    A number of features or classes that differs is only ever one of the two: it did not grow, it is another task.

    Args:
        matches: The parameters of the model.
        known_roles: Names of those whose role is known otherwise, so that their dimensions need no other layer.

    Raises:
        MutransferError: naming a parameter of which a dimension grew for no reason.
    """
    matrices = [m for m in matches.values() if m.parameter.kind in {"matrix", "embedding"}]
    for axis, other, what in (("in", "out", "inputs"), ("out", "in", "outputs")):
        known = {Fraction(1)} | {m.ratio(other) for m in matrices}
        for m in matrices:
            if not known.issuperset(m.each_ratio(axis)) and m.parameter.name not in known_roles:
                raise MutransferError(
                    f"{m.parameter.name}: its number of {what} is {m.ratio(axis)} times that of the base, but no layer's "
                    f"number of {'outputs' if what == 'inputs' else 'inputs'} grew by that much, so it is no width; "
                    "build base and model for the same data, or say what it is with roles= (a router of more experts)"
                )
