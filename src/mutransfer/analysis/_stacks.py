"""Stacks of repeated branches: how many times as many, for each stack of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Program
from ._conditioning import with_conditioning
from ._operations import LOOKUPS
from ._passage import decayed, mixed, normalised
from ._stars import Stars
from ._streams import CONTRACTIONS, Join, Streams


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The residual branches of one forward pass.

    Attributes:
        joins: The joins that count, in the order of the forward pass.
        place: For each parameter in a branch, the join that decides its place.
        counts: For each parameter in a branch, the number of such branches on one stream.
        normalised: Number of joins whose stream is normalised since the join before.
        decayed: Number of joins whose stream is multiplied by a number since the join before.
        mixed: Number of sums of the stream with what no branch scales, as its own past, and of
            learned numbers on it.
        chained: Parameters of growing runs that act on each other's results.
        series: For each parameter of a matrix, its uses that act on each other's results.
    """

    joins: tuple[Join, ...]
    place: Mapping[str, Join]
    counts: Mapping[str, int]
    normalised: int
    decayed: int
    mixed: int
    chained: frozenset[str]
    series: Mapping[str, int]

    @property
    def deepest(self) -> int:
        """Number of matrices in series of the deepest branch."""
        return max((join.matrices for join in self.joins), default=0)


def stack_of(program: Program, stars: Stars) -> Stack:
    """Return the residual branches of a forward pass.

    Args:
        program: The forward pass.
        stars: The runs of layers that grow.
    """
    streams = Streams(program)
    counts = _counts(streams, streams.joins, stars)
    repeated = [join for join in streams.joins if not _holds_a_stack(streams, join, counts)]
    joins = with_conditioning(streams, repeated, stars)
    place: dict[str, Join] = {}
    best: dict[str, tuple[int, int]] = {}
    for join in joins:
        rank = counts[join.value], len(join.tensors)
        for name in join.tensors:
            if rank > best.get(name, (0, 0)):
                place[name], best[name] = join, rank
    kept = tuple(
        join
        for join in joins
        if any(best[name] == (counts[join.value], len(join.tensors)) for name in join.tensors)
    )
    return Stack(
        joins=kept,
        place=place,
        counts={name: rank[0] for name, rank in best.items()},
        normalised=normalised(streams, joins),
        decayed=decayed(streams, joins),
        mixed=mixed(streams, joins, kept),
        chained=_chained(streams, stars),
        series=_series(streams),
    )


def _counts(streams: Streams, joins: list[Join], stars: Stars) -> dict[int, int]:
    """Return, for each join, the branches of its kind on its stream.

    Branches count together if the tensors that end them are of one growing container: layers of
    two kinds in turn are one stack, an encoder and a decoder are two. Joins that start anew in
    every layer, such as a skip inside a branch, count once.
    """
    root: dict[int, int] = {}
    values = [join.value for join in joins]
    for join in joins:
        passed = streams.through[join.stream]
        before = [v for v in values if v < join.value and passed >> v & 1]
        root[join.value] = root[before[-1]] if before else join.value
    kinds = {join.value: _kinds(join, stars) for join in joins}
    on_stream = Counter((root[v], kind) for v in values for kind in kinds[v])
    longest: Counter[str] = Counter()
    for (_, kind), count in on_stream.items():
        longest[kind] = max(longest[kind], count)
    # A bare end is counted by all tensors of its branch, of which a whole network has many kinds.
    return {
        join.value: (max if join.signal.tensors else min)(
            (longest[kind] for kind in kinds[join.value]), default=1
        )
        for join in joins
    }


def _holds_a_stack(streams: Streams, join: Join, counts: Mapping[int, int]) -> bool:
    """Return True for a skip around a whole stack, which is no branch of one."""
    ancestors = streams.signals.ancestors
    return any(
        counts[other.value] > counts[join.value]
        and ancestors[join.end] >> other.value & 1
        and ancestors[other.value] >> join.top & 1
        for other in streams.joins
        if other is not join
    )


def _kinds(join: Join, stars: Stars) -> set[str]:
    names = join.signal.tensors or join.tensors
    return {stars.container(name) for name in names}


def _chained(streams: Streams, stars: Stars) -> frozenset[str]:
    """Return parameters of growing runs that are in series, or are summed."""
    found, results = set[str](), dict[object, dict[int, str]]()
    ancestors, parameters = streams.signals.ancestors, streams.program.parameters
    for value, names in streams.made(CONTRACTIONS | LOOKUPS | {"add", "sub"}):
        for name in filter(stars.is_repeated, names):
            # A stem and a head may be numbered among the layers, and have other shapes.
            kind = stars.star(name), streams.values[parameters[name]].shape
            run = results.setdefault(kind, {})
            if any(ancestors[value] >> earlier & 1 for earlier in run):
                found.add(name)
            run[value] = name
    for run in results.values():
        mask = sum(1 << value for value in run)
        summed = max((copies & mask for copies in streams.copies), key=int.bit_count, default=0)
        if summed.bit_count() > 1:
            found.update(run.values())
    return frozenset(found)


def _series(streams: Streams) -> dict[str, int]:
    """Return how many uses of each matrix act on each other's results, as in a loop."""
    longest: dict[str, dict[int, int]] = {}
    ancestors = streams.signals.ancestors
    for value, names in streams.made(CONTRACTIONS):
        for name in names:
            uses = longest.setdefault(name, {})
            before = (count for use, count in uses.items() if ancestors[value] >> use & 1)
            uses[value] = 1 + max(before, default=0)
    return {name: max(uses.values()) for name, uses in longest.items()}
