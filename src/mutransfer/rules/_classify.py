"""What a parametrization does as the network grows: verdicts on exponents of width, and of depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..core import MutransferError
from ._powers import Exponent, exact, powers

_HALF = Fraction(1, 2)


@dataclass(frozen=True, init=False)
class ABC:
    """The exponents of a network with L hidden layers of width n, trained by SGD (Tensor Programs IV, 2011.14522).

    The matrix of layer l is W = n^-a w, where w is trained, starts with entries from N(0, n^-2b) and has the rate n^-c. Layers are
    1 (input), 2..L, and L + 1 (readout), so there are L + 1 matrices. The paper has one c for all layers; here each may have its own.

    >>> mup = ABC(a=("-1/2", 0, "1/2"), b=("1/2", "1/2", "1/2"), c=0)
    >>> classify(mup).verdict
    'feature learning, maximal update'

    Attributes:
        a: Exponents of the multipliers, one a layer.
        b: Exponents of the initial standard deviations, one a layer.
        c: Exponents of the learning rates, one a layer.
    """

    a: tuple[Fraction, ...]
    b: tuple[Fraction, ...]
    c: tuple[Fraction, ...]

    def __init__(
        self, a: Sequence[Exponent], b: Sequence[Exponent], c: Exponent | Sequence[Exponent]
    ) -> None:
        """Take ints, fractions and text such as "-1/2"; a single c holds for all layers.

        Raises:
            MutransferError: something is no rational number, the lengths differ, or there are fewer than two layers.
        """
        multipliers = _sequence("a", a)
        if len(multipliers) < 2:
            raise MutransferError(
                f"a has {len(multipliers)} layers; a network has two or more, the input and the readout included"
            )
        object.__setattr__(self, "a", multipliers)
        object.__setattr__(self, "b", _as_long("b", _sequence("b", b), multipliers))
        object.__setattr__(self, "c", _spread("c", c, multipliers))

    def shifted(self, theta: Exponent | Sequence[Exponent]) -> ABC:
        """The same training in other words: a + theta, b - theta, c - 2 theta, with one theta, or one a layer.

        Raises:
            MutransferError: theta is no rational number, or has another number of layers.
        """
        by = _spread("theta", theta, self.a)
        return ABC(
            a=[a + t for a, t in zip(self.a, by, strict=True)],
            b=[b - t for b, t in zip(self.b, by, strict=True)],
            c=[c - 2 * t for c, t in zip(self.c, by, strict=True)],
        )


def known_points(hidden_layers: int) -> dict[str, ABC]:
    """The parametrizations that have a name (Tensor Programs IV, 2011.14522), for so many hidden layers.

    They are `sp` (standard, a constant rate), `sp-1/n` (standard, rate 1/n), `ntk` (neural tangent), `mup` (maximal update) and, for
    one hidden layer, `mean-field`.

    Raises:
        MutransferError: there is no hidden layer.
    """
    if isinstance(hidden_layers, bool) or not isinstance(hidden_layers, int) or hidden_layers < 1:
        raise MutransferError(
            f"hidden_layers is {hidden_layers!r}; it must be a whole number, 1 or more"
        )
    zeros, halves = (0,) * hidden_layers, (_HALF,) * hidden_layers
    points = {
        "sp": ABC(a=(0, *zeros), b=(0, *halves), c=0),
        "sp-1/n": ABC(a=(0, *zeros), b=(0, *halves), c=1),
        "ntk": ABC(a=(0, *halves), b=(0, *zeros), c=0),
        "mup": ABC(a=(-_HALF, *zeros[1:], _HALF), b=(_HALF, *halves), c=0),
    }
    if hidden_layers == 1:
        points["mean-field"] = ABC(a=(0, 1), b=(0, 0), c=-1)
    return points


@dataclass(frozen=True, kw_only=True)
class Classification:
    """What `classify` found. Every field is the same for all exponents that the symmetry joins (`ABC.shifted`).

    Exactly one holds: not stable, trivial, kernel, feature learning. The exponents r, and what is maximal, presume features of
    constant size: where the initial scale of a layer is at fault they are formal.

    Attributes:
        stable: Nothing grows with width, neither at initialisation nor in training, and no features vanish at initialisation.
        trivial: Stable, and the output stays as it was initialised.
        feature_learning: Stable and not trivial, and SGD changes the last features by a constant.
        kernel: Stable and not trivial, and SGD changes the last features by less and less: the output follows a fixed kernel.
        r: A step of SGD changes the last features by n^-r; the smallest of `r_layers`.
        r_layers: A step on the matrix of hidden layer l (1..L) changes its output by n^-r_l.
        maximal: Whether each layer (1..L+1) is updated maximally: its update changes its output by a constant.
        readout_initialized_maximally: Whether the changing features move the output by a constant through the initial readout.
        maximal_update: Stable, all of `maximal`, and the readout initialised maximally: the maximal update parametrization.
        why: The verdict, derived from the numbers.
    """

    stable: bool
    trivial: bool
    feature_learning: bool
    kernel: bool
    r: Fraction
    r_layers: tuple[Fraction, ...]
    maximal: tuple[bool, ...]
    readout_initialized_maximally: bool
    maximal_update: bool
    why: str

    @property
    def verdict(self) -> str:
        """A few words, such as "kernel regime"."""
        if not self.stable:
            return "unstable"
        if self.trivial:
            return "trivial"
        if self.kernel:
            return "kernel regime"
        return "feature learning, maximal update" if self.maximal_update else "feature learning"

    def __str__(self) -> str:
        return f"{self.verdict}\n{self.why}"


def classify(abc: ABC) -> Classification:
    """The regime of a network as its width n grows (Tensor Programs IV, 2011.14522; Section 5 for the maximal update).

    Derivation. The gradient of an output of a hidden layer has the size of the readout, n^-min(a + b, 2a + c), which is the larger of
    its initial matrix and of its update. A step changes matrix l by n^-(2a + c) times this gradient times the transposed input x of the
    layer, and x·x is n, but constant at layer 1. So the output of hidden layer l changes by n^-r_l, with
    r_l = min(a + b, 2a + c of the readout) + (2a + c - 1 of layer l) + [l = 1]. Nothing here needs c to be the same in all layers.

    >>> print(classify(known_points(2)["ntk"]).verdict)
    kernel regime
    """
    scales = [a + b for a, b in zip(abc.a, abc.b, strict=True)]
    rates = [2 * a + c for a, c in zip(abc.a, abc.c, strict=True)]
    gradient = min(scales[-1], rates[-1])
    r_layers = tuple(
        gradient + rate - 1 + (layer == 1) for layer, rate in enumerate(rates[:-1], start=1)
    )
    r = min(r_layers)
    # Training moves the output by n^(1 - update) through the update of the readout, by n^(1 - passed) through its initial weights.
    update, passed = rates[-1], scales[-1] + r
    faults = list(_faults(scales, r_layers, update, passed))
    stable = not faults
    trivial = stable and update > 1 and passed > 1
    learns = stable and not trivial
    maximal = (*(each == 0 for each in r_layers), update == 1)
    if faults:
        why = f"Unstable as the width n grows, because {'; '.join(faults)}."
    else:
        why = " ".join(
            [*_regime(scales[-1], r_layers, update, passed), _maximality(r_layers, update, passed)]
        )
    return Classification(
        stable=stable,
        trivial=trivial,
        feature_learning=learns and r == 0,
        kernel=learns and r > 0,
        r=r,
        r_layers=r_layers,
        maximal=maximal,
        readout_initialized_maximally=passed == 1,
        maximal_update=stable and all(maximal) and passed == 1,
        why=why,
    )


def _faults(
    scales: Sequence[Fraction], r_layers: Sequence[Fraction], update: Fraction, passed: Fraction
) -> Iterator[str]:
    """The conditions of stability that fail."""
    last = len(scales)
    readout = _layer(last, last)
    for layer, scale in enumerate(scales[:-1], start=1):
        needed = _HALF * (layer > 1)
        if scale != needed:
            changed = f"initially its output has {_n(needed - scale)} times the scale of its input"
            yield f"{_layer(layer, last)} has a + b = {scale} instead of {needed}, so {changed}"
    if scales[-1] < _HALF:
        yield f"{readout} has a + b = {scales[-1]}, below 1/2, so the output starts at {_n(_HALF - scales[-1])}"
    for layer, r in enumerate(r_layers, start=1):
        if r < 0:
            yield f"{_layer(layer, last)} has r_{layer} = {r}, below 0, so a step changes its output by {_n(-r)}"
    if update < 1:
        yield f"{readout} has 2a + c = {update}, below 1, so its update moves the output by {_n(1 - update)}"
    if passed < 1:
        yield f"{readout} has a + b + r = {passed}, below 1, so through its initial weights the output moves by {_n(1 - passed)}"


def _regime(
    scale: Fraction, r_layers: Sequence[Fraction], update: Fraction, passed: Fraction
) -> Iterator[str]:
    """Why a stable parametrization is trivial, in the kernel regime or learns features."""
    r, last = min(r_layers), len(r_layers) + 1
    where = " and ".join(
        _layer(layer, last) for layer, each in enumerate(r_layers, start=1) if each == r
    )
    yield f"Stable as the width n grows: features start constant, the output starts at {_n(_HALF - scale)}, and no update makes them grow."
    yield f"A step of SGD changes the last features by {_n(-r)} (r = {r}, from {where})."
    yield (
        f"It moves the output by {_n(1 - update)} through the readout's own update (2a + c = {update})"
        f" and by {_n(1 - passed)} through the features (a + b + r = {passed})."
    )
    if update > 1 and passed > 1:
        yield "Both vanish, so the output stays as it was initialised: trivial."
    elif r > 0:
        yield "So the output learns while the features freeze: the kernel regime, where the output follows a fixed kernel."
    else:
        yield "So the output learns and the features learn with it: feature learning."


def _maximality(r_layers: Sequence[Fraction], update: Fraction, passed: Fraction) -> str:
    """Which layers of a stable parametrization could be trained more, or that none could."""
    last = len(r_layers) + 1
    less = [
        f"{_layer(at, last)} changes its output by only {_n(-r)} (r_{at} = {r})"
        for at, r in enumerate(r_layers, start=1)
        if r > 0
    ]
    if update > 1:
        less.append(
            f"{_layer(last, last)} changes its output by only {_n(1 - update)} (2a + c = {update})"
        )
    if passed > 1:
        less.append(
            f"through the initial readout the output moves by only {_n(1 - passed)} (a + b + r = {passed})"
        )
    if less:
        return f"Not maximal: {'; '.join(less)}."
    return "Every layer is updated maximally and the readout initialised maximally: this is the maximal update parametrization."


@dataclass(frozen=True, kw_only=True)
class DepthClassification:
    """What `classify_depth` found.

    Attributes:
        alpha: Residual branches are multiplied by L^-alpha.
        gamma: The rate of hidden matrices is L^-gamma.
        stable_at_init: Features and output do not grow with depth at initialisation.
        stable_in_training: Stable at initialisation, and the changes of the features and of the output do not grow either.
        trivial: Stable, and the output stays as it was initialised.
        faithful_at_init: Pre-activations of the branches start constant, so that the nonlinearity acts as one.
        faithful_in_training: They stay constant in training.
        feature_learning: Stable, not trivial, faithful, and the features change by a constant.
        diversity: The exponent kappa: features that are a fraction eps of the depth apart differ by eps^(1 - kappa); 1/2 is the most
            possible, 0 is redundant. None where features are not learned.
        layerwise_linear: Whether each branch is linear in the update of its matrix, in the limit and where features are learned; the
            network as a whole is not.
        limit: What the features follow along the depth where they are learned: "SDE", "ODE" or None.
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
        """A few words, such as "feature learning, redundant"."""
        if not self.stable_at_init:
            return "unstable at initialisation"
        if not self.stable_in_training:
            return "unstable in training"
        if self.trivial:
            return "trivial"
        if not self.faithful_in_training:
            return "unfaithful"
        return (
            "feature learning, diverse: Depth-muP"
            if self.diversity
            else "feature learning, redundant"
        )

    def __str__(self) -> str:
        return f"{self.verdict}\n{self.why}"


def classify_depth(alpha: Exponent, gamma: Exponent) -> DepthClassification:
    """The regime of a residual network as its depth L grows, after its width (Tensor Programs VI, 2310.02244, Section 7).

    The scope is branches with one matrix, x + L^-alpha phi(W x), where phi's output has its mean subtracted, input and output layers do
    not scale with depth, and the optimizer normalises entries, as Adam does, with the hidden rate n^-1 L^-gamma. SGD's rate is then
    L^(alpha - gamma), because its gradient carries the factor L^-alpha. These are claims: the paper proves them for linear networks and
    argues for them otherwise. It speaks of faithfulness where a parametrization is stable and not trivial, and of an ODE at alpha = 1;
    beyond, the labels follow from the same count of powers, which `why` gives.

    >>> print(classify_depth("1/2", "1/2").verdict)
    feature learning, diverse: Depth-muP

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
    """The count of powers of L behind the labels, as far as the labels are defined."""
    start, moved, branch = _depth(_HALF - alpha), _depth(1 - alpha - gamma), _depth(-gamma)
    yield f"The L random branches add up to {start} at initialisation (1/2 - alpha = {_HALF - alpha})."
    if alpha < _HALF:
        yield "That grows, and compounds from layer to layer, so features explode before training starts: alpha must be at least 1/2."
        return
    yield f"A step changes each pre-activation directly by {branch} and the features, through all L branches, by {moved}"
    yield f"(1 - alpha - gamma = {1 - alpha - gamma})."
    if alpha + gamma < 1:
        yield "The latter grows, so training is unstable: alpha + gamma must be at least 1."
    elif alpha + gamma > 1:
        yield "The latter vanishes, so the output stays as it was initialised: alpha + gamma must be at most 1."
        if gamma < 0:
            yield "The pre-activations themselves grow, so the nonlinearity is not used faithfully."
    elif gamma < 0:
        yield "The features' change is right, but the pre-activations grow, so the nonlinearity is not used faithfully:"
        yield "alpha must be at most 1."
    elif alpha == 1:
        yield "So features are learned, and the nonlinearity sees the whole change of its branch."
        yield "The random branches leave no trace, so the limit is an ODE, neighbouring layers do the same, and features are redundant."
    elif alpha > _HALF:
        yield "So features are learned, and each branch is linear in its matrix's vanishing change."
        yield "The random branches leave no trace, so the limit is an ODE, neighbouring layers do the same, and features are redundant."
    else:
        yield "So features are learned, and each branch is linear in its matrix's vanishing change."
        yield "The random branches stay as a diffusion, so the limit is an SDE, and features eps apart in depth differ by eps^1/2:"
        yield "the most diverse that is possible. This is Depth-muP, the only such choice."


def _sequence(name: str, values: Sequence[Exponent]) -> tuple[Fraction, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise MutransferError(f"{name} is {values!r}; give a list of exponents, one a layer")
    return tuple(
        exact(f"{name} of layer {layer}", value) for layer, value in enumerate(values, start=1)
    )


def _as_long(
    name: str, values: tuple[Fraction, ...], a: tuple[Fraction, ...]
) -> tuple[Fraction, ...]:
    if len(values) != len(a):
        raise MutransferError(
            f"{name} has {len(values)} layers and a has {len(a)}; give one exponent a layer in both"
        )
    return values


def _spread(
    name: str, value: Exponent | Sequence[Exponent], a: tuple[Fraction, ...]
) -> tuple[Fraction, ...]:
    if isinstance(value, (int, Fraction, str)) or not isinstance(value, Sequence):
        return (exact(name, value),) * len(a)
    return _as_long(name, _sequence(name, value), a)


def _layer(layer: int, last: int) -> str:
    return f"layer {layer}{' (input)' if layer == 1 else ' (readout)' if layer == last else ''}"


def _n(exponent: Fraction) -> str:
    return str(powers(n=exponent)) if exponent else "a constant"


def _depth(exponent: Fraction) -> str:
    return str(powers(L=exponent)) if exponent else "a constant"
