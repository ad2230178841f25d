"""The mathematics of hyperparameter transfer; standard library only."""

from ._abc import FORMS as FORMS
from ._abc import Quantities as Quantities
from ._listing import Row as Row
from ._listing import listing as listing
from ._listing import signals as signals
from ._optimizers import FAMILIES as FAMILIES
from ._optimizers import Family as Family
from ._optimizers import family as family
from ._powers import ONE as ONE
from ._powers import Powers as Powers
from ._powers import powers as powers
from ._roles import Role as Role
from ._roles import matrix_role as matrix_role
from ._tables import PARAMETRIZATIONS as PARAMETRIZATIONS
from ._tables import Parametrization as Parametrization
from ._tables import parametrization as parametrization
