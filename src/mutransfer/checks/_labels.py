"""Labels: names with a star for the number of a layer in a run.

Layers of one label are measured together, at every size. A number becomes a star only where it
counts a run: where all members are alike, or where the run is longer in deeper networks. Members
that differ in class, roles or shapes are kept apart, as the children of most `nn.Sequential` are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..core import FrozenDict, Size
from ..plans import Plan
from ..reading import parent, pattern

Node = tuple[int, str]
"""A module or tensor: the number of its layout and its name."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The modules and tensors of one network.

    Attributes:
        classes: The class of each module, by name.
        tensors: Role and shape of each planned tensor, by name.
        weights: The planned weight of each module that has one.
    """

    classes: Mapping[str, str]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    weights: Mapping[str, str]

    @classmethod
    def of(cls, plan: Plan, classes: Mapping[str, str], weights: Mapping[str, str]) -> Layout:
        """Return the layout of a planned network."""
        # A role may be finer where width grows: the coarse one is the same at every size.
        tensors = {
            name: (tensor.role.part_of or tensor.role.value, tensor.shape)
            for name, tensor in plan.tensors.items()
        }
        return cls(classes=classes, tensors=tensors, weights=weights)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The label of every module and tensor at every size.

    Attributes:
        by_size: The labels by name, for each size.
    """

    by_size: Mapping[Size, Mapping[str, str]] = field(default_factory=FrozenDict)

    def of(self, size: Size, name: str) -> str:
        """Return the label of a module, a call such as "module#2", or a tensor."""
        known = self.by_size.get(size, {})
        module, mark, call = name.partition("#")
        return known.get(module, pattern(module)) + mark + call


def labelled(layouts: Mapping[Size, Layout], spots: Mapping[str, str]) -> Labels:
    """Return the labels of networks of several sizes.

    Args:
        layouts: The layout of each size, that of the base first.
        spots: The spot of each module of the base.
    """
    tree = _Tree(list(layouts.values()), spots)
    tree.label([(i, "") for i in range(len(layouts))], "")
    return Labels(by_size=dict(zip(layouts, tree.labels, strict=True)))


class _Tree:
    """The modules and tensors of all sizes as trees, and the labels found so far."""

    def __init__(self, layouts: Sequence[Layout], spots: Mapping[str, str]) -> None:
        self.layouts, self.spots = layouts, spots
        self.labels: list[dict[str, str]] = [{} for _ in layouts]
        self.children: list[dict[str, list[str]]] = [_children(layout) for layout in layouts]

    def label(self, nodes: Sequence[Node], label: str) -> None:
        """Label nodes of one label, and all that is inside them."""
        named: dict[str, list[Node]] = {}
        numbered: list[list[Node]] = []
        for layout, name in nodes:
            self.labels[layout][name] = label
            run = []
            for child in self.children[layout].get(name, ()):
                last = child.rpartition(".")[2]
                if last.isdecimal():
                    run.append((layout, child))
                else:
                    named.setdefault(last, []).append((layout, child))
            if run:
                numbered.append(run)
        for last, group in [*named.items(), *self._runs(numbered).items()]:
            self.label(group, f"{label}.{last}" if label else last)

    def _runs(self, runs: Sequence[Sequence[Node]]) -> dict[str, list[Node]]:
        """Return the members of runs by the last part of their label."""
        nodes = [node for run in runs for node in run]
        if all(len({self._shape(node) for node in run}) == 1 for run in runs):
            return {"*": nodes} if nodes else {}
        if len({len(run) for run in runs}) == 1:
            return _grouped((name.rpartition(".")[2], (i, name)) for i, name in nodes)
        return self._kinds(runs)

    def _kinds(self, runs: Sequence[Sequence[Node]]) -> dict[str, list[Node]]:
        """Return the members of runs of several lengths by their kind.

        A kind is a class with its insides; where shapes differ too, the first shape of a run is
        one kind, the second another.
        """
        kinds: dict[Hashable, list[Node]] = {}
        for run in runs:
            shapes: dict[Hashable, dict[Hashable, int]] = {}
            for node in run:
                kind = self._kind(node)
                known = shapes.setdefault(kind, {})
                number = known.setdefault(self._shape(node), len(known))
                kinds.setdefault((kind, number), []).append(node)
        # The first and last of a run are often the only ones of their kind.
        numbers = [{name.rpartition(".")[2] for _, name in group} for group in kinds.values()]
        labels = {
            known.pop(): group
            for known, group in zip(numbers, kinds.values(), strict=True)
            if len(known) == 1
        }
        rest = [group for known, group in zip(numbers, kinds.values(), strict=True) if known]
        classes = Counter(self._class(group[0]) for group in rest)
        seen: Counter[str] = Counter()
        for group in rest:
            name = self._class(group[0])
            seen[name] += 1
            which = f"{name} {seen[name]}" if classes[name] > 1 else name
            labels[f"*({which})" if len(rest) > 1 else "*"] = group
        return labels

    def _class(self, node: Node) -> str:
        layout, name = node
        return self.layouts[layout].classes.get(name, "tensor")

    def _kind(self, node: Node) -> Hashable:
        """Return what a node shares with its like at other sizes: classes and roles."""
        return tuple(part[:3] for part in self._parts(node))

    def _shape(self, node: Node) -> Hashable:
        """Return what a node shares with its like in one network: shapes and spots, too."""
        return tuple(self._parts(node))

    def _parts(self, node: Node) -> list[tuple[str, str, str, tuple[int, ...], str]]:
        layout, top = node
        parts, stack = [], [top]
        while stack:
            name = stack.pop()
            stack += reversed(self.children[layout].get(name, []))
            role, shape = self.layouts[layout].tensors.get(name, ("", ()))
            spot = self.spots.get(name, "") if layout == 0 else ""
            inner = name.removeprefix(top)
            parts.append((inner, self._class((layout, name)), role, shape, spot))
        return parts


def _children(layout: Layout) -> dict[str, list[str]]:
    """Return the modules and tensors directly inside each module."""
    children: dict[str, list[str]] = {}
    known: set[str] = {""}
    for name in [*layout.classes, *layout.tensors]:
        while name not in known:
            known.add(name)
            children.setdefault(parent(name), []).append(name)
            name = parent(name)
    return children


def _grouped(pairs: Iterable[tuple[str, Node]]) -> dict[str, list[Node]]:
    groups: dict[str, list[Node]] = {}
    for key, node in pairs:
        groups.setdefault(key, []).append(node)
    return groups
