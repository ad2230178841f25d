"""Engines: where the jobs of a study run, from this process to a cluster."""

from ._choice import NAMED as NAMED
from ._choice import executor_of as executor_of
from ._here import Here as Here
from ._processes import Processes as Processes
from ._processes import cores as cores
from ._protocols import Engine as Engine
from ._protocols import Executor as Executor
from ._protocols import Future as Future
from ._protocols import Resources as Resources
from ._ray import Ray as Ray
from ._submitit import Submitit as Submitit
