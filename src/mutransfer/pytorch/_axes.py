"""The axes of a layer's parameters, by the type of the layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..core import MutransferError
from ..reading import Axes

_TABLES: tuple[tuple[type[nn.Module], Mapping[str, Axes]], ...] = (
    (nn.Linear, {"weight": ("out", "in"), "bias": ("out",)}),
    (nn.Conv1d, {"weight": ("out", "in", "finite"), "bias": ("out",)}),
    (nn.Conv2d, {"weight": ("out", "in", "finite", "finite"), "bias": ("out",)}),
    (nn.Conv3d, {"weight": ("out", "in", "finite", "finite", "finite"), "bias": ("out",)}),
    (nn.ConvTranspose1d, {"weight": ("in", "out", "finite"), "bias": ("out",)}),
    (nn.ConvTranspose2d, {"weight": ("in", "out", "finite", "finite"), "bias": ("out",)}),
    (nn.ConvTranspose3d, {"weight": ("in", "out", "finite", "finite", "finite"), "bias": ("out",)}),
    (nn.Embedding, {"weight": ("finite", "out")}),
    (nn.EmbeddingBag, {"weight": ("finite", "out")}),
    (nn.Bilinear, {"weight": ("out", "in", "in"), "bias": ("out",)}),
    (
        nn.MultiheadAttention,
        dict.fromkeys(
            ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"), ("out", "in")
        )
        | dict.fromkeys(("bias_k", "bias_v"), ("finite", "finite", "out")),
    ),
)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)

_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def is_norm(module: nn.Module) -> bool:
    """Return True for torch's own norms and any class named as one (LlamaRMSNorm)."""
    return isinstance(module, _NORMS) or type(module).__name__.lower().endswith("norm")


def axes_of(module: nn.Module, parameter: str, dimensions: int) -> Axes | None:
    """Return the axes of a module's parameter, or None where no table has them.

    Args:
        module: The module that owns the parameter.
        parameter: The parameter's own name, such as "weight".
        dimensions: Its number of dimensions.
    """
    if (axes := _mixture(module, dimensions)) is not None:
        return axes
    for kind, table in _TABLES:
        if isinstance(module, kind):
            if parameter in table:
                return _grouped(module, table[parameter])
            break
    if isinstance(module, RECURRENT) and dimensions == 2:
        return ("out", "in")
    return ("out",) * dimensions if dimensions == 1 or is_norm(module) else None


def is_router(module: nn.Module) -> bool:
    """Return True for a module that scores the experts of a mixture.

    Hugging Face's routers are a bare matrix with a row for each expert.
    """
    weight = getattr(module, "weight", None)
    mixture = (
        hasattr(module, "top_k") and hasattr(module, "num_experts") and not list(module.children())
    )
    return (
        mixture
        and isinstance(weight, Tensor)
        and weight.dim() == 2
        and weight.shape[0] == module.num_experts
    )


def _mixture(module: nn.Module, dimensions: int) -> Axes | None:
    """Return the axes of Hugging Face's stacks of experts, routers and Conv1D.

    Its Conv1D is a linear layer with a transposed weight.
    """
    if is_router(module):
        return ("out", "in") if dimensions == 2 else ("out",)
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return ("in", "out") if dimensions == 2 else ("out",)
    if hasattr(module, "is_transposed") and hasattr(module, "num_experts"):
        return {
            3: ("expert", "in", "out") if module.is_transposed else ("expert", "out", "in"),
            2: ("expert", "out"),
        }.get(dimensions)
    return None


def _grouped(module: nn.Module, axes: Axes) -> Axes:
    """Return the axes of a convolution in groups, which has the fan-in of one group.

    A depthwise one sums over its kernel alone, so that its fan-in is finite.
    """
    groups, transposed = getattr(module, "groups", 1), getattr(module, "transposed", False)
    if groups == 1 or "in" not in axes:
        return axes
    if groups == module.in_channels:
        channels, other = ("in", "out") if transposed else ("out", "in")
        return tuple({channels: "out", other: "finite"}.get(axis, axis) for axis in axes)
    if transposed:
        raise MutransferError(
            f"a transposed convolution with {groups} groups over {module.in_channels} channels is "
            "neither dense nor depthwise: "
            'say its axes with axes={"pattern": ("in", "out", ...)}'
        )
    return axes
