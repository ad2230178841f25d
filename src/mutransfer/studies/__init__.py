"""Studies: what to run, the runs, and their record."""

from ._models import members as members
from ._models import planned as planned
from ._models import recipe as recipe
from ._run import Run as Run
from ._runs import Runs as Runs
from ._runs import loss_of as loss_of
from ._store import Store as Store
from ._study import Study as Study
from ._study import log2 as log2
from ._sweep import estimate as estimate
from ._sweep import missing as missing
from ._sweep import sweep as sweep
from ._table import scale_of as scale_of
