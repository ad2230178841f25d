"""Many configurations of one shape, trained as one program."""

from ._optimizers import UPDATES as UPDATES
from ._optimizers import check_options as check_options
from ._train import Member as Member
from ._train import Recipe as Recipe
from ._train import Watch as Watch
from ._train import train as train
from ._train import train_one_by_one as train_one_by_one
