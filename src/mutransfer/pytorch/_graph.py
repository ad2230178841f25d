"""What is asked of an autograd graph: residual joins, and the learned tensors that a signal is linear in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations
from typing import Any

from ..reading import Signal

Node = Any
"""A node of the autograd graph; torch gives its type no public name that covers all of them."""

_VIEWS = {
    "T",
    "Transpose",
    "Permute",
    "View",
    "UnsafeView",
    "Reshape",
    "Expand",
    "Squeeze",
    "Unsqueeze",
    "Alias",
    "ToCopy",
    "Clone",
    "Slice",
}
_NORMS = {"NativeLayerNorm", "NativeBatchNorm", "NativeGroupNorm", "FusedRmsNorm", "CudnnBatchNorm"}
_PRODUCTS = {
    "Mm",
    "Addmm",
    "Bmm",
    "Baddbmm",
    "GroupedMm",
    "Linear",
    "Convolution",
    "Embedding",
    "Mul",
    *_NORMS,
}
_HOMOGENEOUS = _VIEWS | {
    *(
        "Add",
        "Sub",
        "Neg",
        "Mul",
        "Div",
        "Cat",
        "Stack",
        "Select",
        "Mean",
        "Sum",
        "NativeDropout",
        "Index",
    ),
    *("Relu", "LeakyRelu", "Abs", "MaxPool2DWithIndices", "AvgPool2D", "AdaptiveAvgPool2D"),
}
"""Operations whose output is multiplied by a positive factor when all their inputs are."""
_SUMS = {"Add", "Sub", "Cat", "Stack"}
_NORMALISING = _NORMS | {"Rsqrt", "Sqrt", "Pow", "LinalgVectorNorm", "Norm", "Std", "Var"}


class Graph:
    """The autograd graph with what is asked of it: order, ancestors, consumers, learned tensors.

    Args:
        roots: The nodes that make the model's outputs.
        names: The learned tensors' names by the identity of their leaves.
        modules: The modules' names by the nodes that make their outputs.
    """

    def __init__(
        self, roots: list[Node], names: Mapping[int, str], modules: Mapping[Node, str]
    ) -> None:
        self.names = names
        self.modules = modules
        self.returned: set[Node] = set()
        self.order = _topological(roots)
        self.leaves = {
            name: node for node in self.order if (name := self._leaf_name(node)) is not None
        }
        self.index = {node: i for i, node in enumerate(self.order)}
        self.consumers: dict[Node, list[Node]] = {node: [] for node in self.order}
        self.ancestors: dict[Node, int] = {}
        self.elsewhere: dict[Node, int] = {}
        for node in self.order:
            mask = 0
            for parent in _inputs(node):
                self.consumers[parent].append(node)
                mask |= self.ancestors[parent] | (1 << self.index[parent])
            self.ancestors[node] = mask
        behind = 0
        for root in roots:
            behind |= self.ancestors[root]
        self.returned = {root for root in roots if behind >> self.index[root] & 1}

    def joins(self) -> dict[Node, tuple[Node, Node]]:
        """Additions of a branch with learned tensors to its stream: node -> (stream, end of the branch); outermost only.

        The branch left the stream right here or, where branches are parallel, before an earlier join.
        """
        found: dict[Node, tuple[Node, Node]] = {}
        for node in self.order:
            parents = _inputs(node)
            if _kind(node) not in {"Add", "Sub"} or len(parents) != 2:
                continue
            for stream, end in (parents, parents[::-1]):
                if self._leaves_stream(stream, end, found):
                    found[node] = (stream, end)
                    break
        inner, joins = 0, sum(1 << self.index[node] for node in found)
        for skip, end in found.values():
            self.elsewhere[end] = self._other_streams(self._mask(skip, end), end, joins)
            inner |= self._mask(skip, end)
        return {node: pair for node, pair in found.items() if not inner >> self.index[node] & 1}

    def _leaves_stream(
        self, stream: Node, end: Node, joins: Mapping[Node, tuple[Node, Node]]
    ) -> bool:
        """Whether a branch with learned tensors left the stream here, before a factor on it, or before an earlier join."""
        if not self.learned(self.between(stream, end)):
            return False
        at: Node | None = stream
        while at is not None and not self.ancestors[end] >> self.index[at] & 1:
            factor = _kind(at) in _VIEWS | {"Mul", "Div"} and len(_inputs(at)) == 1
            earlier = joins.get(at, _inputs(at) if factor else (None,))
            at = earlier[0]
        return at is not None and _kind(at) != "AccumulateGrad"

    def between(self, skip: Node, end: Node) -> list[Node]:
        """The nodes that make the end of a branch but not its stream, each after its inputs."""
        return list(self._nodes(self._mask(skip, end)))

    def _nodes(self, mask: int) -> Iterator[Node]:
        while mask:
            low = mask & -mask
            yield self.order[low.bit_length() - 1]
            mask ^= low

    def _mask(self, skip: Node, end: Node) -> int:
        made = self.ancestors[end] | (1 << self.index[end])
        return made & ~(self.ancestors[skip] | (1 << self.index[skip]) | self.elsewhere.get(end, 0))

    def _other_streams(self, mask: int, end: Node, joins: int) -> int:
        """What a branch takes in from a residual stream of its own that others take in, too, as an encoder's in a decoder."""
        found = 0
        for node in self._nodes(mask & ~(1 << self.index[end])):
            shared = any(not mask >> self.index[user] & 1 for user in self.consumers[node])
            if shared and (self.ancestors[node] | 1 << self.index[node]) & mask & joins:
                found |= self.ancestors[node] | 1 << self.index[node]
        return found

    def learned(self, nodes: Iterable[Node]) -> frozenset[str]:
        """Names of the learned tensors among these nodes."""
        return frozenset(name for node in nodes if (name := self._leaf_name(node)) is not None)

    def normalised(self, skip: Node, joins: Mapping[Node, object]) -> bool:
        """Whether a normalisation stands on the stream between this place and the join before it."""
        stack, seen, norm, join = [skip], set[Node](), False, False
        while stack:
            node = stack.pop()
            join |= node in joins
            if node in seen or node in joins or _kind(node) in _PRODUCTS - _NORMS - {"Mul"}:
                continue
            seen.add(node)
            norm |= _kind(node) in _NORMALISING
            stack.extend(_inputs(node))
        return norm and join

    def _leaf_name(self, node: Node) -> str | None:
        return self.names.get(id(node.variable)) if _kind(node) == "AccumulateGrad" else None

    def _is_matrix(self, name: str) -> bool:
        return int(self.leaves[name].variable.dim()) > 1

    def _parameter(self, node: Node) -> str | None:
        """The learned tensor that this node is, but for transposes and views."""
        while _kind(node) in _VIEWS and len(_inputs(node)) == 1:
            node = _inputs(node)[0]
        return self._leaf_name(node)

    def signals(self, signals: Sequence[tuple[Node, set[Node]]]) -> list[Signal]:
        """What could multiply each of these signals, all of them by one factor.

        A tensor cannot carry it if it, or what it makes, is used anywhere else.

        Args:
            signals: The node that makes each signal, and the nodes that may use it.
        """
        walks = [self._walk(end, users) for end, users in signals]
        walked = set[Node]().union(*(nodes for nodes, _ in walks), *(users for _, users in signals))
        result: list[Signal] = []
        for (end, users), (nodes, found) in zip(signals, walks, strict=True):
            made = [node for node in nodes if self._parameter(node) is None]
            elsewhere = not self.returned.isdisjoint(made) or any(
                user not in walked for node in made for user in self.consumers[node]
            )
            elsewhere |= any(
                user not in walked for name in found for user in self._uses(self.leaves[name])
            )
            result.append(
                Signal(
                    None if elsewhere or not found else frozenset(found), self._module(end, users)
                )
            )
        return result

    def _module(self, node: Node, users: set[Node]) -> str | None:
        """The module whose output is this signal, but for views of it and factors."""
        while users.issuperset(self.consumers[node]) and node not in self.returned:
            parents = _inputs(node)
            if node in self.modules:
                return self.modules[node]
            if len(parents) != 1 or _kind(node) not in _HOMOGENEOUS or not _homogeneous(node):
                return None
            node, users = parents[0], {node}
        return None

    def factors(self) -> list[tuple[float, Signal]]:
        """The numbers that the model itself multiplies signals by, and these signals; nan where the number is not known."""
        found = [each for node in self.order for each in self._numbers(node)]
        return [
            (value, self.signals([(at, users)])[0])
            for value, at, users in found
            if not self._normalises(at)
        ]

    def _normalises(self, node: Node) -> bool:
        """Whether a number belongs to a mean or a norm written out: its signal is a sum, or was divided by a norm without a mean."""
        while True:
            inputs = [parent for parent in _inputs(node) if self._parameter(parent) is None]
            if _kind(node) == "Sum":
                return True
            if _kind(node) == "Div" and len(inputs) == 2:
                return self._is_length(inputs[1])
            if _kind(node) == "Mul" and len(inputs) == 2:
                return any(self._is_length(each) for each in inputs)
            if len(inputs) != 1 or _kind(node) not in _HOMOGENEOUS | _NORMALISING | {
                "Mul",
                "Reciprocal",
                "ClampMin",
            }:
                return _kind(node) in {"LinalgVectorNorm", "Norm"}
            node = inputs[0]

    def _is_length(self, node: Node) -> bool:
        """Whether this is a norm of a signal, and no mean."""
        for _ in range(8):
            inputs = _inputs(node)
            if _kind(node) in {"LinalgVectorNorm", "Norm", "Sum"}:
                return True
            if len(inputs) != 1 or _kind(node) == "Mean":
                return False
            node = inputs[0]
        return False

    def _numbers(self, node: Node) -> Iterator[tuple[float, Node, set[Node]]]:
        """The number that a node multiplies or divides by, the signal that it multiplies, and what uses that."""
        parents, kind = _inputs(node), node.name()
        if kind in {"MulBackward0", "DivBackward0"} and len(parents) == 1 and _homogeneous(node):
            other = node._saved_self if node.next_functions[0][0] is None else node._saved_other
            if other is not None and other.numel() == 1 and not other.is_complex():
                value = math.nan if other.is_meta else float(other)
                if value and math.isnan(value):
                    yield value, node, set(self.consumers[node])
                elif value and math.isfinite(value):
                    yield (
                        (value if kind == "MulBackward0" else 1 / value),
                        node,
                        set(self.consumers[node]),
                    )
        elif (
            kind in {"AddBackward0", "SubBackward0"}
            and len(parents) == 2
            and node._saved_alpha not in {0, 1}
        ):
            yield float(node._saved_alpha), parents[1], {node}

    def _walk(self, end: Node, users: set[Node]) -> tuple[set[Node], set[str]]:
        """Back from a signal through homogeneous operations to learned tensors; none of them where something else is met."""
        walked, found, stack = set[Node](), set[str](), [end]
        while stack:
            node = stack.pop()
            if node in walked:
                continue
            walked.add(node)
            kind, direct = (
                _kind(node),
                [name for parent in _inputs(node) if (name := self._parameter(parent)) is not None],
            )
            if (name := self._parameter(node)) is not None:
                found.add(name)
            elif (
                kind in _PRODUCTS
                and direct
                and (kind in _NORMS | {"Mul"} or any(self._is_matrix(name) for name in direct))
            ):
                found.update(direct)
            elif kind in _HOMOGENEOUS and _homogeneous(node):
                stack.extend(_inputs(node))
            elif (
                kind == "Mul"
                and len(_inputs(node)) == 2
                and (factor := self._factor(node)) is not None
            ):
                walked |= factor[0]
                found |= factor[1]
            else:
                return walked, set()
        return walked, found

    def _factor(self, product: Node) -> tuple[set[Node], set[str]] | None:
        """The walk behind one of two signals that are multiplied, where the other, such as a gate, owes nothing to what is found."""
        for parent, other in permutations(_inputs(product)):
            walked, found = self._walk(parent, {product})
            made = {*walked, *(self.leaves[name] for name in found)}
            if found and not any(
                (self.ancestors[other] | 1 << self.index[other]) >> self.index[node] & 1
                for node in made
            ):
                return walked, found
        return None

    def _uses(self, leaf: Node) -> Iterator[Node]:
        """The operations that use a learned tensor, seen through transposes and views."""
        for user in self.consumers[leaf]:
            if _kind(user) in _VIEWS and len(_inputs(user)) == 1:
                yield from self._uses(user)
            else:
                yield user

    def uses(self) -> dict[str, int]:
        """How many operations use each learned tensor."""
        return {name: sum(1 for _ in self._uses(leaf)) for name, leaf in self.leaves.items()}

    def makers(self, signal: Node) -> frozenset[str]:
        """The learned matrices nearest behind a signal, whatever else it has gone through since."""
        stack, seen, found = [signal], set[Node](), set[str]()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            direct = [
                name
                for parent in _inputs(node)
                if (name := self._parameter(parent)) is not None and self._is_matrix(name)
            ]
            found.update(direct if _kind(node) in _PRODUCTS else ())
            if not direct:
                stack.extend(_inputs(node))
        return frozenset(found)

    def contracted(self, scores: Node) -> int:
        """The dimension that a product of two signals sums over to make these scores; 0 where they are none."""
        stack, seen = [scores], set[Node]()
        while stack:
            node = stack.pop()
            if node in seen or _kind(node) not in _HOMOGENEOUS | {"Bmm", "MaskedFill", "Where"}:
                continue
            seen.add(node)
            if (
                _kind(node) == "Bmm"
                and len(_inputs(node)) == 2
                and not any(map(self._parameter, _inputs(node)))
            ):
                return int(node._saved_self.shape[-1])
            stack.extend(_inputs(node))
        return 0

    def feeds(self) -> tuple[dict[str, Signal], frozenset[str]]:
        """For each matrix, its inputs; and which matrices take in data alone."""
        signals: dict[str, list[tuple[Node, set[Node]]]] = {}
        first = set[str]()
        for node in self.order:
            if _kind(node) not in {"Mm", "Addmm", "Bmm", "GroupedMm", "Linear", "Convolution"}:
                continue
            inputs = [parent for parent in _inputs(node) if self._parameter(parent) is None]
            names = {
                name for parent in _inputs(node) if (name := self._parameter(parent)) is not None
            }
            for name in names:
                signals.setdefault(name, []).extend((parent, {node}) for parent in inputs)
            first |= set() if inputs else names
        return {name: _union(self.signals(each)) for name, each in signals.items()}, frozenset(
            first
        )

    def matrices(self, nodes: list[Node]) -> int:
        """The longest chain of products with a learned matrix among these nodes."""
        longest: dict[Node, int] = {}
        for node in nodes:
            names = map(self._parameter, _inputs(node))
            matrix = _kind(node) in _PRODUCTS - _NORMS - {"Mul", "Embedding"} and any(
                self._is_matrix(n) for n in names if n
            )
            longest[node] = (
                max((longest.get(parent, 0) for parent in _inputs(node)), default=0) + matrix
            )
        return max(longest.values(), default=0)


def _kind(node: Node) -> str:
    return _kind_of(node.name())


@cache
def _kind_of(name: str) -> str:
    return re.sub(r"(Backward)?\d*$", "", name.rpartition("::")[2])


def _inputs(node: Node) -> tuple[Node, ...]:
    return tuple(parent for parent, _ in node.next_functions if parent is not None)


def _homogeneous(node: Node) -> bool:
    """Whether the node multiplies through: no constant is added, only one factor is a signal, and none is divided by."""
    parents = [parent for parent, _ in node.next_functions]
    if _kind(node) in _SUMS:
        return None not in parents and (len(parents) > 1 or _kind(node) in {"Cat", "Stack"})
    if _kind(node) in {"Mul", "Div"}:
        return len(_inputs(node)) == 1 and (_kind(node) == "Mul" or parents[0] is not None)
    return True


def _union(signals: list[Signal]) -> Signal:
    """What could multiply all of these signals."""
    tensors, modules = [each.tensors for each in signals], {each.module for each in signals}
    known = [each for each in tensors if each is not None]
    joint = frozenset[str]().union(*known) if known and len(known) == len(tensors) else None
    return Signal(joint, modules.pop() if len(modules) == 1 else None)


def _topological(roots: list[Node]) -> list[Node]:
    """Every node after all of its inputs."""
    order, done, stack = [], set(), [(root, False) for root in roots]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in _inputs(node))
    return order
