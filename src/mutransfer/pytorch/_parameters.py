"""The learned tensors of a model, with the axes that their layers give them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..core import MutransferError
from ..reading import Axes, Parameter, canonical, check_declared, first_match, parent
from ._axes import RECURRENT, axes_of, is_norm, is_router
from ._memory import check_apart


def parameters_of(model: nn.Module, declared: Mapping[str, Axes]) -> dict[str, Parameter]:
    """Return every learned tensor of a model once, in the model's own order.

    A tensor that several modules share stands under its first name.

    Args:
        model: The model.
        declared: Axes by name pattern, where the user knows better than the layers.

    Raises:
        MutransferError: a declared pattern matches nothing or is malformed, or two parameters lie
            on one memory.
    """
    aliases: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if isinstance(parameter, nn.UninitializedParameter):
            raise MutransferError(
                f"{name} has no shape yet, as its layer is a lazy one: run one batch through the "
                "model, then plan it"
            )
        aliases.setdefault(id(parameter), []).append(name)
    check_declared([canonical(name) for names in aliases.values() for name in names], declared)
    if not aliases:
        raise MutransferError(f"{type(model).__name__} has no parameters: there is nothing to plan")
    modules = dict(model.named_modules(remove_duplicate=False))
    tensors = dict(model.named_parameters())
    check_apart({canonical(name): tensor for name, tensor in tensors.items()})
    parameters = [_parameter(modules, tensors, names, declared) for names in aliases.values()]
    return {parameter.name: parameter for parameter in parameters}


def _parameter(
    modules: Mapping[str, nn.Module],
    tensors: Mapping[str, nn.Parameter],
    names: list[str],
    declared: Mapping[str, Axes],
) -> Parameter:
    owners = {name: modules[parent(name)] for name in names}
    declarations = [first_match(canonical(alias), declared) for alias in names]
    # A tied head sees its table as a matrix; what it is to the network follows from the embedding.
    owner = next((name for name in names if isinstance(owners[name], nn.Embedding)), names[0])
    module, own_name = owners[owner], owner.rpartition(".")[2]
    tensor, name = tensors[names[0]], canonical(names[0])
    axes = next(filter(None, declarations), None) or axes_of(module, own_name, tensor.dim())
    if axes is not None and len(axes) != tensor.dim():
        raise MutransferError(
            f"{name} has shape {tuple(tensor.shape)}, but {len(axes)} axes were declared for it: "
            f"{axes}"
        )
    return Parameter(
        name=name,
        shape=tuple(tensor.shape),
        axes=None if axes is None else tuple(axes),
        kind=_kind(module, own_name, tensor),
        layer=tuple(tuple(p.shape) for p in module.parameters(recurse=False)),
        module=type(module).__name__,
        aliases=tuple(map(canonical, names[1:])),
        is_declared=any(declarations),
    )


def _kind(module: nn.Module, parameter: str, tensor: Tensor) -> str:
    if isinstance(module, nn.Embedding):
        return "embedding"
    if tensor.dim() == 0:
        return "scalar"
    if is_router(module) and tensor.dim() == 2:
        return "router"
    recurrent_bias = isinstance(module, RECURRENT) and parameter.startswith("bias")
    if parameter.endswith("bias") or recurrent_bias:
        return "bias"
    if is_norm(module):
        return "gain"
    return "matrix" if tensor.dim() >= 2 else "vector"
