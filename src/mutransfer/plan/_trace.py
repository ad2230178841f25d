"""Residual branches, their last learned tensors and attention scales, read off one traced forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from .._errors import MutransferError
from ._axes import RECURRENT, canonical
from ._graph import Graph, Node


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
    """One softmax attention: size of a head, factor on the logits, and the tensors that make queries, and keys and values.

    Where it is written out by hand, scale, query and key_value are unknown.
    """

    head_dim: int
    scale: float | None
    query: frozenset[str] | None
    key_value: frozenset[str] = frozenset()


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
        recurrent: Names of modules that use their tensors once a time step.
    """

    branches: tuple[Branch, ...] = ()
    attention: tuple[Attention, ...] = ()
    feeds: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    post_norm: bool = False
    first: frozenset[str] = frozenset()
    final: frozenset[str] = frozenset()
    recurrent: tuple[str, ...] = ()


def trace(model: nn.Module, example_inputs: Any = None) -> Trace:
    """Run one forward pass on the meta device and read its autograd graph; the model and its buffers are not touched.

    Args:
        model: Any module; its parameters may live on any device, also meta.
        example_inputs: A tensor, a tuple of positional or a mapping of keyword arguments. Where they are not given, they are guessed from
            the first layer, or are the model's own `dummy_inputs`.

    Raises:
        MutransferError: the forward pass failed, or the inputs cannot be guessed.
    """
    tries = [example_inputs] if example_inputs is not None else _own_inputs(model)
    failed: Exception | None = None
    for inputs in tries:
        for dtype in (None, torch.bfloat16):  # some kernels know only the second, on the meta device, too
            try:
                return _traced(model, inputs, dtype)
            except MutransferError:
                raise
            except Exception as error:
                failed = failed or error
    if failed is None:
        guess_inputs(model)
    raise MutransferError(
        f"the forward pass of {type(model).__name__} failed while its residual branches were read ({type(failed).__name__}: {failed}); "
        "give inputs it accepts with example_inputs="
    ) from failed


def _own_inputs(model: nn.Module) -> list[Any]:
    """What the model may take: a guess, and what it says itself, as models of Hugging Face do."""
    try:
        guesses: list[Any] = [guess_inputs(model)]
    except MutransferError:
        guesses = []
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, Mapping):  # masks would be looked into, which the meta device cannot
        guesses.append({name: value for name, value in dummy.items() if "mask" not in name})
    return guesses


def _traced(model: nn.Module, inputs: Any, dtype: torch.dtype | None) -> Trace:
    """The trace of one forward pass, its floating tensors of this type where one is given."""

    def meta(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device="meta", dtype=dtype if tensor.is_floating_point() else None)

    leaves = {name: meta(p).requires_grad_(p.is_floating_point()) for name, p in model.named_parameters()}
    buffers = {name: meta(b) for name, b in model.named_buffers()}
    recorder = _AttentionRecorder()
    given = pytree.tree_map_only(Tensor, meta, inputs)
    named = dict(given) if isinstance(given, Mapping) else {}
    arguments = () if named else given if isinstance(given, tuple) else (given,)
    eager = torch.compiler.set_stance("force_eager")
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), torch.device("meta"), eager, recorder:
        output = torch.func.functional_call(model, {**leaves, **buffers}, arguments, named)
    roots = [t.grad_fn for t in pytree.tree_leaves(output) if isinstance(t, Tensor) and t.grad_fn is not None]
    recurrent = tuple(canonical(name) for name, module in model.named_modules() if isinstance(module, RECURRENT))
    graph = Graph(roots, {id(leaf): canonical(name) for name, leaf in leaves.items()})
    if any("CheckpointFunction" in node.name() for node in graph.order):
        raise MutransferError(
            f"the forward pass of {type(model).__name__} goes through reentrant gradient checkpoints, which hide the graph from the plan: "
            "use checkpoint(..., use_reentrant=False), or plan the model before"
        )
    found = _read(graph, roots, recorder.calls)
    return replace(found, recurrent=recurrent)


def _read(graph: Graph, roots: list[Node], calls: list[_Call]) -> Trace:
    joins = graph.joins()
    last = graph.carriers([(end, {join}) for join, (_, end) in joins.items()])
    branches = []
    for (stream, end), carriers in zip(joins.values(), last, strict=True):
        nodes = graph.between(stream, end)
        branches.append(Branch(graph.learned(nodes), carriers, graph.matrices(nodes)))
    feeds, first = graph.feeds()
    final = frozenset[str]().union(*(carriers or () for carriers in graph.carriers([(root, {root}) for root in roots])))
    norms = any(graph.normalised(stream, joins) for stream, _ in joins.values())
    return Trace(tuple(branches), _attention(graph, calls), feeds, norms, first, final)


def _attention(graph: Graph, calls: list[_Call]) -> tuple[Attention, ...]:
    known = [call.query for call in calls if call.query in graph.index]
    query = dict(zip(known, graph.carriers([(node, set(graph.consumers[node])) for node in known]), strict=True))
    found = []
    for call in calls:
        if call.head_dim:
            makers = [graph.makers(node) for node in call.key_value if node in graph.index]
            key_value = frozenset[str]().union(*makers) - (graph.makers(call.query) if call.query in graph.index else frozenset())
            found.append(Attention(call.head_dim, call.scale, query.get(call.query), key_value))
        elif call.scores in graph.index and (size := graph.contracted(call.scores)):
            found.append(Attention(size, None, None))
    return tuple(found)


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
                return torch.zeros(2, module.in_features, dtype=module.weight.dtype)
            case nn.Conv1d():
                return torch.zeros(2, module.in_channels, 64, dtype=module.weight.dtype)
            case nn.Conv2d():
                return torch.zeros(2, module.in_channels, 32, 32, dtype=module.weight.dtype)
            case nn.Conv3d():
                return torch.zeros(2, module.in_channels, 16, 16, 16, dtype=module.weight.dtype)
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
    key_value: tuple[Node | None, ...] = ()
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
            others = tuple(named[name].grad_fn for name in ("key", "value"))
            alone, size = query.grad_fn not in others, query.shape[-1]
            used = _Call(head_dim=size, scale=size**-0.5 if scale is None else scale)
            self.calls.append(replace(used, query=query.grad_fn, key_value=others) if alone else used)
        elif func in _SOFTMAX and isinstance(scores := args[0] if args else kwargs.get("input"), Tensor):
            self.calls.append(_Call(scores=scores.grad_fn))
        return func(*args, **kwargs)
