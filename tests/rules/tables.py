"""What the tests of rules share: ratios, rows of a rule, and widths that grow."""

from mutransfer import rules
from mutransfer.rules import Family, Parametrization, Place, Powers, Quantities, Role, powers

FAN_IN, FAN_OUT, DEPTH = powers(fan_in=1), powers(fan_out=1), powers(depth=1)
N = powers(n=1)
"""Width, where fan-in and fan-out grow alike."""

ROOT, ROOT_N = DEPTH ** "1/2", N ** "1/2"
MUP_IN_WIDTH = ("mup", "mean-field", "spectral")

# Tensors whose fan-out alone grows with width; the fan-in of a bias counts as 1.
INPUT_LIKE = (
    Role.INPUT,
    Role.EMBEDDING,
    Role.POSITION,
    Role.BIAS,
    Role.GAIN,
    Role.VECTOR,
    Role.DEPTHWISE,
    Role.LAYER_SCALE,
    Role.LORA_B,
)
GROWING = {
    **{role: {"fan_in": None, "fan_out": "n", "fan_max": "n"} for role in INPUT_LIKE},
    Role.READOUT: {"fan_in": "n", "fan_out": None, "fan_max": "n"},
    Role.HIDDEN: {"fan_in": "n", "fan_out": "n", "fan_max": "n"},
}

NEVER_INSIDE = {
    Role.EMBEDDING,
    Role.POSITION,
    Role.INPUT,
    Role.READOUT,
    Role.TIED,
    Role.FROZEN,
}
NEVER_LAST = {
    *NEVER_INSIDE,
    Role.KEY_VALUE,
    Role.ROUTER,
    Role.LORA_A,
    Role.HEAD_GAIN,
    Role.ATTENTION_SCALE,
}

Cell = tuple[Role, Place]
CELLS: list[Cell] = [
    *((role, Place.OUTSIDE) for role in Role),
    *((role, Place.BRANCH) for role in Role if role not in NEVER_INSIDE),
    *((role, Place.BRANCH_END) for role in Role if role not in NEVER_LAST),
]
"""Every role at every place of a network where it can stand."""

Rows = dict[Cell, Quantities]


def in_width(value: Powers, role: Role) -> Powers:
    """Return the value as a power of width n: a growing axis is n, a finite one 1."""
    return value.substitute(**GROWING[role])


def all_in_width(row: Quantities, role: Role) -> Quantities:
    """Return all quantities of a tensor as powers of width n."""
    return Quantities(**{name: in_width(getattr(row, name), role) for name in rules.QUANTITIES})


def quantities(
    rule: str,
    role: Role,
    optimizer: str | Family,
    place: Place = Place.OUTSIDE,
    *,
    form: str = "table3",
) -> Quantities:
    """Return the quantities of a tensor under a rule that is given by name."""
    family = rules.family(optimizer)
    return rules.parametrization(rule).quantities(role, family, place, form=form)


def table(rule: Parametrization, optimizer: str = "adamw", form: str = "table3") -> Rows:
    """Return the quantities of every cell."""
    family = rules.family(optimizer)
    return {(role, place): rule.quantities(role, family, place, form=form) for role, place in CELLS}
