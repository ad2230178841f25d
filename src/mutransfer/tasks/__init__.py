"""Proxies and data that are always at hand."""

from ._data import TASKS as TASKS
from ._data import Task as Task
from ._data import cross_entropy as cross_entropy
from ._data import digits as digits
from ._data import pydocs as pydocs
from ._data import task as task
from ._data import text as text
from ._models import ACTIVATIONS as ACTIVATIONS
from ._models import gpt as gpt
from ._models import mlp as mlp
from ._models import resmlp as resmlp
from ._outputs import main_tensor as main_tensor
