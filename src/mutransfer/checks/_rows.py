"""The measured numbers of a check, as rows of one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..core import Size
from ..reading import pattern
from ._labels import Labels
from ._quantities import Measured, Quantity


class Row(NamedTuple):
    """One measured number.

    Attributes:
        rule: Name of the network's rule; "sp" for the negative control.
        width: Width of the network.
        depth: Depth of the network.
        seed: Seed of the network.
        step: Number of steps that it was trained.
        kind: Kind of the measured thing: "module", "tensor", "attention" or "loss".
        name: Name of the module or tensor, or number of the attention.
        label: The name with a star for the number of a layer in a run; "*" for every attention.
        quantity: Name of the quantity, as in `QUANTITIES`.
        value: The number.
    """

    rule: str
    width: int
    depth: int
    seed: int
    step: int
    kind: str
    name: str
    label: str
    quantity: str
    value: float

    @property
    def size(self) -> Size:
        """Size of the network."""
        return Size(width=self.width, depth=self.depth)

    def measures(self, quantity: Quantity) -> bool:
        """Return True if the number is of this quantity."""
        return (self.kind, self.quantity) == quantity.key


def as_rows(
    rule: str, size: Size, seed: int, step: int, measured: Iterable[Measured]
) -> Iterator[Row]:
    """Yield the rows of numbers that were measured of one network at one step."""
    for quantity, name, value in measured:
        yield Row(
            rule=rule,
            width=size["width"],
            depth=size["depth"],
            seed=seed,
            step=step,
            kind=quantity.kind,
            name=name,
            label="*" if quantity.kind == "attention" else pattern(name),
            quantity=quantity.name,
            value=value,
        )


def relabelled(rows: Iterable[Row], labels: Labels) -> list[Row]:
    """Return the rows with the labels that hold for all sizes."""
    known: dict[tuple[int, int, str], str] = {}
    result = []
    for row in rows:
        if row.kind in {"module", "tensor"}:
            key = row.width, row.depth, row.name
            if (label := known.get(key)) is None:
                label = known[key] = labels.of(row.size, row.name)
            row = row._replace(label=label)
        result.append(row)
    return result


def order_of(rows: Iterable[Row]) -> list[str]:
    """Return the labels of the modules, in the order of the forward pass."""
    return list(dict.fromkeys(row.label for row in rows if row.kind == "module"))
