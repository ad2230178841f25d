"""The regime that a rule and its optimizers have, counted with their actual rates.

Classifications speak of SGD and of powers. Here the powers are those of a rule with all its options
and ablations, for any optimizer family: what matters is by how much a step changes the output of a
layer. The engine wants a change and derives the rate for it, so the change is the wanted one times
the rate over the derived rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from ._classify_depth import DepthClassification, classify_depth
from ._classify_width import Classification, classify
from ._exponents import ABC
from ._family import Family
from ._parametrization import Parametrization
from ._powers import Powers
from ._principle import derived
from ._roles import Place, Role
from ._situation import Situation

LAYERS = (Role.INPUT, Role.HIDDEN, Role.READOUT)
"""The roles of the three layers of the network whose width is classified."""


def width_regime(rule: Parametrization, optimizers: Mapping[Role, Family]) -> Classification:
    """Return the regime of input, hidden matrix and readout as width grows.

    The exponents are those of the training by SGD that has the same changes. With a = 0, layer l
    has n^-r_l for r_l = min(b, c of the readout) + c_l - 1 + [l = 1], which gives c_l; the readout
    changes the output by n^(1 - c).

    >>> from mutransfer.rules import family, parametrization
    >>> adamw = dict.fromkeys(LAYERS, family("adamw"))
    >>> width_regime(parametrization("ntk"), adamw).verdict
    'kernel regime'

    Args:
        rule: The parametrization.
        optimizers: The family that trains each of the three layers.

    Raises:
        MutransferError: the rule has no law for one of the three roles.
    """
    scales = [-_in_width(rule.quantities(role, optimizers[role]).init, role) for role in LAYERS]
    moved = [_in_width(_change(rule, role, optimizers[role]), role) for role in LAYERS]
    update = 1 - moved[-1]
    gradient = min(scales[-1], update)
    rates = [1 - change - gradient - (layer == 0) for layer, change in enumerate(moved[:-1])]
    return classify(ABC(a=[0] * len(LAYERS), b=scales, c=[*rates, update]))


def depth_regime(
    rule: Parametrization, optimizer: Family, role: Role = Role.HIDDEN
) -> DepthClassification:
    """Return the regime of a rule as depth grows, for matrices in residual branches.

    >>> from mutransfer.rules import family, parametrization
    >>> depth_regime(parametrization("sqrt-depth"), family("adamw")).verdict
    'unstable in training'

    Args:
        rule: The parametrization.
        optimizer: The family that trains the matrices.
        role: Their role.

    Raises:
        MutransferError: the rule has no law for the role.
    """
    alpha = -_exponent(rule.branch_multiplier, "depth")
    gamma = -_exponent(_change(rule, role, optimizer, Place.BRANCH), "depth")
    return classify_depth(alpha, gamma)


def _change(
    rule: Parametrization, role: Role, optimizer: Family, place: Place = Place.OUTSIDE
) -> Powers:
    """Return the change of a layer's output in a step, at the rate that the rule has."""
    situation = Situation(
        role=role, law=rule.law(role), place=place, optimizer=optimizer, alpha=rule.alpha
    )
    planned, wanted = rule.quantities(role, optimizer, place), derived(situation)
    # A relative update scales as the tensor that it is relative to.
    size = (planned.init / wanted.init) ** int(optimizer.relative)
    return situation.change * planned.lr / wanted.lr * size


def _in_width(power: Powers, role: Role) -> Fraction:
    fan_in = None if role == Role.INPUT else "n"
    fan_out = None if role == Role.READOUT else "n"
    return _exponent(power.substitute(fan_in=fan_in, fan_out=fan_out, fan_max="n"), "n")


def _exponent(power: Powers, name: str) -> Fraction:
    return dict(power.exponents).get(name, Fraction(0))
