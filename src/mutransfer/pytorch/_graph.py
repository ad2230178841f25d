"""An autograd graph: residual joins, and the learned tensors behind a signal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations

from ..reading import Signal
from ._nodes import (
    HOMOGENEOUS,
    NORMALISING,
    NORMS,
    PRODUCTS,
    VIEWS,
    Node,
    inputs_of,
    is_homogeneous,
    kind_of,
    topological,
)


class Graph:
    """The autograd graph: order, ancestors, consumers, learned tensors.

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
        self.order = topological(roots)
        self.leaves = {
            name: node for node in self.order if (name := self._leaf_name(node)) is not None
        }
        self.index = {node: i for i, node in enumerate(self.order)}
        self.consumers: dict[Node, list[Node]] = {node: [] for node in self.order}
        self.ancestors: dict[Node, int] = {}
        self.elsewhere: dict[Node, int] = {}
        for node in self.order:
            mask = 0
            for parent in inputs_of(node):
                self.consumers[parent].append(node)
                mask |= self.ancestors[parent] | (1 << self.index[parent])
            self.ancestors[node] = mask
        behind = 0
        for root in roots:
            behind |= self.ancestors[root]
        self.returned = {root for root in roots if behind >> self.index[root] & 1}

    def joins(self) -> dict[Node, tuple[Node, Node]]:
        """Return the outermost residual joins: node -> (stream, end of the branch).

        A join adds a branch with learned tensors to its stream. The branch left the stream right
        here or, where branches are parallel, before an earlier join.
        """
        found: dict[Node, tuple[Node, Node]] = {}
        for node in self.order:
            parents = inputs_of(node)
            if kind_of(node) not in {"Add", "Sub"} or len(parents) != 2:
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
        """Return True where a branch with learned tensors left the stream.

        It may have left here, before a factor on the stream, or before an earlier join.
        """
        if not self.learned(self.between(stream, end)):
            return False
        at: Node | None = stream
        while at is not None and not self.ancestors[end] >> self.index[at] & 1:
            factor = kind_of(at) in VIEWS | {"Mul", "Div"} and len(inputs_of(at)) == 1
            earlier = joins.get(at, inputs_of(at) if factor else (None,))
            at = earlier[0]
        return at is not None and kind_of(at) != "AccumulateGrad"

    def between(self, skip: Node, end: Node) -> list[Node]:
        """Return the nodes that make the end of a branch and not its stream, in order."""
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
        """Return the nodes of residual streams that a branch shares with others.

        Such is an encoder's stream in a branch of a decoder.
        """
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
        """Return True if the stream is normalised since the previous residual add."""
        stack, seen, norm, join = [skip], set[Node](), False, False
        while stack:
            node = stack.pop()
            join |= node in joins
            if node in seen or node in joins or kind_of(node) in PRODUCTS - NORMS - {"Mul"}:
                continue
            seen.add(node)
            norm |= kind_of(node) in NORMALISING
            stack.extend(inputs_of(node))
        return norm and join

    def _leaf_name(self, node: Node) -> str | None:
        return self.names.get(id(node.variable)) if kind_of(node) == "AccumulateGrad" else None

    def _is_matrix(self, name: str) -> bool:
        return int(self.leaves[name].variable.dim()) > 1

    def _parameter(self, node: Node) -> str | None:
        """The learned tensor that this node is, but for transposes and views."""
        while kind_of(node) in VIEWS and len(inputs_of(node)) == 1:
            node = inputs_of(node)[0]
        return self._leaf_name(node)

    def signals(self, signals: Sequence[tuple[Node, set[Node]]]) -> list[Signal]:
        """Return the tensors and modules that could multiply these signals by one factor.

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
            parents = inputs_of(node)
            if node in self.modules:
                return self.modules[node]
            if len(parents) != 1 or kind_of(node) not in HOMOGENEOUS or not is_homogeneous(node):
                return None
            node, users = parents[0], {node}
        return None

    def factors(self) -> list[tuple[float, Signal]]:
        """Return the model's own factors and their signals; unknown factors are nan."""
        found = [each for node in self.order for each in self._numbers(node)]
        return [
            (value, self.signals([(at, users)])[0])
            for value, at, users in found
            if not self._normalises(at)
        ]

    def _normalises(self, node: Node) -> bool:
        """Return True where a number belongs to a mean or a norm that is written out.

        Its signal is a sum then, or was divided by a norm without a mean.
        """
        while True:
            inputs = [parent for parent in inputs_of(node) if self._parameter(parent) is None]
            if kind_of(node) == "Sum":
                return True
            if kind_of(node) == "Div" and len(inputs) == 2:
                return self._is_length(inputs[1])
            if kind_of(node) == "Mul" and len(inputs) == 2:
                return any(self._is_length(each) for each in inputs)
            if len(inputs) != 1 or kind_of(node) not in HOMOGENEOUS | NORMALISING | {
                "Mul",
                "Reciprocal",
                "ClampMin",
            }:
                return kind_of(node) in {"LinalgVectorNorm", "Norm"}
            node = inputs[0]

    def _is_length(self, node: Node) -> bool:
        """Return True for a norm of a signal, False for a mean."""
        for _ in range(8):
            inputs = inputs_of(node)
            if kind_of(node) in {"LinalgVectorNorm", "Norm", "Sum"}:
                return True
            if len(inputs) != 1 or kind_of(node) == "Mean":
                return False
            node = inputs[0]
        return False

    def _numbers(self, node: Node) -> Iterator[tuple[float, Node, set[Node]]]:
        """Yield the number that a node multiplies by, its signal, and the users of that."""
        parents, kind = inputs_of(node), node.name()
        if kind in {"MulBackward0", "DivBackward0"} and len(parents) == 1 and is_homogeneous(node):
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
        """Walk back from a signal through homogeneous operations to learned tensors.

        Where another operation is met, no tensors are returned.
        """
        walked, found, stack = set[Node](), set[str](), [end]
        while stack:
            node = stack.pop()
            if node in walked:
                continue
            walked.add(node)
            kind, direct = (
                kind_of(node),
                [
                    name
                    for parent in inputs_of(node)
                    if (name := self._parameter(parent)) is not None
                ],
            )
            if (name := self._parameter(node)) is not None:
                found.add(name)
            elif (
                kind in PRODUCTS
                and direct
                and (kind in NORMS | {"Mul"} or any(self._is_matrix(name) for name in direct))
            ):
                found.update(direct)
            elif kind in HOMOGENEOUS and is_homogeneous(node):
                stack.extend(inputs_of(node))
            elif (
                kind == "Mul"
                and len(inputs_of(node)) == 2
                and (factor := self._factor(node)) is not None
            ):
                walked |= factor[0]
                found |= factor[1]
            else:
                return walked, set()
        return walked, found

    def _factor(self, product: Node) -> tuple[set[Node], set[str]] | None:
        """Return the walk behind one of two multiplied signals.

        The other one, such as a gate, must not depend on the tensors at the end of the walk.
        """
        for parent, other in permutations(inputs_of(product)):
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
            if kind_of(user) in VIEWS and len(inputs_of(user)) == 1:
                yield from self._uses(user)
            else:
                yield user

    def uses(self) -> dict[str, int]:
        """Return the number of operations that use each learned tensor."""
        return {name: sum(1 for _ in self._uses(leaf)) for name, leaf in self.leaves.items()}

    def makers(self, signal: Node) -> frozenset[str]:
        """Return the learned matrices nearest behind a signal, through any operations."""
        stack, seen, found = [signal], set[Node](), set[str]()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            direct = [
                name
                for parent in inputs_of(node)
                if (name := self._parameter(parent)) is not None and self._is_matrix(name)
            ]
            found.update(direct if kind_of(node) in PRODUCTS else ())
            if not direct:
                stack.extend(inputs_of(node))
        return frozenset(found)

    def contracted(self, scores: Node) -> int:
        """Return the size of the dimension that scores sum over; 0 without a product."""
        stack, seen = [scores], set[Node]()
        while stack:
            node = stack.pop()
            if node in seen or kind_of(node) not in HOMOGENEOUS | {"Bmm", "MaskedFill", "Where"}:
                continue
            seen.add(node)
            if (
                kind_of(node) == "Bmm"
                and len(inputs_of(node)) == 2
                and not any(map(self._parameter, inputs_of(node)))
            ):
                return int(node._saved_self.shape[-1])
            stack.extend(inputs_of(node))
        return 0

    def feeds(self) -> tuple[dict[str, Signal], frozenset[str]]:
        """Return the inputs of each matrix, and the matrices that take in data alone."""
        signals: dict[str, list[tuple[Node, set[Node]]]] = {}
        first = set[str]()
        for node in self.order:
            if kind_of(node) not in {"Mm", "Addmm", "Bmm", "GroupedMm", "Linear", "Convolution"}:
                continue
            inputs = [parent for parent in inputs_of(node) if self._parameter(parent) is None]
            names = {
                name for parent in inputs_of(node) if (name := self._parameter(parent)) is not None
            }
            for name in names:
                signals.setdefault(name, []).extend((parent, {node}) for parent in inputs)
            first |= set() if inputs else names
        return {name: _union(self.signals(each)) for name, each in signals.items()}, frozenset(
            first
        )

    def matrices(self, nodes: list[Node]) -> int:
        """Return the length of the longest chain of products with learned matrices."""
        longest: dict[Node, int] = {}
        for node in nodes:
            names = map(self._parameter, inputs_of(node))
            matrix = kind_of(node) in PRODUCTS - NORMS - {"Mul", "Embedding"} and any(
                self._is_matrix(n) for n in names if n
            )
            longest[node] = (
                max((longest.get(parent, 0) for parent in inputs_of(node)), default=0) + matrix
            )
        return max(longest.values(), default=0)


def _union(signals: list[Signal]) -> Signal:
    """Return the tensors and the module that could multiply all of these signals."""
    tensors, modules = [each.tensors for each in signals], {each.module for each in signals}
    known = [each for each in tensors if each is not None]
    joint = frozenset[str]().union(*known) if known and len(known) == len(tensors) else None
    return Signal(joint, modules.pop() if len(modules) == 1 else None)
