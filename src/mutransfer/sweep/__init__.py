"""Studies: what to run, the runs, and their record."""

from ._runs import Runs as Runs
from ._runs import edge as edge
from ._store import Store as Store
from ._store import write_csv as write_csv
from ._study import Run as Run
from ._study import Size as Size
from ._study import Study as Study
from ._study import built as built
from ._study import log2 as log2
from ._sweep import Progress as Progress
from ._sweep import about as about
from ._sweep import estimate as estimate
from ._sweep import members as members
from ._sweep import missing as missing
from ._sweep import planned as planned
from ._sweep import recipe as recipe
from ._sweep import sweep as sweep
