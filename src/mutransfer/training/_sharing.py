"""Models that can share one forward pass, that of the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from torch import Tensor, nn

from ._held import Own, changed, held, methods


def unlike(models: Sequence[nn.Module]) -> str | None:
    """Return a parameter or buffer that only some models have or train."""
    first = _named(models[0])
    return next((n for m in models[1:] for n in [changed(first, _named(m))] if n is not None), None)


def obstacle(models: Sequence[nn.Module]) -> str | None:
    """Return the reason why one forward pass does not serve all of these models.

    Args:
        models: Models whose parameters have the same names and shapes.
    """
    values = held(models[0])
    reasons = chain(
        _hooked(models),
        _captured(values),
        _shared(models[0], values),
        _different(models, values),
    )
    return next(reasons, None)


def capturing(model: nn.Module) -> str | None:
    """Return a function of the model that uses the model itself, as no copy's does."""
    functions = (value.function for value in held(model).values() if isinstance(value, Own))
    return next(functions, None)


def _named(model: nn.Module) -> Mapping[str, bool]:
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    return {**trained, **dict.fromkeys(dict(model.named_buffers()), False)}


def _hooked(models: Sequence[nn.Module]) -> Iterator[str]:
    for model in models:
        for name, parameter in model.named_parameters():
            if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
                yield f"{name} has hooks of its gradient, which a stack would leave out"


def _captured(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Own):
            yield (
                f"the function {value.function} uses the model that it was made with ({name}); "
                "write it as a method of the module"
            )


def _shared(model: nn.Module, values: Mapping[str, object]) -> Iterator[str]:
    """Yield attributes that are parameters or buffers, which a stack replaces."""
    named = chain(model.named_parameters(), model.named_buffers())
    own = {place: name for name, tensor in named if (place := _place(tensor)) is not None}
    for name, value in values.items():
        if isinstance(value, Tensor) and (place := _place(value)) in own:
            yield f"it holds {own[place]} as {name}, too, which a stack would not train"


def _place(tensor: Tensor) -> int | None:
    """Return where a tensor's numbers lie, None for sparse ones and others."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (NotImplementedError, RuntimeError):
        return None


def _different(models: Sequence[nn.Module], values: Mapping[str, object]) -> Iterator[str]:
    first = dict(models[0].named_modules())
    for model in models[1:]:
        second = dict(model.named_modules())
        for path in dict.fromkeys([*first, *second]):
            place = path or "the model itself"
            if path not in first or path not in second:
                yield f"only some of the members' models have the module {place}"
            elif not _of_one_kind(models[0], first[path], model, second[path]):
                yield f"the members' models have different classes of {place}"
        if (name := changed(values, held(model))) is not None:
            yield f"the members' models hold different values of {name}"


def _of_one_kind(model: nn.Module, module: nn.Module, other: nn.Module, second: nn.Module) -> bool:
    """Return True for modules of one class, or of classes written the same."""
    kinds = type(module), type(second)
    if kinds[0] is kinds[1]:
        return True
    names = [(kind.__module__, kind.__qualname__) for kind in kinds]
    # A class that a function defines is another one at every call.
    return (
        names[0] == names[1] and changed(methods(kinds[0], model), methods(kinds[1], other)) is None
    )
