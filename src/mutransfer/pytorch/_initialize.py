"""Initial values: the model's own draw, rescaled to the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..core import MutransferError
from ..plans import Plan
from ._fresh import Run, check_fresh, remember
from ._planned import planned_parameters
from ._tensors import is_code, rms


def initialize(plan: Plan, model: nn.Module, *, fresh: bool = False) -> None:
    """Rescale a model's initial draw in place; see `Plan.initialize`."""
    parameters = planned_parameters(plan, model)
    runs = [run for run in plan.runs if not any(map(is_code, _of(run, parameters)))]
    drawn = {run: _drawn_rms(plan, run, parameters) for run in runs}
    wanted = {run: wanted_rms(plan, run) for run in runs}
    due = [run for run in runs if not _is_reached(wanted[run], drawn[run], _of(run, parameters))]
    if not due:
        return
    if not fresh:
        check_fresh(plan, model, parameters, drawn)
    _check_writable(due, parameters)
    factors = {run: _factor(plan, run, wanted[run], drawn[run]) for run in due}
    with torch.no_grad():
        for run in due:
            for tensor in _of(run, parameters):
                tensor.mul_(factors[run])
    remember(parameters, drawn)


def wanted_rms(plan: Plan, run: Run) -> float:
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


def _drawn_rms(plan: Plan, run: Run, parameters: Mapping[str, nn.Parameter]) -> float:
    drawn = rms([parameters[name] for name in run])
    if drawn is None:
        raise MutransferError(
            f"{plan[run[0]].name} is on the meta device and has no values to rescale: initialise "
            "the model first, then plan.initialize"
        )
    return drawn


def _factor(plan: Plan, run: Run, wanted: float, drawn: float) -> float:
    if not drawn or not wanted:
        raise MutransferError(
            f"{plan[run[0]].name} starts at zero in {'the base' if drawn else 'the model'} only: "
            "give both the same initial law, or leave plan.initialize out where the model is "
            "trained or loaded from a checkpoint"
        )
    return wanted / drawn


def _check_writable(due: Sequence[Run], parameters: Mapping[str, nn.Parameter]) -> None:
    for name in (name for run in due for name in run):
        if parameters[name].is_inference() and not torch.is_inference_mode_enabled():
            raise MutransferError(
                f"{name} was made under torch.inference_mode, so that it cannot be rescaled or "
                "trained: build the model outside of it, or under torch.no_grad"
            )


def _is_reached(wanted: float, drawn: float, tensors: Sequence[nn.Parameter]) -> bool:
    """Return True where a run has its planned scale, to the rounding of a rescaling."""
    # The factor is rounded to the tensors' type, and so is each entry.
    rounding = max(torch.finfo(tensor.dtype).eps for tensor in tensors)
    return abs(wanted - drawn) <= max(1e-6, rounding) * drawn


def _of(run: Run, parameters: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    return [parameters[name] for name in run]
