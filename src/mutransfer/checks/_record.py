"""One recorded forward pass: every module's output, every attention's logits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..pytorch import AttentionCall, AttentionMode, is_norm, whole
from ..reading import canonical
from ..tasks import main_tensor
from ._owners import puts_out_weight


@dataclass
class Pass:
    """The record of one forward pass.

    A call is named after its module; from the second call of a module on, "module#2".

    Attributes:
        outputs: The output of each call, in the order of the forward pass.
        inputs: The input of each call of a layer that is linear in its weight.
        streams: The input of each call of a norm: before a branch, the residual stream.
        same: Calls whose output is just that of an earlier call, with the name of the latter.
        fed: Calls whose first argument is the output of an earlier call, with its name.
        head_dims: Size of a head of each attention; 0 where it is unknown.
        logits: Logits of each attention, 0 where masked, and their mean entropy in nats.
        skipped: Calls that put out no tensor.
        overwritten: True if the model wrote over outputs that were not copied.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    streams: dict[str, Tensor] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    fed: dict[str, str] = field(default_factory=dict)
    head_dims: list[int] = field(default_factory=list)
    logits: list[tuple[Tensor, float]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    overwritten: bool = False


@contextmanager
def recording(model: nn.Module, *, attention: bool = True, copies: bool = False) -> Iterator[Pass]:
    """Record the forward passes inside the `with`; tensors are detached.

    The model is left as it was.

    Args:
        model: The model.
        attention: True to record attention logits, too, which costs about as much as computing
            them.
        copies: True to copy outputs, which a model may overwrite in place later.
    """
    recorder = _Recorder(model, copies=copies)
    modules = [(module_name(name), m) for name, m in model.named_modules() if not _wraps(m)]
    handles = [
        module.register_forward_hook(partial(recorder, name))
        for name, module in modules
        if not puts_out_weight(name)
    ]
    try:
        with _Logits(recorder.seen) if attention else nullcontext():
            yield recorder.seen
    finally:
        for handle in handles:
            handle.remove()
    recorder.drop_overwritten()


class _Recorder:
    """The forward hook of all modules, and what it has recorded."""

    def __init__(self, model: nn.Module, *, copies: bool) -> None:
        self.seen = Pass()
        self._calls: Counter[str] = Counter()
        # Activations such as ReLU(inplace=True) overwrite the output of the module before them:
        # where there are any, outputs are copied while they are right.
        self._copies = copies or any(
            getattr(module, "inplace", False) for module in model.modules()
        )
        self._versions: dict[str, tuple[Tensor, int]] = {}
        # Outputs by their place in memory. They are kept alive, as freed memory is used again and
        # would make another module's output look like the same one.
        self._alive: dict[tuple[int, int, int], tuple[str, Tensor]] = {}

    def __call__(
        self, name: str, module: nn.Module, arguments: tuple[Any, ...], output: Any
    ) -> None:
        """Record one call of a module."""
        self._calls[name] += 1
        call = name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"
        tensor = main_tensor(output)
        if tensor is None:
            self.seen.skipped.append(call)
            return
        kept = self._kept(tensor)
        self.seen.outputs[call] = kept
        self._versions[call] = kept, kept._version
        first = self._alive.setdefault(_place(tensor), (call, tensor))[0]
        if first != call:
            self.seen.same[call] = first
        if arguments and isinstance(arguments[0], Tensor):
            if (source := self._alive.get(_place(arguments[0]))) is not None and source[0] != call:
                self.seen.fed[call] = source[0]
            if is_norm(module):
                self.seen.streams[call] = self._kept(arguments[0])
            if linear_part(module) is not None:
                self.seen.inputs[call] = self._kept(arguments[0])

    def _kept(self, tensor: Tensor) -> Tensor:
        return tensor.detach().clone() if self._copies else tensor.detach()

    def drop_overwritten(self) -> None:
        """Skip the calls whose output was changed in place after they were recorded."""
        for call, (tensor, version) in self._versions.items():
            if tensor._version != version:
                del self.seen.outputs[call]
                self.seen.skipped.append(f"{call} (overwritten in place)")
                self.seen.overwritten = True


def _place(tensor: Tensor) -> tuple[int, int, int]:
    """Return what two views of the same numbers share."""
    return whole(tensor.detach()).data_ptr(), tensor.numel(), tensor._version


def module_name(name: str) -> str:
    """Return a module's name without prefixes of torch.compile, DDP and checkpoints."""
    return canonical(f"{name}.").removeprefix("module.").rstrip(".")


def _wraps(module: nn.Module) -> bool:
    """Return True for a wrapper, whose output is that of the module inside it."""
    return hasattr(module, "_orig_mod") or isinstance(
        module, nn.parallel.DistributedDataParallel | nn.DataParallel
    )


_CONVOLVING = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)


def fan_in(module: nn.Module, weight: Tensor) -> int:
    """Return the number of entries of a weight that make one output; 1 for a table."""
    if isinstance(module, nn.Embedding) or not weight.numel():
        return 1
    return weight.shape[0] if hasattr(module, "nf") else weight.numel() // weight.shape[0]


def linear_part(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the map from input and weight to output without bias.

    None for modules that are not linear in one weight, as subclasses that standardise it.
    """
    forward = type(module).forward
    match module:
        case nn.Linear() if forward is nn.Linear.forward:
            return nn.functional.linear
        case nn.Embedding() if forward is nn.Embedding.forward:
            return nn.functional.embedding
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d() if forward in _CONVOLVING:
            return lambda x, weight: module._conv_forward(x, weight, None)
        case _ if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
            return torch.matmul  # of Hugging Face's GPT-2: a linear layer, its weight transposed
    return None


def rms(tensor: Tensor) -> float:
    """Return the root mean square entry, in single precision or the tensor's own.

    Every output of every module is measured at every step; doubles would take most of the time.
    """
    if not tensor.numel():
        return 0.0
    single = torch.float32 if tensor.dtype in {torch.float16, torch.bfloat16} else None
    norm = torch.linalg.vector_norm(whole(tensor), dtype=single)
    return float(norm) / math.sqrt(tensor.numel())


class _Logits(AttentionMode):
    """A record of the logits of every attention.

    A softmax over four dimensions is taken for one: batch, heads, queries and keys.
    """

    def __init__(self, seen: Pass) -> None:
        super().__init__()
        self.seen = seen

    def attention(self, call: AttentionCall) -> None:
        """Record the logits of a fused attention, which never shows them itself."""
        query, key, mask = call.query.detach(), call.key.detach(), call.mask
        if query.dim() > 3 and query.shape[-3] != key.shape[-3]:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        scores = query @ key.transpose(-1, -2) * call.scale
        if call.is_causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -math.inf)
        elif mask is not None:
            scores = scores + mask
        # A bias that is learned comes as the mask.
        self._record(scores.detach(), query.shape[-1])

    def softmax(self, scores: Tensor) -> None:
        """Record the logits of a written-out attention."""
        if scores.dim() == 4:
            self._record(scores.detach())

    def _record(self, scores: Tensor, head_dim: int = 0) -> None:
        # Masks are -inf, or the lowest number of the type, possibly added to a logit.
        masked = scores < torch.finfo(scores.dtype).min / 4
        chances = scores.softmax(-1)
        smallest = torch.finfo(chances.dtype).tiny
        entropy = -(chances * chances.clamp_min(smallest).log()).nansum(-1).mean()
        self.seen.logits.append((scores.masked_fill(masked, 0.0), float(entropy)))
        self.seen.head_dims.append(head_dim)
