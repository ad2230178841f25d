"""Reads a torch model against its base; writes, explains and applies a Plan."""

from ._audit import Audit as Audit
from ._axes import Axes as Axes
from ._make import plan as plan
from ._plan import Plan as Plan
from ._plan import TensorPlan as TensorPlan
from ._plan import cite as cite
from ._reading import Reading as Reading
from ._reading import read as read
from ._trace import trace as trace
from ._warnings import PlanWarning as PlanWarning
