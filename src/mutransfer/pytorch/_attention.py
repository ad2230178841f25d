"""Attention, recognised in a forward pass as it is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
_SOFTMAX = (nn.functional.softmax, torch.softmax, Tensor.softmax)


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionCall:
    """The arguments of one scaled_dot_product_attention, defaults filled in.

    Attributes:
        query: The queries, (..., heads, positions, head_dim).
        key: The keys; grouped queries share them, so that there may be fewer heads.
        value: The values.
        mask: True where a query may look, or numbers that are added to the logits; None for none.
        is_causal: True if no query may look ahead.
        scale: Factor on the logits.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    is_causal: bool
    scale: float


class AttentionMode(TorchFunctionMode):
    """A mode that recognises attention in a forward pass; subclasses receive it.

    Torch's fused attention names its arguments. A written-out attention shows as a softmax alone,
    which may as well belong to something else.
    """

    def attention(self, call: AttentionCall) -> None:
        """Receive a fused attention, just before it is computed."""

    def softmax(self, scores: Tensor) -> None:
        """Receive the argument of a softmax, just before it is computed."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is nn.functional.scaled_dot_product_attention:
            self.attention(_call(**dict(zip(_ARGUMENTS, args, strict=False)) | kwargs))
        elif func in _SOFTMAX:
            scores = args[0] if args else kwargs.get("input")
            if isinstance(scores, Tensor):
                self.softmax(scores)
        return func(*args, **kwargs)


def _call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> AttentionCall:
    """Return the call of these arguments, under torch's own names and defaults."""
    return AttentionCall(
        query=query,
        key=key,
        value=value,
        mask=attn_mask,
        is_causal=is_causal,
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
    )
