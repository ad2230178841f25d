"""Losses and metrics of what a model returns."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..core import MutransferError
from ._outputs import main_tensor


def cross_entropy(
    output: Any, targets: Int[Tensor, "*rows"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats; classes are the last dimension.

    Args:
        output: The logits, (*rows, classes), or an output that has them (`main_tensor`).
        targets: The classes, (*rows).
        label_smoothing: Share of the uniform distribution in the targets.

    Raises:
        MutransferError: the output has no tensor.
    """
    logits = _logits(output).flatten(0, -2)
    return F.cross_entropy(logits, targets.flatten(), label_smoothing=label_smoothing)


def accuracy(output: Any, targets: Int[Tensor, "*rows"]) -> Float[Tensor, ""]:
    """Return the fraction of rows whose largest logit is that of the target.

    Args:
        output: The logits, (*rows, classes), or an output that has them (`main_tensor`).
        targets: The classes, (*rows).

    Raises:
        MutransferError: the output has no tensor.
    """
    logits = _logits(output)
    return (logits.argmax(-1) == targets).to(logits.dtype).mean()


def _logits(output: Any) -> Tensor:
    logits = main_tensor(output)
    if logits is None:
        raise MutransferError(
            f"the model's output is a {type(output).__name__} without a tensor, and the loss needs "
            "logits: return them, or give the task a loss of your own"
        )
    return logits
