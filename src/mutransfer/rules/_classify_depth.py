"""Classification in depth: the regime of a residual network (Tensor Programs VI)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from ..core import Result, parsed, parsing, plain
from ._powers import Exponent, exact, powers

_HALF = Fraction(1, 2)


@dataclass(frozen=True, kw_only=True, repr=False)
class DepthClassification(Result):
    """The regime of a residual network as its depth L grows.

    Attributes:
        alpha: Residual branches are multiplied by L^-alpha.
        gamma: The rate of hidden matrices is L^-gamma.
        stable_at_init: Features and output do not grow with depth at initialisation.
        stable_in_training: Stable at initialisation, and the changes of features and output do not
            grow either.
        trivial: Stable, and the output stays as it was initialised.
        faithful_at_init: Pre-activations of the branches start constant, so that the nonlinearity
            acts as one.
        faithful_in_training: They stay constant in training.
        feature_learning: Stable, not trivial, faithful, and the features change by a constant.
        diversity: The exponent kappa: features that are a fraction eps of the depth apart differ by
            eps^(1 - kappa). 1/2 is the most possible, 0 is redundant; None where features are not
            learned.
        layerwise_linear: True if each branch is linear in the update of its matrix, in the limit
            and where features are learned; the network as a whole is not.
        limit: The limit of the features along the depth where they are learned: "SDE", "ODE" or
            None.
        why: The verdict, derived from the numbers.
    """

    alpha: Fraction
    gamma: Fraction
    stable_at_init: bool
    stable_in_training: bool
    trivial: bool
    faithful_at_init: bool
    faithful_in_training: bool
    feature_learning: bool
    diversity: Fraction | None
    layerwise_linear: bool
    limit: str | None
    why: str

    @property
    def verdict(self) -> str:
        """The verdict in a few words, such as "feature learning, redundant"."""
        if not self.stable_at_init:
            return "unstable at initialisation"
        if not self.stable_in_training:
            return "unstable in training"
        if self.trivial:
            return "trivial"
        if not self.faithful_in_training:
            return "unfaithful"
        kind = "diverse: Depth-muP" if self.diversity else "redundant"
        return f"feature learning, {kind}"

    def __str__(self) -> str:
        return f"{self.verdict}\n{self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict and every field as data; exponents are exact."""
        data: dict[str, Any] = plain({"verdict": self.verdict, **vars(self)})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the classification that `to_json` wrote.

        Raises:
            MutransferError: the data is no classification.
        """
        with parsing("a classification written by DepthClassification.to_json"):
            fields = parsed(data)
            del fields["verdict"]
            for name in ("alpha", "gamma", "diversity"):
                fields[name] = None if fields[name] is None else Fraction(fields[name])
            return cls(**fields)


def classify_depth(alpha: Exponent, gamma: Exponent) -> DepthClassification:
    """Return the regime of a residual network as its depth L grows, after its width.

    The scope is that of Tensor Programs VI (2310.02244, Section 7): branches with one matrix,
    x + L^-alpha phi(W x). The output of phi has its mean subtracted, and input and output layers do
    not scale with depth. The optimizer normalises entries, as Adam does, with the hidden rate
    n^-1 L^-gamma. SGD's rate is then L^(alpha - gamma), because its gradient carries the factor
    L^-alpha.

    These are claims: the paper proves them for linear networks and argues for them otherwise. It
    speaks of faithfulness where a parametrization is stable and not trivial, and of an ODE at
    alpha = 1. Beyond, the labels follow from the same count of powers, which `why` gives.

    >>> print(classify_depth("1/2", "1/2").verdict)
    feature learning, diverse: Depth-muP

    Args:
        alpha: Residual branches are multiplied by L^-alpha.
        gamma: The rate of hidden matrices is L^-gamma.

    Raises:
        MutransferError: an exponent is no rational number.
    """
    alpha, gamma = exact("alpha", alpha), exact("gamma", gamma)
    stable_at_init = alpha >= _HALF
    stable_in_training = stable_at_init and alpha + gamma >= 1
    trivial = stable_in_training and alpha + gamma > 1
    faithful_in_training = stable_in_training and gamma >= 0
    feature_learning = faithful_in_training and not trivial
    diverse = feature_learning and alpha == _HALF
    return DepthClassification(
        alpha=alpha,
        gamma=gamma,
        stable_at_init=stable_at_init,
        stable_in_training=stable_in_training,
        trivial=trivial,
        faithful_at_init=stable_at_init,
        faithful_in_training=faithful_in_training,
        feature_learning=feature_learning,
        diversity=(_HALF if diverse else Fraction(0)) if feature_learning else None,
        layerwise_linear=feature_learning and alpha < 1,
        limit=("SDE" if diverse else "ODE") if feature_learning else None,
        why=" ".join(_along_depth(alpha, gamma)),
    )


def _along_depth(alpha: Fraction, gamma: Fraction) -> Iterator[str]:
    """Yield the count of powers of L behind the labels, where they are defined."""
    start, moved, branch = _depth(_HALF - alpha), _depth(1 - alpha - gamma), _depth(-gamma)
    yield (
        f"The L random branches add up to {start} at initialisation (1/2 - alpha = "
        f"{_HALF - alpha})."
    )
    if alpha < _HALF:
        yield (
            "That grows, and compounds from layer to layer, so features explode before training "
            "starts: alpha must be at least 1/2."
        )
        return
    yield (
        f"A step changes each pre-activation directly by {branch} and the features, through all L "
        f"branches, by {moved} (1 - alpha - gamma = {1 - alpha - gamma})."
    )
    yield from _in_training(alpha, gamma)


def _in_training(alpha: Fraction, gamma: Fraction) -> Iterator[str]:
    """Yield the reasons for labels of training, after a stable initialisation."""
    if alpha + gamma < 1:
        yield "The latter grows, so training is unstable: alpha + gamma must be at least 1."
    elif alpha + gamma > 1:
        yield (
            "The latter vanishes, so the output stays as it was initialised: alpha + gamma must be "
            "at most 1."
        )
        if gamma < 0:
            yield (
                "The pre-activations themselves grow, so the nonlinearity is not used faithfully."
            )
    elif gamma < 0:
        yield (
            "The features' change is right, but the pre-activations grow, so the nonlinearity is "
            "not used faithfully: alpha must be at most 1."
        )
    else:
        yield from _in_the_limit(alpha)


def _in_the_limit(alpha: Fraction) -> Iterator[str]:
    """Yield the limit along the depth of a parametrization that learns features."""
    if alpha == 1:
        yield "So features are learned, and the nonlinearity sees the whole change of its branch."
    else:
        yield (
            "So features are learned, and each branch is linear in its matrix's vanishing change."
        )
    if alpha > _HALF:
        yield (
            "The random branches leave no trace, so the limit is an ODE, neighbouring layers do "
            "the same, and features are redundant."
        )
    else:
        yield (
            "The random branches stay as a diffusion, so the limit is an SDE, and features eps "
            "apart in depth differ by eps^1/2: the most diverse that is possible. This is "
            "Depth-muP, the only such choice."
        )


def _depth(exponent: Fraction) -> str:
    return str(powers(L=exponent)) if exponent else "a constant"
