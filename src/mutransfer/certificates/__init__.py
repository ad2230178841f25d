"""Optimum, drift, regret, and the rate to use at a target size."""

from ._optimum import Optimum as Optimum
from ._optimum import optimum as optimum
from ._transfer import Transfer as Transfer
from ._transfer import transfer as transfer
