"""The optimizer family of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from ..core import MutransferError
from ..rules import Family, Role, covers


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
        if family.matrices and dimensions != 2 and role != Role.FROZEN:
            raise MutransferError(
                f"{family.name} updates matrices only, and {name} ({role}) has {dimensions} "
                "dimensions: give the others one of their own, such as "
                f"optimizer='{family.name}+adamw' for all but hidden tensors, or "
                f"optimizer={{'*.proj.weight': '{family.name}', '*': 'adamw'}} by name"
            )
        assignment[name] = family
    for key in families:
        if not any(_matches(key, name, role) for name, (role, _) in tensors.items()):
            raise MutransferError(
                f"optimizer={{{key!r}: ...}} matches no role and no tensor of the model"
            )
    return assignment


def _matches(key: str, name: str, role: Role) -> bool:
    return covers(key, role) or fnmatchcase(name, key)


def _check_names(families: Mapping[str, Family]) -> None:
    if len(set(families.values())) != len({family.name for family in families.values()}):
        raise MutransferError(
            "two optimizer families that differ share a name among "
            f"{[family.name for family in families.values()]}: rename one"
        )
