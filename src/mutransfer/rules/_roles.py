"""Roles of tensors with their laws, and places.

A new role is one member of `Role`, with its traits, and one entry of `laws`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, StrEnum, auto
from fractions import Fraction
from typing import Any, Self

from ._powers import ONE, Exponent, Powers, powers


class Trait(Flag):
    """A property of a role that rules ask for, in addition to its law."""

    INPUT_LIKE = auto()
    """Finite fan-in and growing fan-out: Table 9 of Tensor Programs V gives it a multiplier."""
    VECTOR = auto()
    """A bias or a gain."""
    LOOKUP = auto()
    """A table whose rows are looked up."""
    FEATURE_MATRIX = auto()
    """A matrix that sums over features: papers disagree on its weight decay."""
    NO_MATRIX = auto()
    """No optimizer of matrices, such as Muon, trains it."""
    OUTSIDE = auto()
    """It never stands in a residual branch."""
    NOT_LAST = auto()
    """It never ends a residual branch: other learned tensors follow it."""


_NO_TRAIT = Trait(0)
_VECTOR = Trait.VECTOR | Trait.NO_MATRIX


class Role(StrEnum):
    """The role of a tensor in its network.

    A rule is a function of the role, never of a name or of the number of dimensions (Tensor
    Programs V, Definitions B.1 and B.2). A dense convolution is an input, a hidden matrix or a
    readout. Its fan-in is channels times kernel; the kernel is finite, so only its channels count.

    Attributes:
        traits: The role's traits.
        part_of: A coarser role whose name includes this one; None for most.
    """

    traits: Trait
    part_of: str | None
    _value_: str

    def __new__(cls, value: str, traits: Trait = _NO_TRAIT, part_of: str | None = None) -> Self:
        """Make a member from its name, its traits and the coarser role that includes it."""
        role = str.__new__(cls, value)
        role._value_, role.traits, role.part_of = value, traits, part_of
        return role

    INPUT = "input", Trait.INPUT_LIKE | Trait.OUTSIDE
    """A matrix with finite fan-in and growing fan-out."""
    EMBEDDING = "embedding", Trait.INPUT_LIKE | Trait.LOOKUP | Trait.OUTSIDE
    """A table whose rows are looked up: one-hot input, growing fan-out."""
    POSITION = "position", Trait.INPUT_LIKE | Trait.NO_MATRIX | Trait.OUTSIDE
    """A learned position or class token, added to features."""
    HIDDEN = "hidden", Trait.FEATURE_MATRIX
    """A matrix whose fan-in and fan-out both grow."""
    KEY_VALUE = "key-value", Trait.FEATURE_MATRIX | Trait.NOT_LAST, "hidden"
    """The keys' or values' matrix of grouped-query attention.

    Its fan-out grows less than the queries', or not at all.
    """
    READOUT = "readout", Trait.OUTSIDE
    """A matrix with growing fan-in and finite fan-out."""
    TIED = "tied", Trait.LOOKUP | Trait.OUTSIDE
    """An embedding that is also the readout's matrix."""
    DEPTHWISE = "depthwise", Trait.INPUT_LIKE | Trait.NO_MATRIX
    """A depthwise convolution: it sums over its kernel alone, and only its channels grow."""
    ROUTER = "router", Trait.FEATURE_MATRIX | Trait.NOT_LAST
    """The matrix that scores the experts of a mixture."""
    EXPERT = "expert", Trait.FEATURE_MATRIX, "hidden"
    """A hidden matrix of one expert, or the stack of all experts' matrices."""
    LORA_A = "lora-a", Trait.NOT_LAST
    """The low-rank adapter's matrix from features to a finite rank."""
    LORA_B = "lora-b", Trait.INPUT_LIKE
    """The low-rank adapter's matrix from a finite rank to features; it starts at zero."""
    BIAS = "bias", Trait.INPUT_LIKE | _VECTOR
    """Added to features; its fan-in counts as 1."""
    GAIN = "gain", Trait.INPUT_LIKE | _VECTOR
    """The gain of a normalisation; its fan-in counts as 1."""
    HEAD_GAIN = "head-gain", _VECTOR | Trait.NOT_LAST, "gain"
    """The gain of a normalisation over one head of fixed size, shared by all heads (QK-norm)."""
    LAYER_SCALE = "layer-scale", Trait.INPUT_LIKE | _VECTOR
    """A learned multiplier of a residual branch, one entry a feature."""
    VECTOR = "vector", Trait.INPUT_LIKE | _VECTOR
    """Any other tensor with one growing dimension; it scales as a bias does."""
    ATTENTION_SCALE = "attention-scale", Trait.NO_MATRIX | Trait.NOT_LAST
    """A learned factor of the attention logits."""
    SCALAR = "scalar", Trait.NO_MATRIX
    """A tensor without any growing dimension."""
    FROZEN = "frozen"
    """Declared to stay as it is, neither drawn afresh nor trained.

    A pretrained matrix under an adapter is one.
    """

    def has(self, trait: Trait) -> bool:
        """Return True if the role has this trait."""
        return trait in self.traits


def covers(key: str, role: Role) -> bool:
    """Return True if a role that a user names includes tensors of this role.

    A role may be finer where width grows than at base size, and what is chosen by role has to be
    the same at both. So hidden matrices include those of keys, values and experts, and gains
    include those of single heads.

    >>> covers("hidden", Role.EXPERT), covers("hidden", Role.ROUTER)
    (True, False)
    """
    return key in (role, role.part_of)


class Place(StrEnum):
    """The place of a tensor in a residual network."""

    OUTSIDE = "outside"
    """Before, between or after the residual branches."""
    BRANCH = "in a branch"
    """Inside a residual branch, with other learned tensors after it."""
    BRANCH_END = "ending a branch"
    """Among the tensors in which a residual branch's output is linear.

    In the plain form they carry the branch's multiplier.
    """


def matrix_role(in_grows: bool, out_grows: bool) -> Role:
    """Return the role of a matrix or a convolution, from which of its two axes grow."""
    table = {
        (False, True): Role.INPUT,
        (True, True): Role.HIDDEN,
        (True, False): Role.READOUT,
        (False, False): Role.SCALAR,
    }
    return table[in_grows, out_grows]


_POWERS = ("init", "gradient", "change")


@dataclass(frozen=True, kw_only=True)
class Law:
    """The law of a role in a parametrization.

    It holds for a tensor that is used without a multiplier, outside residual branches.

    Attributes:
        init: Standard deviation of an entry.
        gradient: RMS of an entry of the gradient.
        change: Wanted change of the layer's output in a step.
        sums_over_width: True if the output sums over a growing fan-in. The fan-in of an input is
            finite, and a bias or a gain has none.
        learned: True if the gradient is a sum over features that only training makes add up.
            Inside a residual branch it then also scales as the features' change.
    """

    init: Powers = ONE
    gradient: Powers = ONE
    change: Powers = ONE
    sums_over_width: bool = False
    learned: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the law as data, exact."""
        exponents = {name: getattr(self, name).to_json() for name in _POWERS}
        return {**exponents, "sums_over_width": self.sums_over_width, "learned": self.learned}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Law:
        """Return the law that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the data is no law.
        """
        return cls(**{**data, **{name: powers(**data[name]) for name in _POWERS}})


def laws(*, readout: Exponent = 1, change: Powers = ONE) -> Mapping[Role, Law]:
    """Return the laws of all roles, which follow from the readout's initial scale.

    Features are used with the readout's weights, so their gradient has the readout's size, and
    everything that makes features sees it.

    A tensor that all features pass at once collects this gradient over the width: a router, an
    adapter's first matrix, a factor of all heads. Its law has the size that the gradient soon
    reaches in training, when features have moved together. At first it is smaller by the root of
    the width.

    The matrix of keys or values in grouped-query attention collects the gradient over the heads
    that share it. Its law has the size at first, when these heads are independent.

    Args:
        readout: The readout starts with standard deviation fan_in^-readout: 1 is maximal update,
            1/2 is standard and NTK parametrization.
        change: Wanted change of features in a step; 1 is feature learning.
    """
    start = Fraction(readout)
    back, collected = powers(fan_out=-start), powers(fan_in=1 - start)
    shared = powers(fan_in=Fraction(1, 2) - start, fan_out="-1/2")
    fan = powers(fan_in="-1/2")
    share = powers(experts=-1)
    vector = Law(gradient=back, change=change)
    matrix = Law(init=fan, gradient=back, change=change, sums_over_width=True)
    return {
        Role.INPUT: Law(init=fan, gradient=back, change=change),
        Role.EMBEDDING: vector,
        Role.POSITION: vector,
        Role.HIDDEN: matrix,
        Role.KEY_VALUE: Law(init=fan, gradient=shared, change=change, sums_over_width=True),
        Role.READOUT: Law(init=powers(fan_in=-start), sums_over_width=True),
        Role.TIED: vector,
        Role.DEPTHWISE: Law(init=fan, gradient=back, change=change),
        # An expert and its score get gradients from their share of the tokens alone.
        Role.ROUTER: Law(
            init=powers(fan_in=-start), gradient=collected * share, sums_over_width=True
        ),
        Role.EXPERT: Law(init=fan, gradient=back * share, change=change, sums_over_width=True),
        Role.LORA_A: Law(init=fan, gradient=collected, sums_over_width=True, learned=True),
        Role.LORA_B: vector,
        Role.BIAS: vector,
        Role.GAIN: vector,
        Role.HEAD_GAIN: Law(learned=True),
        Role.LAYER_SCALE: vector,
        Role.VECTOR: vector,
        Role.ATTENTION_SCALE: Law(learned=True),
        Role.SCALAR: Law(),
        Role.FROZEN: Law(),
    }
