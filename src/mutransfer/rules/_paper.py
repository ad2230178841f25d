"""Tables as the papers print them, and the way from one form to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from ._abc import FORMS, QUANTITIES, Quantities
from ._optimizers import Family, family
from ._powers import ONE, Powers
from ._roles import Role
from ._tables import Parametrization, parametrization

COLUMNS = {
    "input weights & all biases": Role.INPUT,
    "output weights": Role.READOUT,
    "hidden weights": Role.HIDDEN,
}
_ONE_FAN: Mapping[Role, Mapping[str, str | None]] = {
    Role.INPUT: {"fan_in": None},
    Role.READOUT: {"fan_out": None},
    Role.HIDDEN: {"fan_out": "fan_in"},
}
_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}


def printed(value: Powers) -> str:
    """A product of powers as papers print it.

    >>> from ._powers import powers
    >>> printed(powers(fan_in=-2)), printed(powers(fan_out="1/2")), printed(powers(fan_in="-1/2", depth=-1))
    ('1/fan_in²', '√fan_out', '1/(√fan_in·depth)')
    """
    above = [_factor(name, exponent) for name, exponent in value.exponents if exponent > 0]
    below = [_factor(name, -exponent) for name, exponent in value.exponents if exponent < 0]
    under = below[0] if len(below) == 1 else f"({'·'.join(below)})"
    return "·".join(above or ["1"]) + (f"/{under}" if below else "")


def _factor(name: str, exponent: Fraction) -> str:
    simple = {Fraction(1): name, Fraction(1, 2): f"√{name}", Fraction(2): f"{name}²"}
    return simple.get(exponent, f"{name}^({exponent})")


def latex(value: Powers) -> str:
    r"""A product of powers in LaTeX's mathematics.

    >>> from ._powers import powers
    >>> print(latex(powers(fan_in="-1/2", depth=1)))
    \mathrm{fan\_in}^{-1/2}\, \mathrm{depth}
    """
    factors = (
        rf"\mathrm{{{n.replace('_', chr(92) + '_')}}}" + ("" if e == 1 else f"^{{{e}}}")
        for n, e in value.exponents
    )
    return r"\, ".join(factors) or "1"


def latex_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in LaTeX with the package booktabs; cells are taken as they stand."""
    lines = [" & ".join(row) + r" \\" for row in rows]
    body = "\n".join(
        [r"\toprule", " & ".join(header) + r" \\", r"\midrule", *lines, r"\bottomrule"]
    )
    return rf"\begin{{tabular}}{{{'l' * len(header)}}}" + f"\n{body}\n" + r"\end{tabular}"


def paper_table(
    rule: Parametrization, optimizer: Family, form: str
) -> list[tuple[str, list[tuple[Powers, Powers]]]]:
    """The table as Tensor Programs V prints it: initial variance, multiplier and rates, one column a kind of weights.

    Each cell has its value and that of standard parametrization, in one fan: a finite one is a constant, and hidden weights have two
    that grow alike.
    Rows for eps and decay of the optimizer are added to the paper's.

    Raises:
        MutransferError: there is no form of this name.
    """
    trained = {
        each.name.removesuffix("w"): each for each in (family("sgd"), family("adam"), optimizer)
    }
    rows: list[tuple[str, list[tuple[Powers, Powers]]]] = [
        ("init. var.", _cells(rule, optimizer, form, "init", 2)),
        ("multiplier", _cells(rule, optimizer, form, "multiplier")),
        *(
            (f"{_NAMES.get(name, name)} LR", _cells(rule, each, form, "lr"))
            for name, each in trained.items()
        ),
    ]
    name = _NAMES.get(optimizer.name, optimizer.name)
    if optimizer.eps is not None:
        rows.append((f"{name} eps", _cells(rule, optimizer, form, "eps")))
    if not optimizer.decays_badly:
        rows.append((f"{name} decay", _cells(rule, optimizer, form, "decay")))
    return rows


def _cells(
    rule: Parametrization, optimizer: Family, form: str, quantity: str, power: int = 1
) -> list[tuple[Powers, Powers]]:
    def cell(own: Parametrization, role: Role) -> Powers:
        value: Powers = getattr(own.quantities(role, optimizer, form=form), quantity) ** power
        growing = value.substitute(**_ONE_FAN[role])
        return value if growing == ONE and quantity in ("init", "multiplier") else growing

    return [(cell(rule, role), cell(parametrization("sp"), role)) for role in COLUMNS.values()]


def jump(rule: Parametrization, role: Role, origin: str, form: str) -> Powers:
    """The theta of the abc symmetry (Tensor Programs V, Lemma J.1) that takes a role's row from one form to another.

    Raises:
        MutransferError: there is no form of this name.
    """
    return rule.multiplier(role, form) / rule.multiplier(role, origin)


def jumps(rule: Parametrization, form: str) -> str:
    """How to get to this form from every other: theta for each kind of weights, and what it does for SGD and for Adam.

    Raises:
        MutransferError: there is no form of this name.
    """
    lines = [
        "Training stays the same (Tensor Programs V, Lemma J.1, extended) when a tensor's multiplier is multiplied by theta, its initial",
        "scale divided by theta, its SGD rate by theta² and its Adam rate by theta, and Adam's eps and AdamW's decay are multiplied by",
        "theta, SGD's decay by theta².",
    ]
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
