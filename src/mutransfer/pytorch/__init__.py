"""PyTorch: reads a model, applies a plan, and writes it out for trainers."""

from ._attention import AttentionCall as AttentionCall
from ._attention import AttentionMode as AttentionMode
from ._audit import Audit as Audit
from ._axes import is_norm as is_norm
from ._groups import parameter_groups as parameter_groups
from ._guard import Guard as Guard
from ._inputs import guess_inputs as guess_inputs
from ._megatron import megatron_flags as megatron_flags
from ._models import build_model as build_model
from ._models import builder_name as builder_name
from ._optimizers import VARIANTS as VARIANTS
from ._optimizers import recognised_families as recognised_families
from ._optimizers import torch_class as torch_class
from ._plan import Plan as Plan
from ._plan import cite as cite
from ._plan import plan as plan
from ._planned import planned_parameters as planned_parameters
from ._read import read as read
from ._record import record_program as record_program
from ._seeded import seed_generators as seed_generators
from ._seeded import seeded as seeded
from ._snippet import snippet as snippet
from ._tensors import rms as rms
from ._tensors import whole as whole
from ._trainers import configure_optimizers as configure_optimizers
from ._trainers import optimizer_cls_and_kwargs as optimizer_cls_and_kwargs
