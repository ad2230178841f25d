"""An immutable dictionary, so that specs which hold mappings can be hashed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """An immutable dictionary, hashable where its values are.

    It equals any equal dictionary. It stays a `dict`, so that JSON, `|` and pattern matching
    take it as one.

    >>> {FrozenDict(a=1)} == {FrozenDict({"a": 1})}, FrozenDict(a=1) == {"a": 1}
    (True, True)
    """

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle would fill the dictionary item by item, which is refused.
        return type(self), (dict(self),)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Raise: the dictionary cannot change."""
        raise TypeError(f"{type(self).__name__} cannot change: make another with `|`")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def frozen(value: Any) -> Any:
    """Return options as values that can be hashed: lists as tuples, mappings frozen.

    >>> frozen({"betas": [0.9, 0.95]})
    {'betas': (0.9, 0.95)}
    """
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value
