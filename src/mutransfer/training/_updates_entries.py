"""Updates of stacked tensors by entries, equal to those of torch.optim."""

from __future__ import annotations

from functools import lru_cache

import torch

from ._step import Step


def sgd(step: Step, *, momentum: float = 0.0, nesterov: bool = False) -> None:
    """Update as torch.optim.SGD, with L2 weight decay."""
    gradient = step.coupled()
    if momentum:
        buffer = step.state["momentum"]
        # The first step of torch starts the buffer anew, whatever the momentum.
        buffer.mul_(momentum if step.count > 1 else 0.0).add_(gradient)
        gradient = gradient + momentum * buffer if nesterov else buffer
    step.parameter.sub_(step.lr * gradient)


def adagrad(step: Step, *, lr_decay: float = 0.0, initial_accumulator_value: float = 0.0) -> None:
    """Update as torch.optim.Adagrad."""
    gradient, total = step.coupled(), step.state["total"]
    if step.count == 1:
        total.fill_(initial_accumulator_value)
    total.addcmul_(gradient, gradient)
    rate = step.lr / (1 + (step.count - 1) * lr_decay)
    step.parameter.sub_(rate * gradient / total.sqrt().add_(step.eps))


def rmsprop(
    step: Step, *, alpha: float = 0.99, momentum: float = 0.0, centered: bool = False
) -> None:
    """Update as torch.optim.RMSprop."""
    gradient, second = step.coupled(), step.state["second"]
    second.mul_(alpha).addcmul_(gradient, gradient, value=1 - alpha)
    variance = second
    if centered:
        first = step.state["first"].lerp_(gradient, 1 - alpha)
        variance = second.addcmul(first, first, value=-1)
    update = gradient / variance.sqrt().add_(step.eps)
    if momentum:
        update = step.state["momentum"].mul_(momentum).add_(update)
    step.parameter.sub_(step.lr * update)


def lion(step: Step, *, betas: tuple[float, float] = (0.9, 0.99)) -> None:
    """Update as `training.Lion`, the sign of interpolated momentum (2302.06675)."""
    first = step.state["first"]
    step.shrink()
    step.parameter.sub_(step.lr * first.lerp(step.gradient, 1 - betas[0]).sign_())
    first.lerp_(step.gradient, 1 - betas[1])


def nadam(
    step: Step,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    momentum_decay: float = 4e-3,
    decoupled: bool = False,
) -> None:
    """Update as torch.optim.NAdam, its weight decay decoupled where asked."""
    gradient = _decayed(step, decoupled)
    _moments(step, gradient, betas)
    first, second = step.state["first"], step.state["second"]
    momentum = _momentum(betas[0], momentum_decay, step.count)
    following = _momentum(betas[0], momentum_decay, step.count + 1)
    product = _momenta(betas[0], momentum_decay, step.count)
    of_gradient = (1 - momentum) / (1 - product)
    of_first = following / (1 - product * following)
    denominator = second.div(1 - betas[1] ** step.count).sqrt_().add_(step.eps)
    step.parameter.sub_(step.lr * (of_gradient * gradient + of_first * first) / denominator)


def _momentum(beta: float, decay: float, count: int) -> float:
    return beta * (1 - 0.5 * float(0.96 ** (count * decay)))


@lru_cache(maxsize=4096)
def _momenta(beta: float, decay: float, count: int) -> float:
    """Return the product of all momenta so far, rounded as torch rounds it."""
    if count == 0:
        return 1.0
    # Torch keeps it in single precision, unless its default is double.
    double = torch.get_default_dtype() == torch.float64
    before = torch.tensor(
        _momenta(beta, decay, count - 1), dtype=torch.float64 if double else torch.float32
    )
    return float(before * _momentum(beta, decay, count))


def radam(
    step: Step, *, betas: tuple[float, float] = (0.9, 0.999), decoupled: bool = False
) -> None:
    """Update as torch.optim.RAdam, its weight decay decoupled where asked."""
    _moments(step, _decayed(step, decoupled), betas)
    first = step.state["first"] / (1 - betas[0] ** step.count)
    longest, left = 2 / (1 - betas[1]) - 1, betas[1] ** step.count
    length = longest - 2 * step.count * left / (1 - left)
    # Shorter averages are too noisy to divide by: these steps are plain momentum.
    if length > 5:
        ratio = (length - 4) * (length - 2) * longest
        rectified = (ratio / ((longest - 4) * (longest - 2) * length)) ** 0.5
        second = step.state["second"].sqrt().add_(step.eps)
        first = first * (rectified * (1 - left) ** 0.5) / second
    step.parameter.sub_(step.lr * first)


def adamax(step: Step, *, betas: tuple[float, float] = (0.9, 0.999)) -> None:
    """Update as torch.optim.Adamax."""
    gradient, first, largest = step.coupled(), step.state["first"], step.state["largest"]
    first.lerp_(gradient, 1 - betas[0])
    torch.maximum(largest.mul_(betas[1]), gradient.abs().add_(step.eps), out=largest)
    step.parameter.sub_(step.lr / (1 - betas[0] ** step.count) * first / largest)


def adam(
    step: Step,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    decoupled: bool = False,
    amsgrad: bool = False,
) -> None:
    """Update as torch.optim.Adam, or as AdamW where the weight decay is decoupled."""
    _moments(step, _decayed(step, decoupled), betas)
    first, second = step.state["first"], step.state["second"]
    if amsgrad:
        second = torch.maximum(step.state["largest"], second, out=step.state["largest"])
    denominator = second.sqrt().div_((1 - betas[1] ** step.count) ** 0.5).add_(step.eps)
    step.parameter.sub_(
        torch.div(first, denominator, out=denominator).mul_(step.lr / (1 - betas[0] ** step.count))
    )


def _decayed(step: Step, decoupled: bool) -> torch.Tensor:
    """Return the gradient with coupled weight decay, or shrink the parameters."""
    if not decoupled:
        return step.coupled()
    step.shrink()
    return step.gradient


def _moments(step: Step, gradient: torch.Tensor, betas: tuple[float, float]) -> None:
    """Update the averages of the gradient and of its square."""
    step.state["first"].lerp_(gradient, 1 - betas[0])
    step.state["second"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
