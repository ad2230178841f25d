"""Residual schemes: weights of branches and stream, equivalent multipliers.

Where every branch and the head begin with a normalisation, the scale of the stream itself has no
effect. So any scheme x <- a·x + b·f(x) is the plain one x <- x + c·f(x) with multipliers c of its
own (`as_multipliers`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Real
from operator import mul

from ..core import MutransferError


@dataclass(frozen=True)
class Residual:
    """Weights of one residual scheme: x <- skip·x + branch·f(x).

    Attributes:
        skip: Weight of the stream at each branch.
        branch: Weight of each branch.
    """

    skip: tuple[float, ...]
    branch: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("skip", "branch"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def as_multipliers(self) -> tuple[float, ...]:
        """Return the branch multipliers c of the equivalent network x <- x + c·f(x).

        The network is pre-norm and computes the same, up to the stream's scale.
        """
        scale = accumulate(self.skip, mul)
        return tuple(branch / shrunk for branch, shrunk in zip(self.branch, scale, strict=True))


def branch_multipliers(depth: int, alpha: float = 1.0, constant: float = 1.0) -> Residual:
    """Return the plain scheme, every branch times constant · depth^-alpha.

    It is equation 1 of Tensor Programs VI (2310.02244) and Table 1 of CompleteP (2505.01618).

    Args:
        depth: Number of branches.
        alpha: The residual exponent.
        constant: A tunable factor that does not depend on depth.

    Raises:
        MutransferError: depth is not positive.
    """
    depth = _checked(depth)
    return Residual((1.0,) * depth, (constant * depth**-alpha,) * depth)


def tau(depth: int, *, multiplier: float = 1.0, ratio: float = 1.0) -> Residual:
    """Return u-muP's scheme, which keeps the stream at unit scale.

    Attention and MLP branches take turns. Branch number l has weight tau / sqrt(1 + tau²) and the
    stream 1 / sqrt(1 + tau²), with tau² = a² / (depth/2 + the sum of a² of the branches before it)
    (2407.17465, Appendix G). It is the plain pre-norm scheme with multipliers a · (depth/2)^-1/2:
    alpha = 1/2 exactly.

    Args:
        depth: Number of branches, an even number: attention and MLP in turn.
        multiplier: Residual multiplier: size of all branches together over the embedding.
        ratio: Attention branches over MLP branches.

    Raises:
        MutransferError: depth is no positive even number, or the multiplier or the ratio is
            negative or not finite.
    """
    depth = _checked(depth)
    if depth % 2:
        raise MutransferError(
            f"depth is {depth}: the scheme pairs an attention with an MLP branch, so give an even "
            "number of branches"
        )
    for name, value in (("multiplier", multiplier), ("ratio", ratio)):
        if not (isinstance(value, Real) and math.isfinite(value) and value >= 0):
            raise MutransferError(f"{name} is {value!r}: give a finite number, not negative")
    mlp = multiplier * math.sqrt(2 / (1 + ratio**2))
    sizes = [ratio * mlp, mlp] * (depth // 2)
    before = accumulate((size**2 for size in sizes), initial=depth / 2)
    taus = [size / math.sqrt(sum_before) for size, sum_before in zip(sizes, before, strict=False)]
    return Residual(
        tuple(1 / math.sqrt(1 + t**2) for t in taus), tuple(t / math.sqrt(1 + t**2) for t in taus)
    )


def running_mean(depth: int) -> Residual:
    """Return the running mean of unit scaling, which keeps the stream at unit scale.

    After l branches the stream is (embedding + l branches) / sqrt(l + 1). It is the plain pre-norm
    scheme with all multipliers 1, so depth does not scale the branches' share.

    Args:
        depth: Number of branches.

    Raises:
        MutransferError: depth is not positive.
    """
    depth = _checked(depth)
    counts = range(1, depth + 1)
    return Residual(
        tuple(math.sqrt(n / (n + 1)) for n in counts), tuple(math.sqrt(1 / (n + 1)) for n in counts)
    )


def weighted(skip: Sequence[float], branch: Sequence[float]) -> Residual:
    """Return a scheme of one's own.

    Args:
        skip: Weight of the stream at each branch.
        branch: Weight of each branch.

    Raises:
        MutransferError: the two differ in length, a weight is not finite, or a stream weight not
            positive.
    """
    skip, branch = _weights("stream", skip), _weights("branch", branch)
    if len(skip) != len(branch) or not skip:
        raise MutransferError(
            f"{len(skip)} stream weights but {len(branch)} branch weights: give one of each for "
            "every branch"
        )
    if bad := [weight for weight in skip if not 0 < weight < math.inf]:
        raise MutransferError(
            f"the stream is weighted by {bad[0]}: its weights must be positive and finite"
        )
    if bad := [weight for weight in branch if not math.isfinite(weight)]:
        raise MutransferError(f"a branch is weighted by {bad[0]}: its weights must be finite")
    return Residual(skip, branch)


def _weights(name: str, weights: Sequence[float]) -> tuple[float, ...]:
    """Return weights as floats, be they a list or an array."""
    try:
        return tuple(float(weight) for weight in weights)
    except (TypeError, ValueError):
        raise MutransferError(f"{name} weights are {weights!r}: give a number a branch") from None


def _checked(depth: object) -> int:
    # A whole float counts as such, as in depths elsewhere.
    if not isinstance(depth, Real) or float(depth) % 1 != 0 or depth < 1:
        raise MutransferError(
            f"depth is {depth!r}: give a positive number of branches, a whole one"
        )
    return int(float(depth))
