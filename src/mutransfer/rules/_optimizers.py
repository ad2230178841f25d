"""Optimizer families: how an update answers to the gradient's scale, how large it is, what eps and decay mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, get_args

from ..core import MutransferError
from ._powers import ONE, Powers, powers

Decay = Literal["coupled", "decoupled", "independent", "normalised"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a scaling rule needs to know about an optimizer.

    The update is taken before the rate multiplies it. An optimizer that is not listed is declared by making one of these.

    Attributes:
        name: The family's name, which `family` looks up.
        homogeneity: Degree of the update in the gradient: 1 when twice the gradient gives twice the update (SGD), 0
            when the update is normalised (Adam, Lion, Muon), 1 - 2E for Shampoo with total exponent E. It has to be declared.
        relative: Whether the update is in proportion to the tensor's own size (LAMB, LARS, Adafactor).
        gain: RMS change of the layer's output that a unit rate makes, for a gradient of unit entries, a tensor of unit entries, a unit
            input and full alignment of update and input. An entrywise update of size 1 adds up over fan-in; an orthogonal matrix
            keeps the norm of its input.
        unaligned: The same without any alignment; None where it is no product of powers.
        eps: Size of what eps is added to, for a gradient of unit entries; None where the optimizer has no eps.
        eps_degree: Degree of that size in the gradient.
        curvature: Whether the update is clipped at a multiple `rho` of a curvature estimate (Sophia); rho scales as 1/eps.
        decay: "coupled" when weight decay is added to the gradient (L2), "decoupled" when it shrinks the weight by rate x decay,
            "independent" when it shrinks the weight by decay alone, "normalised" when it is added to a normalised update (LAMB).
        matrices: Whether it updates matrices only.
        caveat: What a user has to know beyond the rule.
        cites: Keys of the papers.
    """

    name: str
    homogeneity: Fraction | int | str | None = None
    relative: bool = False
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
                f"optimizer family {self.name!r} does not declare how its update answers to the gradient's scale, and no rate can be "
                "derived without (Tensor Programs V, Lemma J.1): give homogeneity=1 if twice the gradient gives twice the update, 0 if the "
                "same"
            )
        if self.decay not in get_args(Decay):
            raise MutransferError(
                f"optimizer family {self.name!r}: decay is {self.decay!r}; choose one of {', '.join(get_args(Decay))}"
            )
        object.__setattr__(self, "homogeneity", Fraction(self.homogeneity))

    @property
    def degree(self) -> Fraction:
        """The homogeneity, exact."""
        return Fraction(self.homogeneity or 0)

    @property
    def answer(self) -> Fraction:
        """Power of theta by which the rate must fall when the tensor is made theta times smaller (Lemma J.1, extended)."""
        return 1 + self.degree - self.relative

    @property
    def normalises_decay(self) -> bool:
        """Whether decay is normalised together with the update, so that it can only keep its share of it."""
        return self.relative and self.decay in ("coupled", "normalised")

    @property
    def decays_badly(self) -> bool:
        """Whether decay is added to a gradient that is normalised afterwards (L2 with Adam): no width rule makes that right."""
        return self.degree == 0 and self.decay == "coupled" and not self.relative

    def to_json(self) -> dict[str, Any]:
        """The family as plain data."""
        data = dict(self.__dict__) | {
            "homogeneity": str(self.homogeneity),
            "cites": list(self.cites),
        }
        return data | {
            name: None if data[name] is None else data[name].to_json()
            for name in ("gain", "unaligned", "eps")
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Family:
        """The family that `to_json` wrote."""
        exact = {
            name: None if data[name] is None else powers(**data[name])
            for name in ("gain", "unaligned", "eps")
        }
        return cls(**{**data, **exact, "cites": tuple(data["cites"])})


_IN, _OUT = powers(fan_in=1), powers(fan_out=1)
_ROOT = powers(fan_in="1/2")


def _entrywise(name: str, decay: Decay, **other: Any) -> Family:
    """Every entry of the update is of size 1."""
    own: dict[str, Any] = {"homogeneity": 0, "gain": _IN, "unaligned": _ROOT, "eps": ONE}
    return Family(name=name, decay=decay, **own | other)


def _orthogonal(name: str, scale: Powers, title: str) -> Family:
    """The update is U Vᵀ times a scale; eps is added to the gradient's Frobenius norm."""
    return Family(
        name=name,
        homogeneity=0,
        gain=(_IN / _OUT) ** "1/2" * scale,
        eps=(_IN * _OUT) ** "1/2",
        decay="decoupled",
        matrices=True,
        caveat=f"the orthogonal update is multiplied by {title}",
        cites=("2512.05620",),
    )


def _named(*variants: str) -> str:
    """What sets a variant apart, in brackets."""
    said = ", ".join(filter(None, variants))
    return f"({said})" if said else ""


def shampoo(exponent: Fraction | int | str = "1/2", *, blocked: bool = False) -> Family:
    """Shampoo, L^-a G R^-b with a + b = exponent (2512.05620, Table 1).

    Args:
        exponent: The total exponent E: 1/2 as published, 1 for the variants with L^-1/2 G R^-1/2.
        blocked: Whether the gradient is cut into blocks; their number is then the ratio `blocks`.
    """
    total = Fraction(exponent)
    blocks = powers(blocks=1) if blocked else ONE
    return Family(
        name="shampoo"
        + _named("" if total == Fraction(1, 2) else str(total), "blocked" if blocked else ""),
        homogeneity=1 - 2 * total,
        gain=_IN ** (1 - total) / _OUT**total * blocks**total,
        eps=_IN * _OUT / blocks,
        eps_degree=2,
        decay="decoupled",
        matrices=True,
        cites=("2512.05620",),
    )


def soap(*, left: bool = True, right: bool = True, blocked: bool = False) -> Family:
    """SOAP, Adam in the eigenbasis of Shampoo's left and right factors (2512.05620, Table 1).

    Args:
        left: Whether rows are rotated.
        right: Whether columns are rotated.
        blocked: Whether the gradient is cut into blocks; their sizes are then the ratios `block_out` and `block_in`.
    """
    if not (left or right):
        raise MutransferError("soap without rows and columns rotated is Adam: use family('adamw')")
    out, into = (powers(block_out=1), powers(block_in=1)) if blocked else (_OUT, _IN)
    rotated = out ** Fraction(left, 2) * into ** Fraction(right, 2)
    return Family(
        name="soap"
        + _named("" if left else "right", "" if right else "left", "blocked" if blocked else ""),
        homogeneity=0,
        gain=_IN / rotated,
        eps=rotated,
        decay="decoupled",
        matrices=True,
        caveat="noise in directions that the gradient lacks is amplified more the wider the matrix (2512.05620, Section 3.2)",
        cites=("2512.05620",),
    )


def grafted(size: Family, direction: Family) -> Family:
    """The direction of one optimizer at the size of another: the rate of the one, the eps of the other (2512.05620, Table 1)."""
    return replace(
        size,
        name=f"{size.name}#{direction.name}",
        eps=direction.eps,
        eps_degree=direction.eps_degree,
        matrices=direction.matrices,
        cites=size.cites + direction.cites,
    )


SGD = Family(name="sgd", homogeneity=1, gain=_IN, unaligned=_ROOT, decay="coupled")
ADAM = _entrywise("adam", "coupled")
ADAMW = _entrywise("adamw", "decoupled")
_FLOORED = (
    "scale_parameter=True, as torch.optim.Adafactor, which also floors the mean squared gradient at eps itself: the rule holds where "
    "gradients are larger than the root of eps; it also cuts every rate at 1/sqrt(step), in all groups alike, so keep the base's below that"
)
ADAFACTOR = _entrywise("adafactor", "decoupled", relative=True, caveat=_FLOORED)
_RECTIFIED = (
    "its first steps are plain momentum and answer to the gradient's scale (2203.03466, B.3)"
)
_CURVED = "exact for the Gauss-Newton-Bartlett estimate; Hutchinson's noise for all tensors at once mixes their scales"
_SIZELESS = (
    "a tensor that starts at zero has no size to be relative to: its first steps are LAMB's of size rate, LARS's plain SGD; and an "
    "implementation must not clamp the norm"
)
_FROBENIUS: dict[str, Any] = {
    "relative": True,
    "caveat": _SIZELESS,
}

FAMILIES = {
    each.name: each
    for each in (
        SGD,
        replace(SGD, name="sgdw", decay="decoupled"),
        ADAM,
        ADAMW,
        _entrywise("amsgrad", "coupled"),
        _entrywise("nadam", "coupled"),
        _entrywise("nadamw", "decoupled"),
        _entrywise("radam", "coupled", caveat=_RECTIFIED),
        _entrywise("radamw", "decoupled", caveat=_RECTIFIED),
        _entrywise("adagrad", "coupled"),
        _entrywise("rmsprop", "coupled"),
        _entrywise("adamax", "coupled"),
        _entrywise("lion", "decoupled", eps=None),
        _entrywise("sophia", "decoupled", curvature=True, caveat=_CURVED, cites=("2603.00541",)),
        ADAFACTOR,
        _entrywise(
            "adafactor-fixed",
            "decoupled",
            eps_degree=2,
            caveat="scale_parameter=False; eps is added to the squared gradient",
        ),
        _entrywise("lamb", "normalised", **_FROBENIUS),
        _entrywise("lars", "coupled", eps=(_IN * _OUT) ** "1/2", **_FROBENIUS),
        _orthogonal("muon", ONE, "nothing"),
        _orthogonal("muon-spectral", (_OUT / _IN) ** "1/2", "sqrt(fan_out/fan_in)"),
        _orthogonal(
            "muon-original",
            powers(expansion="1/2"),
            "sqrt(max(1, fan_out/fan_in)), the default of torch.optim.Muon",
        ),
        _orthogonal(
            "muon-match-rms",
            powers(fan_max="1/2"),
            "0.2 sqrt(max(fan_out, fan_in)), match_rms_adamw of torch.optim.Muon",
        ),
        shampoo(),
        soap(),
    )
}


def family(name: str | Family) -> Family:
    """The optimizer family of this name; momentum and Nesterov's momentum do not change SGD's.

    >>> family("AdamW").decay
    'decoupled'

    Raises:
        MutransferError: no rule is known for an optimizer of this name.
    """
    if isinstance(name, Family):
        return name
    try:
        return FAMILIES[name.lower()]
    except KeyError:
        known = ", ".join(FAMILIES)
        raise MutransferError(
            f"unknown optimizer {name!r}: no scaling rule is known for it; choose one of {known}, or declare how it answers to the "
            "gradient's scale with mutransfer.rules.Family"
        ) from None


def families(name: str | Family | Mapping[str, str | Family]) -> dict[str, Family]:
    """Return the families of an optimizer text, by the role or name pattern that each trains.

    Two names with a plus share the work: the first trains hidden matrices, the second the rest.

    >>> {key: each.name for key, each in families("muon+adamw").items()}
    {'hidden': 'muon', '*': 'adamw'}

    Raises:
        MutransferError: no rule is known for one of them, or there are more than two.
    """
    if isinstance(name, Mapping):
        return {key: family(value) for key, value in name.items()}
    if isinstance(name, Family) or "+" not in name:
        return {"*": family(name)}
    hidden, *rest = (part.strip() for part in name.split("+"))
    if len(rest) != 1:
        raise MutransferError(
            f"optimizer {name!r}: two families share the work, such as muon+adamw; "
            'for more give a mapping, such as {"hidden": "muon", "embedding": "sgd", "*": "adamw"}'
        )
    return {"hidden": family(hidden), "*": family(rest[0])}
