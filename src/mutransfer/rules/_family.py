"""Optimizer families: degree and size of the update, its eps and its decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, get_args

from ..core import MutransferError, parsed, parsing
from ._powers import ONE, Powers, powers

Decay = Literal["coupled", "decoupled", "independent", "normalised"]

_POWERS = ("gain", "unaligned", "eps")


@dataclass(frozen=True, kw_only=True)
class Family:
    """All that a scaling rule needs to know about an optimizer.

    The update is taken before the rate multiplies it. Declare an optimizer that is not listed by
    making one of these.

    Attributes:
        name: The family's name, which `family` looks up.
        homogeneity: Degree of the update in the gradient: 1 where twice the gradient gives twice
            the update (SGD), 0 where the update is normalised (Adam, Lion, Muon), 1 - 2E for
            Shampoo with total exponent E. It has to be declared.
        relative: True if the update is in proportion to the tensor's own size (LAMB, LARS,
            Adafactor).
        floored: True if that size has a floor that a plan scales (Adafactor's second eps), so that
            a tensor that starts at zero is updated at its planned size.
        gain: RMS change of the layer's output at rate 1, for a gradient of unit entries, a tensor
            of unit entries, a unit input, and full alignment of update and input. An entrywise
            update of size 1 adds up over fan-in; an orthogonal matrix keeps the norm of its input.
        unaligned: The same without any alignment; None where it is no product of powers.
        eps: Size of what eps is added to, for a gradient of unit entries; None where the optimizer
            has no eps.
        eps_degree: Degree of that size in the gradient.
        curvature: True if the update is clipped at a multiple `rho` of a curvature estimate
            (Sophia); rho scales as 1/eps.
        decay: "coupled" where weight decay is added to the gradient (L2), "decoupled" where it
            shrinks the weight by rate x decay, "independent" where it shrinks the weight by decay
            alone, "normalised" where it is added to a normalised update (LAMB).
        matrices: True if it updates matrices only.
        caveat: Anything a user has to know in addition to the rule.
        cites: Keys of the papers.
    """

    name: str
    homogeneity: Fraction | int | str | None = None
    relative: bool = False
    floored: bool = False
    gain: Powers
    unaligned: Powers | None = None
    eps: Powers | None = None
    eps_degree: int = 1
    curvature: bool = False
    decay: Decay
    matrices: bool = False
    caveat: str = ""
    cites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.homogeneity is None:
            raise MutransferError(
                f"optimizer family {self.name!r} does not declare how its update answers to the "
                "gradient's scale, and no rate can be derived without (Tensor Programs V, Lemma "
                "J.1): give homogeneity=1 if twice the gradient gives twice the update, 0 if the "
                "same"
            )
        if self.decay not in get_args(Decay):
            raise MutransferError(
                f"optimizer family {self.name!r}: decay is {self.decay!r}; "
                f"choose one of {', '.join(get_args(Decay))}"
            )
        object.__setattr__(self, "homogeneity", Fraction(self.homogeneity))
        object.__setattr__(self, "cites", tuple(self.cites))

    @property
    def degree(self) -> Fraction:
        """The homogeneity, exact."""
        return Fraction(self.homogeneity or 0)

    @property
    def answer(self) -> Fraction:
        """Power of theta by which the rate falls for a tensor theta times smaller.

        The gradient grows by theta and the update has to shrink by theta (Tensor Programs V, Lemma
        J.1); a relative update shrinks with the tensor by itself.
        """
        return 1 + self.degree - self.relative

    @property
    def normalises_decay(self) -> bool:
        """True if decay is normalised with the update and can only keep its share."""
        return self.relative and self.decay in ("coupled", "normalised")

    @property
    def decays_badly(self) -> bool:
        """True if decay is added to a gradient that is normalised afterwards.

        L2 with Adam does so, and no width rule makes that right.
        """
        return self.degree == 0 and self.decay == "coupled" and not self.relative

    def to_json(self) -> dict[str, Any]:
        """Return the family as data, exact."""
        values = (getattr(self, name) for name in _POWERS)
        exponents = [None if value is None else value.to_json() for value in values]
        lists = {"homogeneity": str(self.homogeneity), "cites": list(self.cites)}
        return vars(self) | lists | dict(zip(_POWERS, exponents, strict=True))

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Family:
        """Return the family that `to_json` wrote.

        Raises:
            MutransferError: the data is no family.
        """
        with parsing("an optimizer family written by Family.to_json"):
            fields = parsed(data)
            exponents = [None if fields[key] is None else powers(**fields[key]) for key in _POWERS]
            return cls(**fields | dict(zip(_POWERS, exponents, strict=True)))


_IN, _OUT = powers(fan_in=1), powers(fan_out=1)


def entrywise(name: str, decay: Decay, **properties: Any) -> Family:
    """Return a family whose update has entries of size 1."""
    defaults = {"homogeneity": 0, "gain": _IN, "unaligned": powers(fan_in="1/2"), "eps": ONE}
    return Family(name=name, decay=decay, **{**defaults, **properties})


def orthogonal(name: str, scale: Powers, scale_in_words: str) -> Family:
    """Return a family whose update is the orthogonal matrix U Vᵀ times a scale.

    Its eps is added to the Frobenius norm of the gradient.
    """
    return Family(
        name=name,
        homogeneity=0,
        gain=(_IN / _OUT) ** "1/2" * scale,
        eps=(_IN * _OUT) ** "1/2",
        decay="decoupled",
        matrices=True,
        caveat=f"the orthogonal update is multiplied by {scale_in_words}",
        cites=("2512.05620",),
    )


def shampoo(exponent: Fraction | int | str = "1/2", *, blocked: bool = False) -> Family:
    """Return Shampoo, L^-a G R^-b with a + b = exponent (2512.05620, Table 1).

    Args:
        exponent: The total exponent E: 1/2 as published, 1 for the variants with L^-1/2 G R^-1/2.
        blocked: True if the gradient is cut into blocks; their number is then the ratio `blocks`.
    """
    total = Fraction(exponent)
    blocks = powers(blocks=1) if blocked else ONE
    published = total == Fraction(1, 2)
    return Family(
        name=f"shampoo{_variant('' if published else str(total), 'blocked' if blocked else '')}",
        homogeneity=1 - 2 * total,
        gain=_IN ** (1 - total) / _OUT**total * blocks**total,
        eps=_IN * _OUT / blocks,
        eps_degree=2,
        decay="decoupled",
        matrices=True,
        cites=("2512.05620",),
    )


def soap(*, left: bool = True, right: bool = True, blocked: bool = False) -> Family:
    """Return SOAP, Adam in the eigenbasis of Shampoo's factors (2512.05620, Table 1).

    Args:
        left: True if rows are rotated.
        right: True if columns are rotated.
        blocked: True if the gradient is cut into blocks; their sizes are then the ratios
            `block_out` and `block_in`.

    Raises:
        MutransferError: nothing is rotated.
    """
    if not (left or right):
        raise MutransferError("soap without rows and columns rotated is Adam: use family('adamw')")
    out, into = (powers(block_out=1), powers(block_in=1)) if blocked else (_OUT, _IN)
    rotated = out ** Fraction(left, 2) * into ** Fraction(right, 2)
    sides = "" if left else "right", "" if right else "left"
    return Family(
        name=f"soap{_variant(*sides, 'blocked' if blocked else '')}",
        homogeneity=0,
        gain=_IN / rotated,
        eps=rotated,
        decay="decoupled",
        matrices=True,
        caveat="noise in directions that the gradient lacks is amplified more the wider the matrix "
        "(2512.05620, Section 3.2)",
        cites=("2512.05620",),
    )


def grafted(size: Family, direction: Family) -> Family:
    """Return the direction of one optimizer at the size of another.

    The rate scales as that of `size`, the eps as that of `direction` (2512.05620, Table 1).
    """
    return replace(
        size,
        name=f"{size.name}#{direction.name}",
        eps=direction.eps,
        eps_degree=direction.eps_degree,
        matrices=direction.matrices,
        cites=size.cites + direction.cites,
    )


def _variant(*marks: str) -> str:
    """Return the marks of a variant in brackets, nothing without any."""
    listed = ", ".join(filter(None, marks))
    return f"({listed})" if listed else ""
