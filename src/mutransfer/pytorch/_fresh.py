"""Signs that a model is no longer as it was drawn.

Rescaling a trained model to its initial scale destroys what it learned. No single number tells a
draw from a trained tensor, as users draw by laws of their own. Three signs do without false alarms:
values that were written since `Plan.initialize` in this process, gains that are 1 in the base and
nowhere near in the model, and layers with torch's default draw in the base alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ..core import MutransferError
from ..plans import Plan
from ._tensors import whole

Run = tuple[str, ...]
"""Names of tensors whose initial scale is measured together."""

_DEVIATIONS = 8
"""Standard deviations of a sampled RMS that still count as chance."""

_ROUNDING = 4e-3
"""Relative rounding of an RMS in half precision, and of a law."""

_FEWEST, _FEWEST_OF_A_LAW = 64, 512
"""Fewest entries whose RMS can break a law, and whose RMS can show one."""

_CONSTANT = 1e-6
_DEFAULT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers that torch draws from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), weight and bias alike."""


class _Written(NamedTuple):
    """The version of a tensor after it was initialised, and the RMS it was drawn with."""

    version: int | None
    drawn: float


# Keyed by tensor and weak: nothing hangs on the model, and a copy or another process has none.
_INITIALISED: MutableMapping[Tensor, _Written] = WeakTensorKeyDictionary()


def remember(parameters: Mapping[str, nn.Parameter], drawn: Mapping[Run, float]) -> None:
    """Keep the versions of tensors that were initialised, for the next call."""
    for run, value in drawn.items():
        for name in run:
            _INITIALISED[parameters[name]] = _Written(_version(parameters[name]), value)


def check_fresh(
    plan: Plan,
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    drawn: Mapping[Run, float],
) -> None:
    """Raise unless the model's values may be its initial draw.

    Args:
        plan: The plan.
        model: The model.
        parameters: Its parameters by planned name.
        drawn: The RMS of each run of tensors.

    Raises:
        MutransferError: naming the tensor, the sign, and what to do.
    """
    known = [_INITIALISED.get(parameters[name]) for run in drawn for name in run]
    if known and all(known):
        signs = _since_initialised(parameters, drawn)
    else:
        signs = _as_built(plan, model, parameters, drawn)
    if sign := next(signs, None):
        raise MutransferError(
            f"{sign}: plan.initialize is for a fresh draw and would undo training. Leave it out "
            "where you load a checkpoint, or call it before load_state_dict; for values that are "
            "an initial draw, say plan.initialize(model, fresh=True)"
        )


def _since_initialised(
    parameters: Mapping[str, nn.Parameter], drawn: Mapping[Run, float]
) -> Iterator[str]:
    """Yield the tensors that were written since, and not by drawing them again."""
    written = [
        run
        for run in drawn
        if any(_version(p) != _INITIALISED[p].version for p in _of(run, parameters))
    ]
    # A new draw has the scale of the one before in every run of tensors, a trained model has not.
    for run, value in drawn.items():
        before = _INITIALISED[parameters[run[0]]].drawn
        entries = sum(parameter.numel() for parameter in _of(run, parameters))
        if written and not _is_chance(value, before, entries):
            yield (
                f"{written[0][0]} was written since plan.initialize, by training or a checkpoint"
            )


def _as_built(
    plan: Plan,
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    drawn: Mapping[Run, float],
) -> Iterator[str]:
    """Yield the tensors that a model is not built with, as the base shows."""
    layers = _layers(model, parameters)
    for run, value in drawn.items():
        tensor = plan[run[0]]
        if tensor.base_rms is None:
            continue
        if len(tensor.shape) == 1 and abs(tensor.base_rms - 1) < _CONSTANT:
            if not _are_constant(_of(run, parameters)):
                yield f"{tensor.name} is 1 in the base, and has learned values in the model"
        elif (weight := layers.get(tensor.name)) and _is_default(plan, weight, tensor.name):
            law = _default_rms(plan[weight].shape)
            entries = len(run) * math.prod(tensor.shape)
            # A scale that is the same at both sizes is a law of one's own that meets torch's.
            if entries >= _FEWEST and not any(
                _is_chance(value, each, entries) for each in (law, tensor.base_rms)
            ):
                yield (
                    f"{tensor.name} has torch's default scale in the base, and in the model an "
                    f"RMS of {value:.4g} instead of {law:.4g}"
                )


def _is_default(plan: Plan, weight: str, name: str) -> bool:
    """Return True if the base's layer clearly has torch's default draw."""
    law = _default_rms(plan[weight].base_shape)
    for tensor in (plan[weight], plan[name]):
        entries = math.prod(tensor.base_shape)
        if tensor.base_rms is None or not _is_chance(tensor.base_rms, law, entries, deviations=4):
            return False
    return math.prod(plan[weight].base_shape) >= _FEWEST_OF_A_LAW


def _layers(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Return for each tensor of a layer the weight whose shape gives its default draw."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    layers: dict[str, str] = {}
    for module in model.modules():
        if type(module) in _DEFAULT and id(module.weight) in names:
            weight = names[id(module.weight)]
            own = (names.get(id(parameter)) for parameter in module.parameters(recurse=False))
            layers |= {name: weight for name in own if name is not None}
    return layers


def _default_rms(shape: tuple[int, ...]) -> float:
    return 1 / math.sqrt(3 * math.prod(shape[1:]))


def _is_chance(value: float, law: float, entries: int, deviations: int = _DEVIATIONS) -> bool:
    """Return True where a sampled RMS may be that of a law."""
    # The relative deviation of the RMS of N entries is 0.45/sqrt(N) if uniform, 0.71 if normal.
    spread = deviations * 0.5 / math.sqrt(entries) + _ROUNDING
    return abs(value - law) <= spread * law


def _are_constant(tensors: list[nn.Parameter]) -> bool:
    sizes = [whole(tensor.detach()).abs() for tensor in tensors]
    low, high = min(float(each.min()) for each in sizes), max(float(each.max()) for each in sizes)
    return high - low <= _ROUNDING * high


def _of(run: Run, parameters: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    return [parameters[name] for name in run]


def _version(tensor: nn.Parameter) -> int | None:
    """Return how often a tensor was written in place; None where that is not counted."""
    return None if tensor.is_inference() else tensor._version
