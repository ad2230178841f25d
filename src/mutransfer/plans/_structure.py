"""A model and its base side by side: uses, branches, wanted multipliers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from ..core import MutransferError
from ..reading import NOTHING, Reading
from ..rules import Place
from ._accounts import Account, accounts_of, like_others
from ._match import Match
from ._places import BareEnd, bare_ends, check_depth, declared_places, places_of
from ._sides import Sides
from ._tunable import Carriers, declared_carriers, signal_carriers
from ._wants import Want, wants_of
from ._widths import strange_outputs


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Structure that two readings show, by the target's names.

    Attributes:
        depth: Number of residual branches in the base and in the target.
        accounts: The uses of each tensor; empty where the forward pass was not run.
        places: The place of each tensor of a branch, with its stack's ratio.
        wants: The signals that need a multiplier.
        bare_ends: The branches that do not end in learned tensors.
        deepest: Matrices in series of the deepest branch.
        is_post_norm: True if more residual joins follow a normalisation than in the base.
        is_decayed: True if the stream is multiplied by a number more often than in the base.
        is_mixed: True if the stream meets what no branch scales, as its past or a learned number,
            more often than in the base.
        first: Tensors of matrices that take in data rather than features.
        final: Tensors that make the output.
        unused: Tensors that no pass uses.
        strange: Growth of the outputs of tensors whose number is no width.
        is_declared: True if the branches were declared and nothing else is known.
        new_numbers: Numbers that only layers which the base lacks multiply by.
        transforms: The modules that sum over a growing dimension with fixed weights.
        choices: The modules that keep as many of a growing number of features at all sizes.
        short: The modules that add a signal of unit length, or times a softmax over the width.
        tunable: What carries a tuned multiplier of each signal, as far as that is known.
    """

    depth: tuple[int, int] = (0, 0)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    places: Mapping[str, tuple[Place, Fraction]] = field(default_factory=dict)
    wants: tuple[Want, ...] = ()
    bare_ends: tuple[BareEnd, ...] = ()
    deepest: int = 0
    is_post_norm: bool = False
    is_decayed: bool = False
    is_mixed: bool = False
    first: frozenset[str] = frozenset()
    final: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()
    strange: Mapping[str, Fraction] = field(default_factory=dict)
    is_declared: bool = False
    new_numbers: tuple[float, ...] = ()
    transforms: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    tunable: Mapping[str, Carriers] = field(default_factory=dict)

    @cached_property
    def ratio(self) -> Fraction:
        """The largest growth of a stack of branches, target over base."""
        ratios = [ratio for _, ratio in self.places.values() if ratio != 1]
        return max(ratios, default=Fraction(1))


def structure_of(matches: Mapping[str, Match], target: Reading, base: Reading) -> Structure:
    """Read a model and its base side by side.

    Raises:
        MutransferError: the two differ in a way that no rule explains; the message names the place.
    """
    if (target.program is None) != (base.program is None) or (target.branches is None) != (
        base.branches is None
    ):
        known = "model" if target.branches is not None else "base"
        raise MutransferError(
            f"the branches of the {known} were declared and those of the other were traced: give "
            "branches= to both (mutransfer.read takes it, too), or to neither"
        )
    if target.program is None or base.program is None:
        return Structure() if target.branches is None else _declared(matches, target, base)
    sides = Sides(matches, target, base, target.program, base.program)
    accounts = accounts_of(sides)
    alike = like_others(sides, accounts)
    structure = _read(sides, accounts, alike)
    if target.branches is not None:
        places, depth, deepest = declared_places(matches, target, base)
        structure = replace(
            structure, places=places, depth=depth, deepest=deepest, bare_ends=(), is_post_norm=False
        )
    return replace(structure, tunable=signal_carriers(sides, structure.places, alike))


def _read(sides: Sides, accounts: dict[str, Account], alike: Mapping[str, str]) -> Structure:
    """Return what the two forward passes show.

    Args:
        sides: The passes.
        accounts: The uses of each tensor; an unused one gets those of its like.
        alike: A used tensor for each unused one like it.
    """
    places = places_of(sides, accounts)
    for name, other in alike.items():
        accounts[name] = accounts[other]
        if other in places:
            places[name] = places[other]
    check_depth(sides, accounts, places)
    base, target = sides.base_stack, sides.target_stack
    return Structure(
        depth=(len(base.joins), len(target.joins)),
        accounts=accounts,
        places=places,
        wants=tuple(wants_of(sides, accounts)),
        bare_ends=tuple(bare_ends(sides, places)),
        deepest=target.deepest,
        is_post_norm=target.normalised > base.normalised,
        is_decayed=target.decayed > base.decayed,
        is_mixed=target.mixed > base.mixed,
        first=_first(sides),
        final=_final(sides),
        unused=tuple(name for name, each in accounts.items() if each.kind == "unused"),
        strange=strange_outputs(sides, accounts),
        new_numbers=tuple(dict.fromkeys(sides.walk.growth.new_numbers)),
        transforms=tuple(sides.walk.program.operations[i].module for i in sides.walk.fixed),
        choices=tuple(sides.walk.program.operations[i].module for i in sides.walk.chosen),
        short=tuple(sides.walk.program.operations[i].module for i in sides.walk.short),
    )


def _first(sides: Sides) -> frozenset[str]:
    """Return the tensors of matrices that take in data."""
    signals, found = sides.walk.signals, set[str]()
    for walked, uses in sides.walk.uses.items():
        operands = [use.operand for use in uses if use.kind == "contraction"]
        if any(v is not None and not signals.is_learned[v] for v in operands):
            found.update(sides.names.get(walked, ()))
    return frozenset(found)


def _final(sides: Sides) -> frozenset[str]:
    """Return the tensors that make the output."""
    ends = {n for v in sides.walk.program.outputs for n in sides.walk.signals.ends(v)}
    return frozenset(name for walked in ends for name in sides.names.get(walked, ()))


def _declared(matches: Mapping[str, Match], target: Reading, base: Reading) -> Structure:
    """Return the structure of a model that was declared and not run."""
    places, depth, deepest = declared_places(matches, target, base)
    tied = [
        Want(kind="tied-head", signal=NOTHING, fan=m.ratio("out"), tensor=name)
        for name, m in matches.items()
        if m.parameter.kind == "embedding" and m.parameter.aliases and m.ratio("out") != 1
    ]
    return Structure(
        depth=depth,
        places=places,
        wants=tuple(tied),
        deepest=deepest,
        is_declared=True,
        tunable=declared_carriers(target),
    )
