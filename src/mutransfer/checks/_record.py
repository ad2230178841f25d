"""Records one forward pass: every module's output, every attention's logits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..pytorch import is_norm
from ..reading import canonical


@dataclass
class Pass:
    """What one forward pass showed.

    Attributes:
        outputs: Each call's output by "module" or, from its second call on, "module#2"; in the order of the forward pass.
        inputs: The input of each call of a layer that is linear in its weight.
        streams: The input of each norm's call: before a branch, the residual stream.
        same: Calls whose output is just that of another one before.
        head_dims: Size of a head of each attention, where it is known, or 0.
        logits: Each attention's logits, 0 where masked, and mean entropy (nats).
        skipped: Modules that put out no tensor.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    streams: dict[str, Tensor] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    head_dims: list[int] = field(default_factory=list)
    logits: list[tuple[Tensor, float]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@contextmanager
def recording(model: nn.Module, *, attention: bool = True) -> Iterator[Pass]:
    """Notes what the forward passes inside the `with` put out; the values are detached, the model is left as it was."""
    seen = Pass()
    calls: Counter[str] = Counter()
    alive: dict[tuple[int, int, int], tuple[str, Tensor]] = {}

    copies = any(getattr(module, "inplace", False) for module in model.modules())
    versions: dict[str, tuple[Tensor, int]] = {}

    def note(name: str, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        calls[name] += 1
        call = name if calls[name] == 1 else f"{name}#{calls[name]}"
        tensor = main_tensor(output)
        if tensor is None:
            seen.skipped.append(call)
            return
        seen.outputs[call] = tensor.detach().clone() if copies else tensor.detach()
        versions[call] = seen.outputs[call], seen.outputs[call]._version
        place = whole(tensor.detach()).data_ptr(), tensor.numel(), tensor._version
        if alive.setdefault(place, (call, tensor))[0] != call:
            seen.same[call] = alive[place][0]
        if is_norm(module) and given and isinstance(given[0], Tensor):
            seen.streams[call] = given[0].detach()
        if linear_part(module) is not None and given and isinstance(given[0], Tensor):
            seen.inputs[call] = given[0].detach()

    own = [
        (module_name(name), module) for name, module in model.named_modules() if not _wraps(module)
    ]
    handles = [module.register_forward_hook(partial(note, name)) for name, module in own]
    try:
        with _Attention(seen) if attention else nullcontext():
            yield seen
    finally:
        for handle in handles:
            handle.remove()
    for call, (tensor, version) in versions.items():
        if tensor._version != version:
            del seen.outputs[call]
            seen.skipped.append(f"{call} (overwritten in place)")


def module_name(name: str) -> str:
    """A module's own name, without what torch.compile, DDP and checkpoints put before it."""
    return canonical(f"{name}.").removeprefix("module.").rstrip(".")


def _wraps(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or isinstance(
        module, nn.parallel.DistributedDataParallel | nn.DataParallel
    )


def main_tensor(output: Any) -> Tensor | None:
    """The tensor that an output is mostly: its logits, or its first of floating type."""
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    return next(
        (
            each
            for each in pytree.tree_leaves(output)
            if isinstance(each, Tensor) and each.is_floating_point()
        ),
        None,
    )


def linear_part(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor] | None:
    """What maps an input and a weight to the module's output without bias; None where the module is not linear in its weight."""
    match module:
        case nn.Linear():
            return nn.functional.linear
        case nn.Embedding():
            return nn.functional.embedding
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return lambda x, weight: module._conv_forward(x, weight, None)
        case _ if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
            return torch.matmul
    return None


def rms(tensor: Tensor) -> float:
    """Root of the mean square entry."""
    single = torch.float32 if tensor.dtype in {torch.float16, torch.bfloat16} else None
    return (
        float(torch.linalg.vector_norm(whole(tensor), dtype=single)) / math.sqrt(tensor.numel())
        if tensor.numel()
        else 0.0
    )


def whole(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor; others as they are."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


class _Attention(TorchFunctionMode):
    """Notes the logits of every call of scaled_dot_product_attention, and of every softmax over the last dimension of four."""

    def __init__(self, seen: Pass) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is nn.functional.scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            self._note(**dict(zip(names, args, strict=False)) | kwargs)
        elif (
            func in _SOFTMAX
            and isinstance(args[0] if args else None, Tensor)
            and args[0].dim() == 4
        ):
            self._scores(args[0].detach())
        return func(*args, **kwargs)

    def _note(
        self,
        query: Tensor,
        key: Tensor,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        scale: float | None = None,
        **_: Any,
    ) -> None:
        query, key = query.detach(), key.detach()
        if query.dim() > 3 and query.shape[-3] != key.shape[-3]:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        scores = (
            query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        )
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            scores = (
                scores.masked_fill(~attn_mask, -math.inf)
                if attn_mask.dtype == torch.bool
                else scores + attn_mask
            )
        self._scores(scores, query.shape[-1])

    def _scores(self, scores: Tensor, head_dim: int = 0) -> None:
        masked = scores < torch.finfo(scores.dtype).min / 4
        chances = scores.softmax(-1)
        entropy = (
            -(chances * chances.clamp_min(torch.finfo(chances.dtype).tiny).log()).nansum(-1).mean()
        )
        self.seen.logits.append((scores.masked_fill(masked, 0.0), float(entropy)))
        self.seen.head_dims.append(head_dim)


_SOFTMAX = (nn.functional.softmax, torch.softmax, Tensor.softmax)
