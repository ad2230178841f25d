"""Statistics: intervals, power laws, minima, divergence, feature diversity; numpy."""

from ._arrays import Array as Array
from ._arrays import Indices as Indices
from ._bootstrap import estimate as estimate
from ._bootstrap import interval as interval
from ._bootstrap import resamples as resamples
from ._divergence import HOPELESS as HOPELESS
from ._divergence import ZERO as ZERO
from ._divergence import diverged_at as diverged_at
from ._divergence import hopeless as hopeless
from ._divergence import infinite as infinite
from ._diversity import FEWEST_BRANCHES as FEWEST_BRANCHES
from ._diversity import diversity_exponent as diversity_exponent
from ._moderated import moderated as moderated
from ._posterior import Posterior as Posterior
from ._posterior import posterior as posterior
from ._power_law import PowerLaw as PowerLaw
from ._power_law import power_law as power_law
from ._power_law import power_laws as power_laws
from ._student import student_t as student_t
from ._vertex import edge as edge
from ._vertex import vertex as vertex
