"""A model's parameters matched with its base's, and the dimensions that grew."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..core import MutransferError
from ..reading import Axes, Parameter, first_star, numbers, pattern


@dataclass(frozen=True, kw_only=True)
class Match:
    """A parameter, its counterparts in the base, and its run of equal layers.

    Attributes:
        parameter: The parameter of the model.
        base: One of its counterparts.
        run: Names of the model's parameters that are its equals, itself among them.
        base_run: Names of all counterparts.
        axes: The parameter's axes; grown ones of a bare parameter are read from the shapes.
    """

    parameter: Parameter
    base: Parameter
    run: tuple[str, ...]
    base_run: tuple[str, ...]
    axes: Axes

    def ratio(self, axis: str) -> Fraction:
        """Return the size of an axis, target over base, over all of its dimensions."""
        return math.prod(self.ratios(axis), start=Fraction(1))

    def ratios(self, axis: str) -> list[Fraction]:
        """Return the size of each dimension of an axis, target over base."""
        sizes = zip(self.axes, self.parameter.shape, self.base.shape, strict=True)
        return [Fraction(target, base) for name, target, base in sizes if name == axis]

    def fans(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return fan-in and fan-out of a tensor of this shape; kernels count for neither."""
        fan_in, fan_out = (
            math.prod(size for name, size in zip(self.axes, shape, strict=True) if name == axis)
            for axis in ("in", "out")
        )
        return fan_in, fan_out


Kinds = list[list[Parameter]]
"""The parameters of one pattern of names, equal layers together."""


def match(target: Mapping[str, Parameter], base: Mapping[str, Parameter]) -> dict[str, Match]:
    """Match each of the target's parameters with its counterparts in the base.

    Layers of one pattern of names fall into kinds by their shapes. The kinds of the target are
    matched with those of the base in their order, so that only the number of layers may differ.

    Raises:
        MutransferError: the two have different modules, a dimension shrank or grew without
            explanation, or axes are unknown.
    """
    try:
        pairs = _pairs(target, base, pattern)
    except MutransferError as refusal:
        # Numbers after the first may index places that differ within a layer.
        try:
            pairs = _pairs(target, base, first_star)
        except MutransferError:
            raise refusal from None
    matches = {}
    for targets, bases in pairs:
        _check_modules(targets[0], bases[0])
        run, base_run = tuple(p.name for p in targets), tuple(p.name for p in bases)
        for parameter in targets:
            matches[parameter.name] = Match(
                parameter=parameter,
                base=bases[0],
                run=run,
                base_run=base_run,
                axes=_grown_axes(parameter, bases[0]),
            )
    return {name: matches[name] for name in target}


def _check_modules(target: Parameter, base: Parameter) -> None:
    if target.module != base.module:
        raise MutransferError(
            f"{target.name} is of a {target.module} in the model and of a {base.module} in the "
            "base: they are not one family of sizes"
        )


def _pairs(
    target: Mapping[str, Parameter], base: Mapping[str, Parameter], star: Callable[[str], str]
) -> list[tuple[list[Parameter], list[Parameter]]]:
    """Return equal layers of the target with equal layers of the base."""
    kinds, base_kinds = _kinds(target, star), _kinds(base, star)
    family = "base and model must be one family of sizes"
    if missing := [name for name in base_kinds if name not in kinds]:
        raise MutransferError(f"the base has {missing[0]}, which the model has not: {family}")
    if extra := [name for name in kinds if name not in base_kinds]:
        raise MutransferError(f"the model has {extra[0]}, which the base has not: {family}")
    pairs: list[tuple[list[Parameter], list[Parameter]]] = []
    for name in kinds:
        pairs += zip(*_matched(name, kinds[name], base_kinds[name]), strict=True)
    return pairs


def _kinds(parameters: Mapping[str, Parameter], star: Callable[[str], str]) -> dict[str, Kinds]:
    kinds: dict[str, dict[object, list[Parameter]]] = {}
    for p in parameters.values():
        kinds.setdefault(star(p.name), {}).setdefault((p.shape, p.axes, p.layer), []).append(p)
    return {name: list(groups.values()) for name, groups in kinds.items()}


def _matched(name: str, target: Kinds, base: Kinds) -> tuple[Kinds, Kinds]:
    """Return equally many kinds on either side, layer by layer where need be.

    Kinds merge where a finite size happens to equal the width; equally many layers can still be
    matched one by one.
    """
    if len(target) == len(base):
        return target, base
    flat, base_flat = (
        [[p] for p in sorted((p for kind in kinds for p in kind), key=lambda p: numbers(p.name))]
        for kinds in (target, base)
    )
    if len(flat) != len(base_flat):
        shapes, base_shapes = ([kind[0].shape for kind in kinds] for kinds in (target, base))
        raise MutransferError(
            f"{name}: the layers of the model fall into shapes {shapes}, those of the base into "
            f"{base_shapes}, and they cannot be matched; choose base sizes at which no width "
            "equals a number of inputs or outputs"
        )
    return flat, base_flat


def _grown_axes(target: Parameter, base: Parameter) -> Axes:
    if len(target.shape) != len(base.shape):
        raise MutransferError(
            f"{target.name} has shape {target.shape}, {base.name} of the base {base.shape}: "
            "they are not one family of sizes"
        )
    grew = [i for i, size in enumerate(target.shape) if size != base.shape[i]]
    if shrank := [i for i in grew if target.shape[i] < base.shape[i]]:
        raise MutransferError(
            f"{target.name}: dimension {shrank[0]} is {target.shape[shrank[0]]} in the model but "
            f"{base.shape[shrank[0]]} in the base; the base must be the smaller one: exchange them"
        )
    if target.axes is None:
        if len(grew) > 1:
            raise MutransferError(
                f"{target.name}: dimensions {grew} of {target.shape} grew and no rule says which "
                f'is fan-in; say so with axes={{"{pattern(target.name)}": ("out", "in")}}, '
                'or ("in", "out") where signals stand on its left'
            )
        return tuple("out" if i in grew else "finite" for i in range(len(target.shape)))
    for i in grew:
        if target.axes[i] == "finite":
            raise MutransferError(
                f"{target.name}: dimension {i} is a finite one (an index, a position or a kernel), "
                f"yet it is {base.shape[i]} in the base and {target.shape[i]} in the model; "
                "build both with the same size"
            )
    return target.axes


def check_explained(matches: Mapping[str, Match], known_roles: Collection[str]) -> None:
    """Raise unless every grown dimension is a width.

    A width is the number of outputs of some layer and of inputs of another.

    A number of features or classes that differs is only ever one of the two: it is another task.

    Args:
        matches: The parameters of the model.
        known_roles: Names of those whose role is known otherwise, so that their dimensions need no
            other layer.

    Raises:
        MutransferError: naming a parameter that has a dimension which grew for no reason.
    """
    matrices = [m for m in matches.values() if m.parameter.kind in {"matrix", "embedding"}]
    sides = {"inputs": ("in", "out", "outputs"), "outputs": ("out", "in", "inputs")}
    for what, (axis, other, others) in sides.items():
        widths = {Fraction(1)} | {m.ratio(other) for m in matrices}
        for m in matrices:
            if not widths.issuperset(m.ratios(axis)) and m.parameter.name not in known_roles:
                raise MutransferError(
                    f"{m.parameter.name}: its number of {what} is {m.ratio(axis)} times that of "
                    f"the base, but no layer's number of {others} grew by that much, so it is no "
                    "width; build base and model for the same data, or say what it is with roles= "
                    "(a router of more experts)"
                )
