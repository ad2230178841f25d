"""Training: members of one shape, as one stacked program or one by one."""

from ._loop import train_one_by_one as train_one_by_one
from ._optimizers import UPDATES as UPDATES
from ._recipe import Member as Member
from ._recipe import Recipe as Recipe
from ._recipe import Watch as Watch
from ._recipe import check_optimizer as check_optimizer
from ._stacked import train as train
