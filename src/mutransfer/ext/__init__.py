"""Thin adapters: the plan in other people's trainers, and written out without mutransfer."""

from ._exports import megatron_flags as megatron_flags
from ._exports import snippet as snippet
from ._trainers import configure_optimizers as configure_optimizers
from ._trainers import optimizer_cls_and_kwargs as optimizer_cls_and_kwargs
