"""Training: members of one shape, as one stacked program or one by one."""

from ._batches import called as called
from ._batches import placed as placed
from ._choice import Candidate as Candidate
from ._choice import Choice as Choice
from ._choice import choose as choose
from ._fallback import StackingWarning as StackingWarning
from ._judge import Judge as Judge
from ._lion import Lion as Lion
from ._loop import train_one_by_one as train_one_by_one
from ._matrix_optimizers import SOAP as SOAP
from ._matrix_optimizers import Shampoo as Shampoo
from ._members import Member as Member
from ._optimizers import UPDATES as UPDATES
from ._program import Program as Program
from ._range_test import RangeTest as RangeTest
from ._range_test import range_test as range_test
from ._recipe import Recipe as Recipe
from ._recipe import Watch as Watch
from ._recipe import check_optimizer as check_optimizer
from ._schedules import SCHEDULES as SCHEDULES
from ._schedules import schedule as schedule
from ._stacked import train as train
from ._trained import Trained as Trained
