"""Coordinate checks: whether a model's features move by the same amount at every width and depth, and what is wrong where not."""

from ._check import coordinate_check as coordinate_check
from ._result import CoordinateCheck as CoordinateCheck
from ._slopes import Slope as Slope
from ._verdict import Finding as Finding
