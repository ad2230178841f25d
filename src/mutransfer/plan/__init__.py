"""Reads a torch model against its base; writes, explains and applies a Plan."""

from ._axes import Axes as Axes
from ._make import plan as plan
from ._plan import Plan as Plan
from ._plan import TensorPlan as TensorPlan
from ._plan import cite as cite
from ._trace import trace as trace
