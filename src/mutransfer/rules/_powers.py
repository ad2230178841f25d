"""Products of rational powers of named ratios: algebra, evaluation, printing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..core import MutransferError

Exponent = int | Fraction | str
Ratio = int | float | Fraction


@dataclass(frozen=True)
class Powers:
    """A product such as fan_in^-1 · depth^-1/2, with exact exponents.

    Ratios are target over base, so a product of powers is 1 at base size. Build one with `powers`.

    >>> hidden_rate = powers(fan_in=-1) * powers(depth="-1/2")
    >>> print(hidden_rate)
    fan_in^-1 · depth^-1/2
    >>> hidden_rate.evaluate({"fan_in": 8, "depth": 4})
    0.0625

    Attributes:
        exponents: Names with their exponents, none of them zero, in the order of printing.
    """

    exponents: tuple[tuple[str, Fraction], ...] = ()

    def __mul__(self, other: Powers) -> Powers:
        total = dict(self.exponents)
        for name, exponent in other.exponents:
            total[name] = total.get(name, Fraction(0)) + exponent
        return powers(**total)

    def __truediv__(self, other: Powers) -> Powers:
        return self * other**-1

    def __pow__(self, power: Exponent) -> Powers:
        return powers(**{name: exponent * Fraction(power) for name, exponent in self.exponents})

    def evaluate(self, ratios: Mapping[str, Ratio]) -> float:
        """Return the value at these ratios, target over base.

        It is exactly 1.0 where every ratio is 1, or where equal ratios cancel.

        Raises:
            KeyError: a ratio that the product needs is missing.
        """
        # Exponents of equal ratios are summed first: a product of floats would not cancel exactly.
        totals: dict[Ratio, Fraction] = {}
        for name, exponent in self.exponents:
            totals[ratios[name]] = totals.get(ratios[name], Fraction(0)) + exponent
        factors = (float(ratio) ** float(exponent) for ratio, exponent in totals.items())
        return math.prod(factors, start=1.0)

    def substitute(self, **names: str | None) -> Powers:
        """Return the product with ratios renamed, or set to 1 with None.

        >>> print(powers(fan_in=-1, fan_out="1/2").substitute(fan_in="n", fan_out=None))
        n^-1
        """
        result = ONE
        for name, exponent in self.exponents:
            new = names.get(name, name)
            if new is not None:
                result *= powers(**{new: exponent})
        return result

    def __str__(self) -> str:
        return " · ".join(name if e == 1 else f"{name}^{e}" for name, e in self.exponents) or "1"

    def to_json(self) -> dict[str, str]:
        """Return the exponents as text, such as {"fan_in": "-1", "depth": "-1/2"}."""
        return {name: str(exponent) for name, exponent in self.exponents}


_ORDER = ("fan_in", "fan_out", "depth", "head_dim")


def exact(name: str, value: Exponent) -> Fraction:
    """Return a number as an exact fraction; text such as "-1/2" is taken literally.

    Floats are refused, because few fractions are exact as floats.

    Args:
        name: The number's name, for the message.
        value: The number.

    Raises:
        MutransferError: it is no rational number.
    """
    if isinstance(value, (int, Fraction, str)) and not isinstance(value, bool):
        try:
            return Fraction(value)
        except (ValueError, ZeroDivisionError):
            pass
    raise MutransferError(
        f"{name} is {value!r}, which is no exact rational number; "
        "give one such as 1, '1/2' or '-3/4'"
    )


def powers(**exponents: Exponent) -> Powers:
    """Return the product of named ratios to exponents; text such as "-1/2" is exact."""
    fractions = ((name, Fraction(exponent)) for name, exponent in exponents.items())
    factors = ((name, exponent) for name, exponent in fractions if exponent)
    return Powers(tuple(sorted(factors, key=lambda factor: (_rank(factor[0]), factor[0]))))


def _rank(name: str) -> int:
    """Return the place of a ratio in print: the common ones first, others by name."""
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


ONE = Powers()
