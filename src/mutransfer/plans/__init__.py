"""A Plan and how it is made from two readings and a rule; no framework."""

from ._families import way_out as way_out
from ._hyperparameters import UNITS as UNITS
from ._hyperparameters import Hyperparameters as Hyperparameters
from ._hyperparameters import resolved as resolved
from ._make import make_plan as make_plan
from ._make import needs_trace as needs_trace
from ._plan import Plan as Plan
from ._show import octaves as octaves
from ._table import Row as Row
from ._table import grouped as grouped
from ._table import table as table
from ._tensor import ForwardMultiplier as ForwardMultiplier
from ._tensor import TensorPlan as TensorPlan
from ._tunable import Carriers as Carriers
from ._warnings import PlanWarning as PlanWarning
