"""The signals whose entries need a multiplier, and what could carry it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ..analysis import Cause, Finding, fate
from ..reading import NOTHING, Signal
from ._accounts import Account
from ._sides import Sides


@dataclass(frozen=True, kw_only=True)
class Want:
    """A signal of the target whose entries need a multiplier.

    Attributes:
        kind: "tied-head", "product" (of two signals), "own-factor", "sum", "terms" (more of them in
            a sum), or "tied-factor" for the input of a head whose tied embedding carries an own
            factor.
        signal: What could carry it, by the target's names.
        modules: The modules that could, one for each layer.
        ratio: Size of its entries, target over base; what the multiplier undoes.
        fan: Ratio of the summed dimension; 1 for numbers.
        sizes: The summed dimension, base and target.
        numbers: The model's own number, base and target, where there is one.
        text: The module where it is.
        tensor: The tied tensor.
        is_normalised: True if a weight that makes it has a size of its own, as a sign has.
        ends_branch: True if it is a factor on the end of a residual branch.
        is_length: True if it is a length, which grows as the root of a number of entries.
        is_compared: True if a softmax compares it, as the logits of an attention.
        makers: Tensors that make it and could carry its multiplier, were it used once.
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
    is_normalised: bool = False
    ends_branch: bool = False
    is_length: bool = False
    is_compared: bool = False
    makers: tuple[str, ...] = ()


def wants_of(sides: Sides, accounts: Mapping[str, Account]) -> Iterator[Want]:
    """Yield what wants a multiplier, layers of one kind once."""
    yield from _tied(sides, accounts)
    first: dict[object, object] = {}
    done = set[object]()
    for finding in sides.walk.findings:
        want, walked = _of_finding(sides, finding)
        kind = want.kind, want.signal.tensors or want.modules or walked
        # All layers of a kind map to the same names, so that the first one speaks for them.
        # What is used in several places is multiplied once.
        if first.setdefault(kind, walked) != walked or (kind, round(want.ratio, 9)) in done:
            continue
        done.add((kind, round(want.ratio, 9)))
        together = None
        if want.signal.tensors is None and want.kind == "own-factor":
            together = _by_embedding(sides, finding, want, accounts)
        elif want.signal.tensors is None and want.kind == "product":
            together = _by_one_tensor(sides, finding, want)
        if together is None:
            yield want
        elif together[0].signal not in done:
            done.add(together[0].signal)
            yield from together


def _tied(sides: Sides, accounts: Mapping[str, Account]) -> Iterator[Want]:
    """Yield the inputs of tied heads."""
    for name, each in accounts.items():
        if each.kind == "tied":
            yield from _head_inputs(sides, name, each, kind="tied-head")


def _head_inputs(
    sides: Sides, name: str, account: Account, *, kind: str, ratio: float = 1.0
) -> Iterator[Want]:
    """Yield what a tied tensor is summed with."""
    signals = sides.walk.signals
    walked = [each for each, names in sides.names.items() if name in names]
    for operand, index in account.operands:
        head = sides.walk.program.operations[index]
        # The head's tensor may make the head's input, too, as in a tied autoencoder.
        views = [view for each in walked for view in signals.views_for(each, head)]
        signal, modules = sides.by_target(signals.of(operand, [head, *views]))
        yield Want(
            kind=kind,
            signal=signal,
            modules=modules,
            fan=account.fan_in,
            tensor=name,
            ratio=ratio,
            text=f"the head of {name}",
            makers=_makers(sides, operand, name),
        )


def _makers(sides: Sides, value: int, head: str) -> tuple[str, ...]:
    """Return the tensors that make the input of a head, used elsewhere or not."""
    ends = sides.walk.signals.ends(value)
    names = {name for walked in ends for name in sides.names.get(walked, ())}
    return tuple(sorted(names - {head}))


def _by_embedding(
    sides: Sides, finding: Finding, want: Want, accounts: Mapping[str, Account]
) -> list[Want] | None:
    """Return the wants that let one embedding carry the factor of all its look-ups.

    The use of a tied one as the head then has this factor, too, which the input of the head
    undoes.
    """
    ends = sides.walk.signals.ends(_origin(sides, finding, []))
    names = [name for walked in ends for name in sides.names.get(walked, ())]
    if len(names) != 1:
        return None
    account, (walked,) = accounts[names[0]], ends
    origin = sides.walk.signals.ancestors[_origin(sides, finding, [])]
    heads = [sides.walk.program.operations[index].results[0] for _, index in account.operands]
    if account.kind == "tied" and any(head is not None and origin >> head & 1 for head in heads):
        # The number stands behind the head.
        return list(_head_inputs(sides, names[0], account, kind="tied-factor", ratio=want.ratio))
    values = [
        _origin(sides, other, [])
        for other in sides.walk.findings
        if math.isclose(other.ratio, finding.ratio)
    ]
    alike = [value for value in values if sides.walk.signals.ends(value) == ends]
    users = [op for value in alike for op in sides.walk.signals.users[value]]
    users += sides.walk.signals.summing(walked) if account.kind == "tied" else []
    signals = sides.walk.signals.all_of([(value, users) for value in alike])
    if any(signal.tensors is None for signal in signals):
        return None
    carried = replace(want, signal=Signal(frozenset(names)), modules=())
    if account.kind != "tied":
        return [carried]
    inputs = _head_inputs(sides, names[0], account, kind="tied-factor", ratio=1 / want.ratio)
    return [carried, *inputs]


def _by_one_tensor(sides: Sides, finding: Finding, want: Want) -> list[Want] | None:
    """Return the want of products that one tensor carries together, as head by head."""
    signals, products = sides.walk.signals, [c for c in finding.causes if c.kind == "product"]
    ends = signals.ends(_origin(sides, finding, products))
    alike = []
    for other in sides.walk.findings:
        causes = [c for c in other.causes if c.kind == "product"]
        value = _origin(sides, other, causes)
        if causes and math.isclose(other.ratio, finding.ratio) and signals.ends(value) == ends:
            alike.append(value)
    found = signals.all_of([(value, signals.users[value]) for value in alike])
    if not ends or any(signal.tensors is None for signal in found):
        return None
    return [replace(want, signal=sides.by_target(found[0])[0], modules=())]


def _of_finding(sides: Sides, finding: Finding) -> tuple[Want, object]:
    """Return the signal that undoes a finding, and its walked carrier."""
    products = [c for c in finding.causes if c.kind == "product"]
    value = _origin(sides, finding, products)
    ratio = _ratio(sides, finding, value)
    found = sides.walk.signals.of(value)
    if found.tensors is None and not products:
        last = _before_bias(sides, finding)
        later = sides.walk.signals.of(last)
        value, found = (last, later) if later.tensors else (value, found)
    if found == NOTHING and products:
        found = _operand(sides, products)
    signal, modules = sides.by_target(found)
    want = Want(
        kind="own-factor",
        signal=signal,
        modules=modules,
        ratio=ratio,
        numbers=_numbers(sides, finding),
        text=_where(sides, value),
        is_normalised=any(cause.kind.startswith("normalised") for cause in finding.causes),
        ends_branch=any(value == join.end for join in sides.stacks[0].joins),
        is_length=_is_length(finding),
        is_compared="softmax" in fate(sides.walk, finding.value),
    )
    walked = found.tensors or found.module or value
    if not products:
        kinds = {c.kind for c in finding.causes}
        kind = next((each for each in ("sum", "terms") if each in kinds), want.kind)
        return replace(want, kind=kind), walked
    sizes = [c.sizes for c in products if c.sizes is not None]
    fan = math.prod((Fraction(b, a) for a, b in sizes), start=Fraction(1))
    return (
        replace(
            want,
            kind="product",
            fan=1 / fan if sides.is_inverted else fan,
            sizes=sizes[0][::-1] if sides.is_inverted else sizes[0],
        ),
        walked,
    )


def _is_length(finding: Finding) -> bool:
    """Return True for the root of a sum of squares, or of a norm, over what grows."""
    sizes = [c.sizes for c in finding.causes if c.kind == "sum" and c.sizes is not None]
    root = math.prod(b / a for a, b in sizes) ** 0.5
    return {cause.kind for cause in finding.causes} == {"unit length"} or (
        bool(sizes) and math.isclose(finding.ratio, root, rel_tol=1e-6)
    )


def _ratio(sides: Sides, finding: Finding, value: int) -> float:
    """Return the growth of a value, which a power may have changed up to its finding."""
    walk, ratio = sides.walk, finding.ratio
    if walk.causes.get(value) == finding.causes and not any(
        cause.kind == "product" for cause in finding.causes
    ):
        ratio = walk.ratios[value]
    return 1 / ratio if sides.is_inverted else ratio


def _before_bias(sides: Sides, finding: Finding) -> int:
    """Return the matrix of a sum with a bias, whose size is right, else the value."""
    operation = sides.walk.program.makers.get(finding.value)
    if finding.place != "a sum with a bias" or operation is None:
        return finding.value
    weights = (i for i in operation.inputs if sides.walk.signals.is_weight(i))
    return next((i for i in weights if len(sides.walk.shape(i)) > 1), finding.value)


def _operand(sides: Sides, products: Sequence[Cause]) -> Signal:
    """Return the module that puts out one factor of a product."""
    operation = sides.walk.program.operations[min(c.operation for c in products)]
    signals = (sides.walk.signals.of(i, [operation]) for i in operation.inputs[:2])
    return next((signal for signal in signals if signal != NOTHING), NOTHING)


def _origin(sides: Sides, finding: Finding, products: Sequence[Cause]) -> int:
    """Return the value to multiply: that of the first product, or of the last number.

    Before a product was masked, or a number's result was used in several places, one value
    stands for all of them. Of a normalised readout it is the weight: its bias has the right size.
    """
    operations = sides.walk.program.operations
    kinds = {cause.kind for cause in finding.causes}
    last = max((c.operation for c in finding.causes), default=0)
    result = None
    if products:
        result = operations[min(c.operation for c in products)].results[0]
    elif "normalised" in kinds:
        last = max(c.operation for c in finding.causes if c.kind == "normalised")
        weights = (i for i in operations[last].inputs if sides.walk.signals.is_weight(i))
        result = next((i for i in weights if _is_normalised(sides, i)), None)
    elif kinds and kinds <= {"number", "constant", "sum", "terms"}:
        result = operations[last].results[0]
        if result is not None and sides.walk.causes.get(result) != finding.causes:
            result = None
    return _before_bias(sides, finding) if result is None else result


def _is_normalised(sides: Sides, value: int) -> bool:
    return any(abs(leaf.degree) < 1e-6 for leaf in sides.walk.fact(value).leaves.values())


def _numbers(sides: Sides, finding: Finding) -> tuple[float, float] | None:
    """Return the number, base and target, where a finding has this cause alone."""
    numbers = [c.numbers for c in finding.causes]
    if len(numbers) != 1 or numbers[0] is None:
        return None
    return numbers[0][::-1] if sides.is_inverted else numbers[0]


def _where(sides: Sides, value: int) -> str:
    maker = sides.walk.program.makers.get(value)
    return maker.module if maker is not None else ""
