"""Residual branches that were declared, for models whose forward pass cannot be traced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from ..core import MutransferError
from ..reading import NOTHING, Branch, Signal, Trace, canonical


def declared_trace(model: nn.Module, branches: Mapping[str, Sequence[str]]) -> Trace:
    """What is known of a model whose branches were declared: no attention, no number of its own, no input of any matrix.

    Matrices outside the branches take in data, or make the output, where one of their sides is not that of the residual stream.

    Args:
        model: The model.
        branches: Patterns of the modules that end a branch with learned tensors, each with the patterns of the tensors in its branch.

    Raises:
        MutransferError: a pattern matches nothing.
    """
    if not isinstance(branches, Mapping) or not all(
        _is_declaration(*each) for each in branches.items()
    ):
        raise MutransferError(
            f'branches is {branches!r}: give {{"blocks.*.out": ("blocks.*.norm.*", "blocks.*.up.*")}}, '
            "the module that ends each kind of branch with the patterns of all tensors in it"
        )
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(canonical(name))
    own = [aliases[0] for aliases in names.values()]
    matrices = {
        canonical(name) for name, parameter in model.named_parameters() if parameter.dim() > 1
    }
    found = []
    for ending, patterns in branches.items():
        stars = re.compile(re.escape(ending).replace(r"\*", "([^.]+)"))
        ends = [
            (name, match.groups())
            for name, _ in model.named_modules()
            if (match := stars.fullmatch(canonical(name)))
        ]
        if not ends:
            raise MutransferError(
                f"branches={{{ending!r}: ...}} matches no module of {type(model).__name__}"
            )
        for end, layer in ends:
            last = frozenset(name for name in own if name.rpartition(".")[0] == canonical(end))
            tensors = last.union(*(_inside(own, pattern, layer) for pattern in patterns))
            if not last:
                raise MutransferError(
                    f"{end} ends a branch, as declared, but has no learned tensors that could carry a multiplier"
                )
            found.append(Branch(tensors, Signal(last), len(tensors & matrices)))
    tied = [aliases[0] for aliases in names.values() if len(aliases) > 1]
    outside = matrices.difference(*(branch.tensors for branch in found))
    shapes = {name: tuple(model.get_parameter(name).shape) for name in matrices}
    stream = {
        shapes[name][0]
        for branch in found
        for name in (branch.end.tensors or frozenset()) & matrices
    }
    return Trace(
        branches=tuple(found),
        feeds=dict.fromkeys(tied, NOTHING),
        first=frozenset(name for name in outside if shapes[name][1] not in stream),
        final=frozenset(name for name in outside if shapes[name][0] not in stream),
        declared=True,
    )


def _is_declaration(ending: object, patterns: object) -> bool:
    inside = (
        not isinstance(patterns, str)
        and isinstance(patterns, Sequence)
        and all(isinstance(each, str) for each in patterns)
    )
    return isinstance(ending, str) and inside


def _inside(names: Sequence[str], pattern: str, layer: Sequence[str]) -> list[str]:
    """The tensors of one branch: the first stars of the pattern stand for what those of its end stood for."""
    for value in layer:
        pattern = pattern.replace("*", value, 1)
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise MutransferError(f"a declared branch contains {pattern!r}, which matches no parameter")
    return found
