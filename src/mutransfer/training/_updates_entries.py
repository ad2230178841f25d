"""Updates of stacked tensors by entries, equal to those of torch.optim.

Every update comes with its numbers: what its options and the step enter it by, for each member its
own. They are made in double precision for all steps at once, so that a program has nothing to
compute from Python's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ._step import Step

Counts = Float[Tensor, " steps"]
"""The numbers of the steps: 1, 2, ... in double precision."""

Numbers = Mapping[str, Tensor | float]
"""Numbers by name, one a step or the same at all steps."""

Betas = tuple[float, float]


def sgd_numbers(count: Counts, *, momentum: float = 0.0) -> Numbers:
    """Return the numbers of `sgd`."""
    # The first step of torch starts the buffer anew, whatever the momentum.
    return {"momentum": momentum, "carry": momentum * (count > 1).double()}


def sgd(step: Step, *, nesterov: bool = False) -> None:
    """Update as torch.optim.SGD, with L2 weight decay."""
    gradient = step.coupled()
    if "momentum" in step.numbers:
        buffer = step.state["momentum"]
        buffer.mul_(step.number("carry")).add_(gradient)
        gradient = gradient + step.number("momentum") * buffer if nesterov else buffer
    step.parameter.sub_(step.lr * gradient)


def adagrad_numbers(
    count: Counts, *, lr_decay: float = 0.0, initial_accumulator_value: float = 0.0
) -> Numbers:
    """Return the numbers of `adagrad`."""
    return {
        "rate": 1 / (1 + (count - 1) * lr_decay),
        "initial": initial_accumulator_value * (count == 1).double(),
    }


def adagrad(step: Step) -> None:
    """Update as torch.optim.Adagrad."""
    gradient, total = step.coupled(), step.state["total"]
    if "initial" in step.numbers:
        total.add_(step.number("initial"))
    total.addcmul_(gradient, gradient)
    step.parameter.sub_(step.lr * step.number("rate") * gradient / total.sqrt().add_(step.eps))


def rmsprop_numbers(count: Counts, *, alpha: float = 0.99, momentum: float = 0.0) -> Numbers:
    """Return the numbers of `rmsprop`."""
    return {"keep": alpha, "take": 1 - alpha, "momentum": momentum}


def rmsprop(step: Step, *, centered: bool = False) -> None:
    """Update as torch.optim.RMSprop."""
    gradient, second = step.coupled(), step.state["second"]
    keep, take = step.number("keep"), step.number("take")
    second.mul_(keep).add_(gradient.square() * take)
    variance = second
    if centered:
        first = step.state["first"]
        first.add_((gradient - first) * take)
        variance = second.addcmul(first, first, value=-1)
    update = gradient / variance.sqrt().add_(step.eps)
    if "momentum" in step.numbers:
        update = step.state["momentum"].mul_(step.number("momentum")).add_(update)
    step.parameter.sub_(step.lr * update)


def lion_numbers(count: Counts, *, betas: Betas = (0.9, 0.99)) -> Numbers:
    """Return the numbers of `lion`."""
    return {"take first": 1 - betas[0], "take second": 1 - betas[1]}


def lion(step: Step) -> None:
    """Update as `training.Lion`, the sign of interpolated momentum (2302.06675)."""
    first = step.state["first"]
    step.shrink()
    difference = step.gradient - first
    direction = first + difference * step.number("take first")
    step.parameter.sub_(step.lr * direction.sign_())
    first.add_(difference * step.number("take second"))


def nadam_numbers(
    count: Counts, *, betas: Betas = (0.9, 0.999), momentum_decay: float = 4e-3
) -> Numbers:
    """Return the numbers of `nadam`."""

    def momentum(at: Tensor) -> Tensor:
        return betas[0] * (1 - 0.5 * torch.pow(0.96, at * momentum_decay))

    now, following = momentum(count), momentum(count + 1)
    # Torch keeps the product in single precision, unless its default is double.
    rounded = now.to(torch.get_default_dtype()).numpy()
    product = torch.from_numpy(np.cumprod(rounded, dtype=rounded.dtype)).double()
    return {
        **_moment_numbers(betas),
        "of gradient": (1 - now) / (1 - product),
        "of first": following / (1 - product * following),
        "variance": 1 / (1 - betas[1] ** count),
    }


def nadam(step: Step, *, decoupled: bool = False) -> None:
    """Update as torch.optim.NAdam, its weight decay decoupled where asked."""
    gradient = _decayed(step, decoupled)
    _moments(step, gradient)
    first, second = step.state["first"], step.state["second"]
    denominator = (second * step.number("variance")).sqrt_().add_(step.eps)
    of_gradient, of_first = step.number("of gradient"), step.number("of first")
    step.parameter.sub_(step.lr * (of_gradient * gradient + of_first * first) / denominator)


def radam_numbers(count: Counts, *, betas: Betas = (0.9, 0.999)) -> Numbers:
    """Return the numbers of `radam`."""
    longest, left = 2 / (1 - betas[1]) - 1, betas[1] ** count
    length = longest - 2 * count * left / (1 - left)
    ratio = (length - 4) * (length - 2) * longest
    ratio = ratio / ((longest - 4) * (longest - 2) * length)
    # Shorter averages are too noisy to divide by: these steps are plain momentum.
    rectified = length > 5
    return {
        **_moment_numbers(betas),
        "mean": 1 / (1 - betas[0] ** count),
        "rectified": torch.where(rectified, (ratio * (1 - left)).clamp(min=0).sqrt(), 0.0),
    }


def radam(step: Step, *, decoupled: bool = False) -> None:
    """Update as torch.optim.RAdam, its weight decay decoupled where asked."""
    _moments(step, _decayed(step, decoupled))
    first = step.state["first"] * step.number("mean")
    if "rectified" in step.numbers:
        rectified = step.numbers["rectified"]
        scale = rectified / step.state["second"].sqrt().add_(step.eps)
        first = first * torch.where(rectified > 0, scale, 1.0)
    step.parameter.sub_(step.lr * first)


def adamax_numbers(count: Counts, *, betas: Betas = (0.9, 0.999)) -> Numbers:
    """Return the numbers of `adamax`."""
    return {
        "take first": 1 - betas[0],
        "keep": betas[1],
        "rate": 1 / (1 - betas[0] ** count),
    }


def adamax(step: Step) -> None:
    """Update as torch.optim.Adamax."""
    gradient, first, largest = step.coupled(), step.state["first"], step.state["largest"]
    first.add_((gradient - first) * step.number("take first"))
    largest.copy_(torch.maximum(largest * step.number("keep"), gradient.abs().add_(step.eps)))
    step.parameter.sub_(step.lr * step.number("rate") * first / largest)


def adam_numbers(count: Counts, *, betas: Betas = (0.9, 0.999)) -> Numbers:
    """Return the numbers of `adam`."""
    return {
        **_moment_numbers(betas),
        "rate": 1 / (1 - betas[0] ** count),
        "root": (1 - betas[1] ** count).sqrt(),
    }


def adam(step: Step, *, decoupled: bool = False, amsgrad: bool = False) -> None:
    """Update as torch.optim.Adam, or as AdamW where the weight decay is decoupled."""
    _moments(step, _decayed(step, decoupled))
    first, second = step.state["first"], step.state["second"]
    if amsgrad:
        largest = step.state["largest"]
        second = largest.copy_(torch.maximum(largest, second))
    # Factors are of a row, entries are many: as few passes over entries as can be.
    root = step.number("root")
    denominator = second.sqrt().add_(step.eps * root)
    step.parameter.addcdiv_(first * (step.lr * step.number("rate") * root), denominator, value=-1)


def _decayed(step: Step, decoupled: bool) -> Tensor:
    """Return the gradient with coupled weight decay, or shrink the parameters."""
    if not decoupled:
        return step.coupled()
    step.shrink()
    return step.gradient


def _moment_numbers(betas: Betas) -> dict[str, float]:
    return {"take first": 1 - betas[0], "keep second": betas[1], "take second": 1 - betas[1]}


def _moments(step: Step, gradient: Tensor) -> None:
    """Update the averages of the gradient and of its square."""
    first, second = step.state["first"], step.state["second"]
    first.lerp_(gradient, step.numbers["take first"])
    second.mul_(step.number("keep second"))
    second.addcmul_(gradient, gradient * step.number("take second"))
