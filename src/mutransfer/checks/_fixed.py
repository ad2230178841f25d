"""Layers of a growing stack that keep their index as depth grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from ..core import Size
from ..plans import Plan
from ..reading import parent
from ..rules import Place
from ._labels import Labels, Layout


def fixed_layers(
    layouts: Mapping[Size, Layout], labels: Labels, plans: Mapping[Size, Plan]
) -> frozenset[str]:
    """Return the labels of modules in a growing stack whose number stays.

    A first block that differs from the others is one, as that of T5, which alone has a table of
    positions.

    Args:
        layouts: The layout of each size, that of the base first.
        labels: The labels.
        plans: The plan of each size, of a rule that scales depth.
    """
    base, deepest = next(iter(layouts)), max(layouts, key=lambda size: size["depth"])
    growing = {
        labels.of(deepest, tensor.name)
        for tensor in plans[deepest].tensors.values()
        if tensor.place != Place.OUTSIDE and tensor.ratios.get("depth", 1) != 1
    }
    few, many = (
        Counter(labels.of(size, name) for name in layouts[size].tensors) for size in (base, deepest)
    )
    inside: dict[str, set[str]] = {}
    for name in layouts[base].tensors:
        if (label := labels.of(base, name)) in growing:
            for module in _around(name):
                inside.setdefault(labels.of(base, module), set()).add(label)
    # A module that holds the stack holds layers that grow in number, too.
    return frozenset(
        module for module, held in inside.items() if all(few[name] == many[name] for name in held)
    )


def _around(name: str) -> Iterator[str]:
    while name := parent(name):
        yield name
