"""The place of each tensor in the residual branches, stack by stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..analysis import Signals
from ..core import MutransferError
from ..reading import Reading
from ..rules import Place
from ._accounts import Account
from ._match import Match
from ._sides import Sides

Places = Mapping[str, tuple[Place, Fraction]]
"""The place of each tensor of a branch, with the growth of its stack, target over base."""


@dataclass(frozen=True, kw_only=True)
class BareEnd:
    """The end of a residual branch that no learned tensor makes alone.

    Attributes:
        number: The branch's number in the forward pass, from 1.
        tensors: The learned tensors in the branch.
        modules: The modules that put the ends out; empty where none does.
        makers: Learned tensors that make the end and more; empty where none does.
        depth: Ratio of the number of branches.
    """

    number: int
    tensors: frozenset[str]
    modules: tuple[str, ...]
    depth: Fraction
    makers: tuple[str, ...] = ()


def places_of(sides: Sides, accounts: Mapping[str, Account]) -> dict[str, tuple[Place, Fraction]]:
    """Return the place of each tensor of a residual branch.

    One that all branches of a growing stack share is in none of them.
    """
    here, there = sides.stacks
    found: dict[str, tuple[Place, Fraction]] = {}
    for name, match in sides.matches.items():
        walked = next((n for n in sides.walked(match) if n in here.place), None)
        if walked is None:
            continue
        join, count = here.place[walked], here.counts[walked]
        run = match.base_run if sides.is_inverted else match.run
        other = max((there.counts.get(each, 0) for each in run), default=0) or count
        ends = walked in (join.signal.tensors or ())
        place = Place.BRANCH_END if ends else Place.BRANCH
        is_shared = not sides.stars.is_repeated(walked) and not accounts[name].is_picked
        if ends or other == count or not is_shared:
            found[name] = place, sides.oriented(Fraction(other, count))
    return found


def bare_ends(sides: Sides, places: Places) -> Iterator[BareEnd]:
    """Yield the branches of the target that do not end in learned tensors."""
    signals = Signals(sides.target.program) if sides.target.program else None
    for number, join in enumerate(sides.target_stack.joins, 1):
        if join.signal.tensors is None:
            ratios = [places[name][1] for name in join.tensors if name in places]
            yield BareEnd(
                number=number,
                tensors=join.tensors,
                modules=(join.signal.module,) if join.signal.module else (),
                depth=max(ratios, default=Fraction(1)),
                makers=tuple(sorted(signals.ends(join.end))) if signals else (),
            )


def check_depth(sides: Sides, accounts: Mapping[str, Account], places: Places) -> None:
    """Raise where depth grew in a way that no rule explains.

    Raises:
        MutransferError: layers outside branches, loops, or matrices of a branch grew in number.
    """
    base, target = sides.base_stack, sides.target_stack
    if sides.target.branches is None:
        _check_chains(sides, places)
    for name, match in sides.matches.items():
        known = {base.series[each] for each in match.base_run if each in base.series}
        count = target.series.get(name)
        if count and known and count not in known and not accounts[name].is_picked:
            raise MutransferError(
                f"{name} is used {count} times in a forward pass, in the base {max(known)} "
                "times, each on the result of another: no rule is known for a growing number of "
                "loops; keep it, and grow width or the number of blocks that have tensors of "
                "their own"
            )
    if base.joins and target.joins and base.deepest != target.deepest:
        raise MutransferError(
            f"a residual branch has {target.deepest} matrices in series, in the base "
            f"{base.deepest}: keep the branches as deep"
        )


def _check_chains(sides: Sides, places: Places) -> None:
    """Raise where layers in series differ in number, and no stack of branches does."""
    chained = sides.stacks[1].chained
    for name, match in sides.matches.items():
        run = match.base_run if sides.is_inverted else match.run
        if chained.intersection(run) and places.get(name, (Place.OUTSIDE, 1))[1] == 1:
            raise MutransferError(
                f"the number of layers like {name} differs from the base's, and they act on each "
                "other's results, or are summed, outside residual branches that repeat: no rule "
                "is known for depth without these; keep their number, put them into residual "
                "branches, or, where they are in some that are not seen, declare these with "
                "branches="
            )


def declared_places(
    matches: Mapping[str, Match], target: Reading, base: Reading
) -> tuple[dict[str, tuple[Place, Fraction]], tuple[int, int], int]:
    """Return the places in declared branches, their numbers and their depth.

    Raises:
        MutransferError: the numbers do not fit, or a layer that grew is in no branch.
    """
    assert target.branches is not None and base.branches is not None
    count, base_count = len(target.branches), len(base.branches)
    if count < base_count or (count > base_count == 0):
        raise MutransferError(
            f"the model has {count} residual branches and the base {base_count}; "
            "the base must have at least one and not more than the model"
        )
    ratio = Fraction(count, base_count) if base_count else Fraction(1)
    places: dict[str, tuple[Place, Fraction]] = {}
    for branch in target.branches:
        for name in branch.tensors:
            places[name] = (Place.BRANCH_END if name in branch.end else Place.BRANCH, ratio)
    for name, match in matches.items():
        grown = Fraction(len(match.run), len(match.base_run))
        if grown != 1 and name not in places:
            raise MutransferError(
                f"there are {grown} times as many layers like {name} as in the base, and no "
                "declared branch has them: name all tensors of every residual branch in branches="
            )
    deepest = max((branch.matrices for branch in target.branches), default=0)
    return places, (base_count, count), deepest
