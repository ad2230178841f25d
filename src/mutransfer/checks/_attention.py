"""Measuring attention: logits, their changes, and entropies."""

from __future__ import annotations

from collections.abc import Iterator

from ._quantities import CHANGE_OF_LOGITS, ENTROPY, HEAD_DIM, LOGITS, Measured
from ._record import Pass, rms


def attention(seen: Pass, first: Pass, step: int) -> Iterator[Measured]:
    """Measure every attention of a forward pass, by its number in it."""
    for number, (logits, entropy) in enumerate(seen.logits):
        yield LOGITS, str(number), rms(logits)
        yield ENTROPY, str(number), entropy
        yield HEAD_DIM, str(number), seen.head_dims[number]
        if step and number < len(first.logits):
            start, _ = first.logits[number]
            if start.shape == logits.shape:
                yield CHANGE_OF_LOGITS, str(number), rms(logits - start)
