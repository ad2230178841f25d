"""Plain data read off a model, names and patterns; no framework."""

from ._axes import AXES as AXES
from ._axes import Axes as Axes
from ._axes import check_declared as check_declared
from ._names import canonical as canonical
from ._names import check_matches as check_matches
from ._names import first_match as first_match
from ._names import first_star as first_star
from ._names import matching as matching
from ._names import numbers as numbers
from ._names import parent as parent
from ._names import pattern as pattern
from ._names import unwrapped as unwrapped
from ._parameter import Parameter as Parameter
from ._program import Operation as Operation
from ._program import Program as Program
from ._program import Ref as Ref
from ._program import Value as Value
from ._reading import Reading as Reading
from ._signals import NOTHING as NOTHING
from ._signals import Branch as Branch
from ._signals import Signal as Signal
