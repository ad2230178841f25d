"""Declared residual branches, for models whose forward pass does not show them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from ..core import MutransferError
from ..reading import Branch, canonical, parent


def declared_branches(
    model: nn.Module, branches: Mapping[str, Sequence[str]]
) -> tuple[Branch, ...]:
    """Return the residual branches that were declared.

    Args:
        model: The model.
        branches: Patterns of the modules that end a branch with learned tensors, each with the
            patterns of the tensors in its branch.

    Raises:
        MutransferError: a pattern matches nothing.
    """
    if not isinstance(branches, Mapping) or not all(
        _is_declaration(*each) for each in branches.items()
    ):
        raise MutransferError(
            f"branches is {branches!r}: give "
            '{"blocks.*.out": ("blocks.*.norm.*", "blocks.*.up.*")}, '
            "the module that ends each kind of branch with the patterns of all tensors in it"
        )
    aliases = _aliases(model)
    names = [group[0] for group in aliases]
    matrices = {canonical(name) for name, p in model.named_parameters() if p.dim() > 1}
    return tuple(
        _branch(names, matrices, canonical(end), layer, patterns)
        for ending, patterns in branches.items()
        for end, layer in _ends(model, ending)
    )


def _aliases(model: nn.Module) -> list[list[str]]:
    """Return the names of each parameter; shared ones have several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(canonical(name))
    return list(names.values())


def _ends(model: nn.Module, ending: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the modules that a declared pattern matches, with its stars' values."""
    stars = re.compile(re.escape(ending).replace(r"\*", "([^.]+)"))
    matches = ((name, stars.fullmatch(canonical(name))) for name, _ in model.named_modules())
    ends = [(name, match.groups()) for name, match in matches if match]
    if not ends:
        raise MutransferError(
            f"branches={{{ending!r}: ...}} matches no module of {type(model).__name__}"
        )
    return ends


def _branch(
    names: Sequence[str],
    matrices: set[str],
    end: str,
    layer: Sequence[str],
    patterns: Sequence[str],
) -> Branch:
    """Return one declared branch."""
    last = frozenset(name for name in names if parent(name) == end)
    tensors = last.union(*(_inside(names, pattern, layer) for pattern in patterns))
    if not last:
        raise MutransferError(
            f"{end} ends a branch, as declared, but has no learned tensors that could "
            "carry a multiplier"
        )
    return Branch(tensors, last, len(tensors & matrices))


def _is_declaration(ending: object, patterns: object) -> bool:
    inside = (
        not isinstance(patterns, str)
        and isinstance(patterns, Sequence)
        and all(isinstance(each, str) for each in patterns)
    )
    return isinstance(ending, str) and inside


def _inside(names: Sequence[str], pattern: str, layer: Sequence[str]) -> list[str]:
    """Return the tensors of one branch.

    The first stars of the pattern stand for the layer numbers of the branch's end.
    """
    for value in layer:
        pattern = pattern.replace("*", value, 1)
    tensors = [name for name in names if fnmatchcase(name, pattern)]
    if not tensors:
        raise MutransferError(f"a declared branch contains {pattern!r}, which matches no parameter")
    return tensors
