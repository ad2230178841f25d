"""The optimizer family of each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ..core import MutransferError
from ..reading import pattern
from ..rules import Family, Role, Trait, covers


def assigned(
    families: Mapping[str, Family], tensors: Mapping[str, tuple[Role, int]]
) -> dict[str, Family]:
    """Return the family that trains each tensor.

    Args:
        families: Families by role or name pattern; the first key that matches counts.
        tensors: Role and number of dimensions of each tensor.

    Raises:
        MutransferError: a key matches nothing, a tensor has no family, or one for matrices would
            train something else.
    """
    _check_names(families)
    assignment: dict[str, Family] = {}
    for name, (role, dimensions) in tensors.items():
        family = next((each for key, each in families.items() if _matches(key, name, role)), None)
        if family is None:
            raise MutransferError(
                f"no optimizer was given for {name} ({role}): add one to optimizer={{...}}, "
                "with '*' for the rest"
            )
        if family.matrices and role != Role.FROZEN and not _is_matrix(role, dimensions):
            wrong = [
                other
                for other, (its_role, its_dimensions) in tensors.items()
                if covers("hidden", its_role) and not _is_matrix(its_role, its_dimensions)
            ]
            raise MutransferError(
                f"{family.name} updates matrices only, and {name} ({role}) has {dimensions} "
                f"dimensions: {way_out(family, wrong)}"
            )
        assignment[name] = family
    for key in families:
        if not any(_matches(key, name, role) for name, (role, _) in tensors.items()):
            raise MutransferError(
                f"optimizer={{{key!r}: ...}} matches no role and no tensor of the model"
            )
    return assignment


def way_out(family: Family, names: Sequence[str]) -> str:
    """Return the call that trains other tensors by another family, in words.

    Args:
        family: The family.
        names: The hidden tensors that it cannot train; without any, the roles are enough.
    """
    if not names:
        return (
            f"give the others one of their own, such as optimizer='{family.name}+adamw' for all "
            f"but hidden tensors, or optimizer={{'*.proj.weight': '{family.name}', '*': 'adamw'}} "
            "by name"
        )
    others = {pattern(name): "adamw" for name in names}
    return (
        "take such tensors out by name, before the others: "
        f"optimizer={others | {'hidden': family.name, '*': 'adamw'}}"
    )


def _is_matrix(role: Role, dimensions: int) -> bool:
    """Return True for a matrix, and for a kernel, which is flattened to one."""
    # The matrices of a stack of experts are many: one flattened matrix would mix them.
    kernel = dimensions > 2 and role != Role.EXPERT and not role.has(Trait.NO_MATRIX)
    return dimensions == 2 or kernel


def _matches(key: str, name: str, role: Role) -> bool:
    return covers(key, role) or fnmatchcase(name, key)


def _check_names(families: Mapping[str, Family]) -> None:
    if len(set(families.values())) != len({family.name for family in families.values()}):
        raise MutransferError(
            "two optimizer families that differ share a name among "
            f"{[family.name for family in families.values()]}: rename one"
        )
