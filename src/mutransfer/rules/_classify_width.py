"""Classification in width: the regime of a network (Tensor Programs IV).

r_l is the exponent by which a step on the matrix of hidden layer l changes its output, n^-r_l.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Self

from ..core import Result, parsed, parsing, plain
from ._exponents import ABC
from ._powers import powers

_HALF = Fraction(1, 2)


@dataclass(frozen=True, kw_only=True, repr=False)
class Classification(Result):
    """The regime of a network as its width grows.

    Every field is the same for all exponents that the symmetry joins (`ABC.shifted`). Exactly one
    holds: not stable, trivial, kernel, feature learning. The exponents r, and what is maximal,
    presume features of constant size: where the initial scale of a layer is at fault they are
    formal.

    Attributes:
        stable: Nothing grows with width, neither at initialisation nor in training, and no features
            vanish at initialisation.
        trivial: Stable, and the output stays as it was initialised.
        feature_learning: Stable and not trivial, and SGD changes the last features by a constant.
        kernel: Stable and not trivial, and SGD changes the last features by less and less: the
            output follows a fixed kernel.
        r: A step of SGD changes the last features by n^-r; the smallest of `r_layers`.
        r_layers: A step on the matrix of hidden layer l (1..L) changes its output by n^-r_l.
        maximal: True for each layer (1..L+1) whose update changes its output by a constant.
        readout_initialized_maximally: True if the changing features move the output by a constant
            through the initial readout.
        maximal_update: True for the maximal update parametrization: stable, all of `maximal`, and
            the readout initialised maximally.
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
        """The verdict in a few words, such as "kernel regime"."""
        if not self.stable:
            return "unstable"
        if self.trivial:
            return "trivial"
        if self.kernel:
            return "kernel regime"
        return "feature learning, maximal update" if self.maximal_update else "feature learning"

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
        with parsing("a classification written by Classification.to_json"):
            fields = parsed(data)
            del fields["verdict"]
            r_layers = tuple(map(Fraction, fields["r_layers"]))
            exact = {"r": Fraction(fields["r"]), "r_layers": r_layers}
            return cls(**fields | exact | {"maximal": tuple(fields["maximal"])})


class _Exponents(NamedTuple):
    """Exponents that decide the regime.

    `scales` and `r_layers` have one entry a layer, the readout's scale last. Training moves the
    output by n^(1 - update) through the update of the readout, and by n^(1 - passed) through its
    initial weights.
    """

    scales: Sequence[Fraction]
    r_layers: tuple[Fraction, ...]
    update: Fraction
    passed: Fraction

    @property
    def r(self) -> Fraction:
        """Exponent of the change of the last features in a step."""
        return min(self.r_layers)

    def layer(self, number: int) -> str:
        """Return a layer in words."""
        names = {1: " (input)", len(self.scales): " (readout)"}
        return f"layer {number}{names.get(number, '')}"


def classify(abc: ABC) -> Classification:
    """Return the regime of a network as its width n grows.

    Derivation (Tensor Programs IV, 2011.14522; Section 5 for the maximal update). The gradient of
    an output of a hidden layer has the size of the readout, n^-min(a + b, 2a + c): the larger of
    its initial matrix and of its update. A step changes matrix l by n^-(2a + c) times this gradient
    times the transposed input x of the layer, and x·x is n, but constant at layer 1. So the output
    of hidden layer l changes by n^-r_l, with
    r_l = min(a + b, 2a + c of the readout) + (2a + c - 1 of layer l) + [l = 1].
    Nothing here needs c to be the same in all layers.

    >>> from mutransfer.rules import known_points
    >>> print(classify(known_points(2)["ntk"]).verdict)
    kernel regime
    """
    e = _exponents(abc)
    faults = list(_faults(e))
    stable = not faults
    trivial = stable and e.update > 1 and e.passed > 1
    learns = stable and not trivial
    maximal = (*(r == 0 for r in e.r_layers), e.update == 1)
    unstable = f"Unstable as the width n grows, because {'; '.join(faults)}."
    return Classification(
        stable=stable,
        trivial=trivial,
        feature_learning=learns and e.r == 0,
        kernel=learns and e.r > 0,
        r=e.r,
        r_layers=e.r_layers,
        maximal=maximal,
        readout_initialized_maximally=e.passed == 1,
        maximal_update=stable and all(maximal) and e.passed == 1,
        why=unstable if faults else " ".join([*_regime(e), _maximality(e)]),
    )


def _exponents(abc: ABC) -> _Exponents:
    scales = [a + b for a, b in zip(abc.a, abc.b, strict=True)]
    rates = [2 * a + c for a, c in zip(abc.a, abc.c, strict=True)]
    gradient = min(scales[-1], rates[-1])
    r_layers = tuple(
        gradient + rate - 1 + (layer == 1) for layer, rate in enumerate(rates[:-1], start=1)
    )
    return _Exponents(scales, r_layers, update=rates[-1], passed=scales[-1] + min(r_layers))


def _faults(e: _Exponents) -> Iterator[str]:
    """Yield the conditions of stability that fail."""
    readout, scale = e.layer(len(e.scales)), e.scales[-1]
    for number, initial in enumerate(e.scales[:-1], start=1):
        needed = _HALF * (number > 1)
        if initial != needed:
            yield (
                f"{e.layer(number)} has a + b = {initial} instead of {needed}, so initially its "
                f"output has {_n(needed - initial)} times the scale of its input"
            )
    if scale < _HALF:
        start = _n(_HALF - scale)
        yield f"{readout} has a + b = {scale}, below 1/2, so the output starts at {start}"
    for number, r in enumerate(e.r_layers, start=1):
        if r < 0:
            yield (
                f"{e.layer(number)} has r_{number} = {r}, below 0, so a step changes its output "
                f"by {_n(-r)}"
            )
    if e.update < 1:
        yield (
            f"{readout} has 2a + c = {e.update}, below 1, so its update moves the output by "
            f"{_n(1 - e.update)}"
        )
    if e.passed < 1:
        yield (
            f"{readout} has a + b + r = {e.passed}, below 1, so through its initial weights the "
            f"output moves by {_n(1 - e.passed)}"
        )


def _regime(e: _Exponents) -> Iterator[str]:
    """Yield why a stable network is trivial, a kernel, or learns features."""
    where = " and ".join(e.layer(at) for at, r in enumerate(e.r_layers, start=1) if r == e.r)
    yield (
        "Stable as the width n grows: features start constant, the output starts at "
        f"{_n(_HALF - e.scales[-1])}, and no update makes them grow."
    )
    yield f"A step of SGD changes the last features by {_n(-e.r)} (r = {e.r}, from {where})."
    yield (
        f"It moves the output by {_n(1 - e.update)} through the readout's own update "
        f"(2a + c = {e.update}) and by {_n(1 - e.passed)} through the features "
        f"(a + b + r = {e.passed})."
    )
    if e.update > 1 and e.passed > 1:
        yield "Both vanish, so the output stays as it was initialised: trivial."
    elif e.r > 0:
        yield (
            "So the output learns while the features freeze: the kernel regime, where the output "
            "follows a fixed kernel."
        )
    else:
        yield "So the output learns and the features learn with it: feature learning."


def _maximality(e: _Exponents) -> str:
    """Return which layers of a stable parametrization could be trained more, if any."""
    less = [
        f"{e.layer(number)} changes its output by only {_n(-r)} (r_{number} = {r})"
        for number, r in enumerate(e.r_layers, start=1)
        if r > 0
    ]
    if e.update > 1:
        change = f"{_n(1 - e.update)} (2a + c = {e.update})"
        less.append(f"{e.layer(len(e.scales))} changes its output by only {change}")
    if e.passed > 1:
        change = f"{_n(1 - e.passed)} (a + b + r = {e.passed})"
        less.append(f"through the initial readout the output moves by only {change}")
    if less:
        return f"Not maximal: {'; '.join(less)}."
    return (
        "Every layer is updated maximally and the readout initialised maximally: this is the "
        "maximal update parametrization."
    )


def _n(exponent: Fraction) -> str:
    return str(powers(n=exponent)) if exponent else "a constant"
