"""Sums with more terms in one program than in the other, and their sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from ..core import MutransferError
from ..reading import Operation
from ._facts import Cause, Fact, causes_of, is_one
from ._layered import Term
from ._mixtures import mixture, note_weights
from ._signals import Signals, bits
from ._tallies import Tallies
from ._walk import Walk, even

_ALONE = Term(1.0, 1, 0)


@dataclass(frozen=True)
class Repeats:
    """The sums of like terms in the base.

    Attributes:
        walk: The pass over the base.
        terms: For each such sum, the first value of each origin in it, with the ratio of the
            factors that it has in the sum, other over base.
        mixtures: For each product that sums over layers with a learned number for each, the ratio
            of the number of layers.
    """

    walk: Walk
    terms: Mapping[int, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    mixtures: Mapping[int, float] = field(default_factory=dict)
    _made: dict[int, Fact] = field(default_factory=dict)

    @cached_property
    def _origins(self) -> frozenset[int]:
        return frozenset(value for each in self.terms.values() for value, _ in each)

    def _origin(self, value: int) -> Fact:
        """Return the fact of an origin, as it was made or as it was corrected since.

        Factors that a sum multiplies its terms by are noted on these, and count already.
        """
        now = self.walk.fact(value)
        return now if now.is_even else self._made.get(value) or even(now)

    def rule(self, operation: Operation) -> Callable[[Walk, int, Operation, int], Fact] | None:
        """Return the rule of a product that sums over layers; None for others."""
        first = operation.results[0] if operation.results else None
        growth = None if first is None else self.mixtures.get(first)
        return None if growth is None else partial(mixture, growth=growth)

    def fact(self, index: int, result: int, fact: Fact) -> Fact:
        """Return the fact of a result; that of all terms together if it is such a sum.

        Raises:
            MutransferError: other terms in it grow otherwise.
        """
        if result in self._origins:
            self._made[result] = fact
        if result not in self.terms:
            return fact
        facts = {v: fact if v == result else self._origin(v) for v, _ in self.terms[result]}
        ratios = [facts[v].ratio * factor for v, factor in self.terms[result]]
        if not all(is_one(ratio / ratios[0]) for ratio in ratios):
            names = sorted(_makers(self.walk.signals, max(self.terms[result], key=_change)[0]))
            raise MutransferError(
                f"the model adds up what {names[0] if names else 'its layers'} makes in a number "
                "of terms that grows, together with what does not grow, and no one factor is right "
                "for both: take the mean of the terms that grow in number alone, as "
                "torch.stack(terms).mean(0), and add the others to it"
            )
        causes = causes_of(facts.values())
        for value, _ in self.terms[result]:
            note_weights(self.walk, index, result, value)
        shares = any(cause.kind == "softmax" for cause in causes)
        if shares or not is_one(ratios[0] / facts[self.terms[result][0][0]].ratio):
            causes |= {Cause("terms", index)}
        return replace(fact, ratio=ratios[0], causes=causes, product=())


def repeats(walk: Walk) -> Repeats:
    """Return the sums of like terms in a walked base.

    Raises:
        MutransferError: terms are more in one program, and their sum has no counterpart.
    """
    base, other = Tallies(walk.signals), Tallies(Signals(walk.growth.other))
    _note_layers(walk, base, other)
    _check_weighted(base, other)
    mixtures = _mixtures(walk, base, other)
    if not base.ends and not other.ends:
        return Repeats(walk, mixtures=mixtures)
    found: dict[int, tuple[tuple[int, float], ...]] = {}
    done = set[object]()
    for here, there in _pairs(walk):
        ours, theirs = base.terms[here], other.terms[there]
        ends = base.ends.get(here, frozenset()), other.ends.get(there, frozenset())
        both = [o for o in ours if o in theirs and ours[o].factor and theirs[o].factor]
        origins = [o for o in both if o in ends[0] | ends[1]]
        # Where one side's sum goes on, the two are not counterparts.
        whole = [(ours[o].paths == 1 or o in ends[0]) for o in origins]
        whole += [(theirs[o].paths == 1 or o in ends[1]) for o in origins]
        if not origins or not all(whole):
            continue
        done.update(origins)
        if any(ours[o].paths != theirs[o].paths for o in both):
            found[here] = tuple(
                (next(bits(ours[o].made)), abs(theirs[o].factor / ours[o].factor)) for o in both
            )
    _check_paired(base, other, done)
    return Repeats(walk, found, mixtures)


def _note_layers(walk: Walk, base: Tallies, other: Tallies) -> None:
    """Note the dimensions that count values alike, as those of one head: no width."""
    for value, here in base.layers.of.items():
        there = other.layers.of.get(_index(walk, value))
        if there is not None and len(here.terms) != len(there.terms):
            longer = max(here, there, key=lambda layered: len(layered.terms))
            if longer.is_alike and walk.shape(value)[here.dim] == len(here.terms):
                walk.growth.layers.add((value, here.dim))


def _check_weighted(base: Tallies, other: Tallies) -> None:
    """Raise where constants or whole vectors weigh layers that grow in number."""
    kinds = (
        ("weighted", "a constant weight for each, which does not show how their sum grows"),
        ("own", "a learned vector for each, for which no rule is known"),
    )
    for kind, text in kinds:
        ours, theirs = (getattr(each.layers, kind).values() for each in (base, other))
        numbers = [{len(layered.terms) for layered in each} for each in (ours, theirs)]
        if numbers[0] != numbers[1] and any(each.is_alike for each in (*ours, *theirs)):
            raise MutransferError(
                f"the model adds up a growing number of layers, with {text}: take the mean of the "
                "terms, as torch.stack(terms).mean(0)"
            )


def _mixtures(walk: Walk, base: Tallies, other: Tallies) -> dict[int, float]:
    """Return the ratio of the number of layers in each product that mixes like layers."""
    found = {}
    for value, here in base.layers.mixtures.items():
        there = other.layers.mixtures.get(_index(walk, value), here)
        longer = max(here, there, key=lambda layered: len(layered.terms))
        if longer.is_alike and len(here.terms) != len(there.terms):
            found[value] = len(there.terms) / len(here.terms)
    return found


def _index(walk: Walk, value: int) -> int:
    """Return the counterpart of a value; -1 where it has none."""
    there = walk.growth.index(value)
    return -1 if there is None else there


def _pairs(walk: Walk) -> Iterator[tuple[int, int]]:
    """Yield the values of the base with a counterpart; outputs by their order."""
    outputs = dict(zip(walk.program.outputs, walk.growth.other.outputs, strict=False))
    for value in range(len(walk.program.values)):
        there = outputs.get(value, walk.growth.index(value))
        if there is not None:
            yield value, there


def _check_paired(base: Tallies, other: Tallies, done: set[object]) -> None:
    """Raise where terms differ in number in sums that no pair compares."""
    ours, theirs = _most(base), _most(other)
    for origin in (ours.keys() | theirs.keys()) - done:
        if not all(any(origin in terms for terms in each.terms) for each in (base, other)):
            continue
        here, there = ours.get(origin, _ALONE), theirs.get(origin, _ALONE)
        if here.paths != there.paths and not math.isclose(abs(here.factor), abs(there.factor)):
            side, term = (base, here) if origin in ours else (other, there)
            names = sorted(_makers(side.signals, next(bits(term.made))))
            raise MutransferError(
                f"what {names[0] if names else 'a layer'} makes is added up in another number of "
                "terms than in the base, outside residual branches, and the two sums cannot be "
                "compared: take the mean of the terms, as torch.stack(terms).mean(0)"
            )


def _most(tallies: Tallies) -> dict[object, Term]:
    """Return the term of the largest factor of each origin in a sum."""
    found: dict[object, Term] = {}
    for value, origins in tallies.ends.items():
        for origin in origins:
            terms = (tallies.terms[value][origin], found.get(origin, _ALONE))
            found[origin] = max(terms, key=lambda term: (abs(term.factor), term.paths))
    return found


def _makers(signals: Signals, value: int) -> set[str]:
    """Return the parameters that an operation takes."""
    maker = signals.makers.get(value)
    weights = [i for i in (maker.inputs if maker else ()) if signals.is_weight(i)]
    return {name for i in weights for name in signals.parameters_of(i)}


def _change(term: tuple[int, float]) -> float:
    return abs(math.log(term[1]))
