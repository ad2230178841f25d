"""Studies: what to run, the runs, and their record."""

from ._runs import Runs as Runs
from ._store import Store as Store
from ._study import Run as Run
from ._study import Study as Study
from ._study import log2 as log2
from ._sweep import Progress as Progress
from ._sweep import estimate as estimate
from ._sweep import members as members
from ._sweep import missing as missing
from ._sweep import planned as planned
from ._sweep import recipe as recipe
from ._sweep import sweep as sweep
