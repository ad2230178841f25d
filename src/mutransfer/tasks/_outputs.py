"""The main tensor of what a model returns."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def main_tensor(output: Any) -> Tensor | None:
    """Return the main tensor of an output: its logits, or its first of floating type.

    None where there is no tensor. Models return tensors, tuples, mappings, or the outputs of
    Hugging Face, which have `logits`.
    """
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    tensors = (leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
    return next((tensor for tensor in tensors if tensor.is_floating_point()), None)
