"""The parameters of a model under their planned names, whatever wraps the model."""

from __future__ import annotations

from torch import nn

from ..core import MutransferError
from ..plans import Plan
from ..reading import unwrapped
from ._hooks import check_attached
from ._memory import check_apart


def planned_parameters(plan: Plan, model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters by planned name.

    Raises:
        MutransferError: they are not the planned ones, two lie on one memory, or the forward pass
            lacks a planned multiplier.
    """
    parameters = {
        unwrapped(name, plan.tensors): parameter for name, parameter in model.named_parameters()
    }
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != plan[name].shape:
            raise MutransferError(
                f"{name} has shape {tuple(parameter.shape)}, but the plan was made for "
                f"{plan[name].shape}: plan this model"
            )
    if missing := plan.tensors.keys() - parameters.keys():
        raise MutransferError(
            f"the model has no {min(missing)}, which the plan has: plan this model"
        )
    check_apart(parameters)
    check_attached(plan, model)
    return parameters
