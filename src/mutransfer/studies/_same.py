"""Fingerprints of what is trained, as a record has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

Fingerprint = Sequence[float]
"""The first losses of training, the validation loss after them, and the metrics."""

LOSSES = 2
"""The first loss is that of the model as it is drawn, the second sees its gradients."""

_SAME = 1e-3
"""Relative difference up to which losses of two machines or versions are the same."""

_SAME_METRIC = 1e-2
"""The same of metrics, which may count examples: rounding moves one of many."""


def are_same(first: Fingerprint, second: Fingerprint) -> bool:
    """Return True where two fingerprints are the same to rounding, as far as both go.

    Records from before evaluations were part of it have the losses alone.
    """
    allowed = [*[_SAME] * (LOSSES + 1), *[_SAME_METRIC] * len(first)]
    triples = zip(first, second, allowed, strict=False)
    return all(math.isclose(a, b, rel_tol=most, abs_tol=1e-9) for a, b, most in triples)
