"""Coordinate checks: features that move by the same amount at every size."""

from ._check import coordinate_check as coordinate_check
from ._findings import Finding as Finding
from ._quantities import QUANTITIES as QUANTITIES
from ._quantities import Expected as Expected
from ._quantities import Quantity as Quantity
from ._quantities import When as When
from ._result import CoordinateCheck as CoordinateCheck
from ._rows import Row as Row
from ._slopes import Slope as Slope
from ._slopes import series as series
from ._spots import Spot as Spot
