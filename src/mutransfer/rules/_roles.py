"""The roles a tensor can have: which of its dimensions grow with width, and what it multiplies."""

from enum import StrEnum


class Role(StrEnum):
    """What a tensor is to its network.

    A rule is a function of the role, never of a name or of the number of dimensions
    (Tensor Programs V, Definitions B.1 and B.2).
    """

    INPUT = "input"
    """A matrix with finite fan-in and growing fan-out."""
    EMBEDDING = "embedding"
    """A table whose rows are looked up: one-hot input, growing fan-out."""
    HIDDEN = "hidden"
    """A matrix whose fan-in and fan-out both grow."""
    READOUT = "readout"
    """A matrix with growing fan-in and finite fan-out."""
    TIED = "tied"
    """An embedding that is also the readout's matrix."""
    BIAS = "bias"
    """Added to features; its fan-in counts as 1."""
    GAIN = "gain"
    """The gain of a normalisation; its fan-in counts as 1."""
    VECTOR = "vector"
    """Any other tensor with one growing dimension (positions, a class token, layer scale): as a bias."""
    SCALAR = "scalar"
    """A tensor none of whose dimensions grows."""


def matrix_role(in_grows: bool, out_grows: bool) -> Role:
    """The role of a matrix or a convolution from which of its two axes grow."""
    table = {
        (False, True): Role.INPUT,
        (True, True): Role.HIDDEN,
        (True, False): Role.READOUT,
        (False, False): Role.SCALAR,
    }
    return table[in_grows, out_grows]
