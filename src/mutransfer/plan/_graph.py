"""Residual branches, their last learned tensors and attention scales, read off one traced forward pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from .._errors import MutransferError
from ._axes import canonical

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
_PRODUCTS = {"Mm", "Addmm", "Bmm", "Baddbmm", "Linear", "Convolution", "Embedding", "Mul", *_NORMS}
_HOMOGENEOUS = _VIEWS | {
    *("Add", "Sub", "Neg", "Mul", "Div", "Cat", "Stack", "Select", "Mean", "Sum", "NativeDropout", "Index"),
    *("Relu", "LeakyRelu", "Abs", "MaxPool2DWithIndices", "AvgPool2D", "AdaptiveAvgPool2D"),
}
"""Operations whose output is multiplied by a positive factor when all their inputs are."""
_SUMS = {"Add", "Sub", "Cat", "Stack"}
_NORMALISING = _NORMS | {"Rsqrt", "Sqrt", "Pow", "LinalgVectorNorm", "Norm", "Std", "Var"}


@dataclass(frozen=True)
class Branch:
    """A residual branch: the learned tensors in it, and the last ones before it joins the stream.

    Attributes:
        tensors: Names of all learned tensors in the branch.
        last: Names of the tensors that its output is linear in; None where something else ends the branch, such as an activation.
        matrices: How many weight matrices stand in series in it (the block depth of Tensor Programs VI).
    """

    tensors: frozenset[str]
    last: frozenset[str] | None
    matrices: int


@dataclass(frozen=True)
class Attention:
    """One softmax attention: size of a head, factor on the logits, and the tensors that make the queries.

    Where it is written out by hand, scale and query are unknown.
    """

    head_dim: int
    scale: float | None
    query: frozenset[str] | None


@dataclass(frozen=True)
class Trace:
    """What one forward pass tells about a model.

    Attributes:
        branches: The outermost residual branches, in the order of the forward pass.
        attention: Every softmax attention, in the order of the forward pass.
        feeds: For each matrix, the last learned tensors that its inputs are linear in; None where there are none to fold a factor into.
        post_norm: Whether a normalisation follows a residual join on the stream.
        first: Names of the matrices that take in data rather than features.
        final: Names of the tensors that make the output.
    """

    branches: tuple[Branch, ...] = ()
    attention: tuple[Attention, ...] = ()
    feeds: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    post_norm: bool = False
    first: frozenset[str] = frozenset()
    final: frozenset[str] = frozenset()


def trace(model: nn.Module, example_inputs: Any = None) -> Trace:
    """Run one forward pass on the meta device and read its autograd graph; the model and its buffers are not touched.

    Args:
        model: Any module; its parameters may live on any device, also meta.
        example_inputs: A tensor or a tuple of positional arguments; guessed from the first layer where it is not given.

    Raises:
        MutransferError: the forward pass failed, or the inputs cannot be guessed.
    """
    inputs = guess_inputs(model) if example_inputs is None else example_inputs
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    leaves = {name: _leaf(p) for name, p in model.named_parameters()}
    buffers = {name: torch.empty_like(b, device="meta") for name, b in model.named_buffers()}
    recorder = _AttentionRecorder()
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]), torch.device("meta"), recorder:
            meta = pytree.tree_map_only(Tensor, lambda t: t.to("meta"), arguments)
            output = torch.func.functional_call(model, {**leaves, **buffers}, meta)
    except Exception as error:
        raise MutransferError(
            f"the forward pass of {type(model).__name__} failed while its residual branches were read ({type(error).__name__}: {error}); "
            "give inputs it accepts with example_inputs="
        ) from error
    roots = [t.grad_fn for t in pytree.tree_leaves(output) if isinstance(t, Tensor) and t.grad_fn is not None]
    return _Graph(roots, {id(leaf): canonical(name) for name, leaf in leaves.items()}).read(roots, recorder.calls)


def _leaf(parameter: Tensor) -> Tensor:
    return torch.empty_like(parameter, device="meta").requires_grad_(parameter.is_floating_point())


def guess_inputs(model: nn.Module) -> Tensor:
    """A small batch that the first layer of the model accepts.

    Raises:
        MutransferError: the first layer is of a kind whose input cannot be guessed.
    """
    for module in model.modules():
        match module:
            case nn.Embedding():
                return torch.zeros(2, 8, dtype=torch.long)
            case nn.Linear():
                return torch.zeros(2, module.in_features)
            case nn.Conv1d():
                return torch.zeros(2, module.in_channels, 64)
            case nn.Conv2d():
                return torch.zeros(2, module.in_channels, 32, 32)
            case nn.Conv3d():
                return torch.zeros(2, module.in_channels, 16, 16, 16)
            case _ if next(module.parameters(recurse=False), None) is not None and not list(module.children()):
                break
            case _:
                continue
    raise MutransferError(f"the inputs of {type(model).__name__} cannot be guessed from its first layer; give some with example_inputs=")


_SOFTMAX = (nn.functional.softmax, torch.softmax, Tensor.softmax)


@dataclass(frozen=True)
class _Call:
    """A call of scaled_dot_product_attention, or a softmax that may be an attention's."""

    scores: Node | None = None
    query: Node | None = None
    head_dim: int = 0
    scale: float = 1.0


class _AttentionRecorder(TorchFunctionMode):
    """Notes every call of scaled_dot_product_attention and every softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is nn.functional.scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            named = dict(zip(names, args, strict=False)) | kwargs
            query, scale = named["query"], named.get("scale")
            alone = query.grad_fn not in (named["key"].grad_fn, named["value"].grad_fn)
            size = query.shape[-1]
            self.calls.append(_Call(query=query.grad_fn if alone else None, head_dim=size, scale=size**-0.5 if scale is None else scale))
        elif func in _SOFTMAX and isinstance(scores := args[0] if args else kwargs.get("input"), Tensor):
            self.calls.append(_Call(scores=scores.grad_fn))
        return func(*args, **kwargs)


class _Graph:
    """The autograd graph with what is asked of it: order, ancestors, consumers, learned tensors."""

    def __init__(self, roots: list[Node], names: Mapping[int, str]) -> None:
        self.names = names
        self.order = _topological(roots)
        self.dimensions = {name: node.variable.dim() for node in self.order if (name := self._leaf_name(node)) is not None}
        self.index = {node: i for i, node in enumerate(self.order)}
        self.consumers: dict[Node, list[Node]] = {node: [] for node in self.order}
        self.ancestors: dict[Node, int] = {}
        for node in self.order:
            mask = 0
            for parent in _inputs(node):
                self.consumers[parent].append(node)
                mask |= self.ancestors[parent] | (1 << self.index[parent])
            self.ancestors[node] = mask

    def read(self, roots: list[Node], calls: list[_Call]) -> Trace:
        joins = self._joins()
        last = self._carriers([(end, {join}) for join, (_, end) in joins.items()])
        branches = []
        for (skip, end), carriers in zip(joins.values(), last, strict=True):
            nodes = list(self._members(self._between(skip, end)))
            branches.append(Branch(self._learned(nodes), carriers, self._matrices(nodes)))
        feeds, first = self._feeds()
        final = frozenset[str]().union(*(carriers or () for carriers in self._carriers([(root, {root}) for root in roots])))
        norms = any(self._normalised(skip, joins) for skip, _ in joins.values())
        return Trace(tuple(branches), self._attention(calls), feeds, norms, first, final)

    def _joins(self) -> dict[Node, tuple[Node, Node]]:
        """Additions of a branch with learned tensors to its stream: node -> (stream, end of the branch); outermost only.

        The branch left the stream right here or, where branches are parallel, before an earlier join.
        """
        found: dict[Node, tuple[Node, Node]] = {}
        for node in self.order:
            parents = _inputs(node)
            if _kind(node) not in {"Add", "Sub"} or len(parents) != 2:
                continue
            for stream, end in (parents, parents[::-1]):
                if self._leaves(stream, end, found):
                    found[node] = (stream, end)
                    break
        inner = 0
        for skip, end in found.values():
            inner |= self._between(skip, end)
        return {node: pair for node, pair in found.items() if not inner >> self.index[node] & 1}

    def _leaves(self, stream: Node, end: Node, joins: Mapping[Node, tuple[Node, Node]]) -> bool:
        """Whether a branch with learned tensors left the stream here, before a factor on it, or before an earlier join."""
        if not self._learned(self._members(self._between(stream, end))):
            return False
        at: Node | None = stream
        while at is not None and not self.ancestors[end] >> self.index[at] & 1:
            at = joins[at][0] if at in joins else _inputs(at)[0] if _kind(at) in _VIEWS | {"Mul", "Div"} and len(_inputs(at)) == 1 else None
        return at is not None and _kind(at) != "AccumulateGrad"

    def _between(self, skip: Node, end: Node) -> int:
        """The nodes that make the end of a branch but not its stream."""
        return (self.ancestors[end] | (1 << self.index[end])) & ~(self.ancestors[skip] | (1 << self.index[skip]))

    def _learned(self, nodes: Iterable[Node]) -> frozenset[str]:
        return frozenset(name for node in nodes if (name := self._leaf_name(node)) is not None)

    def _normalised(self, skip: Node, joins: Mapping[Node, object]) -> bool:
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

    def _members(self, mask: int) -> Iterator[Node]:
        while mask:
            low = mask & -mask
            yield self.order[low.bit_length() - 1]
            mask ^= low

    def _leaf_name(self, node: Node) -> str | None:
        return self.names.get(id(node.variable)) if _kind(node) == "AccumulateGrad" else None

    def _parameter(self, node: Node) -> str | None:
        """The learned tensor that this node is, but for transposes and views."""
        while _kind(node) in _VIEWS and len(_inputs(node)) == 1:
            node = _inputs(node)[0]
        return self._leaf_name(node)

    def _carriers(self, signals: Sequence[tuple[Node, set[Node]]]) -> list[frozenset[str] | None]:
        """For each signal, the learned tensors that it is jointly linear in, one factor of each product; None where there are none.

        All the signals are to be multiplied by one factor. A tensor cannot carry it if it, or what it makes, is used anywhere else.

        Args:
            signals: The node that makes each signal, and the nodes that may use it.
        """
        walks = [self._walk(end, users) for end, users in signals]
        walked = set[Node]().union(*(nodes for nodes, _ in walks), *(users for _, users in signals))
        result: list[frozenset[str] | None] = []
        for nodes, found in walks:
            made = [node for node in nodes if self._parameter(node) is None]
            leaves = [node for node in self.order if self._leaf_name(node) in found]
            elsewhere = any(user not in walked for node in made for user in self.consumers[node])
            elsewhere |= any(user not in walked for leaf in leaves for user in self._uses(leaf))
            result.append(None if elsewhere or not found else frozenset(found))
        return result

    def _walk(self, end: Node, users: set[Node]) -> tuple[set[Node], set[str]]:
        """Back from a signal through homogeneous operations to learned tensors; none of them where something else is met."""
        walked, found, stack = set[Node](), set[str](), [end]
        while stack:
            node = stack.pop()
            if node in walked:
                continue
            walked.add(node)
            kind, direct = _kind(node), [name for parent in _inputs(node) if (name := self._parameter(parent)) is not None]
            if (name := self._parameter(node)) is not None:
                found.add(name)
            elif kind in _PRODUCTS and direct and (kind in _NORMS | {"Mul"} or any(self.dimensions[name] > 1 for name in direct)):
                found.update(direct)
            elif kind in _HOMOGENEOUS and _homogeneous(node):
                stack.extend(_inputs(node))
            else:
                return walked, set()
        return walked, found

    def _uses(self, leaf: Node) -> Iterator[Node]:
        """The operations that use a learned tensor, seen through transposes and views."""
        for user in self.consumers[leaf]:
            if _kind(user) in _VIEWS and len(_inputs(user)) == 1:
                yield from self._uses(user)
            else:
                yield user

    def _attention(self, calls: list[_Call]) -> tuple[Attention, ...]:
        known = [call for call in calls if call.query in self.index]
        carriers = self._carriers([(call.query, set(self.consumers[call.query])) for call in known])
        query = dict(zip([call.query for call in known], carriers, strict=True))
        found = []
        for call in calls:
            if call.head_dim:
                found.append(Attention(call.head_dim, call.scale, query.get(call.query)))
            elif call.scores in self.index and (size := self._contracted(call.scores)):
                found.append(Attention(size, None, None))
        return tuple(found)

    def _contracted(self, scores: Node) -> int:
        """The dimension that a product of two signals sums over to make these scores; 0 where they are none."""
        stack, seen = [scores], set[Node]()
        while stack:
            node = stack.pop()
            if node in seen or _kind(node) not in _HOMOGENEOUS | {"Bmm", "MaskedFill", "Where"}:
                continue
            seen.add(node)
            if _kind(node) == "Bmm" and len(_inputs(node)) == 2 and not any(map(self._parameter, _inputs(node))):
                return int(node._saved_self.shape[-1])
            stack.extend(_inputs(node))
        return 0

    def _feeds(self) -> tuple[dict[str, frozenset[str] | None], frozenset[str]]:
        signals: dict[str, list[tuple[Node, set[Node]]]] = {}
        first = set[str]()
        for node in self.order:
            if _kind(node) not in {"Mm", "Addmm", "Bmm", "Linear", "Convolution"}:
                continue
            inputs = [parent for parent in _inputs(node) if self._parameter(parent) is None]
            names = {name for parent in _inputs(node) if (name := self._parameter(parent)) is not None}
            for name in names:
                signals.setdefault(name, []).extend((parent, {node}) for parent in inputs)
            first |= set() if inputs else names
        return {name: _union(self._carriers(each)) for name, each in signals.items()}, frozenset(first)

    def _matrices(self, nodes: list[Node]) -> int:
        """The longest chain of products with a learned matrix among these nodes."""
        longest: dict[Node, int] = {}
        for node in nodes:
            names = map(self._parameter, _inputs(node))
            matrix = _kind(node) in _PRODUCTS - _NORMS - {"Mul", "Embedding"} and any(self.dimensions[n] > 1 for n in names if n)
            longest[node] = max((longest.get(parent, 0) for parent in _inputs(node)), default=0) + matrix
        return max(longest.values(), default=0)


def _kind(node: Node) -> str:
    return re.sub(r"(Backward)?\d*$", "", node.name().rpartition("::")[2])


def _inputs(node: Node) -> tuple[Node, ...]:
    return tuple(parent for parent, _ in node.next_functions if parent is not None)


def _homogeneous(node: Node) -> bool:
    """Whether the node multiplies through: no constant is added, and of a product or a quotient only the first is a signal."""
    parents = [parent for parent, _ in node.next_functions]
    if _kind(node) in _SUMS:
        return None not in parents and len(parents) > 1 - (_kind(node) in {"Cat", "Stack"})
    if _kind(node) in {"Mul", "Div"}:
        return len(_inputs(node)) == 1 and (_kind(node) == "Mul" or parents[0] is not None)
    return True


def _union(carriers: list[frozenset[str] | None]) -> frozenset[str] | None:
    known = [each for each in carriers if each is not None]
    return frozenset[str]().union(*known) if known and len(known) == len(carriers) else None


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
