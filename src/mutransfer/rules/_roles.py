"""The roles a tensor can have: which of its dimensions grow with width, what it multiplies, and where it stands."""

from enum import StrEnum


class Role(StrEnum):
    """What a tensor is to its network.

    A rule is a function of the role, never of a name or of the number of dimensions
    (Tensor Programs V, Definitions B.1 and B.2). A dense convolution is an input, a hidden matrix or a readout whose fan-in is
    channels times kernel: the kernel is finite, so only its channels count.
    """

    INPUT = "input"
    """A matrix with finite fan-in and growing fan-out."""
    EMBEDDING = "embedding"
    """A table whose rows are looked up: one-hot input, growing fan-out."""
    POSITION = "position"
    """A learned position or class token, added to features."""
    HIDDEN = "hidden"
    """A matrix whose fan-in and fan-out both grow."""
    KEY_VALUE = "key-value"
    """The keys' or values' matrix of grouped-query attention, whose fan-out grows less than the queries', or not at all."""
    READOUT = "readout"
    """A matrix with growing fan-in and finite fan-out."""
    TIED = "tied"
    """An embedding that is also the readout's matrix."""
    DEPTHWISE = "depthwise"
    """A depthwise convolution: it sums over its kernel alone, and only its channels grow."""
    ROUTER = "router"
    """The matrix that scores the experts of a mixture."""
    EXPERT = "expert"
    """A hidden matrix of one expert, or the stack of all experts'."""
    LORA_A = "lora-a"
    """The low-rank adapter's matrix from features to a finite rank."""
    LORA_B = "lora-b"
    """The low-rank adapter's matrix from a finite rank to features; it starts at zero."""
    BIAS = "bias"
    """Added to features; its fan-in counts as 1."""
    GAIN = "gain"
    """The gain of a normalisation; its fan-in counts as 1."""
    HEAD_GAIN = "head-gain"
    """The gain of a normalisation over one head of fixed size, shared by all heads (QK-norm)."""
    LAYER_SCALE = "layer-scale"
    """A learned multiplier of a residual branch, one entry a feature."""
    VECTOR = "vector"
    """Any other tensor with one growing dimension: as a bias."""
    ATTENTION_SCALE = "attention-scale"
    """A learned factor of the attention logits."""
    SCALAR = "scalar"
    """A tensor none of whose dimensions grows."""
    FROZEN = "frozen"
    """Declared to stay as it is: neither drawn afresh nor trained, as a pretrained matrix under an adapter."""


_PARTS = {Role.HIDDEN: {Role.KEY_VALUE, Role.EXPERT}, Role.GAIN: {Role.HEAD_GAIN}}


def covers(key: str, role: Role) -> bool:
    """Whether a role that a user names means a tensor of this role.

    A role may be finer where width grows than at base size, and what is chosen by role has to be the same at both: hidden matrices
    include those of keys, values and experts, gains those of single heads.
    """
    return key == role or any(key == whole and role in parts for whole, parts in _PARTS.items())


class Place(StrEnum):
    """Where a tensor stands in a residual network."""

    OUTSIDE = "outside"
    """Before, between or after the residual branches."""
    BRANCH = "in a branch"
    """Inside a residual branch, with other learned tensors after it."""
    BRANCH_END = "ending a branch"
    """Among the tensors that a residual branch's output is linear in; in the plain form they carry the branch's multiplier."""


def matrix_role(in_grows: bool, out_grows: bool) -> Role:
    """The role of a matrix or a convolution from which of its two axes grow."""
    table = {
        (False, True): Role.INPUT,
        (True, True): Role.HIDDEN,
        (True, False): Role.READOUT,
        (False, False): Role.SCALAR,
    }
    return table[in_grows, out_grows]
