"""A model's parameters matched with its base's, and the dimensions that grew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..analysis import Stars
from ..core import MutransferError
from ..reading import Axes, Parameter, numbers, pattern


@dataclass(frozen=True, kw_only=True)
class Match:
    """A parameter, its counterparts in the base, and its run of equal layers.

    Attributes:
        parameter: The parameter of the model.
        base: One of its counterparts.
        run: Names of the model's parameters that are its equals, itself among them.
        base_run: Names of all counterparts.
        axes: The parameter's axes, as it is used; as its layer says where the model was not run.
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
        return [Fraction(a, b) if b else Fraction(1) for name, a, b in sizes if name == axis]

    @property
    def grew(self) -> frozenset[int]:
        """The dimensions whose sizes differ."""
        pairs = zip(self.parameter.shape, self.base.shape, strict=True)
        return frozenset(i for i, (size, base) in enumerate(pairs) if size != base)

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

    A number in a name stands for a layer where more layers follow its prefix in one of the two.
    Layers of one such name fall into kinds by the shapes in their module, which are matched in
    their order.

    Raises:
        MutransferError: the two have different modules or numbers of dimensions.
    """
    stars = Stars(target, base)
    try:
        pairs = _pairs(target, base, stars.star)
    except MutransferError as refusal:
        # Where layers of other shapes stand under other numbers, patterns of names may fit.
        try:
            pairs = _pairs(target, base, pattern)
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
                axes=_axes(parameter, bases[0]),
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
    # The bias of a stem has the shape of a layer's, and its matrix has not.
    modules: dict[str, list[tuple[int, ...]]] = {}
    for p in parameters.values():
        modules.setdefault(p.name.rpartition(".")[0], []).append(p.shape)
    for p in parameters.values():
        kind = p.shape, p.layer, tuple(modules[p.name.rpartition(".")[0]])
        kinds.setdefault(star(p.name), {}).setdefault(kind, []).append(p)
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


def _axes(target: Parameter, base: Parameter) -> Axes:
    """Return a parameter's axes by its layer or the user, else by its shapes."""
    if len(target.shape) != len(base.shape):
        raise MutransferError(
            f"{target.name} has shape {target.shape}, {base.name} of the base {base.shape}: "
            "they are not one family of sizes"
        )
    if target.axes is not None:
        return target.axes
    pairs = zip(target.shape, base.shape, strict=True)
    return tuple("out" if size != other else "finite" for size, other in pairs)
