"""The nodes of an autograd graph: kinds of operations, inputs, order."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

Node = Any
"""A node of the autograd graph; torch gives its type no public name that covers all of them."""

VIEWS = {
    "T",
    "Transpose",
    "Permute",
    "View",
    "UnsafeView",
    "Reshape",
    "Expand",
    "Squeeze",
    "Unsqueeze",
    "Alias",
    "ToCopy",
    "Clone",
    "Slice",
}
NORMS = {"NativeLayerNorm", "NativeBatchNorm", "NativeGroupNorm", "FusedRmsNorm", "CudnnBatchNorm"}
PRODUCTS = {
    "Mm",
    "Addmm",
    "Bmm",
    "Baddbmm",
    "GroupedMm",
    "Linear",
    "Convolution",
    "Embedding",
    "Mul",
    *NORMS,
}
HOMOGENEOUS = VIEWS | {
    *(
        "Add",
        "Sub",
        "Neg",
        "Mul",
        "Div",
        "Cat",
        "Stack",
        "Select",
        "Mean",
        "Sum",
        "NativeDropout",
        "Index",
    ),
    *("Relu", "LeakyRelu", "Abs", "MaxPool2DWithIndices", "AvgPool2D", "AdaptiveAvgPool2D"),
}
"""Operations whose output is multiplied by a positive factor when all their inputs are."""
SUMS = {"Add", "Sub", "Cat", "Stack"}
NORMALISING = NORMS | {"Rsqrt", "Sqrt", "Pow", "LinalgVectorNorm", "Norm", "Std", "Var"}


def kind_of(node: Node) -> str:
    """Return the operation of a node, without "Backward" and its version."""
    return kind_named(node.name())


@cache
def kind_named(name: str) -> str:
    return re.sub(r"(Backward)?\d*$", "", name.rpartition("::")[2])


def inputs_of(node: Node) -> tuple[Node, ...]:
    """Return the nodes that make the inputs of a node."""
    return tuple(parent for parent, _ in node.next_functions if parent is not None)


def is_homogeneous(node: Node) -> bool:
    """Return True if the node is linear in its signal.

    No constant is added, only one factor is a signal, and no signal divides.
    """
    parents = [parent for parent, _ in node.next_functions]
    if kind_of(node) in SUMS:
        return None not in parents and (len(parents) > 1 or kind_of(node) in {"Cat", "Stack"})
    if kind_of(node) in {"Mul", "Div"}:
        return len(inputs_of(node)) == 1 and (kind_of(node) == "Mul" or parents[0] is not None)
    return True


def topological(roots: list[Node]) -> list[Node]:
    """Return the nodes in an order in which each comes after all of its inputs."""
    order, done, stack = [], set(), [(root, False) for root in roots]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in inputs_of(node))
    return order
