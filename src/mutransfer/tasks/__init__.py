"""Proxies, data that is always at hand, and loaders of other data by name."""

from ._batches import Batch as Batch
from ._batches import Feed as Feed
from ._batches import Inputs as Inputs
from ._batches import length as length
from ._batches import take as take
from ._data import digits as digits
from ._data import pydocs as pydocs
from ._data import text as text
from ._hub import hub as hub
from ._images import cifar10 as cifar10
from ._images import images as images
from ._load import LOADERS as LOADERS
from ._load import TASKS as TASKS
from ._load import task as task
from ._models import ACTIVATIONS as ACTIVATIONS
from ._models import gpt as gpt
from ._models import mlp as mlp
from ._models import resmlp as resmlp
from ._outputs import main_tensor as main_tensor
from ._resnet import resnet as resnet
from ._scores import accuracy as accuracy
from ._scores import cross_entropy as cross_entropy
from ._sources import stream as stream
from ._stream import Stream as Stream
from ._task import Task as Task
from ._vit import vit as vit
