"""Initial values: the model's own draw, rescaled to the plan."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..core import MutransferError
from ..plans import Plan
from ._planned import planned_parameters
from ._tensors import rms


def initialize(plan: Plan, model: nn.Module) -> None:
    """Rescale a model's initial draw in place; see `Plan.initialize`."""
    parameters = planned_parameters(plan, model)
    if plan.at_base or not plan.rescales:
        return
    drawn = [tensor for tensor in plan.tensors.values() if tensor.is_trained]
    runs = dict.fromkeys(tensor.run for tensor in drawn)
    factors = {run: _factor(plan, run, parameters) for run in runs}
    with torch.no_grad():
        for tensor in drawn:
            parameters[tensor.name].mul_(factors[tensor.run])


def wanted_rms(plan: Plan, run: tuple[str, ...]) -> float:
    """Return the RMS that a run of tensors starts with.

    Raises:
        MutransferError: the base had no values.
    """
    tensor = plan[run[0]]
    if tensor.base_rms is None:
        raise MutransferError(
            f"the plan does not know the initial scale of {tensor.name}: its base was on the meta "
            "device; give a base with values"
        )
    return tensor.base_rms * tensor.factor("init")


def _factor(plan: Plan, run: tuple[str, ...], parameters: Mapping[str, nn.Parameter]) -> float:
    tensor = plan[run[0]]
    drawn = rms([parameters[name] for name in run])
    if drawn is None:
        raise MutransferError(
            f"{tensor.name} is on the meta device and has no values to rescale: initialise the "
            "model first, then plan.initialize"
        )
    wanted = wanted_rms(plan, run)
    if (drawn == 0) != (tensor.base_rms == 0):
        raise MutransferError(
            f"{tensor.name} starts at zero in {'the model' if drawn == 0 else 'the base'} only: "
            "give both the same initial law"
        )
    return wanted / drawn if drawn else 1.0
