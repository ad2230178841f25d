"""The quantities that a check measures, as one table.

A new quantity is one entry here, and one line where it is measured. Expectations, verdicts,
sentences and the printed table read everything else off its entry.

Sources of the expected exponents: in width, features and their changes are constant (Tensor
Programs V, 2203.03466, Desideratum J.1). In depth, with branches multiplied by depth^-alpha, the
stream is constant and the end of a branch is depth^-alpha. Each layer's own part of the change is
depth^(alpha - 1) inside a branch, so that all branches together move the stream by a constant
(2310.02244, Section 7; 2603.00541, Section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ..core import FrozenDict
from ._spots import Spot

AXES = ("width", "depth")

GROWS, SHRINKS, SHRINKS_FAR = 0.3, 0.4, 0.7
"""Distances that a measured exponent may lie above and below the expected one.

In the first steps updates align less with their inputs in wider networks, so more is allowed
downwards, and most where nothing but that alignment counts.
"""


class When(StrEnum):
    """The moment at which a quantity is judged."""

    START = "at initialisation"
    END = "after the last step"
    ENDS = "after the first and the last step"
    NEVER = "never"


@dataclass(frozen=True)
class LinearInAlpha:
    """A number that depends on the residual exponent: constant + slope * alpha."""

    constant: float = 0.0
    slope: float = 0.0

    def at(self, alpha: float) -> float:
        """Return the number at this alpha."""
        return self.constant + self.slope * alpha


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The exponent of a quantity along one axis, at one spot.

    Attributes:
        exponent: The exponent.
        shrinks: Distance that the measured one may lie below it.
    """

    exponent: LinearInAlpha = LinearInAlpha()
    shrinks: LinearInAlpha = LinearInAlpha(SHRINKS)


@dataclass(frozen=True)
class Shift:
    """A part of the expected exponent that is measured, not known beforehand.

    Attributes:
        quantity: The quantity of the same kind whose exponent, at initialisation, is added.
        times: Factor of that exponent.
        needed: True if nothing is expected where that quantity was not measured.
    """

    quantity: str
    times: float = 1.0
    needed: bool = False


Cause = Callable[[str, float], str]
"""The likely cause of a failure, of the axis and the excess over the expected exponent."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A measured quantity.

    Attributes:
        kind: The measured thing: "module", "tensor", "attention" or "loss".
        name: Name of the quantity, in rows and slopes.
        words: The quantity in a sentence of a finding.
        judged: The moment at which its exponent is judged.
        expected: The expected exponent, by axis and spot; nothing is expected elsewhere.
        lasts: True if the expectation also holds at steps at which it is not judged.
        shift: The measured part of the expectation.
        cause: The likely cause where it fails.
        blames: "module" if a failure is the fault of the module itself, "weight" if it is where the
            module has a weight of its own; empty where the fault may lie elsewhere.
        sees_control: True if the negative control has to fail in it.
        column: Title of its column in the printed table; empty without one.
        plans: Name of the quantity whose planned value this is.
        alone: True if a deviation from the plan is a finding although all features are right.
    """

    kind: str
    name: str
    words: str = ""
    judged: When = When.NEVER
    expected: Mapping[str, Mapping[Spot, Expected]] = field(default_factory=FrozenDict)
    lasts: bool = True
    shift: Shift | None = None
    cause: Cause | None = None
    blames: str = ""
    sees_control: bool = False
    column: str = ""
    plans: str = ""
    alone: bool = True

    def __post_init__(self) -> None:
        expected = {axis: FrozenDict(by_spot) for axis, by_spot in self.expected.items()}
        object.__setattr__(self, "expected", FrozenDict(expected))

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name, which find it in the table."""
        return self.kind, self.name


_TABLE: dict[tuple[str, str], Quantity] = {}
QUANTITIES: Mapping[tuple[str, str], Quantity] = MappingProxyType(_TABLE)
"""The table: every quantity by kind and name."""

Measured = tuple[Quantity, str, float]
"""A measured number: the quantity, the name of the module or tensor, the value."""


def _entered(quantity: Quantity) -> Quantity:
    """Enter a quantity into the table."""
    _TABLE[quantity.key] = quantity
    return quantity


# Likely causes


def _lacks(axis: str, excess: float, verb: str = "lacks") -> str:
    return f"{verb} a factor {axis}^{-excess:.2g}"


def _initial_scale(axis: str, excess: float) -> str:
    scale = "the multiplier of the branch" if axis == "depth" else "its initial scale"
    return f"{scale} {_lacks(axis, excess)}"


def _learning_rate(axis: str, excess: float) -> str:
    return f"its learning rate {_lacks(axis, excess)}"


def _attention_scale(axis: str, excess: float) -> str:
    return (
        f"the attention's scale {_lacks(axis, excess)}: "
        "is it 1/sqrt(head_dim), not 1/head_dim, where the head dimension grows?"
    )


def _input_of_module(axis: str, excess: float) -> str:
    if axis == "depth":
        grows = f"the residual stream grows: branches {_lacks(axis, excess, 'lack')}"
        return grows if excess > 0 else "branches become too weak as depth grows"
    if excess > 0:
        return "what comes through its input grows"
    return "what is before it stops learning as width grows"


# What is expected at a spot

_CONSTANT = Expected()
_FALLING = Expected(shrinks=LinearInAlpha(SHRINKS_FAR))
_BRANCH = LinearInAlpha(slope=-1)
_LAYER = LinearInAlpha(-1, slope=1)

# The weight's part of the change of a branch's end is 1/depth at any alpha, so that the change of
# the end may fall from depth^-alpha to 1/depth.
_END_CHANGE = Expected(exponent=_BRANCH, shrinks=LinearInAlpha(SHRINKS + 1, slope=-1))

# Likewise inside of a branch: the layer's own part of the change is depth^(alpha - 1).
_INSIDE_CHANGE = Expected(shrinks=LinearInAlpha(SHRINKS + 1, slope=-1))

_FEATURES = dict.fromkeys((Spot.STREAM, Spot.INSIDE, Spot.END, Spot.UNKNOWN), _CONSTANT)

# A readout is constant or shrinks at first, so that only growth is wrong there.
_READOUT = {Spot.READOUT: _FALLING}

# The stream of a shallow network is mostly its branches, whose share falls with depth.
_STREAM = {Spot.STREAM: _FALLING}

_ANYWHERE = dict.fromkeys(Spot, _CONSTANT)
_ANYWHERE_FALLING = dict.fromkeys(Spot, _FALLING)


# Modules

SIZE = _entered(
    Quantity(
        kind="module",
        name="size",
        words="its output at initialisation",
        judged=When.START,
        expected={
            "width": _FEATURES,
            "depth": _STREAM | {Spot.INSIDE: _CONSTANT, Spot.END: Expected(exponent=_BRANCH)},
        },
        lasts=False,
        shift=Shift("carried"),
        cause=_initial_scale,
        blames="weight",
        column="at start",
    )
)
CHANGE = _entered(
    Quantity(
        kind="module",
        name="change",
        words="the change of its output",
        judged=When.END,
        expected={
            "width": _FEATURES | _STREAM | _READOUT,
            "depth": _STREAM
            | {Spot.INSIDE: _INSIDE_CHANGE, Spot.END: _END_CHANGE, Spot.READOUT: _CONSTANT},
        },
        shift=Shift("carried"),
        cause=_input_of_module,
        sees_control=True,
        column="change",
    )
)
OWN = _entered(
    Quantity(
        kind="module",
        name="own",
        words="its own part of the change",
        judged=When.END,
        expected={
            "width": _ANYWHERE_FALLING,
            "depth": _STREAM
            | {
                Spot.INSIDE: Expected(exponent=_LAYER),
                Spot.END: Expected(exponent=LinearInAlpha(-1)),
                Spot.READOUT: _FALLING,
            },
        },
        shift=Shift("carried"),
        cause=_learning_rate,
        blames="module",
        sees_control=True,
        column="own part",
    )
)
INPUT = _entered(
    Quantity(
        kind="module",
        name="input",
        words="its input at initialisation",
        judged=When.START,
        expected={"width": _ANYWHERE | _READOUT, "depth": _ANYWHERE_FALLING},
        cause=_input_of_module,
    )
)
CHANGE_OF_INPUT = _entered(
    Quantity(
        kind="module",
        name="change of input",
        words="the change of its input",
        judged=When.END,
        expected={"width": _ANYWHERE_FALLING, "depth": _ANYWHERE_FALLING},
        cause=_input_of_module,
        sees_control=True,
    )
)
REACH = _entered(Quantity(kind="module", name="reach"))
"""The own part that an aligned input of constant size would have: RMS of the update times fan-in.

Alignment and inputs fall with size in small networks, at no fault of the layer. Its own part is
too small only where its reach is, too.
"""

CHANGE_OF_THIS_STEP = _entered(Quantity(kind="module", name="change of this step"))
"""The change of the output since the step before."""

THROUGH_INPUT = _entered(Quantity(kind="module", name="through input"))
"""The part of a linear layer's change that comes from the change of its input."""

CARRIED = _entered(Quantity(kind="module", name="carried"))
"""Multipliers of other signals that a module's tensors carry, such as a tied readout's."""

SHARE = _entered(Quantity(kind="module", name="share"))
"""The end of a branch over the residual stream before the branch."""

DIVERSITY = _entered(Quantity(kind="module", name="diversity exponent"))
"""kappa: streams a distance apart in depth differ by distance^(1 - kappa)."""

NONLINEARITY = _entered(Quantity(kind="module", name="nonlinearity"))
"""Fraction of a block's change that is nonlinear in its parameter change."""

# Tensors: these are compared with the plan instead of a theory, but for the effect of bare ones.

BARE_OWN = _entered(
    Quantity(
        kind="tensor",
        name="own",
        words="its own part of the change of its module's output",
        judged=When.ENDS,
        expected={
            "width": _ANYWHERE_FALLING,
            "depth": _STREAM
            | {
                Spot.INSIDE: Expected(exponent=_LAYER, shrinks=LinearInAlpha(SHRINKS_FAR)),
                Spot.END: Expected(exponent=LinearInAlpha(-1), shrinks=LinearInAlpha(SHRINKS_FAR)),
            },
        },
        shift=Shift("carried"),
        cause=_learning_rate,
        blames="module",
        sees_control=True,
    )
)
"""The change of a module's output, its input held, by the change of one bare tensor of it.

A tensor is bare if no linear layer and no norm explains it, as a vector that features are summed
against, or a weight that is standardised before it is used. After the first step its update is
aligned with its input; later ones correct those that were too large.
"""

BARE_CARRIED = _entered(Quantity(kind="tensor", name="carried"))
"""Multipliers of other signals that a bare tensor carries."""

TENSOR_SIZE = _entered(Quantity(kind="tensor", name="size", words="initial scale"))
RATE = _entered(Quantity(kind="tensor", name="lr", words="learning rate"))

# A wrong eps does nothing while gradients are far above it.
EPS = _entered(Quantity(kind="tensor", name="eps", words="eps", alone=False))
DECAY = _entered(Quantity(kind="tensor", name="decay", words="rate times weight decay"))
PLANNED_RATE = _entered(Quantity(kind="tensor", name="planned lr", plans="lr"))
PLANNED_EPS = _entered(Quantity(kind="tensor", name="planned eps", plans="eps"))
PLANNED_DECAY = _entered(Quantity(kind="tensor", name="planned decay", plans="decay"))
PLANNED_SIZE = _entered(Quantity(kind="tensor", name="planned size", plans="size"))
GRADIENT = _entered(Quantity(kind="tensor", name="gradient"))
UPDATE = _entered(Quantity(kind="tensor", name="update"))
"""Change of a tensor since initialisation."""

UPDATE_SPECTRAL = _entered(Quantity(kind="tensor", name="update spectral"))
"""Spectral norm of that change."""

SPECTRAL = _entered(Quantity(kind="tensor", name="spectral"))
"""Spectral norm of a matrix at initialisation."""

ALIGNMENT = _entered(Quantity(kind="tensor", name="alignment"))
"""Size of update times input over the product of their norms, at most 1."""

# Attention: logits of all attentions together. At initialisation queries and keys are independent:
# with scale 1/head_dim their logits are head_dim^-1/2 (Tensor Programs V, Definition 4.1).

LOGITS = _entered(
    Quantity(
        kind="attention",
        name="logits",
        words="the size of the logits at initialisation",
        judged=When.START,
        expected={"width": {Spot.UNKNOWN: _CONSTANT}, "depth": {Spot.UNKNOWN: _CONSTANT}},
        lasts=False,
        shift=Shift("head dim", times=-0.5, needed=True),
        cause=_attention_scale,
    )
)
CHANGE_OF_LOGITS = _entered(
    Quantity(
        kind="attention",
        name="change of logits",
        words="the change of the logits",
        judged=When.END,
        expected={"width": {Spot.UNKNOWN: _FALLING}, "depth": {Spot.UNKNOWN: _FALLING}},
        cause=_attention_scale,
        column="change",
    )
)
ENTROPY = _entered(Quantity(kind="attention", name="entropy"))
"""Mean entropy of the attention weights, in nats."""

HEAD_DIM = _entered(Quantity(kind="attention", name="head dim"))
"""Size of a head; 0 where it is unknown, as for written-out attention."""

LOSS = _entered(Quantity(kind="loss", name="size"))


def columns() -> Iterator[str]:
    """Yield the titles of the printed table's columns."""
    yield from dict.fromkeys(each.column for each in QUANTITIES.values() if each.column)
