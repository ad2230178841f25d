"""The size of one network: an ordered mapping of named axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from ._errors import MutransferError
from ._frozen import FrozenDict


class Size(FrozenDict[str, int]):
    """Width, depth and whatever else the builder takes, by the name of the axis.

    Sizes of the same axes are ordered by their values, first axis first.

    >>> size = Size(width=64, depth=2)
    >>> print(size)
    width 64, depth 2
    >>> size < Size(width=64, depth=4), size["depth"]
    (True, 2)
    """

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Size has no {name!r}; its axes are items, such as size['width']")

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Size):
            return NotImplemented
        if self.keys() != other.keys():
            raise MutransferError(f"{self} and {other} have different axes and cannot be ordered")
        return [*self.values()] < [other[axis] for axis in self]

    def __le__(self, other: object) -> bool:
        return NotImplemented if not isinstance(other, Size) else self == other or self < other

    def __gt__(self, other: object) -> bool:
        return NotImplemented if not isinstance(other, Size) else other < self

    def __ge__(self, other: object) -> bool:
        return NotImplemented if not isinstance(other, Size) else other <= self

    def __str__(self) -> str:
        return self.along(self)

    def __repr__(self) -> str:
        return f"Size({', '.join(f'{axis}={value}' for axis, value in self.items())})"

    def along(self, axes: Iterable[str]) -> str:
        """Return the values along these axes as text, all of them where there are none.

        >>> Size(width=32, depth=4).along(["width"])
        'width 32'
        """
        return ", ".join(f"{axis} {_shown(self[axis])}" for axis in [*axes] or self)

    def grown(self, **values: int) -> Size:
        """Return this size with other values along these axes."""
        return Size(self | values)


def _shown(value: float) -> str:
    """Return a number as text, round ones from a million on by their power of ten.

    >>> _shown(512), _shown(10**11), _shown(214663680)
    ('512', '1e+11', '214663680')
    """
    short = f"{value:g}" if isinstance(value, int | float) and value >= 1e6 else str(value)
    return short if short == str(value) or float(short) == value else str(value)


def varying(sizes: Iterable[Size]) -> list[str]:
    """Return the axes along which these sizes differ, in their order.

    >>> varying([Size(width=32, depth=4), Size(width=64, depth=4)])
    ['width']
    """
    known = list(sizes)
    axes = dict.fromkeys(axis for size in known for axis in size)
    return [axis for axis in axes if len({size.get(axis) for size in known}) > 1]
