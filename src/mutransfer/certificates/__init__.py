"""Certificates: drift, regret and what to use at a target size, or a refusal."""

from ._certify import transfer as transfer
from ._choice import Best as Best
from ._choice import Choice as Choice
from ._metric import metric_name as metric_name
from ._metric import metric_reason as metric_reason
from ._optimum import FEW_SEEDS as FEW_SEEDS
from ._optimum import Optimum as Optimum
from ._optimum import optimum as optimum
from ._priors import law_prior as law_prior
from ._rows import optima_rows as optima_rows
from ._rows import summary_rows as summary_rows
from ._scales import decimal as decimal
from ._scales import distance_text as distance_text
from ._scales import positions as positions
from ._scales import scale_along as scale_along
from ._scales import unit as unit
from ._scales import value_text as value_text
from ._table import Cells as Cells
from ._table import cells as cells
from ._table import regret_text as regret_text
from ._table import table as table
from ._transfer import Refusal as Refusal
from ._transfer import Transfer as Transfer
from ._transfers import Transfers as Transfers
