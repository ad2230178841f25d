"""Tables as Tensor Programs V prints them, and the way from one form to another."""

from __future__ import annotations

from collections.abc import Mapping

from ._family import Family
from ._forms import FORMS
from ._names import family, parametrization
from ._notation import printed
from ._parametrization import Parametrization
from ._powers import ONE, Powers
from ._quantities import QUANTITIES, Quantities
from ._roles import Role

COLUMNS = {
    "input weights & all biases": Role.INPUT,
    "output weights": Role.READOUT,
    "hidden weights": Role.HIDDEN,
}
"""The columns of the paper's tables, with the role of each."""

# A finite fan is a constant, and the two fans of hidden weights grow alike.
_ONE_FAN: Mapping[Role, Mapping[str, str | None]] = {
    Role.INPUT: {"fan_in": None},
    Role.READOUT: {"fan_out": None},
    Role.HIDDEN: {"fan_out": "fan_in"},
}
_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}

_SYMMETRY = """\
Training stays the same (Tensor Programs V, Lemma J.1, extended) when a tensor's multiplier is \
multiplied by theta, its initial
scale divided by theta, its SGD rate by theta² and its Adam rate by theta, and Adam's eps and \
AdamW's decay are multiplied by
theta, SGD's decay by theta²."""

PaperRow = tuple[str, list[tuple[Powers, Powers]]]
"""A row's name, then for each column its value and that of standard parametrization."""


def paper_table(rule: Parametrization, optimizer: Family, form: str) -> list[PaperRow]:
    """Return the table as Tensor Programs V prints it.

    It has one column for each kind of weights, and rows for initial variance, multiplier and rates.
    Rows for the optimizer's eps and decay are added to the paper's. Each cell has its value and
    that of standard parametrization, in one fan: a finite one is a constant, and hidden weights
    have two that grow alike.

    Raises:
        MutransferError: there is no form of this name.
    """
    families = (family("sgd"), family("adam"), optimizer)
    # AdamW's rate is that of Adam, so it takes Adam's row.
    trained = {trainer.name.removesuffix("w"): trainer for trainer in families}
    rows = [
        ("init. var.", _cells(rule, optimizer, form, "init", 2)),
        ("multiplier", _cells(rule, optimizer, form, "multiplier")),
    ]
    for name, trainer in trained.items():
        rows.append((f"{_NAMES.get(name, name)} LR", _cells(rule, trainer, form, "lr")))
    name = _NAMES.get(optimizer.name, optimizer.name)
    if optimizer.eps is not None:
        rows.append((f"{name} eps", _cells(rule, optimizer, form, "eps")))
    if not optimizer.decays_badly:
        rows.append((f"{name} decay", _cells(rule, optimizer, form, "decay")))
    return rows


def _cells(
    rule: Parametrization, optimizer: Family, form: str, quantity: str, power: int = 1
) -> list[tuple[Powers, Powers]]:
    def cell(source: Parametrization, role: Role) -> Powers:
        value: Powers = getattr(source.quantities(role, optimizer, form=form), quantity) ** power
        growing = value.substitute(**_ONE_FAN[role])
        # The paper keeps a constant such as the input's variance 1/fan_in where nothing grows.
        return value if growing == ONE and quantity in ("init", "multiplier") else growing

    standard = parametrization("sp")
    return [(cell(rule, role), cell(standard, role)) for role in COLUMNS.values()]


def jump(rule: Parametrization, role: Role, origin: str, form: str) -> Powers:
    """Return the theta that takes a role's row from one form to another.

    It belongs to the abc symmetry (Tensor Programs V, Lemma J.1) and is the ratio of the two forms'
    multipliers.

    Raises:
        MutransferError: there is no form of this name.
    """
    return rule.multiplier(role, form) / rule.multiplier(role, origin)


def jumps(rule: Parametrization, form: str) -> str:
    """Return the ways to this form from every other one.

    Each has theta for every kind of weights, and its effects for SGD and for Adam.

    Raises:
        MutransferError: there is no form of this name.
    """
    lines = [_SYMMETRY]
    for origin in sorted(FORMS.keys() - {form, "plain"}):
        thetas = {column: jump(rule, role, origin, form) for column, role in COLUMNS.items()}
        moved = {column: theta for column, theta in thetas.items() if theta != ONE}
        lines.append(f"from {origin}: {'nothing changes' if not moved else ''}".rstrip())
        lines += [
            f"  {column}: theta = {printed(theta)}; {_effects(theta)}"
            for column, theta in moved.items()
        ]
    return "\n".join(lines)


def _effects(theta: Powers) -> str:
    sgd, adam = (Quantities().rescale(theta, family(name)) for name in ("sgd", "adamw"))
    shared = [f"{name} × {printed(getattr(adam, name))}" for name in QUANTITIES[:2]]
    rates = [
        f"SGD LR × {printed(sgd.lr)}",
        f"Adam LR × {printed(adam.lr)}",
        f"Adam eps × {printed(adam.eps)}",
    ]
    return ", ".join([*shared, *rates, f"AdamW decay × {printed(adam.decay)}"])
