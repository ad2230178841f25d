"""A model read as data: parameters, initial scales, and one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..core import MutransferError
from ..reading import Axes, Branch, Program, Reading, canonical
from ._axes import RECURRENT
from ._declared import declared_branches
from ._parameters import parameters_of
from ._record import record_program
from ._tensors import rms

Branches = Mapping[str, Sequence[str]]
"""Declared residual branches: the module that ends each kind, with the tensors in its branch."""


def read(
    model: nn.Module | Callable[[], nn.Module],
    *,
    example_inputs: Any = None,
    axes: Mapping[str, Axes] | None = None,
    branches: Branches | None = None,
) -> Reading:
    """Read a model as `plan` does; as a base, the reading replaces the model.

    Args:
        model: The model, or a function that builds it.
        example_inputs: As in `plan`, like the arguments after it.
        axes: Axes of parameters that no rule knows, by name pattern.
        branches: Residual branches of a model that cannot be traced.

    Returns:
        The reading; `Reading.to_json` keeps it without the weights.

    Raises:
        MutransferError: the model is wrapped, cannot be traced, or has nothing to plan.
    """
    return reading_of(model, example_inputs, axes, branches, traced=True)


def reading_of(
    model: nn.Module | Callable[[], nn.Module],
    example_inputs: Any,
    axes: Mapping[str, Axes] | None,
    branches: Branches | None,
    *,
    traced: bool,
    scaled: bool = True,
) -> Reading:
    """Read a model as `read` does; forward pass and initial scales are optional.

    Raises:
        MutransferError: as `read`.
    """
    module = model if isinstance(model, nn.Module) else _build(model)
    _check_bare(module)
    parameters = parameters_of(module, axes or {})
    declared = None
    if traced and branches is not None:
        declared = declared_branches(module, branches)
    program = _program(module, example_inputs, declared) if traced else None
    named = [(canonical(name), parameter) for name, parameter in module.named_parameters()]
    return Reading(
        name=type(module).__name__,
        parameters=parameters,
        scales={name: rms([parameter]) if scaled else None for name, parameter in named},
        program=program,
        training=_training(module, example_inputs, program),
        branches=declared,
        recurrent=_modules(module, lambda each: isinstance(each, RECURRENT)),
        state_space=_modules(module, lambda each: isinstance(getattr(each, "A_log", None), Tensor)),
    )


def _program(
    model: nn.Module, example_inputs: Any, declared: tuple[Branch, ...] | None
) -> Program | None:
    """Return the forward pass; None where it fails and the branches were declared."""
    try:
        return record_program(model, example_inputs)
    except MutransferError:
        if declared is None:
            raise
        return None


def _training(model: nn.Module, example_inputs: Any, program: Program | None) -> Program | None:
    """Return the forward pass in training, where it uses further tensors."""
    if program is None:
        return None
    trained = {canonical(name) for name, p in model.named_parameters() if p.requires_grad}
    if trained <= program.parameters.keys():
        return None
    try:
        return record_program(model, example_inputs, training=True)
    except MutransferError:
        return None


def _modules(model: nn.Module, is_one: Callable[[nn.Module], bool]) -> tuple[str, ...]:
    return tuple(canonical(name) for name, module in model.named_modules() if is_one(module))


def _build(build: Any) -> nn.Module:
    model = build
    if callable(build):
        try:
            signature(build).bind()
        except TypeError as error:
            raise MutransferError(
                f"{build!r} cannot be called without arguments ({error}): "
                "give the base itself, or lambda: ..."
            ) from error
        model = build()
    if not isinstance(model, nn.Module):
        raise MutransferError(
            f"{model!r} is no model: give a torch.nn.Module, what builds one without arguments, "
            "or a Reading of one"
        )
    return model


def _check_bare(model: nn.Module) -> None:
    """Raise for a wrapped or sharded model, whose names are not its own."""
    name = type(model).__name__
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel | AveragedModel):
        raise MutransferError(
            f"{name} wraps the model: plan the model before, its names are those of the base"
        )
    if name.startswith("FSDP"):
        raise MutransferError(
            "fully_shard has cut the model's tensors: plan the model before sharding; "
            "the plan holds after it"
        )
