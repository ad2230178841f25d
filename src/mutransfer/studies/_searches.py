"""Searches by name."""

from __future__ import annotations

from ..core import MutransferError
from ._search import GridSearch, Search
from ._search_refine import Refine


def search_of(search: str | Search, extend: int = 0, within: float | None = None) -> Search:
    """Return a search that is given by name or as an object.

    Args:
        search: Its name, "grid" or "refine", or the search itself.
        extend: Rates beyond the ends of the grid, for "grid" alone.
        within: Half width of the interval at which "refine" ends.

    Raises:
        MutransferError: there is no such search, or an argument is not for it.
    """
    if extend and search != "grid":
        raise MutransferError(f"extend={extend} is for search='grid'; others find their own way")
    if within is not None and search != "refine":
        raise MutransferError(
            f"within={within} is for search='refine'; give it to the search, such as "
            f"Refine(within={within})"
        )
    if search == "grid":
        return GridSearch(extend)
    if search == "refine":
        return Refine() if within is None else Refine(within=within)
    if isinstance(search, str | type) or not callable(getattr(search, "propose", None)):
        raise MutransferError(
            f"search is {search!r}: give 'grid', 'refine', or an object with propose(study, runs)"
        )
    return search
