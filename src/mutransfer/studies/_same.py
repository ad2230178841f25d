"""Fingerprints of what is trained, as a record has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

Fingerprint = Sequence[float]
"""The first losses of training."""

_SAME = 1e-3
"""Relative difference up to which losses of two machines or versions are the same."""


def are_same(first: Fingerprint, second: Fingerprint) -> bool:
    """Return True where two fingerprints are the same to rounding."""
    pairs = zip(first, second, strict=True)
    return all(math.isclose(a, b, rel_tol=_SAME, abs_tol=1e-9) for a, b in pairs)
