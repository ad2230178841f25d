"""Certificates: drift, regret and the rate to use at a target size, or a refusal."""

from ._certify import transfer as transfer
from ._optimum import Optimum as Optimum
from ._optimum import optimum as optimum
from ._table import Cells as Cells
from ._table import cells as cells
from ._table import regret_text as regret_text
from ._table import table as table
from ._transfer import Refusal as Refusal
from ._transfer import Transfer as Transfer
from ._transfers import Transfers as Transfers
