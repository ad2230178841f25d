"""Tune small, train large: hyperparameter transfer across width and depth for any PyTorch model.

    import mutransfer as mt

    plan = mt.plan(model, base=base_model)
    plan.initialize(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, lr=2**-8))

Public names are imported on first use, so that `import mutransfer` costs nothing and the command line answers at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import limits as limits
    from ._errors import MutransferError as MutransferError
    from .check import CoordinateCheck as CoordinateCheck
    from .check import coordinate_check as coordinate_check
    from .plan import Plan as Plan
    from .plan import Reading as Reading
    from .plan import cite as cite
    from .plan import plan as plan
    from .plan import read as read
    from .rules import ABC as ABC
    from .rules import classify as classify
    from .rules import classify_depth as classify_depth
    from .rules import horizon as horizon
    from .rules import parametrization as parametrization
    from .sweep import Runs as Runs
    from .sweep import Study as Study
    from .sweep import log2 as log2
    from .sweep import sweep as sweep
    from .tasks import Task as Task
    from .transfer import Transfer as Transfer
    from .transfer import transfer as transfer

_HOMES = {
    "MutransferError": "_errors",
    "CoordinateCheck": "check",
    "coordinate_check": "check",
    "Plan": "plan",
    "cite": "plan",
    "Reading": "plan",
    "plan": "plan",
    "read": "plan",
    "ABC": "rules",
    "classify": "rules",
    "classify_depth": "rules",
    "horizon": "rules",
    "parametrization": "rules",
    "Runs": "sweep",
    "Study": "sweep",
    "log2": "sweep",
    "sweep": "sweep",
    "Task": "tasks",
    "Transfer": "transfer",
    "transfer": "transfer",
}
__all__ = [*_HOMES, "limits"]


class _Package(ModuleType):
    """The package itself: `mutransfer.plan`, `.sweep` and `.transfer` are the functions, not the folders that define them."""

    def __getattr__(self, name: str) -> Any:
        if name == "limits":
            return import_module(".limits", __name__)
        if name in _HOMES:
            value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
            self.__dict__[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__})


sys.modules[__name__].__class__ = _Package
