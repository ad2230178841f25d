"""A model and its base read side by side: uses of tensors, branches, wanted multipliers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from ..analysis import (
    Cause,
    Finding,
    Stack,
    Stars,
    Walk,
    account,
    check_same_inputs,
    stack_of,
)
from ..core import MutransferError
from ..reading import NOTHING, Operation, Program, Reading, Signal
from ..rules import Place
from ._accounts import Account, account_of
from ._match import Match


@dataclass(frozen=True, kw_only=True)
class Want:
    """A signal of the target whose entries need a multiplier.

    Attributes:
        kind: "tied-head", "product" (of two signals), "own-factor" or "sum".
        signal: What could carry it, by the target's names.
        modules: The modules that could, one for each layer.
        ratio: Size of its entries, target over base; what the multiplier undoes.
        fan: Ratio of the summed dimension; 1 for numbers.
        sizes: The summed dimension, base and target.
        numbers: The model's own number, base and target, where there is one.
        text: The module where it is.
        tensor: The tied tensor.
        ends_branch: True if it is a factor on the end of a residual branch.
    """

    kind: str
    signal: Signal
    modules: tuple[str, ...] = ()
    ratio: float = 1.0
    fan: Fraction = Fraction(1)
    sizes: tuple[int, int] = (1, 1)
    numbers: tuple[float, float] | None = None
    text: str = ""
    tensor: str = ""
    ends_branch: bool = False


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


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What two readings show side by side, by the target's names.

    Attributes:
        depth: Number of residual branches in the base and in the target.
        accounts: The uses of each tensor; empty where the forward pass was not run.
        places: The place of each tensor of a branch, with its stack's ratio.
        wants: The signals that need a multiplier.
        bare_ends: The branches that do not end in learned tensors.
        deepest: Matrices in series of the deepest branch.
        is_post_norm: True if more residual joins follow a normalisation than in the base.
        is_decayed: True if the stream is multiplied by a number more often than in the base.
        first: Tensors of matrices that take in data rather than features.
        final: Tensors that make the output.
        unused: Tensors that no pass uses.
        strange: Growth of the outputs of tensors whose number is no width.
        is_declared: True if the branches were declared and nothing else is known.
    """

    depth: tuple[int, int] = (0, 0)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    places: Mapping[str, tuple[Place, Fraction]] = field(default_factory=dict)
    wants: tuple[Want, ...] = ()
    bare_ends: tuple[BareEnd, ...] = ()
    deepest: int = 0
    is_post_norm: bool = False
    is_decayed: bool = False
    first: frozenset[str] = frozenset()
    final: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()
    strange: Mapping[str, Fraction] = field(default_factory=dict)
    is_declared: bool = False

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
    structure = _Reader(matches, target, base, target.program, base.program).structure()
    if target.branches is None:
        return structure
    places, depth, deepest = _declared_places(matches, target, base)
    return replace(
        structure, places=places, depth=depth, deepest=deepest, bare_ends=(), is_post_norm=False
    )


class _Reader:
    """The walked program, the smaller of the two, and how its names map to the target's."""

    def __init__(
        self,
        matches: Mapping[str, Match],
        target: Reading,
        base: Reading,
        program: Program,
        base_program: Program,
    ) -> None:
        check_same_inputs(base_program, program)
        self.matches, self.target, self.base = matches, target, base
        self.inverted = len(program.operations) < len(base_program.operations)
        pair = (program, base_program) if self.inverted else (base_program, program)
        self.stars = Stars(*([*p.parameters] for p in pair))
        self.walk = account(*pair, self.stars)
        self.stacks = tuple(stack_of(p, self.stars) for p in pair)
        self.training = self._training()
        self.strange: dict[str, Fraction] = {}
        self.names: dict[str, list[str]] = {}
        for name, match in matches.items():
            for walked in self._walked(match):
                self.names.setdefault(walked, []).append(name)

    def _walked(self, match: Match) -> tuple[str, ...]:
        return (match.parameter.name,) if self.inverted else match.base_run

    def _training(self) -> Walk | None:
        """Return the walk over the passes in training mode, where both were run."""
        one, other = self.base.training, self.target.training
        if one is None or other is None:
            return None
        pair = (other, one) if self.inverted else (one, other)
        return account(*pair, self.stars)

    def structure(self) -> Structure:
        """Return what the two programs show."""
        self._check_paired()
        accounts = {name: self._account(match) for name, match in self.matches.items()}
        self._find_strange(accounts)
        here, there = self.stacks
        base, target = (there, here) if self.inverted else (here, there)
        places = self._places()
        for name, sibling in self._siblings(accounts).items():
            accounts[name] = accounts[sibling]
            if sibling in places:
                places[name] = places[sibling]
        self._check_depth(base, target, accounts)
        signals = self.walk.signals
        final = {n for v in self.walk.program.outputs for n in signals.ends(v)}
        return Structure(
            depth=(len(base.joins), len(target.joins)),
            accounts=accounts,
            places=places,
            wants=tuple(self._wants(accounts)),
            bare_ends=tuple(self._bare_ends(target, places)),
            deepest=target.deepest,
            is_post_norm=target.normalised > base.normalised,
            is_decayed=target.decayed > base.decayed,
            first=frozenset(self._first(accounts)),
            final=frozenset(name for walked in final for name in self.names.get(walked, ())),
            unused=tuple(n for n, each in accounts.items() if each.kind == "unused"),
            strange=self.strange,
        )

    def _check_paired(self) -> None:
        growth = self.walk.growth
        signals = self.walk.signals
        for index in growth.unpaired:
            operation = growth.base.operations[index]
            if any(map(signals.is_weight, operation.inputs)):
                where = f" in {operation.module}" if operation.module else ""
                raise MutransferError(
                    f"the forward passes of model and base differ: {operation.name}{where} has no "
                    f"counterpart; the first difference is {growth.first_difference}; build both "
                    "from one architecture, with sizes at which they take the same path"
                )
        for index, name in self.walk.unknown:
            where = growth.base.operations[index].module or "the model itself"
            raise MutransferError(
                f"{name} in {where} takes a dimension that grows and does not return it, and no "
                "rule says how its result scales: keep this dimension, or plan the model with "
                "this operation written out"
            )

    def _account(self, match: Match) -> Account:
        names = self._walked(match)
        grew = match.grew
        walk = self.walk
        used = next((n for n in names if n in walk.uses), None)
        if used is None and self.training is not None:
            walk = self.training
            used = next((n for n in names if n in walk.uses), None)
        name = used or names[0]
        return account_of(walk, name, match.parameter, grew, inverted=self.inverted)

    def _find_strange(self, accounts: Mapping[str, Account]) -> None:
        """Note scores and outputs that grow in number by what is no width.

        A width is the number of outputs of some layer and of inputs of another.
        """
        summed = {each.fan_in for each in accounts.values()} | {Fraction(1)}
        widths = {a * b for a in summed for b in summed} | {a / b for a in summed for b in summed}
        if len(summed) < 2:
            return
        for value in self._scores():
            here, there = self.walk.shape(value), self.walk.growth.shape(value)
            for d in self.walk.growth.growing(value):
                ratio = (
                    Fraction(here[d], there[d]) if self.inverted else Fraction(there[d], here[d])
                )
                if ratio in widths:
                    continue
                for walked in self.walk.signals.ends(value):
                    for name in self.names.get(walked, ()):
                        if self.matches[name].ratio("out") == ratio:
                            self.strange[name] = ratio

    def _scores(self) -> Iterator[int]:
        """Yield the model's outputs, and what is compared by a softmax or sorted."""
        yield from self.walk.program.outputs
        for operation in self.walk.program.operations:
            if operation.name in {"_softmax", "_safe_softmax", "topk", "sort"}:
                yield operation.inputs[0]

    def _siblings(self, accounts: Mapping[str, Account]) -> dict[str, str]:
        """Return for each unused tensor a used one like it, such as that of another expert.

        Experts are used where the data call for them, so that one batch may miss some.
        """
        used: dict[object, str] = {}
        for name, match in self.matches.items():
            if accounts[name].kind != "unused":
                used.setdefault(_like(match), name)
        return {
            name: used[_like(match)]
            for name, match in self.matches.items()
            if accounts[name].kind == "unused" and _like(match) in used
        }

    def _first(self, accounts: Mapping[str, Account]) -> Iterator[str]:
        """Yield the tensors of matrices that take in data."""
        signals = self.walk.signals
        for walked, uses in self.walk.uses.items():
            operands = [u.operand for u in uses if u.kind == "contraction"]
            if any(v is not None and not signals.is_learned[v] for v in operands):
                yield from self.names.get(walked, ())

    # Depth

    def _places(self) -> dict[str, tuple[Place, Fraction]]:
        here, there = self.stacks
        found: dict[str, tuple[Place, Fraction]] = {}
        for name, match in self.matches.items():
            walked = next((n for n in self._walked(match) if n in here.place), None)
            if walked is None:
                continue
            join, count = here.place[walked], here.counts[walked]
            run = match.base_run if self.inverted else match.run
            other = max((there.counts.get(n, 0) for n in run), default=0) or count
            ratio = Fraction(count, other) if self.inverted else Fraction(other, count)
            ends = walked in (join.signal.tensors or ())
            found[name] = (Place.BRANCH_END if ends else Place.BRANCH, ratio)
        return found

    def _check_depth(self, base: Stack, target: Stack, accounts: Mapping[str, Account]) -> None:
        if (loose := self.stacks[1].outside) and self.target.branches is None:
            raise MutransferError(
                f"the number of layers like {min(loose)} differs from the base's, and they act on "
                "each other's results outside residual branches: no rule is known for depth "
                "without residual branches; keep their number, or put them into such branches"
            )
        uses, base_uses = _contractions(self.target.program), _contractions(self.base.program)
        for name, match in self.matches.items():
            known = {base_uses.get(each, 0) for each in match.base_run}
            count = uses.get(name, 0)
            is_matrix = accounts[name].kind in {"matrix", "readout", "input"}
            if is_matrix and count > max(known) > 0 and not accounts[name].is_picked:
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

    def _bare_ends(
        self, target: Stack, places: Mapping[str, tuple[Place, Fraction]]
    ) -> Iterator[BareEnd]:
        for number, join in enumerate(target.joins, 1):
            if join.signal.tensors is None:
                ratios = [places[name][1] for name in join.tensors if name in places]
                yield BareEnd(
                    number=number,
                    tensors=join.tensors,
                    modules=(join.signal.module,) if join.signal.module else (),
                    depth=max(ratios, default=Fraction(1)),
                )

    # Multipliers

    def _wants(self, accounts: Mapping[str, Account]) -> Iterator[Want]:
        """Yield what wants a multiplier, layers of one kind once."""
        yield from self._tied(accounts)
        seen: dict[object, object] = {}
        for finding in self.walk.findings:
            want, walked = self._of_finding(finding)
            kind = want.kind, want.signal.tensors or want.modules or finding.value
            first = seen.setdefault((kind, finding.causes), walked)
            if first is not walked:
                continue
            if seen.setdefault(kind, walked) != walked:
                continue
            if want.kind != "own-factor" or want.signal.tensors is not None:
                yield want
                continue
            together = self._by_embedding(finding, want, accounts)
            if together is None:
                yield want
            elif seen.setdefault(together[0].signal.tensors, walked) == walked:
                yield from together

    def _tied(self, accounts: Mapping[str, Account]) -> Iterator[Want]:
        """Yield the inputs of tied heads."""
        for name, each in accounts.items():
            if each.kind == "tied":
                yield from self._head_inputs(name, each, kind="tied-head")

    def _head_inputs(
        self, name: str, account: Account, *, kind: str, ratio: float = 1.0
    ) -> Iterator[Want]:
        """Yield what a tied tensor is summed with."""
        for operand, index in account.operands:
            signal, modules = self._signal(operand, [self.walk.program.operations[index]])
            yield Want(
                kind=kind,
                signal=signal,
                modules=modules,
                fan=account.fan_in,
                tensor=name,
                ratio=ratio,
                text=f"the head of {name}",
            )

    def _by_embedding(
        self, finding: Finding, want: Want, accounts: Mapping[str, Account]
    ) -> list[Want] | None:
        """Return the wants that let one embedding carry the factor of all its look-ups.

        The use of a tied one as the head then has this factor, too, which the input of the head
        undoes.
        """
        ends = self.walk.signals.ends(self._origin(finding, []))
        names = [name for walked in ends for name in self.names.get(walked, ())]
        if len(names) != 1:
            return None
        account, (walked,) = accounts[names[0]], ends
        values = [
            self._origin(other, [])
            for other in self.walk.findings
            if math.isclose(other.ratio, finding.ratio)
        ]
        alike = [value for value in values if self.walk.signals.ends(value) == ends]
        users = [op for value in alike for op in self.walk.signals.users[value]]
        users += self._uses_as_matrix(walked) if account.kind == "tied" else []
        signals = self.walk.signals.all_of([(value, users) for value in alike])
        if any(signal.tensors is None for signal in signals):
            return None
        carried = replace(want, signal=Signal(frozenset(names)), modules=())
        if account.kind != "tied":
            return [carried]
        inputs = self._head_inputs(names[0], account, kind="own-factor", ratio=1 / want.ratio)
        return [carried, *inputs]

    def _uses_as_matrix(self, walked: str) -> Iterator[Operation]:
        """Yield the operations that sum over a parameter, and the views of it before them."""
        program = self.walk.program
        todo = [program.parameters[walked]]
        while todo:
            for operation in program.users[todo.pop()]:
                if operation.name in {"t", "transpose", "permute", "detach", "view", "_to_copy"}:
                    todo += [i for i in operation.results if i is not None]
                    yield operation
                elif operation.name != "embedding":
                    yield operation

    def _of_finding(self, finding: Finding) -> tuple[Want, object]:
        """Return the signal that undoes a finding, and what carries it in the walked program."""
        products = [c for c in finding.causes if c.kind == "product"]
        ratio = 1 / finding.ratio if self.inverted else finding.ratio
        value = self._origin(finding, products)
        found = self.walk.signals.of(value)
        signal, modules = self._by_target(found)
        want = Want(
            kind="own-factor",
            signal=signal,
            modules=modules,
            ratio=ratio,
            numbers=self._numbers(finding),
            text=self._where(value),
            ends_branch=any(value == join.end for join in self.stacks[0].joins),
        )
        walked = found.tensors or found.module or value
        if not products:
            sums = any(c.kind == "sum" for c in finding.causes)
            return (replace(want, kind="sum") if sums else want), walked
        sizes = [c.sizes for c in products if c.sizes is not None]
        fan = math.prod((Fraction(b, a) for a, b in sizes), start=Fraction(1))
        return (
            replace(
                want,
                kind="product",
                fan=1 / fan if self.inverted else fan,
                sizes=sizes[0][::-1] if self.inverted else sizes[0],
            ),
            walked,
        )

    def _origin(self, finding: Finding, products: Sequence[Cause]) -> int:
        """Return the value to multiply: that of the first product, or of the last number.

        Before a product was masked, or a number's result was used in several places, one value
        stands for all of them.
        """
        operations = self.walk.program.operations
        if products:
            result = operations[min(c.operation for c in products)].results[0]
        else:
            last = max((c.operation for c in finding.causes), default=None)
            result = None if last is None else operations[last].results[0]
            if result is not None and self.walk.causes.get(result) != finding.causes:
                result = None
        return finding.value if result is None else result

    def _numbers(self, finding: Finding) -> tuple[float, float] | None:
        """Return the number, base and target, where a finding has this cause alone."""
        numbers = [c.numbers for c in finding.causes]
        if len(numbers) != 1 or numbers[0] is None:
            return None
        return numbers[0][::-1] if self.inverted else numbers[0]

    def _where(self, value: int) -> str:
        maker = self.walk.program.makers.get(value)
        return maker.module if maker is not None else ""

    def _signal(self, value: int, users: Sequence[Operation]) -> tuple[Signal, tuple[str, ...]]:
        """Return what could multiply a value, by the target's names."""
        return self._by_target(self.walk.signals.of(value, users))

    def _by_target(self, found: Signal) -> tuple[Signal, tuple[str, ...]]:
        modules = self._modules(found.module)
        if found.tensors is None:
            return Signal(None, found.module), modules
        names = [name for walked in found.tensors for name in self.names.get(walked, ())]
        return (Signal(frozenset(names), found.module) if names else NOTHING), modules

    def _modules(self, module: str | None) -> tuple[str, ...]:
        """Return the target's modules of one kind with a walked one."""
        if module is None or self.target.program is None:
            return ()
        starred = self.stars.star(module)
        return tuple(n for n in self.target.program.modules if self.stars.star(n) == starred)


def _like(match: Match) -> object:
    """Return what tensors that are alike have in common: shapes, and names but for numbers."""
    name = re.sub(r"\d+", "*", match.parameter.name)
    return name, match.parameter.shape, match.base.shape


def _contractions(program: Program | None) -> dict[str, int]:
    """Return the number of operations that take each parameter, through views of it."""
    found: dict[str, int] = {}
    if program is None:
        return found
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


def _declared(matches: Mapping[str, Match], target: Reading, base: Reading) -> Structure:
    """Return the structure of a model whose branches were declared and that was not run."""
    places, depth, deepest = _declared_places(matches, target, base)
    return Structure(depth=depth, places=places, deepest=deepest, is_declared=True)


def _declared_places(
    matches: Mapping[str, Match], target: Reading, base: Reading
) -> tuple[dict[str, tuple[Place, Fraction]], tuple[int, int], int]:
    """Return the places of tensors in declared branches, the numbers of these, and their depth."""
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
