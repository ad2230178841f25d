"""Recognises optimizers: torch's own classes and objects, families by name, and which of several trains which tensor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch

from .._errors import MutransferError
from ..rules import Family, Role, covers, family

TORCH: Mapping[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adamax": torch.optim.Adamax,
    "adafactor": torch.optim.Adafactor,
} | ({"muon-original": torch.optim.Muon} if hasattr(torch.optim, "Muon") else {})
"""The class of each family that torch has itself."""

_NAMES = {cls: name for name, cls in TORCH.items()}
_MUON_SCALES = {None: "muon-original", "original": "muon-original", "match_rms_adamw": "muon-match-rms"}


def torch_class(optimizer: Family) -> type[torch.optim.Optimizer] | None:
    """The class of torch that belongs to a family, or None where it has none."""
    name = {"muon-match-rms": "muon-original", "amsgrad": "adam", "nadamw": "nadam", "radamw": "radam"}.get(optimizer.name, optimizer.name)
    return TORCH.get(name)


def recognised(optimizer: Any) -> Family:
    """The family of an optimizer that is given as a name, a family, a class of torch, a partial of one, or an optimizer itself.

    Raises:
        MutransferError: no scaling rule is known for it.
    """
    if isinstance(optimizer, str | Family):
        return family(optimizer)
    settings: Mapping[str, Any] = {}
    if isinstance(optimizer, partial):
        optimizer, settings = optimizer.func, optimizer.keywords
    elif isinstance(optimizer, torch.optim.Optimizer):
        usual = inspect.signature(type(optimizer)).parameters
        settings = {k: v for k, v in optimizer.defaults.items() if k != "lr" and k in usual and v != usual[k].default}
        optimizer = type(optimizer)
    if not isinstance(optimizer, type) or optimizer not in _NAMES:
        what = getattr(optimizer, "__name__", repr(optimizer))
        raise MutransferError(
            f"no scaling rule is known for {what}: give one of torch's classes {', '.join(cls.__name__ for cls in _NAMES)}, or name its "
            "family, such as optimizer='lion', or declare how its update answers to the gradient's scale with mutransfer.rules.Family"
        )
    if lost := settings.keys() & {"lr", "eps", "weight_decay"}:
        raise MutransferError(
            f"{optimizer.__name__} was given {', '.join(sorted(lost))}, which the plan's parameter groups set for each tensor: "
            "give the plan the class alone, and these values to param_groups"
        )
    name = _NAMES[optimizer]
    if name == "muon-original":
        scale = settings.get("adjust_lr_fn")
        if scale not in _MUON_SCALES:
            raise MutransferError(
                f"torch.optim.Muon with adjust_lr_fn={scale!r} has no scaling rule; name the convention: muon-spectral, ..."
            )
        return family(_MUON_SCALES[scale])
    decoupled = settings.get("decoupled_weight_decay") and name != "adamw"
    return family({"adam": "adamw", "nadam": "nadamw", "radam": "radamw"}[name] if decoupled else name)


def assigned(optimizer: Any, tensors: Mapping[str, tuple[Role, int]]) -> dict[str, Family]:
    """Which family trains which tensor.

    Args:
        optimizer: What `recognised` takes, or a mapping from a role or a name pattern to it; the first key that matches counts.
        tensors: Role and number of dimensions of each tensor.

    Raises:
        MutransferError: an optimizer is unknown, a key matches nothing, a tensor has none, or one for matrices got something else.
    """
    if not isinstance(optimizer, Mapping):
        optimizer = {"*": optimizer}
    families = {key: recognised(value) for key, value in optimizer.items()}
    if len(set(families.values())) != len({each.name for each in families.values()}):
        raise MutransferError(
            f"two optimizer families that differ share a name among {[each.name for each in families.values()]}: rename one"
        )
    found: dict[str, Family] = {}
    for name, (role, dimensions) in tensors.items():
        key = next((key for key in families if covers(key, role) or fnmatchcase(name, key)), None)
        if key is None:
            raise MutransferError(f"no optimizer was given for {name} ({role}): add one to optimizer={{...}}, with '*' for the rest")
        found[name] = families[key]
        if families[key].matrices and dimensions != 2 and role != Role.FROZEN:
            raise MutransferError(
                f"{families[key].name} updates matrices only, and {name} ({role}) has {dimensions} dimensions: give the others one of "
                f"their own, such as optimizer={{'hidden': '{families[key].name}', '*': 'adamw'}}"
            )
    for key in families:
        if not any(covers(key, role) or fnmatchcase(name, key) for name, (role, _) in tensors.items()):
            raise MutransferError(f"optimizer={{{key!r}: ...}} matches no role and no tensor of the model")
    return found
