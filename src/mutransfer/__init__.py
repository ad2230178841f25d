"""Tune small, train large: hyperparameters that transfer across width and depth.

    import mutransfer as mt

    plan = mt.plan(model, base=base_model)
    plan.initialize(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, lr=2**-8))

Public names are imported on first use, so that `import mutransfer` costs nothing and the command
line answers at once.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from . import limits as limits
    from .certificates import Choice as Choice
    from .certificates import Collapses as Collapses
    from .certificates import Refusal as Refusal
    from .certificates import Surface as Surface
    from .certificates import Transfer as Transfer
    from .certificates import Transfers as Transfers
    from .certificates import collapse as collapse
    from .certificates import surface as surface
    from .certificates import transfer as transfer
    from .checks import CoordinateCheck as CoordinateCheck
    from .checks import coordinate_check as coordinate_check
    from .core import MutransferError as MutransferError
    from .core import Progress as Progress
    from .core import Size as Size
    from .pytorch import Plan as Plan
    from .pytorch import cite as cite
    from .pytorch import plan as plan
    from .pytorch import read as read
    from .reading import Reading as Reading
    from .rules import ABC as ABC
    from .rules import Parametrization as Parametrization
    from .rules import classify as classify
    from .rules import classify_depth as classify_depth
    from .rules import horizon as horizon
    from .rules import parametrization as parametrization
    from .studies import Grid as Grid
    from .studies import OneAtATime as OneAtATime
    from .studies import Points as Points
    from .studies import Random as Random
    from .studies import Runs as Runs
    from .studies import Study as Study
    from .studies import Trial as Trial
    from .studies import command as command
    from .studies import log2 as log2
    from .studies import sweep as sweep
    from .tasks import Stream as Stream
    from .tasks import Task as Task
    from .training import RangeTest as RangeTest
    from .training import range_test as range_test

_HOMES = {
    "ABC": "rules",
    "Choice": "certificates",
    "Collapses": "certificates",
    "CoordinateCheck": "checks",
    "Grid": "studies",
    "MutransferError": "core",
    "OneAtATime": "studies",
    "Parametrization": "rules",
    "Plan": "pytorch",
    "Points": "studies",
    "Progress": "core",
    "Random": "studies",
    "RangeTest": "training",
    "Reading": "reading",
    "Refusal": "certificates",
    "Runs": "studies",
    "Size": "core",
    "Stream": "tasks",
    "Study": "studies",
    "Surface": "certificates",
    "Task": "tasks",
    "Transfer": "certificates",
    "Transfers": "certificates",
    "Trial": "studies",
    "cite": "pytorch",
    "classify": "rules",
    "classify_depth": "rules",
    "collapse": "certificates",
    "command": "studies",
    "coordinate_check": "checks",
    "horizon": "rules",
    "log2": "studies",
    "parametrization": "rules",
    "plan": "pytorch",
    "range_test": "training",
    "read": "pytorch",
    "surface": "certificates",
    "sweep": "studies",
    "transfer": "certificates",
}
"""The room of each public name."""

__all__ = [*_HOMES, "limits"]


def __getattr__(name: str) -> object:
    if name == "limits":
        return _import_module(".limits", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
