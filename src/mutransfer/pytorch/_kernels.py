"""Kernels of convolutions under optimizers of matrices, which flatten them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from torch import nn

from ..core import MutransferError
from ..plans import Plan, TensorPlan, way_out
from ..reading import unwrapped

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def with_flat_kernels(plan: Plan, model: nn.Module) -> dict[str, TensorPlan]:
    """Return a plan's tensors, with kernels as flat matrices.

    The size of such a kernel enters into the factor by which an implementation of Muon multiplies
    its update, max(1, rows/columns) or max(rows, columns).

    Raises:
        MutransferError: a tensor of more than two dimensions is no kernel, so that it is not known
            how an optimizer would flatten it.
    """
    kernels = _kernels(plan, model)
    tensors = dict(plan.tensors)
    for name, tensor in plan.tensors.items():
        family = plan.optimizers[tensor.optimizer]
        if not (family.matrices and tensor.is_trained and len(tensor.shape) > 2):
            continue
        if name not in kernels:
            others = [
                other
                for other, each in plan.tensors.items()
                if len(each.shape) > 2 and each.optimizer == family.name and other not in kernels
            ]
            raise MutransferError(
                f"{family.name} updates matrices only, and {name} ({tensor.role}) has "
                f"{len(tensor.shape)} dimensions without being the kernel of a convolution: "
                f"{way_out(family, others)}"
            )
        tensors[name] = replace(tensor, ratios={**tensor.ratios, **_flat_ratios(tensor)})
    return tensors


def _kernels(plan: Plan, model: nn.Module) -> set[str]:
    """Return the names of the kernels of convolutions that are not transposed."""
    return {
        unwrapped(f"{name}.weight" if name else "weight", plan.tensors)
        for name, module in model.named_modules()
        if isinstance(module, _CONVOLUTIONS)
    }


def _flat_ratios(tensor: TensorPlan) -> Mapping[str, Fraction]:
    """Return the ratios of a kernel that see its size, of those that its rule needs."""
    (rows, columns), (base_rows, base_columns) = (
        (shape[0], math.prod(shape[1:])) for shape in (tensor.shape, tensor.base_shape)
    )
    one = Fraction(1)
    expansion = max(one, Fraction(rows, columns)) / max(one, Fraction(base_rows, base_columns))
    fan_max = Fraction(max(rows, columns), max(base_rows, base_columns))
    ratios = {"expansion": expansion, "fan_max": fan_max}
    return {name: ratio for name, ratio in ratios.items() if name in tensor.ratios}
