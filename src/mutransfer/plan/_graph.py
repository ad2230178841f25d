"""Residual branches, their last learned tensors and attention scales, read off one traced forward pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from .._errors import MutransferError

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
    *("Relu", "LeakyRelu", "Abs", "Threshold", "MaxPool2DWithIndices", "AvgPool2D", "AdaptiveAvgPool2D"),
}
"""Operations whose output is multiplied by a positive factor when all their inputs are."""


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
    """One scaled dot-product attention: size of a head, factor on the logits, and the tensors that make the queries."""

    head_dim: int
    scale: float
    query: frozenset[str] | None


@dataclass(frozen=True)
class Trace:
    """What one forward pass tells about a model.

    Attributes:
        branches: The outermost residual branches, in the order of the forward pass.
        attention: Every scaled dot-product attention, in the order of the forward pass.
        feeds: For each matrix, the last learned tensors that its input is linear in; None where there are none to fold a factor into.
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
    return _Graph(roots, {id(leaf): name for name, leaf in leaves.items()}).read(roots, recorder.calls)


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


class _AttentionRecorder(TorchFunctionMode):
    """Notes every call of scaled_dot_product_attention: head size, scale, and the graph node of the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, float, Node]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"), args, strict=False)) | dict(
                kwargs or {}
            )
            query = named["query"]
            scale = named.get("scale")
            self.calls.append((query.shape[-1], query.shape[-1] ** -0.5 if scale is None else scale, query.grad_fn))
        return func(*args, **(kwargs or {}))


class _Graph:
    """The autograd graph with what is asked of it: order, ancestors, consumers, learned tensors."""

    def __init__(self, roots: list[Node], names: Mapping[int, str]) -> None:
        self.names = names
        self.order = _topological(roots)
        self.index = {node: i for i, node in enumerate(self.order)}
        self.consumers: dict[Node, list[Node]] = {node: [] for node in self.order}
        self.ancestors: dict[Node, int] = {}
        for node in self.order:
            mask = 0
            for parent in _inputs(node):
                self.consumers[parent].append(node)
                mask |= self.ancestors[parent] | (1 << self.index[parent])
            self.ancestors[node] = mask

    def read(self, roots: list[Node], calls: list[tuple[int, float, Node]]) -> Trace:
        joins = self._joins()
        branches, norms = [], False
        for join, (skip, end) in joins.items():
            inside = self.ancestors[end] | (1 << self.index[end])
            inside &= ~(self.ancestors[skip] | (1 << self.index[skip]))
            nodes = list(self._members(inside))
            tensors = frozenset(name for node in nodes if (name := self._leaf_name(node)) is not None)
            branches.append(Branch(tensors, self._carriers(end, {join}), self._matrices(nodes)))
            norms |= _kind(skip) in _NORMS and any(parent in joins for parent in _inputs(skip))
        attention = tuple(Attention(size, scale, self._query(node)) for size, scale, node in calls)
        final = frozenset[str]().union(*(self._carriers(root, {root}) or () for root in roots))
        feeds, first = self._feeds()
        return Trace(tuple(branches), attention, feeds, norms, first, final)

    def _joins(self) -> dict[Node, tuple[Node, Node]]:
        """Additions of a branch with learned tensors to its stream: node -> (stream, end of the branch); outermost only.

        The branch left the stream right here or, where branches are parallel, before an earlier join.
        """
        found: dict[Node, tuple[Node, Node]] = {}
        for node in self.order:
            if _kind(node) != "Add" or len(_inputs(node)) != 2:
                continue
            for stream, end in (_inputs(node), _inputs(node)[::-1]):
                skip: Node | None = stream
                while skip is not None and not self._learned_between(skip, end):
                    skip = found[skip][0] if skip in found else None
                if skip is not None:
                    found[node] = (stream, end)
                    break
        inner = 0
        for skip, end in found.values():
            inner |= self.ancestors[end] & ~(self.ancestors[skip] | (1 << self.index[skip]))
        return {node: pair for node, pair in found.items() if not inner >> self.index[node] & 1}

    def _learned_between(self, skip: Node, end: Node) -> bool:
        if not self.ancestors[end] >> self.index[skip] & 1:
            return False
        inside = (self.ancestors[end] | (1 << self.index[end])) & ~(self.ancestors[skip] | (1 << self.index[skip]))
        return any(self._leaf_name(node) is not None for node in self._members(inside))

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

    def _carriers(self, end: Node, users: set[Node]) -> frozenset[str] | None:
        """The learned tensors that a signal is jointly linear in, one factor of each product; None where there are none.

        Args:
            end: The node that makes the signal.
            users: The nodes that may use it; a tensor whose product is used elsewhere too cannot carry a factor.
        """
        walked, found, visited = set(users) - {end}, set(), []
        stack = [end]
        while stack:
            node = stack.pop()
            if node in walked:
                continue
            walked.add(node)
            visited.append(node)
            direct = [name for parent in _inputs(node) if (name := self._parameter(parent)) is not None]
            if (name := self._parameter(node)) is not None:
                found.add(name)
            elif _kind(node) in _PRODUCTS and direct:
                found.update(direct)
            elif _kind(node) in _HOMOGENEOUS and (_kind(node) not in {"Mul", "Div"} or len(_inputs(node)) == 1):
                stack.extend(_inputs(node))
            else:
                return None
        if not found or any(user not in walked for node in visited for user in self.consumers[node] if self._parameter(node) is None):
            return None
        return frozenset(found)

    def _query(self, node: Node | None) -> frozenset[str] | None:
        return None if node is None or node not in self.index else self._carriers(node, set(self.consumers[node]))

    def _feeds(self) -> tuple[dict[str, frozenset[str] | None], frozenset[str]]:
        feeds: dict[str, frozenset[str] | None] = {}
        first = set()
        for node in self.order:
            if _kind(node) not in {"Mm", "Addmm", "Bmm", "Linear", "Convolution"}:
                continue
            signals = [parent for parent in _inputs(node) if self._parameter(parent) is None]
            for name in filter(None, map(self._parameter, _inputs(node))):
                feeds[name] = self._carriers(signals[0], {node}) if len(signals) == 1 else None
                first |= set() if signals else {name}
        return feeds, frozenset(first)

    def _matrices(self, nodes: list[Node]) -> int:
        """The longest chain of products with a learned matrix among these nodes."""
        longest: dict[Node, int] = {}
        for node in nodes:
            matrix = _kind(node) in _PRODUCTS - _NORMS and any(
                _leaf_dims(parent) >= 2 for parent in _inputs(node) if self._parameter(parent) is not None
            )
            longest[node] = max((longest.get(parent, 0) for parent in _inputs(node)), default=0) + matrix
        return max(longest.values(), default=0)


def _kind(node: Node) -> str:
    return re.sub(r"(Backward)?\d*$", "", node.name().rpartition("::")[2])


def _inputs(node: Node) -> tuple[Node, ...]:
    return tuple(parent for parent, _ in node.next_functions if parent is not None)


def _leaf_dims(node: Node) -> int:
    while _kind(node) != "AccumulateGrad":
        node = _inputs(node)[0]
    return int(node.variable.dim())


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
