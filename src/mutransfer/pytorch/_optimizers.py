"""Optimizers of torch and the families they belong to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from ..core import MutransferError
from ..rules import Family, families, family
from ._settings import check_start

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
"""Torch's own class of each family that has one."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "amsgrad": {"amsgrad": True},
    "nadamw": {"decoupled_weight_decay": True},
    "radamw": {"decoupled_weight_decay": True},
    "muon-match-rms": {"adjust_lr_fn": "match_rms_adamw"},
}
"""The settings that make torch's class the family, where they are not its defaults."""

_SAME_CLASS = {
    "muon-match-rms": "muon-original",
    "amsgrad": "adam",
    "nadamw": "nadam",
    "radamw": "radam",
}
_NAMES = {cls: name for name, cls in TORCH.items()}
_MUON_SCALES = {
    None: "muon-original",
    "original": "muon-original",
    "match_rms_adamw": "muon-match-rms",
}
_DECOUPLED = {"adam": "adamw", "nadam": "nadamw", "radam": "radamw"}


def torch_class(optimizer: Family) -> type[torch.optim.Optimizer] | None:
    """Return torch's class of a family, or None where torch has none."""
    return TORCH.get(_SAME_CLASS.get(optimizer.name, optimizer.name))


def recognised(optimizer: Any) -> Family:
    """Return the family of an optimizer.

    Args:
        optimizer: A name, a family, a class of torch, a partial of one, or an optimizer itself.

    Raises:
        MutransferError: no scaling rule is known for it, or for what it was given.
    """
    if isinstance(optimizer, str | Family):
        return family(optimizer)
    cls, settings = _class_and_settings(optimizer)
    if not isinstance(cls, type) or cls not in _NAMES:
        what = getattr(cls, "__name__", repr(cls))
        known = ", ".join(each.__name__ for each in _NAMES)
        raise MutransferError(
            f"no scaling rule is known for {what}: give one of torch's classes {known}, or name "
            "its family, such as optimizer='lion', or declare how its update answers to the "
            "gradient's scale with mutransfer.rules.Family"
        )
    if lost := settings.keys() & {"lr", "eps", "weight_decay"}:
        raise MutransferError(
            f"{cls.__name__} was given {', '.join(sorted(lost))}, which the plan's parameter "
            "groups set for each tensor: give the plan the class alone, and these values to "
            "param_groups"
        )
    check_start(cls.__name__, settings)
    name = _NAMES[cls]
    if name == "muon-original":
        scale = settings.get("adjust_lr_fn")
        if scale not in _MUON_SCALES:
            raise MutransferError(
                f"torch.optim.Muon with adjust_lr_fn={scale!r} has no scaling rule; "
                "name the convention: muon-spectral, ..."
            )
        return family(_MUON_SCALES[scale])
    decoupled = settings.get("decoupled_weight_decay") and name != "adamw"
    return family(_DECOUPLED[name] if decoupled else name)


def recognised_families(optimizer: Any) -> dict[str, Family]:
    """Return the families that train a model, by role or name pattern.

    Args:
        optimizer: An optimizer as `recognised` takes it, a text of two such as "muon+adamw", or a
            mapping from roles or name patterns to optimizers.

    Raises:
        MutransferError: no scaling rule is known for one of them.
    """
    if isinstance(optimizer, Mapping):
        return {key: recognised(each) for key, each in optimizer.items()}
    return families(optimizer) if isinstance(optimizer, str) else {"*": recognised(optimizer)}


def _class_and_settings(optimizer: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the class of an optimizer, and what was set other than its defaults."""
    if isinstance(optimizer, partial):
        return optimizer.func, optimizer.keywords
    if isinstance(optimizer, torch.optim.Optimizer):
        usual = inspect.signature(type(optimizer)).parameters
        settings = {
            name: value
            for name, value in optimizer.defaults.items()
            if name != "lr" and name in usual and value != usual[name].default
        }
        return type(optimizer), settings
    return optimizer, {}
