"""Products of powers as papers print them, and in LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from ._powers import Powers


def printed(value: Powers) -> str:
    """Return a product of powers as papers print it.

    >>> from mutransfer.rules import powers
    >>> printed(powers(fan_in=-2)), printed(powers(fan_out="1/2"))
    ('1/fan_in²', '√fan_out')
    >>> printed(powers(fan_in="-1/2", depth=-1))
    '1/(√fan_in·depth)'
    """
    above = [_factor(name, exponent) for name, exponent in value.exponents if exponent > 0]
    below = [_factor(name, -exponent) for name, exponent in value.exponents if exponent < 0]
    under = below[0] if len(below) == 1 else f"({'·'.join(below)})"
    return "·".join(above or ["1"]) + (f"/{under}" if below else "")


def _factor(name: str, exponent: Fraction) -> str:
    simple = {Fraction(1): name, Fraction(1, 2): f"√{name}", Fraction(2): f"{name}²"}
    return simple.get(exponent, f"{name}^({exponent})")


def latex(value: Powers) -> str:
    r"""Return a product of powers in LaTeX's mathematics.

    >>> from mutransfer.rules import powers
    >>> print(latex(powers(fan_in="-1/2", depth=1)))
    \mathrm{fan\_in}^{-1/2}\, \mathrm{depth}
    """
    factors = []
    for name, exponent in value.exponents:
        base = r"\mathrm{" + name.replace("_", r"\_") + "}"
        factors.append(base if exponent == 1 else f"{base}^{{{exponent}}}")
    return r"\, ".join(factors) or "1"


def latex_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in LaTeX for the package booktabs; cells are taken as they stand."""
    top, *lines = (" & ".join(row) + r" \\" for row in (header, *rows))
    body = "\n".join([r"\toprule", top, r"\midrule", *lines, r"\bottomrule"])
    return rf"\begin{{tabular}}{{{'l' * len(header)}}}" + f"\n{body}\n" + r"\end{tabular}"
