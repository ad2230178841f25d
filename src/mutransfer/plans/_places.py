"""The place of each tensor in the residual branches, stack by stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..core import MutransferError
from ..reading import Program, Reading
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
        depth: Ratio of the number of branches.
    """

    number: int
    tensors: frozenset[str]
    modules: tuple[str, ...]
    depth: Fraction


def places_of(sides: Sides) -> dict[str, tuple[Place, Fraction]]:
    """Return the place of each tensor of a residual branch."""
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
        found[name] = place, sides.oriented(Fraction(other, count))
    return found


def bare_ends(sides: Sides, places: Places) -> Iterator[BareEnd]:
    """Yield the branches of the target that do not end in learned tensors."""
    for number, join in enumerate(sides.target_stack.joins, 1):
        if join.signal.tensors is None:
            ratios = [places[name][1] for name in join.tensors if name in places]
            yield BareEnd(
                number=number,
                tensors=join.tensors,
                modules=(join.signal.module,) if join.signal.module else (),
                depth=max(ratios, default=Fraction(1)),
            )


def check_depth(sides: Sides, accounts: Mapping[str, Account]) -> None:
    """Raise where depth grew in a way that no rule explains.

    Raises:
        MutransferError: layers outside branches, loops, or matrices of a branch grew in number.
    """
    base, target = sides.base_stack, sides.target_stack
    if (loose := sides.stacks[1].outside) and sides.target.branches is None:
        raise MutransferError(
            f"the number of layers like {min(loose)} differs from the base's, and they act on "
            "each other's results outside residual branches: no rule is known for depth "
            "without residual branches; keep their number, or put them into such branches"
        )
    uses, base_uses = _uses(sides.program), _uses(sides.base_program)
    for name, match in sides.matches.items():
        known = {base_uses.get(each, 0) for each in match.base_run} - {0}
        count = uses.get(name, 0)
        is_matrix = accounts[name].kind in {"matrix", "readout", "input"}
        if is_matrix and count and known and count not in known and not accounts[name].is_picked:
            raise MutransferError(
                f"{name} is used {count} times in a forward pass, in the base {max(known)} "
                "times: no rule is known for a growing number of loops or uses; keep it, and "
                "grow width or the number of blocks that have tensors of their own"
            )
    if base.joins and target.joins and base.deepest != target.deepest:
        raise MutransferError(
            f"a residual branch has {target.deepest} matrices in series, in the base "
            f"{base.deepest}: keep the branches as deep"
        )


def _uses(program: Program) -> dict[str, int]:
    """Return the number of operations that take each parameter, through views of it."""
    found: dict[str, int] = {}
    views = {"t", "transpose", "view", "permute", "unsqueeze", "detach", "alias", "_to_copy"}
    for name, index in program.parameters.items():
        todo, count = [index], 0
        while todo:
            for operation in program.users[todo.pop()]:
                if operation.name in views and operation.results[0] is not None:
                    todo.append(operation.results[0])
                else:
                    count += 1
        found[name] = count
    return found


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
