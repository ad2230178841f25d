"""One traced forward pass: residual branches, attention scales, own factors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from ..core import MutransferError
from ..reading import NOTHING, Attention, Branch, Trace, canonical
from ._attention import AttentionCall, AttentionMode
from ._axes import RECURRENT
from ._graph import Graph
from ._hooks import detached
from ._nodes import Node


def trace(model: nn.Module, example_inputs: Any = None) -> Trace:
    """Run one forward pass on the meta device and read its autograd graph.

    The model and its buffers are not touched.

    Args:
        model: Any module; its parameters may live on any device, also meta.
        example_inputs: A tensor, a tuple of positional or a mapping of keyword arguments. By
            default guessed from the first layer, or the model's own `dummy_inputs`.

    Raises:
        MutransferError: the forward pass failed, or the inputs cannot be guessed.
    """
    tries = [example_inputs] if example_inputs is not None else _own_inputs(model)
    failed: Exception | None = None
    for inputs in tries:
        for dtype, calm in (
            (None, False),
            (torch.bfloat16, False),
            (None, True),
        ):  # some kernels know only the second, on meta, too
            try:
                return _traced(model, inputs, dtype, calm=calm)
            except MutransferError:
                raise
            except Exception as error:
                failed = failed or error
    if failed is None:
        guess_inputs(model)
    raise MutransferError(
        f"the forward pass of {type(model).__name__} failed while its residual branches were read "
        f"({type(failed).__name__}: {failed}); give inputs it accepts with example_inputs=, or, "
        "where it branches on the values of its data, declare its residual branches with "
        'branches={"blocks.*.attention.out": ("blocks.*.norm1.*", "blocks.*.attention.*"), ...}, '
        "or branches={} if there are none"
    ) from failed


def _own_inputs(model: nn.Module) -> list[Any]:
    """Return a guess of the inputs, and the model's own, as Hugging Face's have."""
    try:
        guesses: list[Any] = [guess_inputs(model)]
    except MutransferError:
        guesses = []
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, Mapping):  # masks would be looked into, which the meta device cannot
        guesses.append({name: value for name, value in dummy.items() if "mask" not in name})
    return guesses


def _traced(model: nn.Module, inputs: Any, dtype: torch.dtype | None, *, calm: bool) -> Trace:
    """Trace one forward pass, with floating tensors of this type where one is given.

    Calm is as in inference: in evaluation mode, with the caches of Hugging Face, without which it
    looks into its masks.
    """
    meta = partial(_on_meta, dtype=dtype)
    leaves = {
        name: meta(p).requires_grad_(p.is_floating_point()) for name, p in model.named_parameters()
    }
    buffers = {name: meta(b) for name, b in model.named_buffers()}
    recorder, outputs = _AttentionRecorder(), _Outputs(model)
    given = pytree.tree_map_only(Tensor, meta, inputs)
    named = dict(given) if isinstance(given, Mapping) else {}
    arguments = () if named else given if isinstance(given, tuple) else (given,)
    eager = torch.compiler.set_stance("force_eager")
    originals = [*model.named_parameters(), *model.named_buffers()]
    stand_ins = {id(tensor): {**leaves, **buffers}[name] for name, tensor in originals}
    with (
        detached(model),
        _substituted(model, stand_ins),
        _calmed(model) if calm else nullcontext(),
        torch.enable_grad(),
        torch.random.fork_rng(devices=[]),
        torch.device("meta"),
        eager,
        recorder,
        outputs,
    ):
        output = model(*arguments, **named)
    tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    roots = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    modules = [(canonical(name), module) for name, module in model.named_modules()]
    recurrent = tuple(name for name, module in modules if isinstance(module, RECURRENT))
    graph = Graph(
        roots, {id(leaf): canonical(name) for name, leaf in leaves.items()}, outputs.modules()
    )
    if any("CheckpointFunction" in node.name() for node in graph.order):
        raise MutransferError(
            f"the forward pass of {type(model).__name__} goes through reentrant gradient "
            "checkpoints, which hide the graph from the plan: "
            "use checkpoint(..., use_reentrant=False), or plan the model before"
        )
    used = graph.uses()
    found = _read(graph, roots, recorder.calls)
    return replace(found, recurrent=recurrent, state_space=_state_space(model), uses=used)


def _on_meta(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return an empty tensor in the place of this one; a number keeps its value."""
    if tensor.dim() == 0 and not isinstance(tensor, nn.Parameter):
        known = tensor.detach() if tensor.is_meta else tensor.detach().cpu()
        return known.clone()  # it may be a factor, such as the square root of a width
    return torch.empty_like(
        tensor, device="meta", dtype=dtype if tensor.is_floating_point() else None
    )


@contextmanager
def _calmed(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, with caches; `_substituted` restores modes."""
    model.eval()
    found = (getattr(module, "config", None) for module in model.modules())
    configs: dict[int, Any] = {
        id(each): each for each in found if getattr(each, "use_cache", None) is False
    }
    try:
        for config in configs.values():
            config.use_cache = True
        yield
    finally:
        for config in configs.values():
            config.use_cache = False


@contextmanager
def _substituted(model: nn.Module, stand_ins: Mapping[int, Tensor]) -> Iterator[None]:
    """Put other tensors into a model for a while, by the identity of its own.

    Whatever the forward pass keeps in the model is removed. torch.func.functional_call would leave
    the substitutes in a module that stands in the model under two names.
    """
    before: list[tuple[dict[str, Any], str, Any]] = []
    kept: list[tuple[Any, Any]] = []
    for module in model.modules():
        live: tuple[Any, ...] = (vars(module), module._buffers, module._non_persistent_buffers_set)
        live += tuple(value for value in vars(module).values() if type(value) in (dict, list, set))
        kept += [(each, each.copy()) for each in live]
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        before += [
            (table, name, tensor)
            for table in tables
            for name, tensor in table.items()
            if id(tensor) in stand_ins
        ]
        if isinstance(module, RECURRENT) and "_flat_weights" in vars(module):
            before.append((vars(module), "_flat_weights", module._flat_weights))
    try:
        for table, name, own in before:
            table[name] = (
                [stand_ins.get(id(each), each) for each in own]
                if isinstance(own, list)
                else stand_ins[id(own)]
            )
        yield
    finally:
        for table, name, own in before:
            table[name] = own
        for each, saved in kept:
            each.clear()
            (each.extend if isinstance(each, list) else each.update)(saved)


def _state_space(model: nn.Module) -> tuple[str, ...]:
    """Return the names of state-space layers: modules with Mamba's `A_log`."""
    return tuple(
        canonical(name)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "A_log", None), Tensor)
    )


def _read(graph: Graph, roots: list[Node], calls: list[_Call]) -> Trace:
    joins = graph.joins()
    ends = graph.signals([(end, {join}) for join, (_, end) in joins.items()])
    branches = []
    for (stream, end), signal in zip(joins.values(), ends, strict=True):
        nodes = graph.between(stream, end)
        branches.append(Branch(graph.learned(nodes), signal, graph.matrices(nodes)))
    feeds, first = graph.feeds()
    final = frozenset[str]().union(
        *(signal.tensors or () for signal in graph.signals([(root, {root}) for root in roots]))
    )
    norms = any(graph.normalised(stream, joins) for stream, _ in joins.values())
    return Trace(
        tuple(branches),
        _attention(graph, calls),
        feeds,
        tuple(graph.factors()),
        norms,
        first,
        final,
    )


def _attention(graph: Graph, calls: list[_Call]) -> tuple[Attention, ...]:
    known = [call.query for call in calls if call.query in graph.index]
    query = dict(
        zip(
            known,
            graph.signals([(node, set(graph.consumers[node])) for node in known]),
            strict=True,
        )
    )
    found = []
    for call in calls:
        if call.head_dim:
            makers = [graph.makers(node) for node in call.key_value if node in graph.index]
            key_value = frozenset[str]().union(*makers) - (
                graph.makers(call.query) if call.query in graph.index else frozenset()
            )
            found.append(
                Attention(call.head_dim, call.scale, query.get(call.query, NOTHING), key_value)
            )
        elif call.scores in graph.index and (size := graph.contracted(call.scores)):
            found.append(Attention(size, None))
    return tuple(found)


def guess_inputs(model: nn.Module) -> Tensor:
    """Return a small batch that the first layer of the model accepts.

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
            case _ if next(module.parameters(recurse=False), None) is not None and not list(
                module.children()
            ):
                break
            case _:
                continue
    raise MutransferError(
        f"the inputs of {type(model).__name__} cannot be guessed from its first layer; "
        "give some with example_inputs="
    )


class _Outputs:
    """A record of the node that makes each module's output, while it is entered."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._calls: list[tuple[str, Node]] = []

    def __enter__(self) -> None:
        for name, module in self._model.named_modules():
            self._handles.append(module.register_forward_hook(partial(self._note, canonical(name))))

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _note(self, name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.grad_fn is not None:
            self._calls.append((name, output.grad_fn))

    def modules(self) -> dict[Node, str]:
        """Return the innermost module whose output each node makes.

        Modules that were called more than once are left out.
        """
        times = Counter(name for name, _ in self._calls)
        found = dict[Node, str]()
        for name, node in self._calls:
            if times[name] == 1:
                found.setdefault(node, name)
        return found


_NUMBERS = (torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.full)


@dataclass(frozen=True)
class _Call:
    """A call of scaled_dot_product_attention, or a softmax that may be an attention's."""

    scores: Node | None = None
    query: Node | None = None
    key_value: tuple[Node | None, ...] = ()
    head_dim: int = 0
    scale: float = 1.0


class _AttentionRecorder(AttentionMode):
    """A record of every attention and softmax; it keeps numbers off the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if (
            func in _NUMBERS
            and isinstance(args[-1] if args else None, int | float)
            and args[0] in ((), args[-1])
        ):
            kwargs["device"] = "cpu"  # a number, which would be lost on the meta device
        elif func is Tensor.new_tensor and isinstance(args[1], int | float):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype), device="cpu")
        return super().__torch_function__(func, types, args, kwargs)

    def attention(self, call: AttentionCall) -> None:
        """Record a fused attention; its query only where it is not also key or value."""
        query, others = call.query.grad_fn, (call.key.grad_fn, call.value.grad_fn)
        used = _Call(head_dim=call.query.shape[-1], scale=call.scale)
        alone = query not in others
        self.calls.append(replace(used, query=query, key_value=others) if alone else used)

    def softmax(self, scores: Tensor) -> None:
        """Record a softmax, which may be that of a written-out attention."""
        self.calls.append(_Call(scores=scores.grad_fn))
